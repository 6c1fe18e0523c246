"""The sealer: turns one meter's readings, gathered in RAM, into durable ciphertexts.

Units go to the ledger in one transaction with the registers at the end of the last one, so that a crash costs
at most the resolution of the readings since, and never a mWh.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

import numpy as np

from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import ENERGY, LANES, NO_FACTOR, Factor, Layout
from gateway.chain.seal import LinkWords, seal, words_under
from gateway.daemon.clock_watch import ClockWatch, Moment
from gateway.daemon.register_log import RegisterLog
from gateway.errors import UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.intervals.backfill import plausible
from gateway.intervals.clock_check import STEP_NS
from gateway.intervals.hold import Choice, Hold, RegisterEvent
from gateway.intervals.sampler import Sampler, Units
from gateway.intervals.scale import Scale, ScaleCheck
from gateway.intervals.state import SamplerState
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, Outgoing, Sealed, Stream
from gateway.meters.reading import Reading
from gateway.trust.keyring import KeyRing
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import cose, names
from gateway.wire.stream import Descriptor

_log = logging.getLogger(__name__)


class Sealer:
    """The sealer of one meter, or of a series. It takes readings by `deliver` and seals them under one
    incarnation. `title` is "meter main" or "series climate"."""

    def __init__(
        self,
        meter: str,
        layout: Layout,
        lanes: tuple[str, ...],
        *,
        ledger: Ledger,
        root: Root,
        clock: Clock,
        watch: ClockWatch,
        rings: dict[bytes, KeyRing],
        incarnation: int,
        rollover: Mapping[str, int],
        factor: Factor = NO_FACTOR,
    ) -> None:
        """`meter` is the name of the meter, or of the series. `rollover` is the meter's own mapping,
        `Meter.rollover`; `factor` is what its readings were multiplied by."""
        self._factor = factor
        self.meter = meter
        self.of_series = set(ENERGY).isdisjoint(lanes)
        self.title = f"{'series' if self.of_series else 'meter'} {meter}"
        self._stream: Stream | None = None
        self.layout = layout
        self.lanes = lanes
        self._ledger = ledger
        self._root = root
        self._clock = clock
        self._watch = watch
        self._waits_until: int | None = None  # the end of the last sealed unit (ns), where it lies ahead
        self._rings = rings
        self._incarnation = incarnation
        self._rollover = rollover
        self._readings: deque[tuple[int, Reading]] = deque()  # each with its arrival (ns, monotonic)
        self._sampler = Sampler(layout, lanes, rollover=rollover)
        self._link_words: LinkWords | None = None
        self._descriptor: bytes | None = None  # of a stream that has begun and is not in the ledger yet
        self._units: Units | None = None  # out of the sampler, not in the ledger yet
        self._sealed: list[Sealed] = []  # their ciphertexts: sealed once, saved again until durable
        self._events: deque[RegisterEvent] = deque(maxlen=1000)  # not in the audit log yet
        self._milestone: Hashable = None  # of the hold, as the saved state has it
        self._decided: AuditEntry | None = None  # by the owner, not in the audit log yet
        self._scale = ScaleCheck()
        self.saved = 0
        """When units last became durable (ns, monotonic); 0 before the first."""
        self.readings_sealed = 0
        """Units made durable in this run that a reading was taken for, none that was filled in."""
        self._registers = RegisterLog(meter, ledger, clock)
        self._lanes_missing = FaultLog(clock, _log.warning, _log.info)

    @property
    def stream(self) -> Stream | None:
        """The meter's stream; None until it is in the ledger."""
        return self._stream if self._descriptor is None else None

    @property
    def lanes_missing(self) -> str | None:
        """The lanes that units wait for because no reading has them, as a sentence; None if none are."""
        return self._lanes_missing.fault

    def held(self) -> str | None:
        """Since when and why readings are held, as a sentence; None while they are believed."""
        event = self._sampler.held
        if event is None:
            return None
        since = datetime.fromtimestamp(self.read_from(event.unit) / 1_000_000_000, UTC)
        return f"{self._registers.sentence(event)} (since {since:%Y-%m-%d %H:%M:%S} UTC)"

    @property
    def scale(self) -> Scale | None:
        """How the meter's registers differ from its power over time, while they steadily do."""
        return self._scale.found

    @property
    def hold(self) -> Hold | None:
        """The registers that are held and the last believed ones; None while readings are believed."""
        return self._sampler.hold

    async def accept(self, choice: Choice, seen: Mapping[str, int]) -> str:
        """End the hold as the owner decided, by `gateway.intervals.validation.Validator.accept`; the decision
        as a sentence, which is durable in the audit log once this returns. `seen` are the first held
        registers that the owner was shown (mWh, by lane).

        UsageError where nothing is held, or the held registers are others by now. LedgerError and TrustError
        where the decision is not durable yet: the next `seal_gathered` tries again."""
        hold = self._sampler.hold
        if hold is None or self.stream is None:
            raise UsageError(f"{self.title}: no reading is held, so there is nothing to accept")
        if {lane.lane: lane.first.register for lane in hold.lanes if lane.first is not None} != seen:
            raise UsageError(
                f"{self.title}: its registers have changed since they were shown; look at them again"
            )
        await self._save_taken()
        try:
            self._sampler.accept(choice)
        except UsageError as error:
            raise UsageError(f"{self.title}: {error}") from None
        sentence = self._registers.decision(choice, hold)
        self._decided = AuditEntry(unix_ms(self._clock), "meter", sentence)
        await self._save_hold()
        return sentence

    def sealed_ahead(self) -> str | None:
        """Until when nothing is sealed because the last sealed unit lies in the future, as a sentence."""
        if self._waits_until is None:
            return None
        until = datetime.fromtimestamp(self._waits_until // 1_000_000_000, UTC)
        return (
            f"{self.title}: nothing is sealed until {until:%Y-%m-%d %H:%M:%S} UTC, the end of its last "
            "sealed unit: the clock was ahead when that was sealed, or is behind now"
        )

    def read_from(self, unit: int) -> int:
        """The earliest moment (ns of Unix time) at which a reading counts for `unit`."""
        return self._sampler.read_from(unit)

    def last_read_wall(self) -> int | None:
        """The wall time (ns) up to which the energy is known: the end of the last unit with a believed
        reading, in this run or an earlier one. None before the first."""
        last = self._sampler.known_until
        return None if last is None else (last + 1) * self.layout.unit_ms * 1_000_000

    def deliver(self, reading: Reading) -> None:
        """Take a reading; the next `seal_gathered` seals it. The readings that a meter recorded during an
        outage come right before the one that ended it, oldest first."""
        self._readings.append((self._clock.monotonic(), reading))
        self._scale.add(reading)

    def regain(self, units: Iterable[tuple[int, Mapping[str, int]]]) -> None:
        """Take readings regained from units that a take-over dropped, right after `resume`; the next
        `seal_gathered` seals them. Each stays in its unit, whatever the clock shows now."""
        wall_now, monotonic_now = self._clock.wall(), self._clock.monotonic()
        for unit, registers in units:
            wall = self.read_from(unit)
            self._events += self._sampler.add(
                Reading(self.meter, registers, wall, wall - wall_now + monotonic_now),
                trusted=True,
                wall_now=wall_now,
                monotonic_now=monotonic_now,
            )

    async def resume(self, stream: Stream) -> None:
        """Continue a stream that an earlier run began. UsageError where its layout, lanes or factor are not
        those configured."""
        if (stream.layout, stream.lanes, stream.factor) != (self.layout, self.lanes, self._factor):
            factor = (
                ""
                if stream.factor == self._factor
                else f", factor = {{ energy = {stream.factor.energy}, power = {stream.factor.power} }}"
            )
            raise UsageError(
                f"{self.title}: its stream was begun with unit_ms = {stream.layout.unit_ms}, "
                f"link_units = {stream.layout.link_units}{factor} and lanes {', '.join(stream.lanes)}: "
                f"use these settings, or give the {self.title.split()[0]} another name, which begins a new "
                "stream"
            )
        ring = await self._ring(stream.id)
        state = ring.vault.open(await self._ledger.state(stream.id), _place(stream.id))
        self._sampler = Sampler(
            self.layout,
            self.lanes,
            stream.start,
            SamplerState.from_bytes(state),
            rollover=self._rollover,
        )
        self._stream = stream
        self._milestone = self._sampler.milestone

    async def seal_gathered(self) -> None:
        """Seal the gathered readings and make them durable. LedgerError and TrustError where that fails:
        nothing is lost, and the next call tries again."""
        now = await self._watch.look()
        self._place_end(now)
        if self._decided is not None:
            await self._save_hold()
        self._readings = plausible(self._readings)
        while self._readings:
            _, reading = self._readings.popleft()
            self._events += self._sampler.add(
                reading, trusted=now.believed, wall_now=now.wall, monotonic_now=now.monotonic
            )
        self._report_missing_lanes()
        while self._events:
            await self._registers.write(self._events[0])
            self._events.popleft()
        await self._save_taken()
        while (units := self._sampler.take()) is not None:
            self._units = units
            await self._save_taken()
        await self._save_hold()

    def _place_end(self, now: Moment) -> None:
        """Compare the last sealed unit, or the start of a stream that has not begun, with the time now."""
        first = self._sampler.next
        if first is None or not now.believed:
            return
        unit, unit_ns = self.layout.unit_at(now.wall), self.layout.unit_ms * 1_000_000
        if self._stream is None and first > unit + self.layout.link_units:  # the clock was put back since
            self._sampler = Sampler(self.layout, self.lanes, rollover=self._rollover)
            return
        # Units of up to a second are sealed before they have ended, as all were once.
        before, end = self._waits_until, first * unit_ns
        self._waits_until = end if self._stream is not None and end - now.wall > unit_ns + STEP_NS else None
        if self._waits_until is not None and before is None:
            self._watch.note(self.sealed_ahead() or "")
        elif before is not None and self._waits_until is None:
            self._watch.note(f"{self.title}: its last sealed unit is over: sealing goes on")

    async def _save_taken(self) -> None:
        """Save the units that are out of the sampler, if there are any: its state is that after them."""
        if self._units is not None:
            await self._save(self._units)
            self._units, self._sealed = None, []

    async def _save(self, units: Units) -> None:
        """Seal units and make them durable, a stream's first ones together with its descriptor."""
        stream = self._stream = self._stream or await self._begin(units.first)
        ring = await self._ring(stream.id)
        self._link_words = self._link_words or words_under(ring, self.layout)
        if not self._sealed:
            self._sealed = await asyncio.to_thread(list, self._parts(units, self._link_words))
        at_rest, milestone = self._state_at_rest(ring, stream)
        if self._descriptor is None:
            await self._ledger.append(stream, self._sealed, at_rest)
        else:
            descriptor = Outgoing("descriptor", names.descriptor(stream.id), self._descriptor)
            await self._ledger.add_stream(stream, descriptor, self._sealed, at_rest)
            self._descriptor = None
            _log.info("%s: its stream %s begins", self.title, stream.id.hex())
        self._milestone = milestone
        self.saved = self._clock.monotonic()
        read = units.lanes.get("count")
        self.readings_sealed += len(units) if read is None else int(read.sum())

    async def _save_hold(self) -> None:
        """Make a hold durable by itself: no unit is sealed while readings are held. Only where it has changed
        since the state was last saved, or the owner has decided."""
        stream, decided = self.stream, self._decided
        if stream is None or (decided is None and self._sampler.milestone == self._milestone):
            return
        at_rest, milestone = self._state_at_rest(await self._ring(stream.id), stream)
        await self._ledger.save_state(stream, at_rest, decided)
        self._milestone = milestone
        if decided is not None:
            self._decided = None
            _log.warning(
                "meter %s: its owner has decided on the held readings; see the audit log", self.meter
            )

    def _state_at_rest(self, ring: KeyRing, stream: Stream) -> tuple[bytes, Hashable]:
        """The sampler's state, sealed by the vault, and the milestone of its hold."""
        state = self._sampler.state()
        assert state is not None  # units have come out
        return ring.vault.seal(state.to_bytes(), _place(stream.id)), state.memory.milestone

    def _parts(self, units: Units, link_words: LinkWords) -> Iterator[Sealed]:
        """The ciphertexts of units, cut at link borders."""
        for n, x, y in self.layout.split(units.first, units.first + len(units)):
            rows = []
            for lane in self.lanes:
                d = units.lanes[lane][x - units.first : y - units.first].view(np.uint64)
                rows.append(seal(link_words(self._incarnation, n, lane), self.layout.position(x), d))
            yield Sealed(self._incarnation, x, np.stack(rows))

    async def _begin(self, start: int) -> Stream:
        stream_id = await self._root.random(STREAM_BYTES)
        descriptor = Descriptor(
            stream=stream_id,
            layout=self.layout,
            lanes=tuple(LANES[lane] for lane in self.lanes),
            start=start,
            signing_key=self._root.public_key,
            assurance=self._root.assurance,
            factor=self._factor,
        )
        self._descriptor = await sign(self._root, descriptor)
        digest = cose.digest(self._descriptor)
        return Stream(stream_id, self.meter, self.layout, self.lanes, start, digest, self._factor)

    async def _ring(self, stream: bytes) -> KeyRing:
        if stream not in self._rings:
            self._rings[stream] = await KeyRing.open(self._root, stream)
        ring = self._rings[stream]
        await ring.load([self._incarnation])
        return ring

    def _report_missing_lanes(self) -> None:
        missing = " and ".join(self._sampler.missing())
        if missing:
            self._lanes_missing.report(
                f"{self.title}: units wait for {missing}, which no reading has held so far, or for two "
                "hours; some meters send it once an hour; if this one never does, remove it from its lanes "
                "(a stream that has begun keeps its lanes: then give the meter another name too)"
            )
        else:
            self._lanes_missing.clear(f"{self.title}: no lane is missing any more")


def _place(stream: bytes) -> bytes:
    return b"state/" + stream
