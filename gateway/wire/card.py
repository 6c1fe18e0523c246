"""A card: the public keys of a gateway, a provider, a registrar or a household."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from gateway.chain.grant import XWING_PUBLIC_BYTES
from gateway.errors import Refused, UsageError
from gateway.wire import cose
from gateway.wire.form import Field, bstr, one_of, tstr, uint
from gateway.wire.signed import Signed

Role = Literal["gateway", "provider", "registrar", "household"]
ROLES: tuple[Role, ...] = ("gateway", "provider", "registrar", "household")
_GRANTED_TO: tuple[Role, ...] = ("provider", "household")
_FINGERPRINT_BYTES = 16
_GROUP = 4


@dataclass(frozen=True, slots=True)
class Card(Signed):
    """Public keys, role and name of a gateway, a provider, a registrar or a household, and how long they are
    valid (Unix ms). A provider's and a household's have an X-Wing key, to which grants are sealed. A
    household makes its card for itself: no registrar certifies it."""

    TYPE = "gw1/card"
    FIELDS = (
        Field(1, "kid", bstr(cose.KID_BYTES)),
        Field(2, "signing_key", bstr(cose.SPKI_BYTES)),
        Field(3, "xwing_key", bstr(XWING_PUBLIC_BYTES), optional=True),
        Field(4, "role", one_of(*ROLES)),
        Field(5, "name", tstr(80)),
        Field(6, "valid_from_ms", uint()),
        Field(7, "valid_until_ms", uint()),
    )
    kid: bytes
    signing_key: bytes
    xwing_key: bytes | None
    role: Role
    name: str
    valid_from_ms: int
    valid_until_ms: int

    @property
    def fingerprint(self) -> str:
        """The first 128 bits of SHA-256 of the card's public keys: hexadecimal digits in groups of four,
        to be read aloud. A card renewed for the same keys has the same one; to make other keys that have it
        takes 2^128 trials."""
        return _in_groups(
            hashlib.sha256(self.signing_key + (self.xwing_key or b"")).digest()[:_FINGERPRINT_BYTES].hex()
        )

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        card = cls(**values)
        if cose.kid_of(card.signing_key) != card.kid:
            raise Refused(f"{what}: its kid is not that of its signing key")
        if card.role in _GRANTED_TO and card.xwing_key is None:
            raise Refused(f"{what}: a {card.role}'s card needs an X-Wing key, to which grants are sealed")
        if card.valid_until_ms <= card.valid_from_ms:
            raise Refused(f"{what}: it ends before it begins to be valid")
        return card

    @classmethod
    def read_self_signed(cls, data: bytes, what: str) -> Self:
        """A card that its holder signed: that proves that the holder has the key, not who the holder is."""
        key = cls.from_payload(cose.payload_unchecked(data, what)[1], what).signing_key
        return cls.read(data, key, what)


def read_fingerprint(text: str) -> str:
    """A fingerprint as a person typed it, in groups or not, in the form of `Card.fingerprint`; UsageError if
    it is none, or only a part of one."""
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * _FINGERPRINT_BYTES}}}", digits):
        raise UsageError(
            f"{text!r} is not a card's fingerprint: expected {2 * _FINGERPRINT_BYTES} hexadecimal digits, as "
            "`gateway card show` shows them"
        )
    return _in_groups(digits)


def _in_groups(digits: str) -> str:
    return "-".join(digits[at : at + _GROUP] for at in range(0, len(digits), _GROUP))
