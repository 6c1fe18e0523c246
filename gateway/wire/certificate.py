"""What a registrar signs: certificates of cards, and the list of those that it revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from gateway.chain.keys import STREAM_BYTES
from gateway.errors import Refused
from gateway.wire.card import Card
from gateway.wire.form import Field, bstr, list_of, one_of, tstr, uint
from gateway.wire.signed import Signed

MAX_STREAMS = 4096
MAX_REVOKED = 2**16


@dataclass(frozen=True, slots=True)
class Certificate(Signed):
    """A registrar's word that a card's holder is who its name says, for a time (Unix ms).

    `card` is the holder's whole signed card. A gateway's certificate has its assurance, which is `tpm` only
    where the registrar has seen the TPM answer a challenge, and the streams of its household.
    """

    TYPE = "gw1/certificate"
    FIELDS = (
        Field(1, "card", bstr(least=1)),
        Field(2, "serial", uint()),
        Field(3, "valid_from_ms", uint()),
        Field(4, "valid_until_ms", uint()),
        Field(5, "registrar", tstr(80)),
        Field(6, "assurance", one_of("tpm", "software"), optional=True),
        Field(7, "streams", list_of(bstr(STREAM_BYTES), most=MAX_STREAMS), optional=True),
    )
    card: bytes
    serial: int
    valid_from_ms: int
    valid_until_ms: int
    registrar: str
    assurance: Literal["tpm", "software"] | None = None
    streams: tuple[bytes, ...] | None = None

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        found = cls(**values)
        holder = Card.read_self_signed(found.card, f"the card in {what}")
        if holder.role == "household":
            raise Refused(f"{what}: a household's card is its own, and no registrar certifies one")
        if (holder.role == "gateway") != (found.assurance is not None):
            raise Refused(f"{what}: assurance is stated of a gateway, and of a gateway only")
        if found.streams is not None and holder.role != "gateway":
            raise Refused(f"{what}: a {holder.role} has no streams")
        if found.valid_until_ms <= found.valid_from_ms:
            raise Refused(f"{what}: it ends before it begins to be valid")
        return found

    @property
    def holder(self) -> Card:
        """The card, whose own signature was checked when the certificate was read."""
        return Card.read_self_signed(self.card, "the certified card")

    def check(self, now_ms: int, what: str) -> None:
        """Refused unless both the certificate and the card in it are valid at `now_ms` (Unix ms)."""
        holder = self.holder
        for one, name in ((self, what), (holder, f"the card of {holder.name!r}")):
            if now_ms < one.valid_from_ms:
                raise Refused(f"{name} is not valid yet: check this machine's clock")
            if now_ms >= one.valid_until_ms:
                raise Refused(f"{name} has expired: its holder renews it at the registrar")


@dataclass(frozen=True, slots=True)
class Revocations(Signed):
    """The serials of the certificates that a registrar has revoked and that would be valid otherwise, at
    `issued_ms`; the next list comes at `next_ms` at the latest (Unix ms)."""

    TYPE = "gw1/revocations"
    FIELDS = (
        Field(1, "issued_ms", uint()),
        Field(2, "next_ms", uint()),
        Field(3, "serials", list_of(uint(), most=MAX_REVOKED), optional=True),
    )
    issued_ms: int
    next_ms: int
    serials: tuple[int, ...] | None = None

    def check(self, certificate: Certificate, what: str) -> None:
        """Refused where the certificate was revoked."""
        if certificate.serial in (self.serials or ()):
            raise Refused(f"{what} was revoked by {certificate.registrar!r}")
