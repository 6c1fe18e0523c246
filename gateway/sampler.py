"""Readings to units: differences of registers, gaps filled, clocks and meters that misbehave (PROTOCOL.md,
rules 4 and 5). Pure: no clock, no I/O, no logging.

A reading taken in unit u is the register at the end of u, so d[u] = register(u) - register(last read
unit). Only the first reading in a unit counts; what a later one shows comes out with the next unit.
Units come out dense and in order, each once, and over any of them the energy is the registers'
difference to the mWh.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.chain.layout import Layout
from gateway.errors import GatewayError, MeterError
from gateway.meters.reading import Reading

ENERGY = ("import", "export")

_MOST_WAITING = 86_400  # readings kept while the clock is not trusted: a day of seconds
_CLOCK_SET_NS = 10_000_000_000  # two clocks disagree by less only because they are not read at once
_STATE = struct.Struct(">BBqqq")  # version, which lanes (bit 0 import, bit 1 export), unit, import, export
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Units:
    """Consecutive units from `first` on: for each lane an int64 for each unit, all of one length. The
    values are the home's own: no repr shows them."""

    first: int
    lanes: dict[str, NDArray[np.int64]] = field(repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.lanes.values())))


@dataclass(frozen=True, slots=True)
class RegisterEvent:
    """From `unit` on the registers of `lanes` stood lower than before ("fell"; readings are held, no unit
    comes out), or stood no lower again ("back")."""

    kind: Literal["fell", "back"]
    unit: int
    lanes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SamplerState:
    """The last unit that came out and the energy registers at its end, in mWh; a lane that the stream does
    not have is None. Whoever has it can go on without losing a mWh."""

    unit: int
    imported: int | None = field(repr=False)
    exported: int | None = field(repr=False)

    def to_bytes(self) -> bytes:
        """26 bytes, whatever the values."""
        present = (self.imported is not None) | (self.exported is not None) << 1
        return _STATE.pack(_VERSION, present, self.unit, self.imported or 0, self.exported or 0)

    @classmethod
    def from_bytes(cls, data: bytes) -> SamplerState:
        if len(data) != _STATE.size or data[0] != _VERSION or data[1] > 3:
            raise GatewayError("the sampler's saved state is not of a kind that this version can read")
        _, present, unit, imported, exported = _STATE.unpack(data)
        return cls(unit, imported if present & 1 else None, exported if present & 2 else None)


class _Read(NamedTuple):
    """A believed reading: `energy` in the order of the stream's energy lanes."""

    unit: int
    energy: tuple[int, ...]
    power: int


class _Waiting(NamedTuple):
    monotonic: int
    energy: tuple[int, ...]
    power: int


class Sampler:
    """One stream's readings to its units: `add` each reading, then `take` units until there are none.

    A new stream has no `start` and no `state`: it starts at the link boundary after its first trusted
    reading. One that has started needs the `state` that belongs to its last unit.
    """

    def __init__(
        self,
        layout: Layout,
        lanes: Iterable[str],
        start: int | None = None,
        state: SamplerState | None = None,
    ) -> None:
        self._layout = layout
        self._lanes = tuple(lanes)
        self._energies = tuple(lane for lane in self._lanes if lane in ENERGY)
        self._start = start
        self._next = 0  # the next unit to come out, once there is a start
        self._origin: _Read | None = None  # the believed reading at or before the last unit that came out
        self._coming: deque[_Read] = deque()  # believed, not yet come out whole
        self._believed: _Read | None = None  # the newest of all
        self._fallen = False
        self._waiting: list[_Waiting] = []
        if start is not None or state is not None:
            self._resume(start, state)

    @property
    def start(self) -> int | None:
        """The stream's first unit; None until a trusted reading decides it."""
        return self._start

    def state(self) -> SamplerState | None:
        """What belongs to the last unit that `take` gave; None before the first."""
        if self._start is None or self._next == self._start or self._origin is None:
            return None
        last, energy = self._next - 1, self._origin.energy
        if last > self._origin.unit:  # within a gap that comes out in parts
            whole = self._coming[0]
            k, n = last - self._origin.unit, whole.unit - self._origin.unit
            energy = tuple(a + (b - a) * k // n for a, b in zip(energy, whole.energy, strict=True))
        values = dict(zip(self._energies, energy, strict=True))
        return SamplerState(last, values.get("import"), values.get("export"))

    def add(
        self, reading: Reading, *, trusted: bool, wall_now: int, monotonic_now: int
    ) -> tuple[RegisterEvent, ...]:
        """Take a reading in. `trusted` says whether the wall clock is right now, `wall_now` and
        `monotonic_now` (ns) are both clocks now. Until it is right readings wait; then each is placed by
        the monotonic clock, and so is one whose wall time was taken before the clock was set."""
        energy, power = self._values(reading)
        if not trusted:
            if len(self._waiting) >= _MOST_WAITING:
                del self._waiting[1::2]
            self._waiting.append(_Waiting(reading.monotonic, energy, power))
            return ()
        ahead = wall_now - monotonic_now
        events = []
        for waiting in self._waiting:
            events += self._place(waiting.monotonic + ahead, waiting.energy, waiting.power)
        self._waiting.clear()
        placed = reading.monotonic + ahead
        was_set = abs(placed - reading.wall) >= _CLOCK_SET_NS
        return (*events, *self._place(placed if was_set else reading.wall, energy, power))

    def take(self, most: int = 86_400) -> Units | None:
        """The next units, `most` of them at most, or None. Call it until None comes: the rest of a long
        gap waits for the next call."""
        if not self._coming:
            return None
        first, end = self._next, min(self._coming[-1].unit + 1, self._next + most)
        lanes = {lane: np.zeros(end - first, np.int64) for lane in self._lanes}
        while self._next < end:
            self._take_from_gap(lanes, first, end)
        return Units(first, lanes)

    def _take_from_gap(self, lanes: dict[str, NDArray[np.int64]], first: int, end: int) -> None:
        """Fill in `lanes`, which begin with unit `first`, up to the first coming reading or to `end`."""
        assert self._origin is not None
        origin, read = self._origin, self._coming[0]
        after = min(read.unit + 1, end)
        n, done, upto = read.unit - origin.unit, self._next - 1 - origin.unit, after - 1 - origin.unit
        for lane, a, b in zip(self._energies, origin.energy, read.energy, strict=True):
            lanes[lane][self._next - first : after - first] = shares(b - a, n, done, upto)
        if after > read.unit:
            for lane, value in (("power", read.power), ("count", 1)):
                if lane in lanes:
                    lanes[lane][read.unit - first] = value
            self._origin = self._coming.popleft()
        self._next = after

    def _resume(self, start: int | None, state: SamplerState | None) -> None:
        if start is None or state is None or state.unit < start:
            raise GatewayError(
                "a stream that has started can only go on from the registers at its last unit, and these are "
                "not known: restore the ledger they are in, or begin a new stream"
            )
        values = {"import": state.imported, "export": state.exported}
        energy = []
        for lane in self._energies:
            value = values[lane]
            if value is None:
                raise GatewayError(
                    f"the saved registers have no {lane}: a stream's lanes stay what they were"
                )
            energy.append(value)
        self._origin = self._believed = _Read(state.unit, tuple(energy), 0)
        self._next = state.unit + 1

    def _values(self, reading: Reading) -> tuple[tuple[int, ...], int]:
        try:
            energy = tuple(reading.registers[lane] for lane in self._energies)
            return energy, reading.registers["power"] if "power" in self._lanes else 0
        except KeyError as missing:
            raise MeterError(
                f"meter {reading.meter} gave no {missing.args[0]}, a lane of its stream"
            ) from None

    def _place(self, wall: int, energy: tuple[int, ...], power: int) -> list[RegisterEvent]:
        """Believe a reading of the wall time `wall`, or hold it."""
        read = _Read(self._layout.unit_at(wall), energy, power)
        before = self._believed
        events = []
        if before is not None:
            if read.unit <= before.unit:
                return []
            fallen = tuple(
                lane
                for lane, now, was in zip(self._energies, energy, before.energy, strict=True)
                if now < was
            )
            if bool(fallen) != self._fallen:
                self._fallen = bool(fallen)
                events.append(
                    RegisterEvent("fell" if fallen else "back", read.unit, fallen or self._energies)
                )
            if fallen:
                return events
        self._believed = read
        if self._start is None:
            self._start = self._next = (self._layout.link(read.unit) + 1) * self._layout.link_units
        if read.unit < self._start:
            self._origin = read
        else:
            self._coming.append(read)
        return events


def shares(energy: int, units: int, after: int, upto: int) -> NDArray[np.int64]:
    """`energy` spread over `units` units in proportion to time, so that the first k together have
    floor(energy * k / units): the shares of units `after` + 1 to `upto`, an int64 each."""
    each, rest = divmod(energy, units)
    carried = rest * after % units
    # rest < units, so the product stays below units * (upto - after): far from 2^63 for 10^5 units at a time
    risen = (carried + rest * np.arange(upto - after + 1, dtype=np.int64)) // units
    return each + np.diff(risen)
