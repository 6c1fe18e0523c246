"""The simulated P1 meter as the gateway hears it: plain, encrypted, over TCP and a serial line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.errors import MeterError, UsageError
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import load_profile
from gateway.meters.secrets import Secrets
from gateway.simulate.home import Home
from gateway.simulate.p1 import P1Meter, serve
from tests.meters.bench import NOON_S, FastClock, StillClock, serial_line
from tests.simulate.hearing import heard, listening, running, truth_holds

KEYS = Secrets(bytes(range(16)), bytes(range(16, 32)))
HERE = Tcp("127.0.0.1", 0)


def model(profile_id: str) -> P1Model:
    found = load_profile(profile_id).model
    assert isinstance(found, P1Model)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("profile_id", ["dsmr-5", "dsmr-2.2", "luxembourg-smarty", "sagemcom-t210-d-r"])
async def test_what_is_heard_is_the_truth(profile_id: str, tmp_path: Path) -> None:
    clock, truth = FastClock(pace=60), tmp_path / "truth.jsonl"
    home = Home(3, NOON_S - 500)
    async with (
        running(lambda told: serve(home, model(profile_id), HERE, clock, KEYS, truth, told)) as port,
        listening(profile_id, Tcp("127.0.0.1", port), clock, KEYS) as main,
    ):
        readings = await heard(main, 6)
    truth_holds(truth, readings)
    for reading in readings:
        assert reading.meter_time is None or reading.meter_time <= reading.wall
    times = [reading.wall // 10**9 for reading in readings]
    assert times[-1] - times[0] >= 5 * model(profile_id).interval_s - 1


async def test_on_a_serial_line(tmp_path: Path) -> None:
    clock, truth = FastClock(), tmp_path / "truth.jsonl"
    home, profile = Home(3, NOON_S - 500), load_profile("dsmr-5")
    assert profile.serial is not None
    settings = profile.serial
    async with (
        serial_line() as (far, near),
        running(lambda told: serve(home, model("dsmr-5"), Line(far, settings), clock, KEYS, truth, told)),
        listening("dsmr-5", Line(near, settings), clock) as main,
    ):
        readings = await heard(main, 10)
    truth_holds(truth, readings)


@pytest.mark.slow
async def test_a_listener_with_other_keys_says_so(tmp_path: Path) -> None:
    clock = FastClock(pace=200)
    home, smarty = Home(3, NOON_S - 500), model("luxembourg-smarty")
    other = Secrets(bytes(16))
    async with (
        running(lambda told: serve(home, smarty, HERE, clock, KEYS, None, told)) as port,
        listening("luxembourg-smarty", Tcp("127.0.0.1", port), clock, other) as main,
    ):
        main._silence_s = 2
        with pytest.raises(
            MeterError, match="cannot be decrypted: it is damaged, or the meter has other keys"
        ):
            await asyncio.wait_for(main.read(), 30)


@pytest.mark.parametrize(
    ("profile_id", "secrets"),
    [
        ("luxembourg-smarty", Secrets()),
        ("sagemcom-t210-d-r", Secrets(bytes(16))),
        ("sagemcom-t210-d-r", Secrets(authentication_key=bytes(16))),
    ],
)
def test_a_meter_that_encrypts_needs_keys(profile_id: str, secrets: Secrets) -> None:
    with pytest.raises(UsageError, match="this P1 meter encrypts: give it a file of keys"):
        P1Meter(Home(3, NOON_S), model(profile_id), StillClock(), secrets)


def test_registers_start_again_at_the_rollover() -> None:
    kwh = 10**6
    home = Home(3, NOON_S, import_mwh=(2 * 10**6 - 1) * kwh, export_mwh=(3 * 10**6 + 5) * kwh)
    for profile_id in ("luxembourg-smarty", "dsmr-4"):
        smarty = model(profile_id)
        (telegram,) = smarty.decoder(KEYS).feed(P1Meter(home, smarty, StillClock(), KEYS).telegram())
        assert not isinstance(telegram, MeterError)
        for lane, total in (("import", home.import_mwh), ("export", home.export_mwh)):
            assert (total - telegram.registers[lane]) % smarty.rollover[lane] == 0
    assert smarty.rollover == {"import": 10**12, "export": 10**12}


def test_it_speaks_once_an_interval_however_time_passes() -> None:
    clock, dsmr4 = StillClock(NOON_S + 3), model("dsmr-4")
    meter = P1Meter(Home(3, NOON_S), dsmr4, clock, Secrets())
    said = []
    for seconds in (0, 1, 5, 1, 1, 9, 0.5, 25):
        clock.pass_s(seconds)
        meter.live.catch_up()
        said.append(bool(meter.telegram()))
    assert said == [True, False, False, True, False, True, False, True]
