"""Reading for ever: once an interval, early in it, through every fault, with few words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.reader import ReaderState, read_forever
from gateway.meters.reading import Plausibility, Reading, WithLoadProfile
from tests.meters.bench import (
    NOON_S,
    NS,
    DrivenClock,
    FastClock,
    device,
    modbus_model,
    sdm630,
    tcp_server,
    until,
)

Outcome = float | str  # seconds until it answers, or a fault


class ScriptedMeter:
    """A meter of a driven clock: each read takes its time or fails as the script says, then all is over."""

    def __init__(self, clock: DrivenClock, script: Iterator[Outcome]) -> None:
        self.clock, self.script = clock, script
        self.asked: list[int] = []
        self.closed = False
        self.pushes = False
        self.rollover: dict[str, int] = {}
        self.load_profile: WithLoadProfile | None = None

    async def read(self) -> Reading:
        outcome = next(self.script, None)
        if outcome is None:
            raise asyncio.CancelledError
        wall, monotonic = self.clock.wall(), self.clock.monotonic()
        self.asked.append(wall)
        if isinstance(outcome, str):
            raise MeterError(outcome)
        self.clock.pass_s(outcome)
        return Reading("main", {"import": 987_654_321}, wall, monotonic)

    async def probe(self) -> Plausibility:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.closed = True


class Run:
    """What came of reading a script to its end."""

    def __init__(
        self, script: Sequence[Outcome], interval_s: float = 1, wall_s: float = NOON_S + 0.3
    ) -> None:
        self.clock = DrivenClock(wall_s)
        self.meter = ScriptedMeter(self.clock, iter(script))
        self.delivered: list[Reading] = []
        self.state = ReaderState()
        self.on_reading: Callable[[Reading], None] = self.delivered.append
        self.interval_s = interval_s

    async def play(self) -> Run:
        with pytest.raises(asyncio.CancelledError):
            await read_forever(self.meter, self.clock, self.interval_s, self.on_reading, self.state)
        return self


@pytest.mark.slow
@given(st.lists(st.floats(0, 0.9), min_size=2, max_size=40), st.floats(0, 0.05))
def test_each_interval_is_read_once_and_early(durations: list[float], begin: float) -> None:
    run = asyncio.run(Run(list(durations), wall_s=NOON_S + begin).play())
    assert [reading.wall // NS for reading in run.delivered] == [NOON_S + n for n in range(len(durations))]
    assert all(reading.wall % NS <= NS // 20 + 1000 for reading in run.delivered)


async def test_a_quarter_of_an_hour_is_kept_too() -> None:
    run = await Run([5.0] * 5, interval_s=900, wall_s=NOON_S + 500).play()
    assert [reading.wall // NS for reading in run.delivered] == [
        NOON_S + 500,
        *range(NOON_S + 900, NOON_S + 4500, 900),
    ]


async def test_waits_grow_to_half_a_minute_and_begin_anew_after_a_reading() -> None:
    run = await Run([*["broken"] * 8, 0.1, "broken", "broken"]).play()
    waits = [round(wait, 6) for wait in run.clock.slept]
    assert waits[:8] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert waits[9:] == [1, 2]


async def test_a_short_interval_begins_with_a_short_wait() -> None:
    assert (await Run(["broken"] * 3, interval_s=0.1).play()).clock.slept == [0.1, 0.2, 0.4]


async def test_the_state_says_how_it_goes() -> None:
    run = Run([0.1, "no answer", "still none", 0.1])
    seen: list[tuple[int | None, int, str | None]] = []

    original = run.meter.read

    async def read() -> Reading:
        seen.append((run.state.last_wall, run.state.failures, run.state.fault))
        return await original()

    run.meter.read = read  # type: ignore[method-assign]
    await run.play()
    first, last = run.delivered
    assert seen == [
        (None, 0, None),
        (first.wall, 0, None),
        (first.wall, 1, "no answer"),
        (first.wall, 2, "still none"),
        (last.wall, 0, None),
    ]


async def test_a_repeating_fault_is_said_once_a_minute_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run = await Run(["no answer"] * 10, interval_s=0.1).play()  # 51 s of faults
    assert [record.getMessage() for record in caplog.records] == ["no answer"]
    caplog.clear()
    run = await Run([*["no answer"] * 11, 0.01, 0.01, "no answer", 0.01], interval_s=0.1).play()
    assert (
        run.clock.monotonic() - 5_000 * NS > 60 * NS
    )  # the eleventh comes after 81 s, the last fault after 111 s
    assert [record.getMessage() for record in caplog.records] == [
        "no answer",
        "no answer (10 times since the last such line)",
        "meter main answers again",
    ]


async def test_a_flapping_meter_does_not_flood_and_values_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    run = await Run(["no answer", 0.1] * 150).play()
    minutes = (run.clock.monotonic() - 5_000 * NS) / (60 * NS)
    assert 4 < minutes < 6
    assert len(caplog.records) <= 12
    assert "987" not in caplog.text


async def test_an_answer_in_a_later_interval_is_not_believed() -> None:
    run = await Run([0.1, 1.2, 0.1]).play()
    assert len(run.delivered) == 2
    run = await Run([0.1, 1.2]).play()
    assert run.state.failures == 1
    assert run.state.fault is not None
    assert "meter main answered after 1.2 s, in a later interval" in run.state.fault


@pytest.mark.parametrize("step_s", [-7200.0, 86_400.0 * 365])
async def test_a_clock_that_steps_costs_an_interval_at_most(step_s: float) -> None:
    run = Run([0.1] * 5)

    def deliver(reading: Reading) -> None:
        run.delivered.append(reading)
        if len(run.delivered) == 2:
            run.clock.now += round(step_s * NS)

    run.on_reading = deliver
    await run.play()
    assert len(run.delivered) == 5
    assert all(wait < 2 for wait in run.clock.slept)


async def test_it_ends_by_cancellation_only_and_closes_the_meter() -> None:
    clock = FastClock()
    meter = ScriptedMeter(DrivenClock(), iter([]))
    meter.read = _never  # type: ignore[method-assign]
    task = asyncio.create_task(read_forever(meter, clock, 1, lambda reading: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert meter.closed


async def _never() -> Reading:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.slow
async def test_a_server_that_goes_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = FastClock()
    delivered: list[Reading] = []
    state = ReaderState()
    async with tcp_server(device(sdm630(imported=1))) as port:
        bus = Bus(Tcp("127.0.0.1", port), timeout_s=0.5)
        model = modbus_model("eastron-sdm630")
        meter = ModbusMeter("main", model, bus, lanes=["import"], device_id=1, clock=clock)
        reading = asyncio.create_task(read_forever(meter, clock, 1, delivered.append, state))
        await until(lambda: len(delivered) >= 3)
    await until(lambda: state.failures >= 3)
    assert state.fault == f"meter main: cannot open 127.0.0.1:{port}: Connection refused"
    before = len(delivered)
    async with tcp_server(device(sdm630(imported=2)), port):
        await until(lambda: len(delivered) >= before + 3 and state.latest is delivered[-1])
        assert state.errors >= 3
        assert state == ReaderState(delivered[-1].wall, latest=delivered[-1], errors=state.errors)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    values = [one.registers["import"] for one in delivered]
    assert values == [1_000_000] * before + [2_000_000] * (len(values) - before)
    units = [one.wall // NS for one in delivered]
    assert len(set(units)) == len(units)
    assert {record.name for record in caplog.records} <= {"gateway.meters.reader", "asyncio"}
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


class Memory(ScriptedMeter):
    """A meter that remembers each quarter of an hour, when it does not fail to."""

    period_s = 900

    def __init__(self, clock: DrivenClock, script: Iterator[Outcome], faults: int = 0) -> None:
        super().__init__(clock, script)
        self.load_profile = self
        self.faults = faults
        self.wanted: list[int] = []

    async def remembered(self, after: int) -> Sequence[Reading]:
        self.wanted.append(after)
        if self.faults:
            self.faults -= 1
            raise MeterError("no profile now")
        stamps = range((after // NS // 900 + 1) * 900, self.clock.wall() // NS + 1, 900)
        return [Reading("main", {"import": stamp}, stamp * NS - 1_000_000, 0) for stamp in stamps]


async def remembering(
    script: Sequence[Outcome], last_s: float | None, *, faults: int = 0, trusted: bool = True
) -> tuple[Memory, list[Reading]]:
    run = Run([])
    run.clock.is_trusted = trusted
    meter = Memory(run.clock, iter(script), faults)
    with pytest.raises(asyncio.CancelledError):
        await read_forever(
            meter,
            run.clock,
            1,
            run.delivered.append,
            run.state,
            lambda: None if last_s is None else round(last_s * NS),
        )
    return meter, run.delivered


async def test_what_a_meter_remembers_of_an_outage_goes_ahead_of_the_reading() -> None:
    meter, delivered = await remembering([0.1, 0.1, 0.1], NOON_S - 2000)
    assert meter.wanted == [(NOON_S - 2000) * NS]
    assert [one.registers["import"] for one in delivered] == [
        NOON_S - 1800,
        NOON_S - 900,
        NOON_S,
        987_654_321,
        987_654_321,
        987_654_321,
    ]


@pytest.mark.parametrize("last_s", [None, NOON_S - 899.0, NOON_S + 50.0])
async def test_without_an_outage_nothing_is_asked_for(last_s: float | None) -> None:
    meter, delivered = await remembering([0.1, 0.1], last_s)
    assert (meter.wanted, len(delivered)) == ([], 2)


async def test_an_outage_while_it_runs_is_asked_for_too() -> None:
    meter, delivered = await remembering([0.1, *["no answer"] * 40, 0.1], None)
    assert meter.wanted == [delivered[0].wall]
    assert len(delivered) == 3


async def test_memory_that_fails_is_asked_for_again_and_then_done_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter, delivered = await remembering([0.1] * 3, NOON_S - 2000, faults=2)
    assert (len(meter.wanted), len(delivered)) == (3, 4)
    caplog.clear()
    meter, delivered = await remembering([0.1] * 4, NOON_S - 2000, faults=99)
    assert (len(meter.wanted), len(delivered)) == (3, 2)
    assert "what an outage used is shared out in proportion to time: no profile now" in caplog.text


async def test_without_a_set_clock_the_meters_own_tells_how_long_it_was() -> None:
    meter, delivered = await remembering([0.1], NOON_S - 2000, trusted=False)
    assert (meter.wanted, len(delivered)) == ([], 1)  # this one tells no time


async def test_a_meter_that_speaks_by_itself_is_heard_without_pauses() -> None:
    run = Run([0.0, 3.0, 0.0, 10.0, 0.25])
    run.meter.pushes = True
    await run.play()
    assert len(run.delivered) == 5
    assert run.clock.slept == []
