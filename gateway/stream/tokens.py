"""Checks of a bundle of tokens, without a key."""

from __future__ import annotations

from gateway.chain.grant import Grant
from gateway.chain.keys import KEY_BYTES
from gateway.chain.token import TAG_BYTES
from gateway.errors import Refused
from gateway.wire.grant import Tokens
from gateway.wire.stream import Descriptor


def check_bundle(descriptor: Descriptor, grant: Grant | None, key: str, data: bytes | None) -> Tokens:
    """The bundle that the store holds under `key`; Refused unless it is valid. `grant`, where known, gives
    the length of its tokens."""
    if data is None:
        raise Refused(f"{key} is listed by the store but is not there")
    bundle = Tokens.read_at(key, data, descriptor.signing_key, descriptor.layout.unit_ms)
    if grant is not None and not all(_fits(grant, token) for token in bundle.tokens):
        raise Refused(f"{key} holds tokens of another length than its grant's {len(grant.lanes)} lanes give")
    return bundle


def _fits(grant: Grant, token: bytes) -> bool:
    """Whether a token has a length that the kind of its grant allows."""
    size, lanes = len(token) - TAG_BYTES, len(grant.lanes)
    if grant.kind == "raw":
        return size > 0 and size % (16 + KEY_BYTES * lanes) == 0  # gateway.chain.raw
    return size == 8 * (1 if grant.kind == "bill" else lanes)
