"""The objects themselves: what each holds, as frozen dataclasses with `payload()` and `read()`.

`payload()` gives the CBOR that is signed; `read(data, public_key)` checks the signature and the form
of the bytes of a whole COSE_Sign1 and gives the object back. Which stream, seq or time it must have
is for the caller to compare: it knows what it asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from gateway.chain.grant import ID_BYTES, KINDS, XWING_PUBLIC_BYTES, Grant
from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import LANES, Lane, Layout
from gateway.chain.seal import U64
from gateway.chain.tariff import Dynamic, Rule, Tariff, TimeOfUse
from gateway.chain.token import TAG_BYTES
from gateway.chain.window import Granularity
from gateway.errors import Refused, UsageError
from gateway.wire import cose, names
from gateway.wire.form import (
    Field,
    between,
    bstr,
    either,
    integer,
    like,
    list_of,
    one_of,
    read,
    tstr,
    tuple_of,
    uint,
    write,
)

Assurance = Literal["tpm", "software"]
DIGEST_BYTES = 32
SEALED_K0_BYTES = 1168  # the encapsulated key (1120) and the ciphertext (48)
_COUNT = between(1, 2**20)
_LANES = len(LANES)


class _Signed:
    """What all signed objects share: a type string, a table of fields, encoding and checking by them."""

    __slots__ = ()
    TYPE: ClassVar[str]
    FIELDS: ClassVar[tuple[Field, ...]]

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in self.FIELDS}

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        return cls(**values)

    def payload(self) -> bytes:
        """The deterministic CBOR that is signed."""
        return cose.encode(write(self.FIELDS, self._values(), self.TYPE))

    @classmethod
    def read(cls, data: bytes, public_key: bytes, what: str) -> Self:
        """The object in a COSE_Sign1 signed by `public_key` (SubjectPublicKeyInfo, DER); else Refused."""
        return cls.from_payload(cose.verify(data, cls.TYPE, public_key, what), what)

    @classmethod
    def from_payload(cls, payload: bytes, what: str) -> Self:
        """The object in a payload whose signature was checked already."""
        return cls._from(read(cls.FIELDS, cose.decode(payload, what), what), what)


@dataclass(frozen=True, slots=True)
class Descriptor(_Signed):
    """What a stream is: its layout, lanes, first unit, signing key and what kind of root seals it."""

    TYPE = "gw1/stream"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "unit_ms", uint(32)),
        Field(3, "link_units", uint(32)),
        Field(4, "lanes", list_of(tuple_of(tstr(), tstr(), tstr()), most=_LANES)),
        Field(5, "start", uint()),
        Field(6, "signing_key", bstr(cose.SPKI_BYTES)),
        Field(7, "assurance", one_of("tpm", "software")),
    )
    stream: bytes
    layout: Layout
    lanes: tuple[Lane, ...]
    start: int
    signing_key: bytes
    assurance: Assurance

    def _values(self) -> dict[str, Any]:
        return {
            "stream": self.stream,
            "unit_ms": self.layout.unit_ms,
            "link_units": self.layout.link_units,
            "lanes": [[lane.name, lane.unit, lane.scale] for lane in self.lanes],
            "start": self.start,
            "signing_key": self.signing_key,
            "assurance": self.assurance,
        }

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        lanes = tuple(Lane(*lane) for lane in values["lanes"])
        for lane in lanes:
            if LANES.get(lane.name) != lane:
                raise Refused(f"{what}: lane {lane.name!r} is none that version 1 knows")
        if len(set(lanes)) < len(lanes):
            raise Refused(f"{what}: it names a lane twice")
        try:
            layout = Layout(values["unit_ms"], values["link_units"])
        except UsageError as error:
            raise Refused(f"{what}: {error}") from None
        if layout.position(values["start"]):
            raise Refused(f"{what}: the stream does not start at a link boundary")
        return cls(
            values["stream"], layout, lanes, values["start"], values["signing_key"], values["assurance"]
        )

    @classmethod
    def read_pinned(cls, data: bytes, kid: bytes, what: str) -> Self:
        """The descriptor signed by the key it names, which must be the registered one: `kid` pins it."""
        key = cls.from_payload(cose.payload_unchecked(data, what)[1], what).signing_key
        if cose.kid_of(key) != kid:
            raise Refused(f"{what} names the signing key {cose.kid_of(key).hex()}; registered is {kid.hex()}")
        return cls.read(data, key, what)


@dataclass(frozen=True, slots=True)
class Chunk(_Signed):
    """Sealed units [first, first + count) of one link and one incarnation, one array of c a lane.

    `previous` is H of the chunk before (its whole COSE_Sign1), for seq 0 of the descriptor.
    """

    TYPE = "gw1/chunk"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "seq", uint()),
        Field(3, "incarnation", uint()),
        Field(4, "first", uint()),
        Field(5, "count", _COUNT),
        Field(6, "lanes", list_of(bstr(), most=_LANES)),
        Field(7, "previous", bstr(DIGEST_BYTES)),
        Field(8, "sealed_ms", uint()),
    )
    stream: bytes
    seq: int
    incarnation: int
    first: int
    count: int
    lanes: tuple[bytes, ...]
    previous: bytes
    sealed_ms: int

    def _values(self) -> dict[str, Any]:
        return {**_Signed._values(self), "lanes": list(self.lanes)}

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        chunk = cls(**{**values, "lanes": tuple(values["lanes"])})
        if any(len(lane) != 8 * chunk.count for lane in chunk.lanes):
            raise Refused(f"{what}: its lanes do not hold {chunk.count} units each")
        return chunk

    @property
    def end(self) -> int:
        """The unit after the last."""
        return self.first + self.count

    def c(self, lane: int) -> U64:
        """The ciphertexts of the descriptor's lane number `lane`."""
        return np.frombuffer(self.lanes[lane], dtype="<u8")


@dataclass(frozen=True, slots=True)
class Head(_Signed):
    """How far the stream has come: the last chunk's seq and digest, and the unit to come next."""

    TYPE = "gw1/head"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "seq", uint()),
        Field(3, "digest", bstr(DIGEST_BYTES)),
        Field(4, "next_unit", uint()),
        Field(5, "time_ms", uint()),
    )
    stream: bytes
    seq: int
    digest: bytes
    next_unit: int
    time_ms: int


_BODY_FIELDS = (
    Field(1, "id", bstr(ID_BYTES)),
    Field(2, "stream", bstr(STREAM_BYTES)),
    Field(3, "provider", bstr(cose.KID_BYTES)),
    Field(4, "lanes", list_of(one_of(*LANES), most=_LANES)),
    Field(5, "granularity", either(uint(40), one_of("day", "month"))),
    Field(6, "zone", tstr()),
    Field(7, "first", uint()),
    Field(8, "until", uint(), optional=True),
    Field(9, "purpose", tstr()),
    Field(10, "kind", one_of(*KINDS)),
    Field(11, "tariff", bstr(DIGEST_BYTES), optional=True),
    Field(12, "issued_ms", uint()),
    Field(13, "serial", uint()),
    Field(14, "partner", bstr(ID_BYTES), optional=True),
)


def grant_body(grant: Grant) -> bytes:
    """The grant body whose H binds K_0 to it."""
    values = {field.name: getattr(grant, field.name, None) for field in _BODY_FIELDS}
    values["lanes"] = list(grant.lanes)
    values["granularity"], values["zone"] = grant.granularity.size, grant.granularity.zone
    return cose.encode(write(_BODY_FIELDS, values, "grant body"))


def read_grant_body(body: bytes, unit_ms: int, what: str) -> Grant:
    """The grant of a body; the units are those of its stream, `unit_ms` long."""
    values = read(_BODY_FIELDS, cose.decode(body, what), what)
    try:
        values["granularity"] = Granularity(values["granularity"], unit_ms, values.pop("zone"))
        return Grant(**{**values, "lanes": tuple(values["lanes"])})
    except UsageError as error:
        raise Refused(f"{what}: {error}") from None


_RULES = list_of(
    tuple_of(integer(), list_of(between(0, 6), most=7), between(0, 1440), between(0, 1440)), most=256
)
_PRICES = either(_RULES, tuple_of(uint(), list_of(integer(), most=2**19)))
_TARIFF_FIELDS = (
    Field(1, "currency", tstr(8)),
    Field(2, "scale", between(0, 12)),
    Field(3, "zone", tstr()),
    Field(4, "step_ms", between(1, 86_400_000)),
    Field(5, "import", _PRICES, optional=True),
    Field(6, "export", _PRICES, optional=True),
)


def tariff_body(tariff: Tariff) -> bytes:
    """The tariff whose H stands in the grant body of a bill."""
    values: dict[str, Any] = {field.name: getattr(tariff, field.name, None) for field in _TARIFF_FIELDS[:4]}
    for lane in ("import", "export"):
        prices = tariff.prices.get(lane)
        if isinstance(prices, TimeOfUse):
            values[lane] = [[rule.price, list(rule.days), rule.begin, rule.end] for rule in prices.rules]
        else:
            values[lane] = None if prices is None else [prices.start_ms, list(prices.prices)]
    return cose.encode(write(_TARIFF_FIELDS, values, "tariff"))


def read_tariff_body(body: bytes, what: str) -> Tariff:
    """The tariff of a body."""
    values = read(_TARIFF_FIELDS, cose.decode(body, what), what)
    prices: dict[str, TimeOfUse | Dynamic] = {}
    try:
        for lane in ("import", "export"):
            given = values.pop(lane)
            if given is not None and _RULES(given):
                prices[lane] = TimeOfUse(tuple(Rule(p, tuple(days), x, y) for p, days, x, y in given))
            elif given is not None:
                prices[lane] = Dynamic(given[0], tuple(given[1]))
        return Tariff(prices=prices, **values)
    except UsageError as error:
        raise Refused(f"{what}: {error}") from None


@dataclass(frozen=True, slots=True)
class GrantObject(_Signed):
    """A grant body and K_0, sealed to the provider."""

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
        body = read(_BODY_FIELDS, cose.decode(values["body"], f"the body of {what}"), f"the body of {what}")
        if body["stream"] != values["stream"]:
            raise Refused(f"{what}: its body grants another stream, {body['stream'].hex()}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Tokens(_Signed):
    """Tokens of consecutive windows, one after another."""

    TYPE = "gw1/tokens"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "grant", bstr(ID_BYTES)),
        Field(3, "first_window", uint()),
        Field(4, "tokens", list_of(bstr(least=TAG_BYTES), most=2**20)),
    )
    stream: bytes
    grant: bytes
    first_window: int
    tokens: tuple[bytes, ...]

    def _values(self) -> dict[str, Any]:
        return {**_Signed._values(self), "tokens": list(self.tokens)}

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        return cls(**{**values, "tokens": tuple(values["tokens"])})

    @property
    def end_window(self) -> int:
        """The number of the window after the last."""
        return self.first_window + len(self.tokens)

    def token(self, window: int) -> bytes:
        """The token of window number `window`, which must lie in the bundle."""
        return self.tokens[window - self.first_window]


@dataclass(frozen=True, slots=True)
class Page(_Signed):
    """Sums of c over a UTC day or month in steps, and the digests of what they were added up from.

    `sums` has one array a lane, `children` the digests of the chunks that overlap the day, or of the
    month's day pages; `previous` is H of the page before of the same kind, None for the first.
    """

    TYPE = "gw1/page"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "period", like("[0-9]{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?")),
        Field(3, "step", between(1, 2**32)),
        Field(4, "first", uint()),
        Field(5, "count", _COUNT),
        Field(6, "sums", list_of(bstr(), most=_LANES)),
        Field(7, "children", list_of(bstr(DIGEST_BYTES), most=2**20)),
        Field(8, "previous", bstr(DIGEST_BYTES), optional=True),
    )
    stream: bytes
    period: str
    step: int
    first: int
    count: int
    sums: tuple[bytes, ...]
    children: tuple[bytes, ...]
    previous: bytes | None

    def _values(self) -> dict[str, Any]:
        return {**_Signed._values(self), "sums": list(self.sums), "children": list(self.children)}

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        page = cls(**{**values, "sums": tuple(values["sums"]), "children": tuple(values["children"])})
        if any(len(lane) != 8 * page.count for lane in page.sums):
            raise Refused(f"{what}: its lanes do not hold {page.count} steps each")
        return page

    @property
    def end(self) -> int:
        """The unit after the last step."""
        return self.first + self.step * self.count

    def c(self, lane: int) -> U64:
        """The sums of the descriptor's lane number `lane`, one a step."""
        return np.frombuffer(self.sums[lane], dtype="<u8")


@dataclass(frozen=True, slots=True)
class Revocation(_Signed):
    """From `from_unit` on, the grant opens nothing more."""

    TYPE = "gw1/revoked"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "grant", bstr(ID_BYTES)),
        Field(3, "from_unit", uint()),
    )
    stream: bytes
    grant: bytes
    from_unit: int


@dataclass(frozen=True, slots=True)
class Card(_Signed):
    """Who someone is: public keys, role and name, and for how long that holds (Unix ms)."""

    TYPE = "gw1/card"
    FIELDS = (
        Field(1, "kid", bstr(cose.KID_BYTES)),
        Field(2, "signing_key", bstr(cose.SPKI_BYTES)),
        Field(3, "xwing_key", bstr(XWING_PUBLIC_BYTES)),
        Field(4, "role", one_of("gateway", "provider")),
        Field(5, "name", tstr(80)),
        Field(6, "valid_from_ms", uint()),
        Field(7, "valid_until_ms", uint()),
    )
    kid: bytes
    signing_key: bytes
    xwing_key: bytes
    role: Literal["gateway", "provider"]
    name: str
    valid_from_ms: int
    valid_until_ms: int

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        card = cls(**values)
        if cose.kid_of(card.signing_key) != card.kid:
            raise Refused(f"{what}: its kid is not that of its signing key")
        if card.valid_until_ms <= card.valid_from_ms:
            raise Refused(f"{what}: it ends before it begins to be valid")
        return card

    @classmethod
    def read_self_signed(cls, data: bytes, what: str) -> Self:
        """A card that its own holder signed: it proves that the holder has the key, not who it is."""
        key = cls.from_payload(cose.payload_unchecked(data, what)[1], what).signing_key
        return cls.read(data, key, what)


_BELOW_STREAM: dict[str, type[_Signed]] = {
    "chunk": Chunk,
    "day": Page,
    "month": Page,
    "stream.cose": Descriptor,
    "head.cose": Head,
}
_BELOW_GRANT: dict[str, type[_Signed]] = {
    **dict.fromkeys(names.FOLDS, Tokens),
    "grant.cose": GrantObject,
    "revoked.cose": Revocation,
}


def class_at(key: str) -> type[_Signed]:
    """What kind of object lies at a key of the bucket; Refused where version 1 has none."""
    parts = key.split("/")
    if len(parts) >= 5 and parts[2] == "grant":
        kind = _BELOW_GRANT.get(parts[4])
    else:
        kind = _BELOW_STREAM.get(parts[2]) if len(parts) >= 3 else None
    if kind is None:
        raise Refused(f"the store holds {key!r}, which is no name that version 1 knows")
    return kind
