"""A hold: the readings of a meter that do not fit, as far as a later decision needs them. Pure values.

A hold is a part of the sampler's saved state, so that a restart changes nothing about it.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from gateway.intervals.limits import SLACK_MWH, Shown, most

UNKNOWN = bytes(8)  # in place of a serial number where the meter sends none
JUMPED = 2  # readings that agree: no spike, whatever outage follows
AGREEING = 3  # readings that agree: no accident any longer
LONG_AGREEING = 10

_HOUR_NS = 3600 * 1_000_000_000

Kind = Literal["fell", "rose", "other", "back", "rolled", "exchanged"]
Choice = Literal["exchange", "correction", "before"]


@dataclass(frozen=True, slots=True)
class RegisterEvent:
    """What the registers of `lanes` did in `unit`. Three kinds begin a hold: the registers were lower than
    before ("fell"), higher than a home can have made them ("rose"), or another meter's ("other"). Three end
    it: they fit again ("back"), started again from 0 ("rolled"), or are another meter's for good
    ("exchanged")."""

    kind: Kind
    unit: int
    lanes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading placed in its unit, taken at `wall` and `monotonic` (ns): `energy` are the registers in mWh
    in the order of the stream's energy lanes, None where the reading has none; `serial` is 8 bytes that stand
    for the meter's serial number."""

    unit: int
    wall: int
    monotonic: int
    energy: tuple[int | None, ...] = field(repr=False)
    serial: bytes = field(default=UNKNOWN, repr=False)


class RegisterMark(NamedTuple):
    """A register's value (mWh) at a moment. `monotonic` is None where an earlier run of the gateway read
    it."""

    unit: int
    wall: int
    monotonic: int | None
    register: int

    def elapsed(self, sample: Sample) -> int:
        """The time until `sample` in ns: the longer one of the two clocks, since one may have been set."""
        by_wall = max(0, sample.wall - self.wall)
        return by_wall if self.monotonic is None else max(by_wall, sample.monotonic - self.monotonic)

    def timed(self, sample: Sample) -> RegisterMark:
        """The mark, with the first sample of this run of the gateway as its monotonic time if it has none."""
        return self._replace(monotonic=sample.monotonic) if self.monotonic is None else self


@dataclass(frozen=True, slots=True)
class Misfit:
    """What does not fit in one sample: the lanes that fell, those that rose too much, those whose fall a
    rollover explains, and whether it is so much that an exchange of meters may explain it (`gross`)."""

    fell: frozenset[int]
    rose: frozenset[int]
    rolled: frozenset[int]
    gross: bool

    @property
    def wrong(self) -> frozenset[int]:
        """The lanes that do not fit."""
        return self.fell | self.rose


@dataclass(frozen=True, slots=True)
class LaneRun:
    """One lane's register in a run of held readings: the `first` and the `latest`, how many there were
    (`seen`), in how many it was too high (`rose`) and the first of these registers (`level`), since how many
    a rollover explains it (`rolled`), and whether the latest did not fit (`wrong`)."""

    first: RegisterMark | None = field(default=None, repr=False)
    latest: RegisterMark | None = field(default=None, repr=False)
    seen: int = 0
    rose: int = 0
    level: int | None = field(default=None, repr=False)
    rolled: int = 0
    wrong: bool = False

    def after(self, mark: RegisterMark, *, wrong: bool, rose: bool, rolled: bool) -> LaneRun:
        """The same with one more reading."""
        return LaneRun(
            first=self.first or mark,
            latest=mark,
            seen=self.seen + 1,
            rose=self.rose + rose,
            level=mark.register if rose and self.level is None else self.level,
            rolled=self.rolled + 1 if self.rolled or rolled else 0,
            wrong=wrong,
        )

    def timed(self, sample: Sample) -> LaneRun:
        """The same, with a monotonic time for marks that have none."""
        first, latest = (mark and mark.timed(sample) for mark in (self.first, self.latest))
        return replace(self, first=first, latest=latest)


@dataclass(frozen=True, slots=True)
class Run:
    """Held readings, each of which agrees with the one before: how many, the serial number, and whether one
    was so far off that an exchange of meters may explain it (`gross`)."""

    lanes: tuple[LaneRun, ...]
    readings: int = 0
    serial: bytes = field(default=UNKNOWN, repr=False)
    gross: bool = False

    def after(self, sample: Sample, misfit: Misfit) -> Run:
        """The same with one more reading."""
        lanes = tuple(
            lane
            if register is None
            else lane.after(
                RegisterMark(sample.unit, sample.wall, sample.monotonic, register),
                wrong=number in misfit.wrong,
                rose=number in misfit.rose,
                rolled=number in misfit.rolled,
            )
            for number, (lane, register) in enumerate(zip(self.lanes, sample.energy, strict=True))
        )
        serial = sample.serial if self.serial == UNKNOWN else self.serial
        return Run(lanes, self.readings + 1, serial, self.gross or misfit.gross)

    def reaches(self, sample: Sample, highest_mw: list[int]) -> bool:
        """Whether the registers can have risen from the latest ones here to the sample's."""
        return all(
            lane.latest is None
            or now is None
            or 0 <= now - lane.latest.register <= most(lane.latest.elapsed(sample), power) + SLACK_MWH
            for lane, now, power in zip(self.lanes, sample.energy, highest_mw, strict=True)
        )

    def lasted(self, sample: Sample) -> int:
        """The time from its first reading to `sample`, in ns."""
        return max(lane.first.elapsed(sample) for lane in self.lanes if lane.first is not None)

    def timed(self, sample: Sample) -> Run:
        """The same, with a monotonic time for marks that have none."""
        return replace(self, lanes=tuple(lane.timed(sample) for lane in self.lanes))


@dataclass(frozen=True, slots=True)
class LaneMemory:
    """What is remembered of one lane between runs of the gateway, in registers of the present meter.

    `believed` is the latest believed register where it is later than the last unit that came out, `shown` the
    power that the lane has shown. `owed` are the mWh by which the owner let the register be lower than it
    was: it counts again once it has risen by them. `ceiling` is a register that was too high three times in
    a run, and that no passing of time makes believable. `wrong` says whether the lane did not fit when it
    was last read."""

    believed: RegisterMark | None = field(default=None, repr=False)
    shown: Shown = field(default=Shown(), repr=False)
    owed: int = field(default=0, repr=False)
    ceiling: int | None = field(default=None, repr=False)
    wrong: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What a validator remembers between runs of the gateway: a LaneMemory for each lane (none: nothing is
    known), the event that began the hold, if readings are held, and the present run of held readings."""

    lanes: tuple[LaneMemory, ...] = ()
    held: RegisterEvent | None = None
    run: Run | None = None

    @property
    def milestone(self) -> Hashable:
        """What of a hold must be durable before the next unit is sealed: it changes when a hold begins, ends,
        or comes to another conclusion, and once an hour, not with each reading."""
        run = None
        if self.run is not None and self.run.readings >= JUMPED:
            lanes = tuple(
                (
                    lane.first and (lane.first.unit, lane.first.register),
                    lane.latest and lane.latest.wall // _HOUR_NS,
                    min(lane.seen, AGREEING),
                    min(lane.rolled, AGREEING),
                    lane.wrong,
                )
                for lane in self.run.lanes
            )
            run = (lanes, self.run.serial, self.run.gross, min(self.run.readings, LONG_AGREEING))
        return self.held, run, tuple(lane.ceiling for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class HeldLane:
    """One lane of a hold: the last believed register, and the first and the latest of the held run, None
    where that run has none. `owed` is as in LaneMemory."""

    lane: str
    believed: RegisterMark | None = field(repr=False)
    first: RegisterMark | None = field(repr=False)
    latest: RegisterMark | None = field(repr=False)
    owed: int = field(default=0, repr=False)


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as its owner is shown it: the event that began it, and its lanes."""

    event: RegisterEvent
    lanes: tuple[HeldLane, ...]


def counted(lane: HeldLane) -> dict[Choice, int]:
    """The mWh that each choice counts from the last believed register to the latest held one."""
    if lane.believed is None or lane.first is None or lane.latest is None:
        return {"exchange": 0, "correction": 0, "before": 0}
    return {
        "exchange": lane.latest.register - lane.first.register,
        "correction": max(0, lane.latest.register - lane.believed.register - lane.owed),
        "before": 0,
    }
