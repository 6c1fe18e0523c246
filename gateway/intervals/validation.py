"""Which readings to believe. A meter's energy registers only rise, and no faster than a home can draw: a
reading that does otherwise, or that names another meter, is held. Pure.

A reading that fits again ends that as if the held ones had never been. Else only readings that are held,
and agree with each other one after the other, say what happened: a register started again from 0
("rolled", three of them), or another meter answers ("exchanged": three that name it; or, where no number
tells meters apart and the registers are far from where they were, ten over a quarter of an hour). What
the old and the new meter counted between the last believed and the first of those is not known and counts
0. A fall of less than 20 kWh under the same name is no exchange, however long it lasts.

A register that jumped up and stays there does not become believable by waiting: a reading that continues
held ones must fit within the time since the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

UNKNOWN = bytes(8)  # stands for the number of a meter that does not tell it

_SLACK_MWH = 10_000_000  # registers of coarse resolution jump
_ROLLOVER_SLACK_MWH = 200_000
_EXCHANGE_FALL_MWH = 20_000_000
_AGREEING = 3
_LONG_AGREEING, _LONG_NS = 10, 15 * 60 * 1_000_000_000

Kind = Literal["fell", "rose", "other", "back", "rolled", "exchanged"]


@dataclass(frozen=True, slots=True)
class RegisterEvent:
    """What the registers of `lanes` did in `unit`. From it on readings are held: they stood lower than
    before ("fell"), higher than a home can have made them ("rose"), or were another meter's ("other").
    With it that ends: they fit again ("back"), started again from 0 ("rolled"), or are another meter's for
    good ("exchanged")."""

    kind: Kind
    unit: int
    lanes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading placed in its unit, taken at `wall` and `monotonic` (ns): `energy` are the registers in mWh
    in the order of the stream's energy lanes, None where the reading has none; `serial` 8 bytes that stand
    for the meter's number."""

    unit: int
    wall: int
    monotonic: int
    energy: tuple[int | None, ...] = field(repr=False)
    serial: bytes = field(default=UNKNOWN, repr=False)


class RegisterMark(NamedTuple):
    """Where a register stood. `monotonic` is None where another run of the gateway saw it."""

    unit: int
    wall: int
    monotonic: int | None
    register: int

    def most_until(self, sample: Sample) -> int:
        """The mWh that a home can draw until then: 1 MW, by whichever clock says that it was longer."""
        elapsed = max(0, sample.wall - self.wall)
        if self.monotonic is not None:
            elapsed = max(elapsed, sample.monotonic - self.monotonic)
        return elapsed // 3600  # 1 MW is 1 mWh in 3600 ns


@dataclass(frozen=True, slots=True)
class Total:
    """Up to the end of `unit` the energy of a lane was `mwh` in all: it only rises."""

    lane: int
    unit: int
    mwh: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Judgement:
    """`believed` says whether the sample is; `totals` are what is known now that was not."""

    believed: bool
    totals: tuple[Total, ...] = ()
    events: tuple[RegisterEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class _Misfit:
    """The lanes of one sample that stand lower than believed or rose too much; those whose fall a rollover
    explains; whether an exchange would explain it all."""

    fell: set[int]
    rose: set[int]
    rolled: set[int]
    gross: bool


class _Run:
    """Samples that are held and agree with each other, one after the other."""

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
        """Whether the registers can have come from these to the sample's."""
        return all(
            last is None or now is None or 0 <= now - last.register <= last.most_until(sample) + _SLACK_MWH
            for last, now in zip(self.latest, sample.energy, strict=True)
        )


class Validator:
    """One meter's energy registers, of `lanes`. `rollover` gives the mWh at which a lane's register starts
    again from 0, where that is known; `marks` and `serial` are what an earlier run believed last.

    `offsets` is what each register lacks to its total, which goes on rising over rollovers and exchanges;
    `held` the event since which samples are held, None while they are believed."""

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
        """Units depend on what was believed from now on: ten samples that agree no longer outweigh it."""
        self._begun = True

    def judge(self, sample: Sample) -> Judgement:
        """Believe a sample, or hold it."""
        self._marks = [
            mark._replace(monotonic=sample.monotonic) if mark and mark.monotonic is None else mark
            for mark in self._marks
        ]
        sample = self._news(sample)
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

    def _news(self, sample: Sample) -> Sample:
        """The sample without what its unit is known for already: the first reading in a unit counts."""
        energy = tuple(
            None if mark is not None and sample.unit <= mark.unit else register
            for mark, register in zip(self._marks, sample.energy, strict=True)
        )
        return Sample(sample.unit, sample.wall, sample.monotonic, energy, sample.serial)

    def _misfit(self, sample: Sample, run: _Run | None) -> _Misfit:
        """What is wrong with a sample that continues `run`."""
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
        """Believe held samples that say by now what happened, `sample` the last of them."""
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
        """Nothing is held any more."""
        held, self.held, self._run, self._wrong = self.held, None, None, set()
        return () if held is None else (self._event(kind, unit, lanes or set(range(len(self._lanes)))),)

    def _event(self, kind: Kind, unit: int, lanes: set[int]) -> RegisterEvent:
        return RegisterEvent(kind, unit, tuple(name for n, name in enumerate(self._lanes) if n in lanes))


def _differ(one: bytes, other: bytes) -> bool:
    return UNKNOWN not in (one, other) and one != other
