"""The objects of a grant: the grant and its body, token bundles, the revocation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np

from gateway.chain.grant import ID_BYTES, KINDS, MAX_K_MIN, Grant
from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import LANES, MOST_LANES
from gateway.chain.seal import U64
from gateway.chain.tariff import MAX_QUANTUM
from gateway.chain.token import TAG_BYTES, cuts_of
from gateway.chain.window import MONTH_FROM, Granularity
from gateway.errors import Refused, UsageError
from gateway.wire import cose, names
from gateway.wire.form import (
    Field,
    between,
    bstr,
    either,
    like,
    list_of,
    one_of,
    read,
    tstr,
    tuple_of,
    uint,
    write,
)
from gateway.wire.signed import DIGEST_BYTES, Stored

_BODIES_KEPT = 16
SEALED_K0_BYTES = 1168  # the encapsulated key (1120) and the ciphertext (48)


_BODY_FIELDS = (
    Field(1, "id", bstr(ID_BYTES)),
    Field(2, "stream", bstr(STREAM_BYTES)),
    Field(3, "provider", bstr(cose.KID_BYTES)),
    Field(4, "lanes", list_of(one_of(*LANES), most=MOST_LANES)),
    Field(
        5, "granularity", either(uint(40), one_of("day", "month"), like(MONTH_FROM, "month-2 to month-28"))
    ),
    Field(6, "zone", tstr()),
    Field(7, "first", uint()),
    Field(8, "until", uint(), optional=True),
    Field(9, "purpose", tstr()),
    Field(10, "kind", one_of(*KINDS)),
    Field(11, "tariff", bstr(DIGEST_BYTES), optional=True),
    Field(12, "issued_ms", uint()),
    Field(13, "serial", uint()),
    Field(14, "partner", bstr(ID_BYTES), optional=True),
    Field(15, "quantum", between(1, MAX_QUANTUM), optional=True),
    Field(16, "k_min", between(2, MAX_K_MIN), optional=True),
)


def grant_body(grant: Grant) -> bytes:
    """The bytes of the grant body, whose H binds K_0 to it."""
    values = {field.name: getattr(grant, field.name, None) for field in _BODY_FIELDS}
    values["granularity"], values["zone"] = grant.granularity.size, grant.granularity.zone
    return cose.encode(write(_BODY_FIELDS, values, "grant body"))


def read_grant_body(body: bytes, unit_ms: int, what: str) -> Grant:
    """The grant in the bytes of a body, whose stream has units of `unit_ms`."""
    values = dict(_values(body, what))
    try:
        values["granularity"] = Granularity(values["granularity"], unit_ms, values.pop("zone"))
        return Grant(**values)
    except UsageError as error:
        raise Refused(f"{what}: {error}") from None


@lru_cache(_BODIES_KEPT)
def _values(body: bytes, what: str) -> Mapping[str, Any]:
    """The values in a body, which is read with the object that holds it, for its place, and by itself."""
    return read(_BODY_FIELDS, cose.decode(body, what), what)


def body_of(what: str) -> str:
    """The words for the body of the object `what`, in sentences."""
    return f"the body of {what}"


@dataclass(frozen=True, slots=True)
class GrantObject(Stored):
    """A grant body, and K_0 sealed to the provider."""

    TYPE = "gw1/grant"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "body", bstr()),
        Field(3, "sealed_k0", bstr(SEALED_K0_BYTES)),
    )
    stream: bytes
    body: bytes
    sealed_k0: bytes

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        body = _values(values["body"], body_of(what))
        if body["stream"] != values["stream"]:
            raise Refused(f"{what}: its body grants another stream, {body['stream'].hex()}")
        return cls(**values)

    def own_key(self, key: str, unit_ms: int) -> str:
        """By the id in its body."""
        return names.grant(self.stream, _values(self.body, body_of(key))["id"])


@dataclass(frozen=True, slots=True)
class Tokens(Stored):
    """A bundle: the tokens of consecutive windows, from window number `first_window` on.

    `words` has their words, u64 little-endian, as many a window as the kind of the grant gives; or, of a raw
    grant, each token. `sealed` says from which window on the last units of windows were sealed in which
    incarnation. `edges`, of calendar grants, are the units between which the windows lie; `weighed`, of
    bills, is H of each window's steps (`gateway.chain.tariff.steps_digest`). `commitment`, of sums and bills,
    is to what the tokens hold (`gateway.chain.commitment`). `so_far`, of the tokens of a month so far, is the
    number of the window after the last.
    """

    TYPE = "gw1/tokens"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "grant", bstr(ID_BYTES)),
        Field(3, "first_window", uint()),
        Field(4, "words", either(bstr(least=8), list_of(bstr(least=TAG_BYTES), most=2**20))),
        Field(5, "sealed", list_of(tuple_of(uint(), uint()), most=2**20)),
        Field(6, "edges", list_of(uint(), most=2**20 + 1), optional=True),
        Field(7, "weighed", list_of(bstr(DIGEST_BYTES), most=2**20), optional=True),
        Field(8, "commitment", bstr(DIGEST_BYTES), optional=True),
        Field(64, "so_far", uint(), optional=True),
    )
    stream: bytes
    grant: bytes
    first_window: int
    words: bytes | tuple[bytes, ...]
    sealed: tuple[tuple[int, int], ...]
    edges: tuple[int, ...] | None = None
    weighed: tuple[bytes, ...] | None = None
    commitment: bytes | None = None
    so_far: int | None = None

    def own_key(self, key: str, unit_ms: int) -> str:
        """By the first window; of a month so far, by the window after the last. Where windows of a day or a
        month are folded into one bundle the object does not say: it belongs in whichever of the three
        folders it was found in."""
        if self.so_far is not None:
            return names.tokens_so_far(self.stream, self.grant, self.so_far)
        return names.bundle(self.stream, self.grant, self.first_window, names.fold_of(key) or "new")

    def end_window(self, words: int) -> int:
        """The number of the window after the last, where a token has so many words."""
        count = len(self.words) // (8 * words) if isinstance(self.words, bytes) else len(self.words)
        return self.first_window + count

    @property
    def cuts(self) -> list[bytes]:
        """How each window was cut, where a time zone has a say in it: see `gateway.chain.token.masks`."""
        return cuts_of(self.edges, self.weighed)

    def table(self, words: int) -> U64:
        """The words as an array [window, word]."""
        assert isinstance(self.words, bytes)  # not of a raw grant
        return np.frombuffer(self.words, dtype="<u8").reshape(-1, words)


@dataclass(frozen=True, slots=True)
class Revocation(Stored):
    """The end of a grant: from `from_unit` on it opens nothing more."""

    TYPE = "gw1/revoked"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "grant", bstr(ID_BYTES)),
        Field(3, "from_unit", uint()),
    )
    stream: bytes
    grant: bytes
    from_unit: int

    def own_key(self, key: str, unit_ms: int) -> str:
        """One a grant."""
        return names.revocation(self.stream, self.grant)
