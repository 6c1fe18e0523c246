"""What is stored and sent: signed objects and their payloads, the sampler's state."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from gateway.chain.grant import Grant
from gateway.chain.windows import GrantWindows
from gateway.control.commands import Act, CommandDecision, CommandDelivery
from gateway.daemon.held_command import by_time, pause_s, read_held, receipt_of
from gateway.errors import GatewayError, Refused, UsageError
from gateway.intervals.state import SamplerState
from gateway.ledger.records import CommandRecord
from gateway.stream.tokens import check_bundle
from gateway.wire import cose, names
from gateway.wire.card import Card
from gateway.wire.command import Command
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


def _command(data: bytes) -> None:
    """A payload that a hostile provider signed, as a gateway takes it: read, held against the time, and
    answered."""
    signed = KEY.sign("gw1/command", data)
    command, digest = Command.read(signed, KEY.public, "it"), cose.digest(signed)
    for now_ms in (0, command.time_ms, 2**45):
        receipt = receipt_of(command, digest, "waits", "accepted", now_ms)
        answer = KEY.sign("gw1/receipt", receipt.payload())
        record = CommandRecord(1, digest, command.id, signed, "it", now_ms, 0, True, answer)
        held = read_held(record)
        assert held.over(None) is (command.until_ms <= now_ms)
        assert pause_s([held], now_ms) > 0
        for one in by_time([held, replace(held, lived_ms=2**45)], now_ms):
            receipt_of(command, digest, one.state, one.code, now_ms).payload()


def _order(data: bytes) -> None:
    """What is sent to the control socket."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    for kind in (CommandDelivery, CommandDecision, Act):
        with suppress(UsageError):
            kind.parse(found)


_ORDERS = [
    CommandDelivery(command=b"command").model_dump_json().encode(),
    CommandDecision(decision="allow").model_dump_json().encode(),
    Act(topic="home/relay/set", payload="ON").model_dump_json().encode(),
]


def _state(data: bytes) -> None:
    SamplerState.from_bytes(data).to_bytes()


TARGETS = (
    Target("objects", Refused, partial(_all, _WHOLE), lambda: GOOD),
    Target("payloads", Refused, partial(_all, _PAYLOADS), lambda: GOOD),
    Target("commands", Refused, _command, lambda: [EXAMPLES[Command].payload()]),
    Target("command-orders", UsageError, _order, lambda: _ORDERS),
    Target("sampler-state", GatewayError, _state, lambda: [SamplerState(7, 8, None).to_bytes()]),
)
