"""The sampler: turns readings into units by differences of registers, fills gaps, and copes with clocks that
misbehave (PROTOCOL.md, rules 4 and 5). `gateway.intervals.validation` judges the meter. Pure: no clock, no
I/O, no logging.

A reading gives the register at the end of a unit u, so d[u] = register(u) - register(last unit read), lane by
lane; a reading may hold any of the lanes. Where units are a second or shorter, u is the unit in which it was
taken. A longer unit is closed by the first reading after its end, so that it has its own energy and does not
come out before it has ended: u is the unit before the one in which the reading was taken, for values such as
`power` too. Only the first reading for a unit counts; energy that a later one adds comes out with the next
unit. Units come out dense and in order, each once, as soon as all energy lanes are known at their end, and
over any run of them the energy is the registers' difference, to the mWh.

`count` is about energy: 1 where every energy register was read for that unit, 0 where the energy of one is
filled in, even if the power was read. All other lanes, such as `power`, are 0 where they were not read. A
series has no energy: its values are of the unit in which they were read, however long; its units come out up
to the last reading, and `count` is 1 where it was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.chain.layout import ENERGY, Layout
from gateway.errors import GatewayError
from gateway.intervals.estimation import MOST_WAITING, EnergyLane
from gateway.intervals.hold import UNKNOWN, Choice, Hold, RegisterEvent, RegisterMark, Sample
from gateway.intervals.meter_clock import MeterClock
from gateway.intervals.state import SamplerState
from gateway.intervals.validation import Total, Validator
from gateway.meters.reading import Reading

_SILENT_NS = 2 * 3600 * 1_000_000_000  # some meters send a register hourly, and a telegram may be lost
_CLOCK_SET_NS = 10_000_000_000  # two clocks differ by less only because they are not read at once
_NO_ROLLOVER: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Units:
    """Consecutive units from `first` on: for each lane an int64 for each unit, all of one length. The values
    are private: no repr shows them."""

    first: int
    lanes: dict[str, NDArray[np.int64]] = field(repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.lanes.values())))


class Sampler:
    """The sampler of one stream: `add` each reading, then `take` units until there are none.

    A new stream has no `start` and no `state`: it starts at the link boundary after the first reading with
    which all its energy registers are known, a series after its first. One that has started needs the
    `state` that belongs to its last unit. `rollover` is the meter's own mapping (`Meter.rollover`): a meter
    may fill it in later.
    """

    def __init__(
        self,
        layout: Layout,
        lanes: Iterable[str],
        start: int | None = None,
        state: SamplerState | None = None,
        *,
        rollover: Mapping[str, int] = _NO_ROLLOVER,
    ) -> None:
        self._layout = layout
        self._lanes = tuple(lanes)
        self._names = tuple(lane for lane in self._lanes if lane in ENERGY)
        self._others = tuple(lane for lane in self._lanes if lane not in (*ENERGY, "count"))
        self._delay = layout.closing_delay if self._names else 0
        self._energies = tuple(EnergyLane() for _ in self._names)
        self._rollover = rollover
        self._registers = Validator(self._names, rollover)
        self._start = start
        self._next = 0  # the next unit to come out, once there is a start
        self._values: dict[int, dict[str, int]] = {}  # of `_others`, by unit, not yet come out
        self._waiting: list[Reading] = []
        self._heard: dict[str, int] = {}  # when each lane was last read (ns, monotonic)
        self._newest: int | None = None  # when anything was
        self._meter_clock = MeterClock()
        if start is not None or state is not None:
            self._resume(start, state)

    @property
    def start(self) -> int | None:
        """The stream's first unit; None until a trusted reading decides it."""
        return self._start

    @property
    def next(self) -> int | None:
        """The next unit to come out; None before there is a start."""
        return None if self._start is None else self._next

    @property
    def known_until(self) -> int | None:
        """The last unit at whose end all energy registers are known, of a series the last that came out; None
        before."""
        if not self._names:
            return None if self._start in (None, self._next) else self._next - 1
        return self._registers.known_until

    @property
    def held(self) -> RegisterEvent | None:
        """Since when and why readings are held; None while they are believed."""
        return self._registers.held

    @property
    def hold(self) -> Hold | None:
        """The registers that are held and the last believed ones; None while readings are believed."""
        return self._registers.hold

    @property
    def milestone(self) -> Hashable:
        """What of the hold must be durable: see `Memory.milestone`."""
        return self._registers.memory(self._next - 1).milestone

    def read_from(self, unit: int) -> int:
        """The earliest moment (ns of Unix time) at which a reading counts for `unit`."""
        return (unit + self._delay) * self._layout.unit_ms * 1_000_000

    def accept(self, choice: Choice) -> None:
        """End the hold as the owner decided: see `Validator.accept`."""
        for total in self._registers.accept(choice):
            self._know(total)

    def state(self) -> SamplerState | None:
        """The state at the end of the last unit that came out; None before the first."""
        if self._start is None or self._next == self._start:
            return None
        last = self._next - 1
        values = {
            name: lane.at(last) - offset
            for name, lane, offset in zip(self._names, self._energies, self._registers.offsets, strict=True)
        }
        return SamplerState(
            last,
            values.get("import"),
            values.get("export"),
            self._registers.serial,
            self._registers.memory(last),
        )

    def missing(self) -> tuple[str, ...]:
        """The energy lanes that no reading has held yet, or none for two hours: units wait for them."""
        return tuple(
            name
            for name in self._names
            if self._newest is not None
            and (name not in self._heard or self._newest - self._heard[name] > _SILENT_NS)
        )

    def add(
        self,
        reading: Reading,
        *,
        trusted: bool,
        wall_now: int,
        monotonic_now: int,
    ) -> tuple[RegisterEvent, ...]:
        """Take a reading; the register events that it causes. `trusted` says whether the wall clock is right;
        `wall_now` and `monotonic_now` (ns) are the time now by both clocks. Until the wall clock is right,
        readings wait; then each is placed by the monotonic clock, as is one whose wall time was taken before
        the clock was set."""
        self._hear(reading)
        if not trusted:
            self._wait(reading)
            return ()
        ahead = wall_now - monotonic_now
        events: list[RegisterEvent] = []
        for waiting in self._waiting:
            events += self._place(waiting, waiting.monotonic + ahead)
        self._waiting.clear()
        placed = reading.monotonic + ahead
        was_set = abs(placed - reading.wall) >= _CLOCK_SET_NS
        return (*events, *self._place(reading, placed if was_set else reading.wall))

    def take(self, most: int = 86_400) -> Units | None:
        """The next units, at most `most` of them, or None. Call it until it returns None: a long gap takes
        several calls."""
        last = self._last()
        if last is None:
            return None
        first = self._next
        end = min(first + most, 1 + last)
        lanes = {lane: np.zeros(end - first, np.int64) for lane in self._lanes}
        known = np.zeros(end - first, np.int64)
        for name, lane in zip(self._names, self._energies, strict=True):
            lane.take(lanes[name], first, known)
        for unit in [unit for unit in self._values if unit < end]:
            for name, value in self._values.pop(unit).items():
                lanes[name][unit - first] = value
            known[unit - first] += not self._names
        if "count" in lanes:
            lanes["count"][:] = known == (len(self._names) or 1)
        self._next = end
        self._registers.begin()
        return Units(first, lanes)

    def _last(self) -> int | None:
        """The last unit that can come out; None while there is none."""
        if not self._names:
            return max(self._values, default=None)
        if not all(lane.coming for lane in self._energies):
            return None
        return min(lane.coming[-1].unit for lane in self._energies)

    def _resume(self, start: int | None, state: SamplerState | None) -> None:
        if start is None or state is None or state.unit < start:
            raise GatewayError(
                "a stream that has started can only continue from the registers at its last unit, and these "
                "are not known: restore the ledger that has them, or begin a new stream"
            )
        values = {"import": state.imported, "export": state.exported}
        wall = self.read_from(state.unit)  # or up to a unit later
        marks = []
        for number, (name, lane) in enumerate(zip(self._names, self._energies, strict=True)):
            value = values[name]
            if value is None:
                raise GatewayError(
                    f"the saved registers have no {name}: a stream keeps the lanes it began with"
                )
            lane.origin = Total(number, state.unit, value)
            marks.append(RegisterMark(state.unit, wall, None, value))
        self._registers = Validator(self._names, self._rollover, tuple(marks), state.serial, state.memory)
        self._registers.begin()
        self._next = state.unit + 1

    def _hear(self, reading: Reading) -> None:
        if self._newest is None and self._next:  # every lane was known before
            self._heard = dict.fromkeys(self._names, reading.monotonic)
        self._newest = max(reading.monotonic, reading.monotonic if self._newest is None else self._newest)
        for name in self._names:
            if name in reading.registers:
                self._heard[name] = self._newest

    def _wait(self, reading: Reading) -> None:
        if len(self._waiting) >= MOST_WAITING:  # those with power alone are dropped first
            counted = self._names or self._others
            energies = [one for one in self._waiting if not set(counted).isdisjoint(one.registers)]
            self._waiting = energies if len(energies) <= MOST_WAITING // 2 else energies[::2]
        self._waiting.append(reading)

    def _place(self, reading: Reading, wall: int) -> tuple[RegisterEvent, ...]:
        """Place a reading at the wall time `wall`, or earlier by the meter's clock, and believe it or hold
        it."""
        age = 0
        # The clocks of a meter's lists may differ by an hour of summer time: those of energies count.
        if reading.meter_time is not None and not reading.registers.keys().isdisjoint(self._names):
            age = self._meter_clock.age(wall, reading.meter_time)
        wall -= age
        sample = Sample(
            self._layout.unit_at(wall) - self._delay,
            wall,
            reading.monotonic - age,
            tuple(reading.registers.get(name) for name in self._names),
            _digest(reading.serial),
        )
        judged = self._registers.judge(sample)
        for total in judged.totals:
            self._know(total)
        values = {lane: reading.registers[lane] for lane in self._others if lane in reading.registers}
        if judged.believed and values:
            self._keep(sample.unit, values)
        return judged.events

    def _know(self, total: Total) -> None:
        lane = self._energies[total.lane]
        if self._start is not None and total.unit >= self._start:
            lane.expect(total)
            return
        lane.origin = total
        origins = [lane.origin.unit for lane in self._energies if lane.origin is not None]
        if self._start is None and len(origins) == len(self._energies):
            self._begin_after(max(origins))

    def _begin_after(self, unit: int) -> None:
        self._start = self._next = (self._layout.link(unit) + 1) * self._layout.link_units

    def _keep(self, unit: int, values: dict[str, int]) -> None:
        if self._start is None and not self._names:
            self._begin_after(unit)
        if self._start is None or unit < self._next or unit in self._values:
            return
        if len(self._values) >= MOST_WAITING:  # the energy registers are silent, or nothing can be saved
            self._values = dict(sorted(self._values.items())[::2])
        self._values[unit] = values


def _digest(serial: str | None) -> bytes:
    """8 bytes that stand for a meter's serial number."""
    if not serial:
        return UNKNOWN
    return hashlib.sha256(serial.encode(errors="backslashreplace")).digest()[:8]
