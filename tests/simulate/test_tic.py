"""The simulated Linky as the gateway hears it: both modes, over TCP and a serial line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.meters.endpoint import Line, Tcp
from gateway.meters.profile import load_profile
from gateway.meters.tic.frames import MODES, Mode
from gateway.simulate.home import Home
from gateway.simulate.tic import serve
from tests.meters.bench import NOON_S, FastClock, serial_line
from tests.simulate.hearing import heard, listening, running


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_heard_is_the_truth(mode: Mode, tmp_path: Path) -> None:
    clock, truth = FastClock(), tmp_path / "truth.jsonl"
    async with (
        running(
            lambda told: serve(Home(3, NOON_S - 500), mode, Tcp("127.0.0.1", 0), clock, truth, told)
        ) as port,
        listening(f"linky-{mode}", Tcp("127.0.0.1", port), clock) as main,
    ):
        readings = await heard(main, 5)
    shown = [json.loads(line) for line in truth.read_text().splitlines()]
    for reading in readings:
        lanes = {f"{lane}_mwh": value for lane, value in reading.registers.items()}
        assert any(lanes.items() <= line.items() for line in shown)
        assert (reading.meter_time is not None) == (mode == "standard")
        assert reading.meter_time is None or 0 <= reading.wall - reading.meter_time < 5 * 10**9
        assert reading.serial == "041676000000"


async def test_on_a_serial_line() -> None:
    clock, profile = FastClock(), load_profile("linky-historique")
    assert profile.serial is not None
    settings = replace(profile.serial, parity="none", data_bits=8)  # a pty has no characters of seven bits
    async with (
        serial_line() as (far, near),
        running(
            lambda told: serve(Home(3, NOON_S - 500), "historique", Line(far, settings), clock, None, told)
        ),
        listening("linky-historique", Line(near, settings), clock) as main,
    ):
        assert {"import"} == set((await heard(main, 2))[1].registers)
