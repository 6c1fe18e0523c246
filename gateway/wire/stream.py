"""The objects of a stream itself: descriptor, chunk, head, page."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal, Self

import numpy as np

from gateway.chain.grant import ID_BYTES
from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import LANES, MOST_LANES, NO_FACTOR, SERIES, Factor, Lane, Layout
from gateway.chain.seal import U64
from gateway.errors import Refused, UsageError
from gateway.wire import cose, names
from gateway.wire.form import Field, between, bstr, like, list_of, one_of, tstr, tuple_of, uint
from gateway.wire.signed import DIGEST_BYTES, Stored

Assurance = Literal["tpm", "software"]


_COUNT = between(1, 2**20)
_PERIOD = "[0-9]{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?"
_DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_FACTOR = r"[2-9]|[1-9][0-9]{1,4}|100000|(0|[1-9][0-9]{0,4})\.[0-9]{0,5}[1-9]"
_NOT_ONE = "a decimal from 0.000001 to 100000, but 1"


def _written(factor: Decimal) -> str | None:
    return None if factor == 1 else f"{factor.normalize():f}"


@dataclass(frozen=True, slots=True)
class Descriptor(Stored):
    """The description of a stream: layout, lanes, first unit, signing key, the kind of root behind it, and by
    what the meter's readings were multiplied before they were sealed."""

    TYPE = "gw1/stream"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "unit_ms", uint(32)),
        Field(3, "link_units", uint(32)),
        Field(4, "lanes", list_of(tuple_of(tstr(), tstr(), tstr()), most=MOST_LANES)),
        Field(5, "start", uint()),
        Field(6, "signing_key", bstr(cose.SPKI_BYTES)),
        Field(7, "assurance", one_of("tpm", "software")),
        Field(8, "energy_factor", like(_FACTOR, _NOT_ONE), optional=True),
        Field(9, "power_factor", like(_FACTOR, _NOT_ONE), optional=True),
    )
    stream: bytes
    layout: Layout
    lanes: tuple[Lane, ...]
    start: int
    signing_key: bytes
    assurance: Assurance
    factor: Factor = NO_FACTOR

    def _values(self) -> dict[str, Any]:
        return {
            "stream": self.stream,
            "unit_ms": self.layout.unit_ms,
            "link_units": self.layout.link_units,
            "lanes": [(lane.name, lane.unit, lane.scale) for lane in self.lanes],
            "start": self.start,
            "signing_key": self.signing_key,
            "assurance": self.assurance,
            "energy_factor": _written(self.factor.energy),
            "power_factor": _written(self.factor.power),
        }

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        lanes = tuple(Lane(*lane) for lane in values["lanes"])
        for lane in lanes:
            if LANES.get(lane.name) != lane:
                raise Refused(
                    f"{what}: {lane.name!r} ({lane.unit!r}, {lane.scale!r}) is not a lane of version 1"
                )
        if len(set(lanes)) < len(lanes):
            raise Refused(f"{what}: it names a lane twice")
        series = {lane.name for lane in lanes} & set(SERIES)
        if series and not {lane.name for lane in lanes} <= {*SERIES, "count"}:
            raise Refused(f"{what}: {min(series)} lies in a stream with lanes of a meter")
        try:
            layout = Layout(values["unit_ms"], values["link_units"])
        except UsageError as error:
            raise Refused(f"{what}: {error}") from None
        if layout.position(values["start"]):
            raise Refused(f"{what}: the stream does not start at a link boundary")
        return cls(
            values["stream"],
            layout,
            lanes,
            values["start"],
            values["signing_key"],
            values["assurance"],
            Factor(Decimal(values["energy_factor"] or 1), Decimal(values["power_factor"] or 1)),
        )

    def own_key(self, key: str, unit_ms: int) -> str:
        """One a stream."""
        return names.descriptor(self.stream)

    @classmethod
    def read_pinned(
        cls, key: str, data: bytes, kid: bytes, later: list[cose.Unverified] | None = None
    ) -> Self:
        """The descriptor that a store holds under `key`, signed by the key that it names itself, which must
        be the registered one: `kid` pins it. Refused otherwise. With `later` the signature is put there, to
        be verified before the descriptor is used."""
        claimed = cls.from_payload(cose.payload_unchecked(data, key)[1], key)
        named = cose.kid_of(claimed.signing_key)
        if named != kid:
            raise Refused(f"{key} names the signing key {named.hex()}, but the registered one is {kid.hex()}")
        cose.verify(data, cls.TYPE, claimed.signing_key, key, later)
        claimed.check_place(key, claimed.layout.unit_ms)
        return claimed


@dataclass(frozen=True, slots=True)
class Chunk(Stored):
    """Sealed units [first, first + count) of one link and one incarnation, an array of c for each lane.

    `previous` is H of the chunk before (of its whole COSE_Sign1), in chunk 0 of the descriptor.
    """

    TYPE = "gw1/chunk"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "seq", uint()),
        Field(3, "incarnation", uint()),
        Field(4, "first", uint()),
        Field(5, "count", _COUNT),
        Field(6, "lanes", list_of(bstr(), most=MOST_LANES)),
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

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        chunk = cls(**values)
        if any(len(lane) != 8 * chunk.count for lane in chunk.lanes):
            raise Refused(f"{what}: its lanes do not hold {chunk.count} units each")
        return chunk

    def own_key(self, key: str, unit_ms: int) -> str:
        """By the first unit, under its UTC day; Refused beyond the year 9999."""
        try:
            return names.chunk(self.stream, self.first, unit_ms)
        except Refused as error:
            raise Refused(f"{key}: {error}") from None

    @property
    def end(self) -> int:
        """The unit after the last."""
        return self.first + self.count

    def c(self, lane: int) -> U64:
        """The ciphertexts of the descriptor's lane number `lane`."""
        return np.frombuffer(self.lanes[lane], dtype="<u8")


MOST_REVOKED = 1024
"""Revoked grants that a head names at most."""


@dataclass(frozen=True, slots=True)
class Head(Stored):
    """The end of the stream: seq and digest of the last chunk, and the unit to come next.

    `revoked` are the ids of all grants of the stream that were revoked by then, rising. None says nothing of
    revocations: the head of an earlier gateway, or of a stream with more than MOST_REVOKED of them. `day` is
    H of the page of the last UTC day that is over before the next unit; None where there is no such page, or
    in the head of an earlier gateway.
    """

    TYPE = "gw1/head"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "seq", uint()),
        Field(3, "digest", bstr(DIGEST_BYTES)),
        Field(4, "next_unit", uint()),
        Field(5, "time_ms", uint()),
        Field(64, "revoked", list_of(bstr(ID_BYTES), most=MOST_REVOKED, least=0), optional=True),
        Field(65, "day", bstr(DIGEST_BYTES), optional=True),
    )
    stream: bytes
    seq: int
    digest: bytes
    next_unit: int
    time_ms: int
    revoked: tuple[bytes, ...] | None = None
    day: bytes | None = None

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        head = cls(**values)
        if head.revoked and any(a >= b for a, b in pairwise(head.revoked)):
            raise Refused(f"{what}: the ids of its revoked grants do not rise")
        return head

    def own_key(self, key: str, unit_ms: int) -> str:
        """One a stream."""
        return names.head(self.stream)


@dataclass(frozen=True, slots=True)
class Page(Stored):
    """Sums of c in the steps of a UTC day or month, and the digests of what they were added up from.

    `sums` has an array for each lane, `children` the digests of the chunks that overlap the day or of the
    month's day pages; `previous` is H of the page before of the same kind, None in the first.
    """

    TYPE = "gw1/page"
    FIELDS = (
        Field(1, "stream", bstr(STREAM_BYTES)),
        Field(2, "period", like(_PERIOD, "a day YYYY-MM-DD or a month YYYY-MM")),
        Field(3, "step", between(1, 2**32)),
        Field(4, "first", uint()),
        Field(5, "count", _COUNT),
        Field(6, "sums", list_of(bstr(), most=MOST_LANES)),
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

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        page = cls(**values)
        if any(len(lane) != 8 * page.count for lane in page.sums):
            raise Refused(f"{what}: its lanes do not hold {page.count} steps each")
        return page

    def own_key(self, key: str, unit_ms: int) -> str:
        """By its day or month."""
        return names.page(self.stream, self.period)

    @property
    def end(self) -> int:
        """The unit after the last step."""
        return self.first + self.step * self.count

    def c(self, lane: int) -> U64:
        """The sums of the descriptor's lane number `lane`, one for each step."""
        return np.frombuffer(self.sums[lane], dtype="<u8")


@dataclass(frozen=True, slots=True)
class SoFar(Page):
    """What a month's page would hold at the end of a day of it, before the month is over: sums of c in the
    month's steps from its beginning to the end of that day, and the digests of these days' pages.

    `period` is that day; `previous` is H of the page of the month before.
    """

    TYPE = "gw1/sofar"
    FIELDS = (
        *Page.FIELDS[:1],
        Field(2, "period", like(_DAY, "a day YYYY-MM-DD")),
        *Page.FIELDS[2:6],
        Field(7, "children", list_of(bstr(DIGEST_BYTES), most=31)),
        *Page.FIELDS[7:],
    )

    def own_key(self, key: str, unit_ms: int) -> str:
        """By the day."""
        return names.so_far(self.stream, self.period)
