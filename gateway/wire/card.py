"""A card: the public keys of a gateway or a provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

from gateway.chain.grant import XWING_PUBLIC_BYTES
from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.form import Field, bstr, one_of, tstr, uint
from gateway.wire.signed import Signed


@dataclass(frozen=True, slots=True)
class Card(Signed):
    """Public keys, role and name of a gateway or a provider, and how long they are valid (Unix ms)."""

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
        """A card that its holder signed: that proves that the holder has the key, not who the holder is."""
        key = cls.from_payload(cose.payload_unchecked(data, what)[1], what).signing_key
        return cls.read(data, key, what)
