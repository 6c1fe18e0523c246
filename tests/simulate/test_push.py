"""The simulated HAN ports: what a profile reads of them is what they show, whatever the maker's layout."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib import resources
from pathlib import Path

import pytest

from gateway.errors import MeterError, UsageError
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.endpoint import Tcp
from gateway.meters.listener import Listener
from gateway.meters.profile import load_profile, profile_ids
from gateway.meters.reading import Telegram
from gateway.meters.secrets import Secrets
from gateway.simulate.home import Home
from gateway.simulate.push import PushMeter, serve
from gateway.simulate.push_lists import PLANS
from tests.meters.bench import NOON_S, NS, DrivenClock, FastClock, until

PROFILES = sorted(PLANS)
BOTH = Secrets(encryption_key=bytes(range(16)), authentication_key=bytes(range(16, 32)))
ENCRYPTION = Secrets(encryption_key=bytes(range(16)))


def model_of(profile: str) -> DlmsPushModel:
    model = load_profile(profile).model
    assert isinstance(model, DlmsPushModel)
    return model


class Run:
    """A meter and the profile's decoder, second by second."""

    def __init__(self, profile: str, start_s: int, secrets: Secrets | None = None) -> None:
        self.clock = DrivenClock(start_s)
        self.home = Home(1, start_s)
        self.meter = PushMeter(self.home, load_profile(profile), self.clock, secrets)
        self.decoder = model_of(profile).decoder(secrets or Secrets())
        self.step = PLANS[profile].step_mwh
        self.at_hour: dict[str, int] = {}
        self.said: list[Telegram] = []

    def registers(self) -> dict[str, int]:
        energies = {"import": self.home.import_mwh, "export": self.home.export_mwh}
        return {lane: energy // self.step * self.step for lane, energy in energies.items()}

    def second(self) -> list[Telegram]:
        self.clock.pass_s(1)
        self.meter.live.catch_up()
        if self.home.second % 3600 == 0:
            self.at_hour = self.registers()
        items = self.decoder.feed(self.meter.telegram())
        telegrams = [item for item in items if isinstance(item, Telegram)]
        assert len(telegrams) == len(items)
        self.said += telegrams
        return telegrams


def check(run: Run, telegram: Telegram) -> None:
    """What is said now holds now; what is said of the hour held at the hour."""
    now = run.home.second
    energies = {lane: value for lane, value in telegram.registers.items() if lane != "power"}
    if telegram.age_s:
        assert telegram.meter_time == (now - now % 3600) * NS
        assert telegram.age_s == now % 3600
        assert energies == run.at_hour
    else:
        assert telegram.meter_time in (now * NS, None)
        assert energies in ({}, run.registers())
    if "power" in telegram.registers:
        assert telegram.registers["power"] == run.home.power


@pytest.mark.parametrize(
    ("profile", "secrets"),
    [
        (name, keys)
        for name in PROFILES
        for keys in (Secrets(), ENCRYPTION, BOTH)
        if keys.encryption_key or not model_of(name).encrypted
    ],
)
def test_what_it_says_is_what_it_shows(profile: str, secrets: Secrets) -> None:
    run = Run(profile, NOON_S - 40, secrets)
    for _ in range(60):
        for telegram in run.second():
            check(run, telegram)
    assert {lane for telegram in run.said for lane in telegram.registers} == {"import", "export", "power"}
    assert len({telegram.serial for telegram in run.said} - {None}) <= 1


@pytest.mark.parametrize("profile", ["kamstrup-han", "kaifa-han", "aidon-han"])
@pytest.mark.parametrize(
    "hour",
    ["2026-03-29T01:00:00+00:00", "2026-10-25T00:00:00+00:00", "2026-10-25T01:00:00+00:00"],
)
def test_the_hour_is_the_right_one_when_clocks_change(profile: str, hour: str) -> None:
    """The list of the hour in which summer begins, of the last one of summer and of the first of winter."""
    start = int(datetime.fromisoformat(hour).timestamp())
    run = Run(profile, start - 2)
    for _ in range(20):
        for telegram in run.second():
            check(run, telegram)
    (hourly,) = [telegram for telegram in run.said if telegram.age_s]
    assert hourly.meter_time == start * NS


def test_every_push_profile_is_simulated() -> None:
    files = resources.files("gateway.meters").joinpath("profiles")
    texts = {name: files.joinpath(f"{name}.toml").read_text("utf-8") for name in profile_ids()}
    assert {name for name, text in texts.items() if 'protocol = "dlms-push"' in text} == set(PROFILES)


def test_lists_without_what_is_given_tell_no_power_while_the_home_gives() -> None:
    """At noon the roof gives: the list of every 2 s says 0 W drawn, which is not the home's power."""
    run = Run("kaifa-han", NOON_S)
    assert run.home.power < 0
    told: dict[int, set[str]] = {}
    for _ in range(10):
        for telegram in run.second():
            told[run.home.second % 10] = set(telegram.registers)
    assert told == {0: {"power"}, 2: set(), 4: set(), 6: set(), 8: set()}


def test_a_started_meter_counts_on() -> None:
    """Its messages are no copies of those that it sent before it was started anew."""
    run = Run("kaifa-ma309", NOON_S - 10, ENCRYPTION)
    for _ in range(10):
        run.second()
    again = PushMeter(run.home, load_profile("kaifa-ma309"), run.clock, ENCRYPTION)
    assert again._counter > run.meter._counter
    run.meter = again
    said = len(run.said)
    for _ in range(10):
        run.second()
    assert len(run.said) == said + 2


def test_a_second_that_is_missed_costs_no_list() -> None:
    run = Run("sagemcom-t210d", NOON_S, ENCRYPTION)
    for seconds in (4, 2, 3, 0.5, 6):
        run.clock.pass_s(seconds - 1)
        run.second()
    assert [telegram.meter_time for telegram in run.said] == [(NOON_S + at) * NS for at in (6, 15)]


def test_what_cannot_be_simulated() -> None:
    with pytest.raises(UsageError, match="encrypts: give it a file of keys"):
        Run("kaifa-ma309", NOON_S)
    with pytest.raises(UsageError, match="is not one of the simulated meters that push DLMS: aidon-han,"):
        PushMeter(Home(1, NOON_S), load_profile("eastron-sdm630"), DrivenClock(NOON_S))


@asynccontextmanager
async def simulated(profile: str, clock: FastClock, secrets: Secrets, truth: Path) -> AsyncIterator[int]:
    ports: list[int] = []
    home = Home(1, clock.wall() // NS)
    endpoint = Tcp("127.0.0.1", 0)
    server = asyncio.create_task(
        serve(home, load_profile(profile), endpoint, clock, secrets, truth, ports.append)
    )
    try:
        await until(lambda: bool(ports))
        yield ports[0]
    finally:
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["kaifa-ma309", "landisgyr-e450", "iskraemeco-am550", "aidon-han-se"])
async def test_a_listener_hears_the_truth(profile: str, tmp_path: Path) -> None:
    """Over a real socket, until several lists came; each holds what the truth file has for its second."""
    truth = tmp_path / "truth.jsonl"
    clock = FastClock()
    model = model_of(profile)
    secrets = BOTH if profile != "aidon-han-se" else Secrets()
    async with simulated(profile, clock, secrets, truth) as port:
        meter = Listener(
            "main",
            Tcp("127.0.0.1", port),
            model.decoder(secrets),
            lanes=model.lanes,
            silence_s=600,
            clock=clock,
            rollover=model.rollover,
        )
        try:
            readings = [await meter.read() for _ in range(4)]
        finally:
            await meter.aclose()
    keys = {"import": "import_mwh", "export": "export_mwh", "power": "power_w"}
    lines = {line["unit"]: line for line in map(json.loads, truth.read_text().splitlines())}
    for reading in readings:
        assert reading.meter_time is not None
        line = lines[reading.meter_time // NS]
        assert {keys[lane]: value for lane, value in reading.registers.items()} == {
            key: line[key] for key in keys.values()
        }


def test_a_gateway_with_another_key_believes_nothing() -> None:
    run = Run("landisgyr-e450", NOON_S, BOTH)
    wrong = model_of("landisgyr-e450").decoder(Secrets(bytes(16), BOTH.authentication_key))
    for _ in range(5):
        run.clock.pass_s(1)
        run.meter.live.catch_up()
        if said := run.meter.telegram():
            (error,) = wrong.feed(said)
            assert isinstance(error, MeterError)
            assert "fails its check" in str(error)
            return
    pytest.fail("it said nothing")
