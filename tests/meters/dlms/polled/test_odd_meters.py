"""Meters that are read although they lack something, or answer in ways of their own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.errors import MeterError
from gateway.meters.dlms.application.refusal import AccessError
from gateway.meters.dlms.cosem.data import (
    Array,
    DateTime,
    DoubleLong,
    DoubleLongUnsigned,
    Enum,
    Float64,
    Long64Unsigned,
    Value,
)
from gateway.meters.dlms.cosem.objects import Reference, Selection, obis
from gateway.meters.dlms.polled import disconnector
from gateway.meters.dlms.polled.meter import DlmsMeter
from gateway.simulate.dlms import DlmsMeterSimulation, Framing
from tests.meters.bench import NS, StillClock, raw_server
from tests.meters.dlms.peers import policy, simulated
from tests.meters.dlms.polled.test_meter import model, reader

CLOCK, SERIAL, NAME = (obis(code) for code in ("0-0:1.0.0", "0-0:96.1.0", "0-0:42.0.0"))
CODES = IMPORT, EXPORT, DRAWN, PROFILE = [
    obis(code) for code in ("1-0:1.8.0", "1-0:2.8.0", "1-0:1.7.0", "1-0:99.1.0")
]
TEMPORARY, UNDEFINED = 2, 4


@dataclass
class Odd:
    """A meter that is asked, the simulated one behind it, and the test's clock."""

    meter: DlmsMeter
    simulation: DlmsMeterSimulation
    clock: StillClock

    def answers(self, code: bytes, index: int, oddly: Callable[[Value], Value]) -> None:
        """From now on an attribute's value is what `oddly` makes of the right one."""
        objects = self.simulation.objects
        get = objects.get

        def answer(target: Reference, selection: Selection | None, client: int) -> Value:
            value = get(target, selection, client)
            return oddly(value) if (target.obis, target.index) == (code, index) else value

        objects.get = answer  # type: ignore[method-assign]

    def refuses(self, code: bytes, index: int, result: int, times: int = 1000) -> None:
        """It refuses an attribute, so many times."""
        left = iter(range(times))

        def refused(value: Value) -> Value:
            if next(left, None) is not None:
                raise AccessError(Reference(0, code, index), result)
            return value

        self.answers(code, index, refused)


@asynccontextmanager
async def odd_meter(tmp_path: Path, wall_s: float | None = None, history_s: int = 0) -> AsyncIterator[Odd]:
    clock = StillClock() if wall_s is None else StillClock(wall_s)
    async with (
        simulated(policy(), "wrapper", clock, history_s) as (simulation, port),
        reader(port, clock, tmp_path / "counter", model(policy())) as meter,
    ):
        yield Odd(meter, simulation, clock)


async def test_a_scaler_that_is_refused_once_is_asked_for_again(tmp_path: Path) -> None:
    async with odd_meter(tmp_path) as odd:
        odd.refuses(EXPORT, 3, TEMPORARY, times=1)
        with pytest.raises(MeterError, match="cannot answer at the moment"):
            await odd.meter.read()
        reading = await odd.meter.read()
        assert reading.registers == dict(odd.simulation.objects.shown)
        assert reading.serial == "12345678"


async def test_the_switch_is_thrown_whatever_the_registers_say(tmp_path: Path) -> None:
    async with odd_meter(tmp_path) as odd:
        odd.refuses(EXPORT, 3, UNDEFINED)
        await odd.meter.perform(disconnector.remote_disconnect)
        assert not odd.simulation.objects.connected


@pytest.mark.parametrize(
    "shown",
    [
        b"",
        b"\xff" * 12,
        b"\0" * 11,
        None,
        DoubleLongUnsigned(7),
        bytes.fromhex("07E8 07 1E 02 0C 2D 00 00 8000 80"),
    ],
    ids=["empty", "unset", "short", "null", "number", "local"],
)
async def test_a_meter_whose_clock_tells_nothing_is_read(shown: Value, tmp_path: Path) -> None:
    async with odd_meter(tmp_path) as odd:
        odd.answers(CLOCK, 2, lambda _: shown)
        for _ in range(3):
            reading = await odd.meter.read()
            assert reading.registers == dict(odd.simulation.objects.shown)
            assert reading.meter_time is None
            odd.clock.pass_s(61)


async def test_a_meter_without_a_clock_or_a_number_is_read(tmp_path: Path) -> None:
    async with odd_meter(tmp_path) as odd:
        for code in (CLOCK, SERIAL):
            odd.refuses(code, 2, UNDEFINED)
        for _ in range(3):
            reading = await odd.meter.read()
            assert reading.registers == dict(odd.simulation.objects.shown)
            assert (reading.serial, reading.meter_time) == (None, None)
            odd.clock.pass_s(61)
        with pytest.raises(MeterError, match=r"no such object: 0-0:1\.0\.0"):
            await odd.meter.remembered(0)


@pytest.mark.parametrize(
    ("value", "serial"),
    [(DoubleLongUnsigned(12_345_678), "12345678"), (None, None), ("A1", "A1"), (b"\x01\xfe", "\x01\\xfe")],
)
async def test_a_meters_number_is_of_any_type(value: Value, serial: str | None, tmp_path: Path) -> None:
    async with odd_meter(tmp_path) as odd:
        odd.answers(SERIAL, 2, lambda _: value)
        assert (await odd.meter.read()).serial == serial


async def test_a_scaler_of_no_register_is_refused(tmp_path: Path) -> None:
    """Before its power of ten is worked out."""
    async with odd_meter(tmp_path) as odd:
        odd.answers(EXPORT, 3, lambda _: (DoubleLongUnsigned(4_000_000_000), Enum(30)))
        with pytest.raises(MeterError, match="small number and a unit"):
            await odd.meter.read()


ODD_VALUES: tuple[Value, ...] = (
    *(None, True, "", "A", b"", bytes(6), bytes(12), b"\xff" * 12, b"\xff" * 13, DateTime(bytes(12))),
    *(DoubleLongUnsigned(0), DoubleLongUnsigned(2**32 - 1), DoubleLong(-1), Long64Unsigned(2**64 - 1)),
    *(Float64(math.inf), Float64(1e300), (), Array(), ((),), (None, None), Array(((None,) * 3,) * 3)),
    *((DoubleLong(-(2**31)), Enum(30)), Array(((), (b"\0" * 12, b"", "")))),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", [(code, index) for code in (*CODES, CLOCK, SERIAL, NAME) for index in (2, 3)]
)
async def test_whatever_an_object_holds_only_declared_errors_come(
    place: tuple[bytes, int], tmp_path: Path
) -> None:
    async with odd_meter(tmp_path, history_s=3600) as odd:
        held: list[Value] = [None]
        odd.answers(*place, lambda _: held[0])
        for held[0] in ODD_VALUES:
            for ask in (odd.meter.read, odd.meter.probe, lambda: odd.meter.remembered(0)):
                with suppress(MeterError):
                    await ask()
            await odd.meter.aclose()


async def test_rows_come_oldest_first_whatever_the_profiles_order(tmp_path: Path) -> None:
    async with odd_meter(tmp_path, history_s=3 * 86_400) as odd:
        remembered = await odd.meter.remembered(0)
        assert len(remembered) == 3 * 96
        odd.answers(PROFILE, 2, lambda rows: Array(reversed(rows)) if isinstance(rows, Array) else rows)
        assert await odd.meter.remembered(0) == remembered


async def test_rows_that_a_meter_gives_an_hour_off_are_not_lost(tmp_path: Path) -> None:
    """One that compares local times, asked in summer time for days of winter time."""
    async with odd_meter(tmp_path, history_s=4 * 86_400) as odd:
        remembered = await odd.meter.remembered(0)
        objects = odd.simulation.objects
        get = objects.get
        day: list[Array] = []

        def shifted(target: Reference, selection: Selection | None, client: int) -> Value:
            if selection is None or target.obis != PROFILE:
                return get(target, selection, client)
            every = get(target, None, client)
            asked = get(target, selection, client)
            assert isinstance(every, Array)
            assert isinstance(asked, Array)
            day.append(asked)
            if not asked:
                return asked
            begin = every.index(asked[0]) + 4
            return Array(every[begin : begin + len(asked)])

        objects.get = shifted  # type: ignore[method-assign]
        again = await odd.meter.remembered(0)
        assert len(day) > 4
        assert again == remembered[4:]  # what lies before the first page cannot be had


@pytest.mark.parametrize("wall_s", [1_780_315_230.0, 1_780_315_230.3, 1_780_315_230.9])
@pytest.mark.parametrize("took_s", [0.0, 0.3, 0.8, 2.5])
async def test_a_clock_in_step_stays_so_however_long_its_answer_takes(
    wall_s: float, took_s: float, tmp_path: Path
) -> None:
    async with odd_meter(tmp_path, wall_s) as odd:
        before = odd.clock.wall()
        odd.clock.pass_s(3600)
        get = odd.simulation.objects.get

        def slowly(target: Reference, selection: Selection | None, client: int) -> Value:
            if target.obis == CLOCK:
                odd.clock.pass_s(took_s)
            return get(target, selection, client)

        await odd.meter.read()
        odd.simulation.objects.get = slowly  # type: ignore[method-assign]
        remembered = await odd.meter.remembered(before)
        assert len(remembered) == 4
        for reading in remembered:
            assert (reading.wall // NS + 1) % 900 == 0


async def test_rows_of_a_clock_that_does_not_tell_utc_have_no_time_of_the_meter(tmp_path: Path) -> None:
    async with odd_meter(tmp_path, history_s=3600) as odd:
        told = await odd.meter.remembered(0)

        def local(value: Value) -> Value:
            assert isinstance(value, bytes)
            return value[:9] + b"\x80\x00" + value[11:]

        odd.answers(CLOCK, 2, local)
        get = odd.simulation.objects.get

        def all_rows(target: Reference, selection: Selection | None, client: int) -> Value:
            return get(target, None, client)

        odd.simulation.objects.get = all_rows  # type: ignore[method-assign]
        remembered = await odd.meter.remembered(0)
        assert [one.wall for one in remembered] == [one.wall for one in told]
        assert {one.meter_time for one in remembered} == {None}


async def test_leaving_that_is_cancelled_lets_go_all_the_same(tmp_path: Path) -> None:
    clock = StillClock()
    async with simulated(policy(), "wrapper", clock) as (simulation, _):
        connection = simulation.connection("wrapper")
        ended = asyncio.Event()

        def until_release(data: bytes) -> list[bytes]:
            if data[8:9] == b"\x62":
                ended.set()
                return []
            return [connection.receive(data)]

        async with (
            raw_server(until_release) as port,
            reader(port, clock, tmp_path / "counter", model(policy())) as meter,
        ):
            await meter.read()
            leaving = asyncio.create_task(meter.aclose())
            await ended.wait()
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            assert not meter._connection.is_open


@pytest.mark.parametrize("framing", ["wrapper", "hdlc"])
async def test_leaving_in_the_middle_of_a_question_ends_it(framing: Framing, tmp_path: Path) -> None:
    clock, asked = StillClock(), asyncio.Event()
    async with simulated(policy(), framing, clock) as (simulation, _):
        connection = simulation.connection(framing)

        def until_action(data: bytes) -> list[bytes]:
            if b"\xc3\x01" in data:
                asked.set()
                return []
            return [connection.receive(data)]

        async with (
            raw_server(until_action) as port,
            reader(port, clock, tmp_path / "counter", model(policy(), framing)) as meter,
        ):
            throwing = asyncio.create_task(meter.perform(disconnector.remote_disconnect))
            await asked.wait()
            await meter.aclose()
            with pytest.raises(MeterError, match="ended the connection"):
                await throwing
