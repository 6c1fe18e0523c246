"""What is said to a registrar or through it: a login, and a provider's request for a grant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from gateway.chain.grant import ID_BYTES
from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import ENERGY, LANES, MOST_LANES
from gateway.chain.window import MONTH_FROM
from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.form import Field, between, bstr, either, like, list_of, one_of, tstr, uint
from gateway.wire.signed import Signed
from gateway.wire.tariff import read_tariff_body

NONCE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Login(Signed):
    """A key's holder answers a registrar's nonce: it has the key, and means this registrar, at `time_ms`."""

    TYPE = "gw1/login"
    FIELDS = (
        Field(1, "kid", bstr(cose.KID_BYTES)),
        Field(2, "nonce", bstr(NONCE_BYTES)),
        Field(3, "registrar", bstr(cose.KID_BYTES)),
        Field(4, "time_ms", uint()),
    )
    kid: bytes
    nonce: bytes
    registrar: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class Request(Signed):
    """A provider's request for a grant on one stream, signed by the provider: what it would open, from when
    until when (Unix ms; None: from now, for good), and for what. That of a bill has the tariff's body."""

    TYPE = "gw1/request"
    FIELDS = (
        Field(1, "id", bstr(ID_BYTES)),
        Field(2, "provider", bstr(cose.KID_BYTES)),
        Field(3, "stream", bstr(STREAM_BYTES)),
        Field(4, "kind", one_of("windows", "bill")),
        Field(5, "lanes", list_of(one_of(*LANES), most=MOST_LANES)),
        Field(
            6,
            "granularity",
            either(between(1, 2**40 - 1), one_of("day", "month"), like(MONTH_FROM, "month-2 to month-28")),
        ),
        Field(7, "zone", tstr()),
        Field(8, "purpose", tstr()),
        Field(9, "from_ms", uint(), optional=True),
        Field(10, "until_ms", uint(), optional=True),
        Field(11, "tariff", bstr(least=1), optional=True),
        Field(12, "time_ms", uint()),
    )
    id: bytes
    provider: bytes
    stream: bytes
    kind: Literal["windows", "bill"]
    lanes: tuple[str, ...]
    granularity: int | str
    """Units of the stream, or a calendar's windows."""
    zone: str
    purpose: str
    from_ms: int | None
    until_ms: int | None
    tariff: bytes | None
    time_ms: int

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        found = cls(**values)
        if len(set(found.lanes)) < len(found.lanes):
            raise Refused(f"{what}: a lane is named twice")
        if isinstance(found.granularity, int) and found.zone != "UTC":
            raise Refused(f"{what}: windows of whole units have the zone UTC")
        if (found.kind == "bill") != (found.tariff is not None):
            raise Refused(f"{what}: a tariff belongs to a bill, and a bill has one")
        if found.tariff is not None:
            read_tariff_body(found.tariff, f"the tariff of {what}")
        if found.kind == "bill" and not set(found.lanes) <= set(ENERGY):
            raise Refused(f"{what}: a bill is of import and export")
        if found.from_ms is not None and found.until_ms is not None and found.until_ms <= found.from_ms:
            raise Refused(f"{what}: it ends before it begins")
        return found
