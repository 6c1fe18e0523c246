"""The validation of readings. A meter's energy registers only rise, and no faster than a home can draw: a
reading that does otherwise, or has another meter's serial number, is held. Pure.

If a later reading fits, the held ones are dropped. Otherwise a run of held readings that agree with each
other decides what happened: a register started again from 0 ("rolled": three readings), or another meter
answers ("exchanged": three with its serial number; or, where no serial number distinguishes the meters and
the registers are far from where they were, ten over a quarter of an hour). What the old and the new meter
counted between the last believed reading and the first of the run is not known and counts as 0. A fall of
less than 20 kWh without another serial number is never an exchange, however long it lasts.

A register that jumped up and stays there does not become believable with time: a reading that continues held
ones must fit within the time since the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

UNKNOWN = bytes(8)  # in place of a serial number where the meter sends none

_SLACK_MWH = 10_000_000  # registers of coarse resolution jump
_ROLLOVER_SLACK_MWH = 200_000
_EXCHANGE_FALL_MWH = 20_000_000
_AGREEING = 3
_LONG_AGREEING, _LONG_NS = 10, 15 * 60 * 1_000_000_000

Kind = Literal["fell", "rose", "other", "back", "rolled", "exchanged"]


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
    """A register's value at a moment. `monotonic` is None where an earlier run of the gateway read it."""

    unit: int
    wall: int
    monotonic: int | None
    register: int

    def most_until(self, sample: Sample) -> int:
        """The most mWh that a home can draw until `sample`: 1 MW, for the longer time of the two clocks."""
        elapsed = max(0, sample.wall - self.wall)
        if self.monotonic is not None:
            elapsed = max(elapsed, sample.monotonic - self.monotonic)
        return elapsed // 3600  # 1 MW is 1 mWh in 3600 ns


@dataclass(frozen=True, slots=True)
class Total:
    """The total energy of a lane up to the end of `unit`; it only rises."""

    lane: int
    unit: int
    mwh: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a sample: whether it is believed, and the totals that are newly known."""

    believed: bool
    totals: tuple[Total, ...] = ()
    events: tuple[RegisterEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class _Misfit:
    """What does not fit in one sample: the lanes that fell, those that rose too much, those whose fall a
    rollover explains, and whether it is so much that an exchange of meters may explain it (`gross`)."""

    fell: set[int]
    rose: set[int]
    rolled: set[int]
    gross: bool


class _Run:
    """Held samples, each of which agrees with the one before."""

    def __init__(self, lanes: int, began: int) -> None:
        self.began = began  # ns, monotonic
        self.readings = 0
        self.serial = UNKNOWN
        self.gross = False
        self.wrong: set[int] = set()  # the lanes that did not fit when they were last read
        self.rolled = [0] * lanes  # of each lane: how many samples since a rollover explains them
        self.first: list[RegisterMark | None] = [None] * lanes
        self.latest: list[RegisterMark | None] = [None] * lanes
        self.seen = [0] * lanes

    def add(self, sample: Sample, misfit: _Misfit) -> None:
        self.readings += 1
        self.gross = self.gross or misfit.gross
        if self.serial == UNKNOWN:
            self.serial = sample.serial
        for lane, register in enumerate(sample.energy):
            if register is not None:
                mark = RegisterMark(sample.unit, sample.wall, sample.monotonic, register)
                self.first[lane] = self.first[lane] or mark
                self.latest[lane] = mark
                self.seen[lane] += 1
                if self.rolled[lane] or lane in misfit.rolled:
                    self.rolled[lane] += 1
                self.wrong -= {lane}
        self.wrong |= misfit.fell | misfit.rose

    def reaches(self, sample: Sample) -> bool:
        """Whether the registers can have risen from the latest ones here to the sample's."""
        return all(
            last is None or now is None or 0 <= now - last.register <= last.most_until(sample) + _SLACK_MWH
            for last, now in zip(self.latest, sample.energy, strict=True)
        )


class Validator:
    """The validator of one meter's energy registers, one for each of `lanes`. `rollover` gives the mWh at
    which a lane's register starts again from 0, where that is known; `marks` and `serial` are the last that
    an earlier run believed.

    `offsets` are the totals less the registers, as totals keep rising over rollovers and exchanges; `held` is
    the event since which samples are held, None while they are believed."""

    def __init__(
        self,
        lanes: tuple[str, ...],
        rollover: Mapping[str, int],
        marks: tuple[RegisterMark, ...] = (),
        serial: bytes = UNKNOWN,
    ) -> None:
        self.offsets = [0] * len(lanes)
        self.serial = serial
        self.held: RegisterEvent | None = None
        self._lanes = lanes
        self._rollover = rollover
        self._begun = False
        self._marks: list[RegisterMark | None] = list(marks) or [None] * len(lanes)
        self._wrong: set[int] = set()  # the lanes that did not fit when they were last read
        self._run: _Run | None = None

    @property
    def known_until(self) -> int | None:
        """The last unit at whose end every register is known; None until each has been read."""
        units = [mark.unit for mark in self._marks if mark is not None]
        return min(units) if len(units) == len(self._marks) else None

    def begin(self) -> None:
        """From now on units depend on what was believed: ten samples that agree no longer outweigh it."""
        self._begun = True

    def judge(self, sample: Sample) -> Judgement:
        """Believe a sample, or hold it."""
        self._marks = [
            mark._replace(monotonic=sample.monotonic) if mark and mark.monotonic is None else mark
            for mark in self._marks
        ]
        sample = self._unknown_part(sample)
        other = _differ(sample.serial, self.serial)
        if self._run and _differ(sample.serial, self._run.serial):
            self._run = None
        if not any(register is not None for register in sample.energy):
            return Judgement(not other)
        run = self._run if self._run and self._run.reaches(sample) else None
        misfit = self._misfit(sample, run)
        wrong = misfit.fell | misfit.rose
        if not other:
            self._wrong -= {lane for lane, register in enumerate(sample.energy) if register is not None}
            self._wrong |= wrong
            if not self._wrong:
                return Judgement(True, self._believe(sample), self._end("back", sample.unit))
        began: tuple[RegisterEvent, ...] = ()
        if self.held is None:
            kind: Kind = "fell" if misfit.fell else "rose" if misfit.rose else "other"
            self.held = self._event(kind, sample.unit, misfit.fell or misfit.rose)
            began = (self.held,)
        self._run = run or _Run(len(self._lanes), sample.monotonic)
        self._run.add(sample, misfit)
        judged = self._settle(self._run, sample)
        return Judgement(judged.believed, judged.totals, began + judged.events)

    def _unknown_part(self, sample: Sample) -> Sample:
        """The sample without registers already known in its unit: only the first reading in a unit counts."""
        energy = tuple(
            None if mark is not None and sample.unit <= mark.unit else register
            for mark, register in zip(self._marks, sample.energy, strict=True)
        )
        return Sample(sample.unit, sample.wall, sample.monotonic, energy, sample.serial)

    def _misfit(self, sample: Sample, run: _Run | None) -> _Misfit:
        """What does not fit in a sample that continues `run`."""
        fell: set[int] = set()
        rose: set[int] = set()
        rolled: set[int] = set()
        gross = False
        for lane, (mark, register) in enumerate(zip(self._marks, sample.energy, strict=True)):
            if mark is None or register is None:
                continue
            rise = register - mark.register
            since = run.latest[lane] if run and lane in run.wrong else mark
            most = (since or mark).most_until(sample)
            if rise < 0:
                fell.add(lane)
                gross = gross or rise <= -_EXCHANGE_FALL_MWH
                modulus = self._rollover.get(self._lanes[lane])
                if modulus is not None and 0 <= modulus + rise <= most + _ROLLOVER_SLACK_MWH:
                    rolled.add(lane)
            elif rise > most + _SLACK_MWH:
                rose.add(lane)
                gross = True
        return _Misfit(fell, rose, rolled, gross)

    def _settle(self, run: _Run, sample: Sample) -> Judgement:
        """Believe the held samples if by now they show what happened; `sample` is the last of them."""
        if not _differ(run.serial, self.serial) and all(
            run.rolled[lane] >= _AGREEING for lane in self._wrong
        ):
            rolled = set(self._wrong)
            for lane in rolled:
                self.offsets[lane] += self._rollover[self._lanes[lane]]
            return Judgement(True, self._adopt(run.latest), self._end("rolled", sample.unit, rolled))
        if self._is_exchange(run, sample):
            for lane, (mark, first) in enumerate(zip(self._marks, run.first, strict=True)):
                if mark is not None and first is not None:
                    self.offsets[lane] += mark.register - first.register
            totals = self._adopt(run.first) + self._adopt(run.latest)
            self.serial = run.serial
            return Judgement(True, totals, self._end("exchanged", sample.unit))
        return Judgement(False)

    def _is_exchange(self, run: _Run, sample: Sample) -> bool:
        if min(run.seen) < _AGREEING:
            return False
        if _differ(run.serial, self.serial):
            return True
        if not run.gross or run.readings < _LONG_AGREEING:
            return False
        named = UNKNOWN not in (run.serial, self.serial)
        return not self._begun or (not named and sample.monotonic - run.began >= _LONG_NS)

    def _believe(self, sample: Sample) -> tuple[Total, ...]:
        if self.serial == UNKNOWN:
            self.serial = sample.serial
        return self._adopt(
            [
                None
                if register is None
                else RegisterMark(sample.unit, sample.wall, sample.monotonic, register)
                for register in sample.energy
            ]
        )

    def _adopt(self, marks: list[RegisterMark | None]) -> tuple[Total, ...]:
        totals = []
        for lane, (mark, now) in enumerate(zip(self._marks, marks, strict=True)):
            if now is not None and (mark is None or now.unit > mark.unit):
                self._marks[lane] = now
                totals.append(Total(lane, now.unit, now.register + self.offsets[lane]))
        return tuple(totals)

    def _end(self, kind: Kind, unit: int, lanes: set[int] | None = None) -> tuple[RegisterEvent, ...]:
        """End the hold, if there is one; the event that says so."""
        held, self.held, self._run, self._wrong = self.held, None, None, set()
        return () if held is None else (self._event(kind, unit, lanes or set(range(len(self._lanes)))),)

    def _event(self, kind: Kind, unit: int, lanes: set[int]) -> RegisterEvent:
        return RegisterEvent(kind, unit, tuple(name for n, name in enumerate(self._lanes) if n in lanes))


def _differ(one: bytes, other: bytes) -> bool:
    return UNKNOWN not in (one, other) and one != other
