"""The simulated meter of Netz Oberösterreich as the gateway hears it, which must confirm what it hears."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.mbus.decoder import SEARCH
from gateway.meters.profile import load_profile
from gateway.meters.secrets import Secrets
from gateway.simulate.home import Home
from gateway.simulate.mbus import AmisMeter, serve
from tests.meters.bench import NOON_S, FastClock, StillClock, serial_line
from tests.simulate.hearing import heard, listening, running, truth_holds

KEYS = Secrets(bytes(range(16)))


async def test_what_is_heard_is_the_truth(tmp_path: Path) -> None:
    clock, truth = FastClock(), tmp_path / "truth.jsonl"
    async with (
        running(
            lambda told: serve(Home(3, NOON_S - 500), Tcp("127.0.0.1", 0), clock, KEYS, truth, told)
        ) as port,
        listening("siemens-td3511", Tcp("127.0.0.1", port), clock, KEYS) as main,
    ):
        readings = await heard(main, 14)  # more than it sends unconfirmed
    truth_holds(truth, readings)


async def test_on_a_serial_line() -> None:
    clock, profile = FastClock(), load_profile("siemens-td3511")
    assert profile.serial is not None
    settings = replace(profile.serial, parity="none")
    async with (
        serial_line() as (far, near),
        running(lambda told: serve(Home(3, NOON_S - 500), Line(far, settings), clock, KEYS, None, told)),
        listening("siemens-td3511", Line(near, settings), clock, KEYS) as main,
    ):
        assert len(await heard(main, 14)) == 14


def test_it_sends_while_it_is_confirmed_and_looks_for_a_listener_once_a_minute() -> None:
    clock = StillClock(NOON_S)
    meter = AmisMeter(Home(3, NOON_S), clock, KEYS)

    def said(seconds: int) -> list[bytes]:
        heard = []
        for _ in range(seconds):
            clock.pass_s(1)
            meter.live.catch_up()
            heard.append(meter.telegram())
        return heard

    assert [at for at, one in enumerate(said(130)) if one] == [0, 60, 120]
    meter.hear(b"\xe5")
    frames = said(12)
    assert [one.startswith(b"\x68\x5f\x5f\x68") for one in frames[:10]] == [True] * 10
    assert frames[10:] == [SEARCH, b""] or frames[10:] == [b"", b""]
    meter.hear(b"other bytes")
    assert not any(one.startswith(b"\x68") for one in said(3))


def test_it_needs_its_key() -> None:
    with pytest.raises(UsageError, match="this meter encrypts: give it a file of keys"):
        AmisMeter(Home(3, NOON_S), StillClock(), Secrets())
