"""A sampler's state, saved between runs: the last unit, the energy registers at its end, and what the
validation of readings remembers, a hold above all."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from gateway.chain.layout import ENERGY
from gateway.errors import GatewayError
from gateway.intervals.hold import (
    UNKNOWN,
    Kind,
    LaneMemory,
    LaneRun,
    Memory,
    RegisterEvent,
    RegisterMark,
    Run,
)
from gateway.intervals.limits import Shown

_STATE_1 = struct.Struct(">BBqqq")  # version, which lanes (bit 0 import, bit 1 export), unit, import, export
_STATE_2 = struct.Struct(">BBqqq8s")  # the same, and the meter's serial number
_NONE = -(2**63)  # in place of a number that is not known
_KINDS: tuple[Kind, ...] = ("fell", "rose", "other")  # by number: those that begin a hold
_HELD = struct.Struct(">qqqqq8s")  # kind (-1: none), unit, lanes; readings (-1: no run), gross, serial number
_LANE = struct.Struct(">9q")  # believed (3), shown (3), owed, ceiling, wrong
_LANE_RUN = struct.Struct(">11q")  # first (3), latest (3), seen, rose, level, rolled, wrong
_STATE_3_SIZE = _STATE_2.size + _HELD.size + len(ENERGY) * (_LANE.size + _LANE_RUN.size)


@dataclass(frozen=True, slots=True)
class SamplerState:
    """The last unit that came out and the energy registers at its end, in mWh, None for a lane that the
    stream does not have. `serial` is 8 bytes of the SHA-256 of their meter's serial number, zeros where that
    is not known. `memory` is what the validator remembers: which readings are held, and what the registers
    have shown. A sampler continues from this state without losing a mWh.

    If a rollover or an exchange of meters lies between that unit and the last reading, the registers are as
    the present meter would have shown them, and may be negative."""

    unit: int
    imported: int | None = field(repr=False)
    exported: int | None = field(repr=False)
    serial: bytes = field(default=UNKNOWN, repr=False)
    memory: Memory = field(default=Memory(), repr=False, compare=False)

    @property
    def registers(self) -> dict[str, int]:
        """The energy registers by lane, in mWh, without those that the stream does not have."""
        values = {"import": self.imported, "export": self.exported}
        return {lane: value for lane, value in values.items() if value is not None}

    def moved(self, unit: int, gained: dict[str, int]) -> SamplerState:
        """The state at another unit of the stream, where the registers are higher by `gained` mWh, by lane.
        A hold that began by then is over, since a unit was sealed after it."""
        memory = self.memory
        if memory.held is not None and memory.held.unit <= unit:
            lanes = tuple(LaneMemory(shown=lane.shown, owed=lane.owed) for lane in memory.lanes)
            memory = Memory(lanes)
        return replace(
            self,
            unit=unit,
            imported=None if self.imported is None else self.imported + gained["import"],
            exported=None if self.exported is None else self.exported + gained["export"],
            memory=memory,
        )

    def to_bytes(self) -> bytes:
        """The bytes of format 3, as many whatever the values; of format 2, 34 bytes, where the memory is
        empty."""
        present = (self.imported is not None) | (self.exported is not None) << 1
        version = 2 if self.memory == Memory() else 3
        data = _STATE_2.pack(version, present, self.unit, self.imported or 0, self.exported or 0, self.serial)
        return data if version == 2 else data + _memory_bytes(self.memory, tuple(self.registers))

    @classmethod
    def from_bytes(cls, data: bytes) -> SamplerState:
        """The state from the bytes of `to_bytes`, or from 26 bytes, format 1, without a serial number."""
        kind = (len(data), *data[:1])
        if kind not in ((_STATE_1.size, 1), (_STATE_2.size, 2), (_STATE_3_SIZE, 3)) or data[1] > 3:
            raise GatewayError(
                "this version cannot read the sampler's saved state: expected format 1, 2 or 3"
            )
        if kind[1] == 1:
            data = b"\x02" + data[1:] + UNKNOWN
        _, present, unit, imported, exported, serial = _STATE_2.unpack_from(data)
        state = cls(unit, imported if present & 1 else None, exported if present & 2 else None, serial)
        if kind[1] < 3:
            return state
        try:
            return replace(state, memory=_memory(data[_STATE_2.size :], tuple(state.registers)))
        except (IndexError, ValueError):
            raise GatewayError(
                "the sampler's saved state is damaged: restore the ledger from a backup"
            ) from None


def _memory_bytes(memory: Memory, names: tuple[str, ...]) -> bytes:
    held, run = memory.held, memory.run
    parts = [
        _HELD.pack(
            -1 if held is None else _KINDS.index(held.kind),
            0 if held is None else held.unit,
            0 if held is None else sum(1 << ENERGY.index(lane) for lane in held.lanes),
            -1 if run is None else run.readings,
            0 if run is None else run.gross,
            UNKNOWN if run is None else run.serial,
        )
    ]
    lanes = dict(zip(names, memory.lanes, strict=False))
    runs = dict(zip(names, run.lanes if run else (), strict=False))
    for name in ENERGY:
        lane, of_run = lanes.get(name, LaneMemory()), runs.get(name, LaneRun())
        shown = lane.shown.highest_mw, lane.shown.since, lane.shown.register
        parts.append(
            _LANE.pack(
                *_mark_numbers(lane.believed),
                *map(_number, shown),
                lane.owed,
                _number(lane.ceiling),
                lane.wrong,
            )
        )
        parts.append(
            _LANE_RUN.pack(
                *_mark_numbers(of_run.first),
                *_mark_numbers(of_run.latest),
                of_run.seen,
                of_run.rose,
                _number(of_run.level),
                of_run.rolled,
                of_run.wrong,
            )
        )
    return b"".join(parts)


def _memory(data: bytes, names: tuple[str, ...]) -> Memory:
    kind, unit, which, readings, gross, serial = _HELD.unpack_from(data)
    lanes: list[LaneMemory] = []
    runs: list[LaneRun] = []
    at = _HELD.size
    for name in ENERGY:
        if name in names:
            numbers = iter(_LANE.unpack_from(data, at))
            lanes.append(
                LaneMemory(
                    believed=_mark(numbers),
                    shown=Shown(next(numbers), _maybe(next(numbers)), next(numbers)),
                    owed=next(numbers),
                    ceiling=_maybe(next(numbers)),
                    wrong=bool(next(numbers)),
                )
            )
            numbers = iter(_LANE_RUN.unpack_from(data, at + _LANE.size))
            runs.append(
                LaneRun(
                    first=_mark(numbers),
                    latest=_mark(numbers),
                    seen=next(numbers),
                    rose=next(numbers),
                    level=_maybe(next(numbers)),
                    rolled=next(numbers),
                    wrong=bool(next(numbers)),
                )
            )
        at += _LANE.size + _LANE_RUN.size
    named = tuple(name for n, name in enumerate(ENERGY) if which >> n & 1)
    return Memory(
        tuple(lanes),
        None if kind < 0 else RegisterEvent(_KINDS[kind], unit, named),
        None if readings < 0 else Run(tuple(runs), readings, serial, bool(gross)),
    )


def _number(value: int | None) -> int:
    return _NONE if value is None else value


def _maybe(number: int) -> int | None:
    return None if number == _NONE else number


def _mark_numbers(mark: RegisterMark | None) -> tuple[int, int, int]:
    """A mark's unit, wall time and register: its monotonic time means nothing to a later run."""
    return (_NONE, 0, 0) if mark is None else (mark.unit, mark.wall, mark.register)


def _mark(numbers: Iterator[int]) -> RegisterMark | None:
    unit, wall, register = next(numbers), next(numbers), next(numbers)
    return None if unit == _NONE else RegisterMark(unit, wall, None, register)
