"""An object becomes a COSE_Sign1 by the root's ES256 key."""

from __future__ import annotations

from typing import ClassVar, Protocol

from gateway.trust.root import Root
from gateway.wire import cose


class Signable(Protocol):
    """Any object of gateway.wire.objects."""

    TYPE: ClassVar[str]

    def payload(self) -> bytes:
        """The bytes that are signed."""


async def sign(root: Root, item: Signable) -> bytes:
    """The signed object's bytes."""
    kid = cose.kid_of(root.public_key)
    payload = item.payload()
    return cose.assemble(kid, payload, await root.sign(cose.to_be_signed(item.TYPE, kid, payload)))
