"""What the ledger holds, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from gateway.chain.layout import Layout
from gateway.chain.page import Span
from gateway.chain.seal import U64

ObjectKind = Literal["descriptor", "chunk", "page", "tokens", "grant", "revocation", "head"]


@dataclass(frozen=True, slots=True)
class Stream:
    """A meter's stream, as it was begun: a stream keeps its layout and lanes for ever."""

    id: bytes
    meter: str
    layout: Layout
    lanes: tuple[str, ...]
    start: int
    descriptor_digest: bytes


@dataclass(frozen=True, slots=True)
class Sealed:
    """Sealed units [first, first + count) of one link and incarnation: c as an array [lane, unit]."""

    incarnation: int
    first: int
    c: U64

    @property
    def end(self) -> int:
        """The unit after the last."""
        return self.first + int(self.c.shape[1])

    def cut(self, first: int, end: int) -> Sealed:
        """The part in [first, end)."""
        x, y = max(first, self.first), min(end, self.end)
        return Sealed(self.incarnation, x, self.c[:, x - self.first : y - self.first])

    def to_bytes(self) -> bytes:
        """The array's bytes, lane after lane, u64 little-endian."""
        return np.ascontiguousarray(self.c, dtype="<u8").tobytes()


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """A closed chunk: its place in the stream, and H of its bytes."""

    seq: int
    incarnation: int
    first: int
    end: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class PageEntry:
    """A page made, of a UTC day, "2026-11-22", or a month, "2026-11": steps of `step` units over
    [first, end), H of its bytes, and a day's sums [lane, step] until its month's page is made."""

    span: Span
    period: str
    step: int
    first: int
    end: int
    digest: bytes
    c: U64 | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream stands: its last chunk, if any, and the unit to seal next."""

    last: ChunkEntry | None
    next_unit: int


class Outgoing(NamedTuple):
    """An object for the store: what it is, its key, and its bytes."""

    kind: ObjectKind
    key: str
    data: bytes

    @property
    def replaces(self) -> bool:
        """Whether it takes the place of an earlier one: the head alone, every other is written once."""
        return self.kind == "head"


class Queued(NamedTuple):
    """An object that waits in the outbox; `id` rises in the order in which objects must leave."""

    id: int
    stream: bytes
    object: Outgoing


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """A grant as the gateway serves it: windows before `next_window` have their tokens.

    `key` is K_0, sealed by the vault; `revoked_from` the unit from which nothing opens; `tariff` a bill's.
    """

    id: bytes
    stream: bytes
    body: bytes
    provider_name: str
    next_window: int
    key: bytes = field(repr=False)
    revoked_from: int | None = None
    tariff: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoreChain:
    """What the store holds of a stream beyond a ledger that was rolled back, for the ledger to take over.

    Chunks from `seq` on give way to `chunks`, pages that end after unit `pages_end` to `pages`, which are
    of other periods than those that stay. `ciphertexts` are those of the chunks whose days have no page
    yet, each [lane, unit] of a whole chunk. `state` is the sampler's at the new end, sealed by the vault.
    By the grants' ids, `windows` has each one's next window, and `revoked` the unit from which a grant
    that the ledger holds for open is revoked.
    """

    seq: int
    chunks: Sequence[ChunkEntry]
    pages_end: int
    pages: Sequence[PageEntry]
    ciphertexts: Sequence[Sealed]
    state: bytes
    windows: Mapping[bytes, int]
    revoked: Mapping[bytes, int]


class AuditEntry(NamedTuple):
    """One line of the audit log: when (Unix ms), what kind of thing, and a sentence."""

    at_ms: int
    what: str
    detail: str
