"""The ledger's records, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from gateway.chain.layout import NO_FACTOR, Factor, Layout
from gateway.chain.page import Span
from gateway.chain.seal import U64

ObjectKind = Literal["descriptor", "chunk", "page", "tokens", "grant", "revocation", "head"]


@dataclass(frozen=True, slots=True)
class Stream:
    """A meter's stream; its layout, lanes and factor never change. `start` is its first unit."""

    id: bytes
    meter: str
    layout: Layout
    lanes: tuple[str, ...]
    start: int
    descriptor_digest: bytes
    factor: Factor = NO_FACTOR


@dataclass(frozen=True, slots=True)
class Sealed:
    """Sealed units from `first` on, of one link and incarnation: c is an array [lane, unit]."""

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
        """c as bytes: lane after lane, u64 little-endian."""
        return np.ascontiguousarray(self.c, dtype="<u8").tobytes()


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """A chunk: its number, its units [first, end), and `digest`, H of its bytes."""

    seq: int
    incarnation: int
    first: int
    end: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class PageEntry:
    """A page of a UTC day, "2026-11-22", or a month, "2026-11": steps of `step` units over [first, end).

    `digest` is H of its bytes; `c` a day's sums, an array [lane, step], until its month's page is made.
    """

    span: Span
    period: str
    step: int
    first: int
    end: int
    digest: bytes
    c: U64 | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The end of a stream: its last chunk, if any, and the unit to seal next."""

    last: ChunkEntry | None
    next_unit: int


class Doubt(NamedTuple):
    """The units [first, end) of a stream that another copy of this ledger may have sealed, and when that was
    noticed (Unix ms). `end` is None while the clock has not been trusted since."""

    first: int
    end: int | None
    noticed_ms: int


class Outgoing(NamedTuple):
    """An object to send to the store: its kind, its key there, and its bytes."""

    kind: ObjectKind
    key: str
    data: bytes

    @property
    def replaces(self) -> bool:
        """Whether it may overwrite an earlier object: a head does, every other object is written once."""
        return self.kind == "head"


class Queued(NamedTuple):
    """An object in the outbox; ids rise in the order in which objects must leave."""

    id: int
    stream: bytes
    object: Outgoing


class Kept(NamedTuple):
    """An object that the store has confirmed at `sent_ms`, by its number in the outbox, which it has left."""

    id: int
    key: str
    sent_ms: int


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """A grant, and how far the gateway has served it: windows before `next_window` have their tokens.

    `body` and, for a bill, `tariff` are in CBOR; `key` is K_0, sealed by the vault; from unit
    `revoked_from` on the grant opens nothing; `edges` are those of calendar windows with tokens, one more
    than windows. `own` are the household's own grants, whose keys nobody else holds. A grant that was found
    in the store has its provider's kid for a name, an empty key and no tariff, and counts as somebody else's:
    these were lost.
    """

    id: bytes
    stream: bytes
    body: bytes
    provider_name: str
    next_window: int
    key: bytes = field(repr=False)
    revoked_from: int | None = None
    tariff: bytes | None = None
    edges: tuple[int, ...] = ()
    own: bool = False


@dataclass(frozen=True, slots=True)
class FollowRecord:
    """A standing decision of the household: from unit `first` on, the provider is granted the bill of each
    period of `granularity` in `zone`, for `lanes`, under the prices in its price series of this name.

    `card` is the provider's signed card. `covered` says, for each kind of finding of the consent check that
    the household has confirmed, how harmless it is at least. From `ended_ms` (Unix ms) on nothing more is
    granted by it.
    """

    id: bytes
    stream: bytes
    provider: bytes
    card: bytes
    series: str
    lanes: tuple[str, ...]
    granularity: str
    zone: str
    purpose: str
    first: int
    made_ms: int
    ended_ms: int | None = None
    covered: Mapping[str, int] = field(default_factory=dict)


class FollowedPeriod(NamedTuple):
    """A period, units [first, end) of a stream, and the grant of its bill under the prices in a
    provider's price series of this name."""

    stream: bytes
    provider: bytes
    series: str
    first: int
    end: int
    grant: bytes


class PriceRecord(NamedTuple):
    """A provider's price series of this name, with prices between two moments (Unix ms), and its signed
    bytes; None where no period needs it."""

    provider: bytes
    serial: int
    series: str
    start_ms: int
    end_ms: int
    data: bytes | None


class Progress(NamedTuple):
    """How far a grant is served: the next window to get a token, and the edges of calendar windows before."""

    next_window: int
    edges: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreChain:
    """What the store holds of a stream and a rolled-back ledger does not: the ledger takes it over.

    `chunks` replace the chunks from number `seq` on; `pages` those that end after unit `pages_end`, and
    are of other periods than the pages that stay. `ciphertexts` are those of each chunk whose days have
    no page yet, `state` is the sampler's at the new end, sealed by the vault. By the id of a grant,
    `progress` says how far it is served, and `revoked` gives the unit from which it turned out to be revoked.
    """

    seq: int
    chunks: Sequence[ChunkEntry]
    pages_end: int
    pages: Sequence[PageEntry]
    ciphertexts: Sequence[Sealed]
    state: bytes
    progress: Mapping[bytes, Progress]
    revoked: Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """A provider's command: the signed object and its H, when it came (Unix ms), for how long the gateway has
    run since (`lived_ms`), whether something may still become of it (`live`), and the last signed receipt.
    `number` is the order of receipt, 0 before the ledger has it."""

    number: int
    digest: bytes
    id: bytes
    data: bytes
    provider_name: str
    received_ms: int
    lived_ms: int
    live: bool
    receipt: bytes


class AuditEntry(NamedTuple):
    """A line of the audit log: the time (Unix ms), the kind of event, and a sentence."""

    at_ms: int
    what: str
    detail: str


class CommandChange(NamedTuple):
    """A command's next receipt, whether it is live then, and the line of the audit log."""

    number: int
    live: bool
    receipt: bytes
    audit: AuditEntry
