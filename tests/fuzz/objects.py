"""What is stored and sent: signed objects and their payloads, the sampler's state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from gateway.errors import GatewayError, Refused
from gateway.intervals.state import SamplerState
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.grant import read_grant_body
from gateway.wire.stream import Descriptor
from gateway.wire.tariff import read_tariff_body
from tests.fuzz.engine import Target
from tests.wire.samples import EXAMPLES, KEY
from tests.wire.test_hostile import GOOD

_WHOLE: Sequence[Callable[[bytes], Any]] = [
    lambda data: cose.load_public_key(data, "it"),
    lambda data: cose.verify(data, "gw1/chunk", KEY.public, "it"),
    lambda data: Descriptor.read_pinned("it", data, KEY.kid),
    lambda data: Card.read_self_signed(data, "it"),
    *(lambda data, kind=kind: kind.read(data, KEY.public, "it") for kind in EXAMPLES),
]
_PAYLOADS: Sequence[Callable[[bytes], Any]] = [
    lambda data: read_grant_body(data, 1000, "it"),
    lambda data: read_tariff_body(data, "it"),
    *(lambda data, kind=kind: kind.from_payload(data, "it") for kind in EXAMPLES),
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
