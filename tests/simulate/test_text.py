"""The simulated meters that speak text as the gateway reads them: pushed and on request, over TCP and a
serial line."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config import MeterSection
from gateway.config.wiring import open_meters
from gateway.errors import MeterError
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.iec62056.model import TextModel, TextPushModel
from gateway.meters.profile import load_profile, profile_ids
from gateway.simulate.home import Home
from gateway.simulate.text import TextConversation, TextSimulation, serve
from tests.meters.bench import NOON_S, FastClock, StillClock, serial_line
from tests.simulate.hearing import heard, listening, running, truth_holds

HERE = Tcp("127.0.0.1", 0)


def model(profile_id: str) -> TextModel | TextPushModel:
    found = load_profile(profile_id).model
    assert isinstance(found, TextModel | TextPushModel)
    return found


def profiles(kind: type) -> list[str]:
    return [name for name in profile_ids() if isinstance(load_profile(name).model, kind)]


@pytest.mark.slow
@pytest.mark.parametrize("profile_id", profiles(TextPushModel))
async def test_what_is_heard_is_the_truth(profile_id: str, tmp_path: Path) -> None:
    clock, truth = FastClock(pace=60), tmp_path / "truth.jsonl"
    home = Home(3, NOON_S - 500)
    async with (
        running(lambda told: serve(home, model(profile_id), HERE, clock, truth, told)) as port,
        listening(profile_id, Tcp("127.0.0.1", port), clock) as main,
    ):
        readings = await heard(main, 6)
    truth_holds(truth, readings)


async def test_on_a_serial_line(tmp_path: Path) -> None:
    clock, truth = FastClock(), tmp_path / "truth.jsonl"
    home, profile = Home(3, NOON_S - 500), load_profile("easymeter-q3d")
    assert profile.serial is not None
    settings = replace(profile.serial, parity="none", data_bits=8)  # a pty has no characters of seven bits
    async with (
        serial_line() as (far, near),
        running(lambda told: serve(home, model("easymeter-q3d"), Line(far, settings), clock, truth, told)),
        listening("easymeter-q3d", Line(near, settings), clock) as main,
    ):
        readings = await heard(main, 4)
    truth_holds(truth, readings)


@pytest.mark.slow
@pytest.mark.parametrize("profile_id", profiles(TextModel))
async def test_what_is_answered_is_what_the_meter_shows(profile_id: str) -> None:
    clock, home, asked = StillClock(), Home(3, NOON_S - 500, import_mwh=987_654_321), model(profile_id)
    async with running(lambda told: serve(home, asked, HERE, clock, None, told)) as port:
        section = MeterSection.model_validate(
            {
                "name": "main",
                "profile": profile_id,
                "lanes": [*asked.lanes, "count"],
                "interval_s": asked.interval_s,
                "tcp": {"host": "127.0.0.1", "port": port},
                "address": "12345678",
            }
        )
        (meter,) = open_meters((section,), clock).values()
        for _ in range(2):
            clock.pass_s(900)
            reading = await asyncio.wait_for(meter.read(), 20)
            shown = {"import": home.import_mwh // 100 * 100, "export": home.export_mwh // 100 * 100}
            shown["power"] = home.power
            assert dict(reading.registers) == {lane: shown[lane] for lane in asked.lanes}
            assert home.second == clock.wall() // 10**9
        await meter.aclose()


def test_it_answers_to_its_own_number_only() -> None:
    meter = TextSimulation(Home(3, NOON_S), model("iskra-mt174"), StillClock())
    talk = TextConversation(meter, fixed_speed=False)
    assert talk.receive(b"\x00\x00/?876") == talk.receive(b"54321!\r\n") == b""
    assert talk.receive(b"/?0012345678!\r\n") == b"/ISK5SIMULATED\r\n"
    assert talk.receive(b"\x06050\r\n").endswith(b"!\r\n\x03" + talk.receive(b"\x06000\r\n")[-1:])


def test_registers_start_again_at_the_rollover() -> None:
    home = Home(3, NOON_S, import_mwh=(2 * 10**6 - 1) * 10**6, export_mwh=(3 * 10**6 + 5) * 10**6)
    logarex = model("logarex-lk13be")
    assert isinstance(logarex, TextPushModel)
    text = TextSimulation(home, logarex, StillClock()).telegram()
    (telegram,) = logarex.decoder(None).feed(text)  # type: ignore[arg-type]
    assert not isinstance(telegram, MeterError)
    for lane, total in (("import", home.import_mwh), ("export", home.export_mwh)):
        assert (total - telegram.registers[lane]) % logarex.rollover[lane] < 100


def test_it_speaks_once_an_interval_however_time_passes() -> None:
    clock = StillClock(NOON_S + 3)
    meter = TextSimulation(Home(3, NOON_S), model("iec62056-pushed"), clock)
    said = []
    for seconds in (0, 1, 5, 1, 1, 9, 0.5, 25):
        clock.pass_s(seconds)
        meter.live.catch_up()
        said.append(bool(meter.telegram()))
    assert said == [True, False, False, True, False, True, False, True]
