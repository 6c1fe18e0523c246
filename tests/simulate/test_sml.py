"""The simulated SML meter as the gateway hears it: over TCP, over a serial line, as its truth says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.meters.endpoint import Line, SerialSettings, Tcp
from gateway.simulate.home import Home
from gateway.simulate.sml import serve
from tests.meters.bench import NOON_S, FastClock, StillClock, serial_line
from tests.simulate.hearing import heard, listening, running, truth_holds

pytestmark = pytest.mark.slow

SETTINGS = SerialSettings(9600, "none", 1)
HERE = Tcp("127.0.0.1", 0)


async def test_what_is_heard_is_the_truth(tmp_path: Path) -> None:
    clock, truth = FastClock(), tmp_path / "truth.jsonl"
    home = Home(3, NOON_S - 500)
    async with (
        running(lambda told: serve(home, HERE, clock, truth, told)) as port,
        listening("sml-generic", Tcp("127.0.0.1", port), clock) as main,
    ):
        readings = await heard(main, 25)
    truth_holds(truth, readings)
    assert {reading.serial for reading in readings} == {"1SIM0012345678"}
    assert all(reading.registers["import"] % 100 == 0 for reading in readings)


async def test_everyone_who_listens_hears_the_same(tmp_path: Path) -> None:
    clock, truth = FastClock(), tmp_path / "truth.jsonl"
    home = Home(3, NOON_S - 500)
    async with running(lambda told: serve(home, HERE, clock, truth, told)) as port:
        endpoint = Tcp("127.0.0.1", port)
        async with listening("sml-generic", endpoint, clock) as one:
            first = await heard(one, 2)
            async with listening("sml-generic", endpoint, clock) as other:
                first += await heard(one, 3)
                second = await heard(other, 3)
            first += await heard(one, 2)
    truth_holds(truth, first)
    truth_holds(truth, second)


async def test_who_connects_later_is_sent_the_same_bytes() -> None:
    clock = FastClock()
    async with (
        running(lambda told: serve(Home(3, NOON_S - 500), HERE, clock, None, told)) as port,
        asyncio.timeout(30),
    ):
        early, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = await early.readexactly(500)
        late, other_writer = await asyncio.open_connection("127.0.0.1", port)
        heard_late = await late.readexactly(1000)  # some lists, no two of which are the same
        while heard_late not in sent:
            sent += await early.readexactly(100)
        for one in (writer, other_writer):
            one.close()
            await one.wait_closed()


async def test_on_a_serial_line(tmp_path: Path) -> None:
    clock, truth = FastClock(), tmp_path / "truth.jsonl"
    home = Home(3, NOON_S - 500)
    async with (
        serial_line() as (far, near),
        running(lambda told: serve(home, Line(far, SETTINGS), clock, truth, told)) as port,
        listening("emh-ehzb", Line(near, SETTINGS), clock) as main,
    ):
        readings = await heard(main, 10)
    assert port == 0
    truth_holds(truth, readings)
    assert {reading.serial for reading in readings} == {"1SIM0012345678"}
    assert all(set(reading.registers) == {"import", "export", "power"} for reading in readings)


async def test_a_serial_line_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"cannot open /nowhere/tty: No such file or directory"):
        await serve(Home(3, NOON_S), Line("/nowhere/tty", SETTINGS), StillClock())
