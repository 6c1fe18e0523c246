"""Signing: an object becomes a COSE_Sign1 under the root's ES256 key."""

from __future__ import annotations

from gateway.trust.root import Root
from gateway.wire import cose
from gateway.wire.signed import Signed


async def sign(root: Root, item: Signed) -> bytes:
    """The signed object's bytes."""
    kid = cose.kid_of(root.public_key)
    payload = item.payload()
    return cose.assemble(kid, payload, await root.sign(cose.to_be_signed(item.TYPE, kid, payload)))
