"""What is stored and sent: signed objects and their payloads, the sampler's state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.chain.grant import Grant
from gateway.chain.windows import GrantWindows
from gateway.errors import GatewayError, Refused, UsageError
from gateway.intervals.state import SamplerState
from gateway.stream.tokens import check_bundle
from gateway.wire import cose, names
from gateway.wire.card import Card
from gateway.wire.evidence import Evidence
from gateway.wire.grant import read_grant_body
from gateway.wire.stream import Descriptor
from gateway.wire.tariff import read_tariff_body
from tests.fuzz.engine import Target
from tests.wire.samples import BODIES, EXAMPLES, KEY
from tests.wire.test_hostile import GOOD

_WHOLE: Sequence[Callable[[bytes], Any]] = [
    lambda data: cose.load_public_key(data, "it"),
    lambda data: cose.verify(data, "gw1/chunk", KEY.public, "it"),
    lambda data: Descriptor.read_pinned("it", data, KEY.kid),
    lambda data: Card.read_self_signed(data, "it"),
    lambda data: Evidence.read_self_signed(data, "it"),
    *(lambda data, kind=kind: kind.read(data, KEY.public, "it") for kind in EXAMPLES),
]
_DESCRIPTOR = Descriptor.from_payload(EXAMPLES[Descriptor].payload(), "it")
_BUNDLE = names.bundle(_DESCRIPTOR.stream, bytes(16), 24)  # where the bundles among the examples belong


def _bundle(grant: Grant, data: bytes) -> None:
    """A payload as a bundle of a grant, signed by its gateway; its edges as a reader takes them."""
    bundle = check_bundle(_DESCRIPTOR, grant, _BUNDLE, KEY.sign("gw1/tokens", data))
    if bundle.edges is not None:
        with suppress(ValueError, UsageError):
            GrantWindows(grant).settle(bundle.first_window, bundle.edges)


_PAYLOADS: Sequence[Callable[[bytes], Any]] = [
    lambda data: read_grant_body(data, 1000, "it"),
    lambda data: read_tariff_body(data, "it"),
    *(lambda data, kind=kind: kind.from_payload(data, "it") for kind in EXAMPLES),
    *(partial(_bundle, grant) for grant in BODIES.values()),
]


def _all(ways_in: Sequence[Callable[[bytes], Any]], data: bytes) -> None:
    for way_in in ways_in:
        with suppress(Refused):
            way_in(data)


def _state(data: bytes) -> None:
    SamplerState.from_bytes(data).to_bytes()


TARGETS = (
    Target("objects", Refused, partial(_all, _WHOLE), lambda: GOOD),
    Target("payloads", Refused, partial(_all, _PAYLOADS), lambda: GOOD),
    Target("sampler-state", GatewayError, _state, lambda: [SamplerState(7, 8, None).to_bytes()]),
)
