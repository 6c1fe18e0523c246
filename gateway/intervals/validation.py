"""The validation of readings. A meter's energy registers only rise, and no faster than a home can draw
(`gateway.intervals.limits`): a reading that does otherwise, or has another meter's serial number, is held.
Pure.

If a later reading fits, the held ones are dropped. Otherwise a run of held readings that agree with each
other decides what happened: a register started again from 0 ("rolled": three readings), or another meter
answers ("exchanged": three with its serial number; or, where no serial number distinguishes the meters and
the registers are far from where they were, ten over a quarter of an hour). What the old and the new meter
counted between the last believed reading and the first of the run is not known and counts as 0. A fall of
less than 20 kWh without another serial number is never an exchange, however long it lasts, nor is a register
that became 10, 100 or 1000 times as high: that is the same register with another scale.

A register that jumped up and stays there does not become believable with time, nor by a restart, since the
hold is saved. A reading that continues held ones must fit within the time since the one before it. A register
that was too high in two readings of a run is a ceiling for the rest of the run: whatever the time, a reading
at it or above is held. Once it was in three, the ceiling outlives the run, until a lower reading fits or the
owner decides (`Validator.accept`).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from gateway.errors import UsageError
from gateway.intervals.hold import (
    AGREEING,
    JUMPED,
    LONG_AGREEING,
    UNKNOWN,
    Choice,
    HeldLane,
    Hold,
    Kind,
    LaneMemory,
    LaneRun,
    Memory,
    Misfit,
    RegisterEvent,
    RegisterMark,
    Run,
    Sample,
)
from gateway.intervals.limits import SLACK_MWH, Shown, most, unlimited

_ROLLOVER_SLACK_MWH = 200_000
_EXCHANGE_FALL_MWH = 20_000_000
_LONG_NS = 15 * 60 * 1_000_000_000
_SCALES = (10, 100, 1000)
_SCALED_FROM_MWH = 10_000_000  # a lower register is too near 0 to be recognised at another scale


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


_NOTHING = Memory()


class Validator:
    """The validator of one meter's energy registers, one for each of `lanes`. `rollover` gives the mWh at
    which a lane's register starts again from 0, where that is known; `marks` and `serial` are the last that
    an earlier run believed, and `memory` is what else it knew.

    `offsets` are the totals less the registers, as totals keep rising over rollovers and exchanges; `held` is
    the event since which samples are held, None while they are believed."""

    def __init__(
        self,
        lanes: tuple[str, ...],
        rollover: Mapping[str, int],
        marks: tuple[RegisterMark, ...] = (),
        serial: bytes = UNKNOWN,
        memory: Memory = _NOTHING,
    ) -> None:
        self.offsets = [0] * len(lanes)
        self.serial = serial
        self.held: RegisterEvent | None = memory.held
        self._lanes = lanes
        self._rollover = rollover
        self._begun = False
        self._marks: list[RegisterMark | None] = list(marks) or [None] * len(lanes)
        self._run: Run | None = memory.run
        known = memory.lanes or (LaneMemory(),) * len(lanes)
        # The latest believed marks, where an earlier run believed more than has come out; else None.
        self._tops = [
            lane.believed if lane.believed and mark and lane.believed.unit > mark.unit else None
            for lane, mark in zip(known, self._marks, strict=True)
        ]
        self._known = [0 if mark is None else mark.register for mark in self._marks]  # the totals there
        self._shown = [lane.shown for lane in known]
        self._owed = [lane.owed for lane in known]
        self._ceilings = [lane.ceiling for lane in known]
        self._wrong = {number for number, lane in enumerate(known) if lane.wrong}  # when they were last read

    @property
    def known_until(self) -> int | None:
        """The last unit at whose end every register is known; None until each has been read."""
        units = [mark.unit for mark in self._marks if mark is not None]
        return min(units, default=None) if len(units) == len(self._marks) else None

    @property
    def hold(self) -> Hold | None:
        """What is held, as its owner is shown it; None while samples are believed."""
        if self.held is None:
            return None
        runs = self._run.lanes if self._run else (LaneRun(),) * len(self._lanes)
        return Hold(
            self.held,
            tuple(
                HeldLane(name, self._top(number), run.first, run.latest, self._owed[number])
                for number, (name, run) in enumerate(zip(self._lanes, runs, strict=True))
            ),
        )

    def memory(self, unit: int) -> Memory:
        """What is to be remembered beside the registers at the end of `unit`, the last that came out."""
        lanes = []
        for number in range(len(self._lanes)):
            top = self._top(number)
            lanes.append(
                LaneMemory(
                    believed=top if top is not None and top.unit > unit else None,
                    shown=self._shown[number],
                    owed=self._owed[number],
                    ceiling=self._ceilings[number],
                    wrong=number in self._wrong,
                )
            )
        return Memory(tuple(lanes), self.held, self._run)

    def begin(self) -> None:
        """From now on units depend on what was believed: ten samples that agree no longer outweigh it."""
        self._begun = True

    def judge(self, sample: Sample) -> Judgement:
        """Believe a sample, or hold it."""
        self._time(sample)
        sample = self._unknown_part(sample)
        other = _differ(sample.serial, self.serial)
        if self._run and _differ(sample.serial, self._run.serial):
            self._run = None
        if not any(register is not None for register in sample.energy):
            return Judgement(not other)
        powers = [shown.highest_mw for shown in self._shown]
        run = self._run if self._run and self._run.reaches(sample, powers) else None
        misfit = self._misfit(sample, run)
        if not other:
            if self.held is not None and sample.unit < self.held.unit and not misfit.wrong:
                return Judgement(True, self._believe(sample))  # of before the hold, which goes on
            self._wrong -= {lane for lane, register in enumerate(sample.energy) if register is not None}
            self._wrong |= misfit.wrong
            if not self._wrong:
                for lane, register in enumerate(sample.energy):
                    self._ceilings[lane] = self._ceilings[lane] if register is None else None
                return Judgement(True, self._believe(sample), self._end("back", sample.unit))
        began: tuple[RegisterEvent, ...] = ()
        if self.held is None:
            kind: Kind = "fell" if misfit.fell else "rose" if misfit.rose else "other"
            self.held = self._event(kind, sample.unit, misfit.fell or misfit.rose)
            began = (self.held,)
        self._run = (run or Run((LaneRun(),) * len(self._lanes))).after(sample, misfit)
        self._raise_ceilings(self._run)
        judged = self._settle(self._run, sample)
        return Judgement(judged.believed, judged.totals, began + judged.events)

    def accept(self, choice: Choice) -> tuple[Total, ...]:
        """End the hold as the owner decided; the totals that are newly known.

        exchange    another meter, or a register that was reset: it counts from the first held reading on,
                    and the energy between the last believed reading and that one counts as 0
        correction  the same meter, whose register is right as it is now: the difference counts, from the last
                    believed reading to the first held one. A register that is lower now counts 0 until it
                    has caught up, so that no energy is ever negative
        before      the held readings were false: they are dropped. Readings that do not fit are held anew,
                    and ceilings stay

        UsageError where nothing is held, or a held register that the choice needs has not been read.
        """
        if self.held is None:
            raise UsageError("no reading is held")
        if choice == "before":
            self.held, self._run, self._wrong = None, None, set()
            return ()
        run = self._run
        if run is None or None in (missing := [lane.first for lane in run.lanes]):
            names = (
                [name for name, first in zip(self._lanes, missing, strict=True) if first is None]
                if run
                else list(self._lanes)
            )
            raise UsageError(
                f"its {' and '.join(names)} register has not been read since readings are held: try again "
                "once it has"
            )
        if choice == "correction":
            self._begin_at(run, {n for n, rise in enumerate(self._rises(run)) if rise < 0}, owing=True)
        else:
            self._begin_at(run, set(range(len(self._lanes))))
        totals = self._adopt_run(run)
        self.serial = self.serial if run.serial == UNKNOWN else run.serial
        self.held, self._run, self._wrong = None, None, set()
        return totals

    def _unknown_part(self, sample: Sample) -> Sample:
        """The sample without registers already known in its unit: only the first reading in a unit counts."""
        energy = tuple(
            None if mark is not None and sample.unit <= mark.unit else register
            for mark, register in zip(self._marks, sample.energy, strict=True)
        )
        return Sample(sample.unit, sample.wall, sample.monotonic, energy, sample.serial)

    def _time(self, sample: Sample) -> None:
        """Give the marks of an earlier run a monotonic time: this sample's."""
        self._marks = [mark and mark.timed(sample) for mark in self._marks]
        self._tops = [mark and mark.timed(sample) for mark in self._tops]
        self._run = self._run and self._run.timed(sample)

    def _top(self, lane: int) -> RegisterMark | None:
        """The latest believed mark of a lane."""
        return self._tops[lane] or self._marks[lane]

    def _misfit(self, sample: Sample, run: Run | None) -> Misfit:
        """What does not fit in a sample that continues `run`."""
        fell: set[int] = set()
        rose: set[int] = set()
        rolled: set[int] = set()
        gross = False
        for lane, (mark, register) in enumerate(zip(self._marks, sample.energy, strict=True)):
            top = self._top(lane)
            if mark is None or top is None or register is None:
                continue
            since = run.lanes[lane].latest if run and run.lanes[lane].wrong else top
            allowed = self._most(lane, since or top, sample)
            fall = mark.register - register
            ceilings = [
                self._ceilings[lane],
                run.lanes[lane].level if run and run.lanes[lane].rose >= JUMPED else None,
            ]
            if fall > 0:
                fell.add(lane)
                gross = gross or fall >= _EXCHANGE_FALL_MWH
                modulus = self._rollover.get(self._lanes[lane])
                if (
                    modulus is not None
                    and 0 <= modulus + register - top.register <= allowed + _ROLLOVER_SLACK_MWH
                ):
                    rolled.add(lane)
            elif register - top.register > allowed + SLACK_MWH or any(
                ceiling is not None and register >= ceiling for ceiling in ceilings
            ):
                rose.add(lane)
                gross = True
        return Misfit(frozenset(fell), frozenset(rose), frozenset(rolled), gross)

    def _most(self, lane: int, since: RegisterMark, sample: Sample) -> int:
        elapsed = since.elapsed(sample)
        return most(elapsed, self._shown[lane].highest_mw) if self._begun else unlimited(elapsed)

    def _raise_ceilings(self, run: Run) -> None:
        for number, lane in enumerate(run.lanes):
            if lane.rose >= AGREEING and lane.level is not None:
                ceiling = self._ceilings[number]
                self._ceilings[number] = lane.level if ceiling is None else min(lane.level, ceiling)

    def _settle(self, run: Run, sample: Sample) -> Judgement:
        """Believe the held samples if by now they show what happened; `sample` is the last of them."""
        if not _differ(run.serial, self.serial) and all(
            run.lanes[lane].rolled >= AGREEING for lane in self._wrong
        ):
            rolled = set(self._wrong)
            for lane in rolled:
                self.offsets[lane] += self._rollover[self._lanes[lane]]
                self._shown[lane] = Shown(self._shown[lane].highest_mw)
            totals = self._adopt([lane.latest for lane in run.lanes])
            return Judgement(True, totals, self._end("rolled", sample.unit, rolled))
        if self._is_exchange(run, sample):
            self._begin_at(run, set(range(len(self._lanes))))
            totals = self._adopt_run(run)
            self.serial = run.serial
            return Judgement(True, totals, self._end("exchanged", sample.unit))
        return Judgement(False)

    def _is_exchange(self, run: Run, sample: Sample) -> bool:
        if min(lane.seen for lane in run.lanes) < AGREEING:
            return False
        if _differ(run.serial, self.serial):
            return True
        if not run.gross or run.readings < LONG_AGREEING:
            return False
        if not self._begun:
            return True
        named = UNKNOWN not in (run.serial, self.serial)
        return not named and run.lasted(sample) >= _LONG_NS and not self._is_rescaled(run)

    def _is_rescaled(self, run: Run) -> bool:
        """Whether a register is a power of ten times what it was, up to a hundredth."""
        for number, lane in enumerate(run.lanes):
            top = self._top(number)
            if top is not None and lane.first is not None and top.register >= _SCALED_FROM_MWH:
                for scale in _SCALES:
                    if 0 <= lane.first.register - scale * top.register <= scale * top.register // 100:
                        return True
        return False

    def _rises(self, run: Run) -> list[int]:
        """By how much the first register of a run is higher than the last believed one, lane by lane."""
        return [
            0
            if (top := self._top(number)) is None or lane.first is None
            else lane.first.register - top.register
            for number, lane in enumerate(run.lanes)
        ]

    def _begin_at(self, run: Run, lanes: set[int], *, owing: bool = False) -> None:
        """Let the registers of some lanes count from the first of a run on, what lies between as 0; `owing`:
        only once they have risen by what they fell."""
        for lane, rise in enumerate(self._rises(run)):
            if lane in lanes:
                self.offsets[lane] -= rise
                self._shown[lane] = Shown(self._shown[lane].highest_mw)
                self._owed[lane] = self._owed[lane] - rise if owing else 0

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

    def _adopt_run(self, run: Run) -> tuple[Total, ...]:
        """Believe the first and the latest held reading of a run."""
        self._ceilings = [None] * len(self._lanes)
        return self._adopt([lane.first for lane in run.lanes]) + self._adopt(
            [lane.latest for lane in run.lanes]
        )

    def _adopt(self, marks: list[RegisterMark | None]) -> tuple[Total, ...]:
        totals = []
        for lane, (mark, now) in enumerate(zip(self._marks, marks, strict=True)):
            if now is None or (mark is not None and now.unit <= mark.unit):
                continue
            gap = 0 if mark is None else now.wall - mark.wall
            self._shown[lane] = self._shown[lane].after(gap, now.wall, now.register)
            total = now.register + self.offsets[lane]
            if self._owed[lane]:
                paid = min(self._owed[lane], total - self._known[lane])
                self._owed[lane] -= paid
                self.offsets[lane] -= paid
                total -= paid
            self._known[lane] = total
            self._marks[lane] = now
            top = self._tops[lane]
            if top is not None and now.unit >= top.unit:
                self._tops[lane] = None
            totals.append(Total(lane, now.unit, total))
        return tuple(totals)

    def _end(self, kind: Kind, unit: int, lanes: set[int] | None = None) -> tuple[RegisterEvent, ...]:
        """End the hold, if there is one; the event that says so."""
        held, self.held, self._run, self._wrong = self.held, None, None, set()
        return () if held is None else (self._event(kind, unit, lanes or set(range(len(self._lanes)))),)

    def _event(self, kind: Kind, unit: int, lanes: Set[int]) -> RegisterEvent:
        return RegisterEvent(kind, unit, tuple(name for n, name in enumerate(self._lanes) if n in lanes))


def _differ(one: bytes, other: bytes) -> bool:
    return UNKNOWN not in (one, other) and one != other
