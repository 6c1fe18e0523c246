"""Checks of a bundle of tokens, without a key."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from gateway.chain.commitment import COMMITTED
from gateway.chain.grant import Grant
from gateway.chain.keys import KEY_BYTES
from gateway.chain.token import TAG_BYTES
from gateway.errors import Refused
from gateway.wire import cose
from gateway.wire.grant import Tokens
from gateway.wire.stream import Descriptor


def check_bundle(
    descriptor: Descriptor,
    grant: Grant | None,
    key: str,
    data: bytes | None,
    later: list[cose.Unverified] | None = None,
) -> Tokens:
    """The bundle that the store holds under `key`; Refused unless it is valid. `grant`, where known, gives
    the length of its tokens. With `later` its signature is put there, to be verified before the bundle is
    used."""
    if data is None:
        raise Refused(f"{key} is listed by the store but is not there")
    bundle = Tokens.read_at(key, data, descriptor.signing_key, descriptor.layout.unit_ms, later)
    if grant is not None:
        _check_tokens(grant, key, bundle)
        _check_windows(grant, key, bundle)
    return bundle


def _check_tokens(grant: Grant, key: str, bundle: Tokens) -> None:
    """Refused unless the tokens have the length that the kind of their grant gives."""
    if (grant.kind == "raw") != isinstance(bundle.words, tuple):
        raise Refused(f"{key} holds tokens of another kind of grant")
    if isinstance(bundle.words, tuple):
        keys = 16 + KEY_BYTES * len(grant.lanes)  # gateway.chain.raw
        fits = all(len(one) > TAG_BYTES and (len(one) - TAG_BYTES) % keys == 0 for one in bundle.words)
    else:
        fits = len(bundle.words) % (8 * grant.words) == 0
    if not fits:
        raise Refused(f"{key} holds tokens of another length than its grant's {len(grant.lanes)} lanes give")


def _check_windows(grant: Grant, key: str, bundle: Tokens) -> None:
    """Refused unless the bundle says of its windows what its grant's tokens need."""
    end = bundle.end_window(grant.words)
    windows = [window for window, _ in bundle.sealed]
    if windows[0] != bundle.first_window or windows[-1] >= end or not _rise(windows):
        raise Refused(f"{key} does not say in which incarnations its windows were sealed")
    if bundle.so_far is not None and bundle.so_far != end:
        raise Refused(f"{key} says that it ends before window {bundle.so_far}, but ends before window {end}")
    count = end - bundle.first_window
    calendar = isinstance(grant.granularity.size, str)
    if calendar != (bundle.edges is not None) or (grant.kind == "bill") != (bundle.weighed is not None):
        raise Refused(f"{key} holds tokens of another kind of grant")
    if bundle.commitment is not None and grant.kind not in COMMITTED:
        raise Refused(f"{key} commits to what tokens of a {grant.kind} grant hold, which would reveal it")
    if bundle.edges is not None and (len(bundle.edges) != count + 1 or not _rise(bundle.edges)):
        raise Refused(f"{key} has {len(bundle.edges)} edges for {count} windows, or edges that do not rise")
    if bundle.weighed is not None and len(bundle.weighed) != count:
        raise Refused(f"{key} has {len(bundle.weighed)} digests of steps for {count} windows")


def _rise(numbers: Sequence[int]) -> bool:
    return all(a < b for a, b in pairwise(numbers))
