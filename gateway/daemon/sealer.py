"""One meter's way from readings to durable ciphertexts.

Readings gather in RAM; every `commit_seconds` their units are sealed and go to the ledger in one
transaction, together with the registers at the last of them, so that a crash costs at most those
seconds' resolution and never a mWh.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import numpy as np

from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import LANES, Layout
from gateway.chain.seal import LinkWords, seal, words_under
from gateway.daemon.chunker import Chunker
from gateway.errors import LedgerError, TrustError, UsageError
from gateway.host.clock import Clock
from gateway.intervals.backfill import plausible
from gateway.intervals.sampler import Sampler, Units
from gateway.intervals.state import SamplerState
from gateway.intervals.validation import RegisterEvent
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, Outgoing, Sealed, Stream
from gateway.meters.reading import Reading
from gateway.trust.keyring import KeyRing
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import cose, names
from gateway.wire.stream import Descriptor

_log = logging.getLogger(__name__)

_TELL_EVERY_NS = 600_000_000_000  # a register that falls each second fills no log

_TOLD = {
    "fell": "its {lanes} register fell; readings are held until it is back",
    "rose": "its {lanes} register rose by more than a home can draw; readings are held until it is back",
    "other": "another meter's number came with a reading; such readings are held until it is clear whose "
    "they are",
    "back": "its registers are back where they were",
    "rolled": "its {lanes} register started again from 0, as it does when it is full; nothing is lost",
    "exchanged": "another meter answers in its place; its registers count from the first that was held, and "
    "what was used before it and after the last of the old one is not known and counts 0",
}


class Sealer:
    """Takes one meter's readings by `deliver` and seals them under one incarnation."""

    def __init__(
        self,
        meter: str,
        layout: Layout,
        lanes: tuple[str, ...],
        *,
        ledger: Ledger,
        root: Root,
        clock: Clock,
        chunker: Chunker,
        rings: dict[bytes, KeyRing],
        incarnation: int,
    ) -> None:
        self.meter = meter
        self.stream: Stream | None = None
        self.rollover: Mapping[str, int] = {}  # the meter's: `Meter.rollover`
        self._layout = layout
        self._lanes = lanes
        self._ledger = ledger
        self._root = root
        self._clock = clock
        self._chunker = chunker
        self._rings = rings
        self._incarnation = incarnation
        self._readings: deque[tuple[int, Reading]] = deque()  # and when each came (ns, monotonic)
        self._sampler = Sampler(layout, lanes)
        self._link_words: LinkWords | None = None
        self._descriptor: bytes | None = None  # of a stream that has begun and is not in the ledger yet
        self._units: Units | None = None  # out of the sampler, not in the ledger yet
        self._sealed: list[Sealed] = []  # their ciphertexts: sealed once, tried again until durable
        self._events: deque[RegisterEvent] = deque(maxlen=1000)  # not in the audit log yet
        self._told: int | None = None  # when it was last told that readings are held (ns, monotonic)
        self._untold = False  # that they are held now was not
        self._trouble: str | None = None
        self._lack: str | None = None

    @property
    def fault(self) -> str | None:
        """What keeps units from becoming durable, in a sentence; None while all is well."""
        return self._trouble or self._lack

    def held(self) -> str | None:
        """Since when and why readings are held and not believed, in a sentence; None while they are."""
        event = self._sampler.held
        if event is None:
            return None
        since = datetime.fromtimestamp(event.unit * self._layout.unit_ms / 1000, UTC)
        return f"{self._sentence(event)} (since {since:%Y-%m-%d %H:%M:%S} UTC)"

    def last_read_wall(self) -> int | None:
        """The wall time (ns) up to which the energy is known: the end of the last unit with a reading that
        was believed, in this run or an earlier one. None before the first."""
        last = self._sampler.known_until
        return None if last is None else (last + 1) * self._layout.unit_ms * 1_000_000

    def deliver(self, reading: Reading) -> None:
        """Take a reading; it is sealed at the next commit. What the meter remembers of an outage comes
        right before the reading that ended it, oldest first."""
        self._readings.append((self._clock.monotonic(), reading))

    async def resume(self, stream: Stream) -> None:
        """Go on with a stream that an earlier run began."""
        if (stream.layout, stream.lanes) != (self._layout, self._lanes):
            raise UsageError(
                f"meter {self.meter}: its stream was begun with unit_ms = {stream.layout.unit_ms}, "
                f"link_units = {stream.layout.link_units} and lanes {', '.join(stream.lanes)}: "
                "configure it so, or give the meter another name, which begins a new stream"
            )
        ring = await self._ring(stream.id)
        state = ring.vault.open(await self._ledger.state(stream.id), _place(stream.id))
        self._sampler = Sampler(self._layout, self._lanes, stream.start, SamplerState.from_bytes(state))
        self.stream = stream
        await self._chunker.catch_up(stream)

    async def run(self, commit_seconds: float) -> None:
        """Commit for ever; when cancelled, once more. A fault of the ledger or the TPM is logged once and
        tried again."""
        commit: asyncio.Task[None] | None = None
        try:
            while True:
                await self._clock.sleep(commit_seconds)
                commit = asyncio.create_task(self.commit())
                await asyncio.shield(commit)
        finally:
            if commit is not None:
                await commit
            await self.commit()

    async def commit(self) -> None:
        """Seal what has gathered, make it durable, close the chunks that are full."""
        try:
            await self._seal_gathered()
            if self.stream is not None:
                await self._chunker.close_ready(self.stream)
        except (LedgerError, TrustError) as error:
            if self._trouble is None:
                _log.error("meter %s: units wait in memory and are tried again: %s", self.meter, error)
            self._trouble = str(error)
        else:
            self._trouble = None

    async def _seal_gathered(self) -> None:
        self._readings = plausible(self._readings)
        while self._readings:
            _, reading = self._readings.popleft()
            self._events += self._sampler.add(
                reading,
                trusted=self._clock.trusted(),
                wall_now=self._clock.wall(),
                monotonic_now=self._clock.monotonic(),
                rollover=self.rollover,
            )
        self._look_for_lanes()
        while self._events:
            await self._note(self._events[0])
            self._events.popleft()
        while True:
            self._units = self._units or self._sampler.take()
            if self._units is None:
                return
            await self._save(self._units)
            self._units, self._sealed = None, []

    async def _save(self, units: Units) -> None:
        """Seal units and make them durable; a stream's first ones together with its descriptor."""
        stream = self.stream = self.stream or await self._begin(units.first)
        ring = await self._ring(stream.id)
        self._link_words = self._link_words or words_under(ring, self._layout)
        if not self._sealed:
            self._sealed = await asyncio.to_thread(list, self._parts(units, self._link_words))
        state = self._sampler.state()
        assert state is not None  # units have come out
        at_rest = ring.vault.seal(state.to_bytes(), _place(stream.id))
        if self._descriptor is None:
            await self._ledger.append(stream, self._sealed, at_rest)
            return
        descriptor = Outgoing(names.descriptor(stream.id), self._descriptor)
        await self._ledger.add_stream(stream, descriptor, self._sealed, at_rest)
        self._descriptor = None
        _log.info("meter %s: its stream %s begins", self.meter, stream.id.hex())

    def _parts(self, units: Units, link_words: LinkWords) -> Iterator[Sealed]:
        """The ciphertexts of units, cut at link borders."""
        for n, x, y in self._layout.split(units.first, units.first + len(units)):
            rows = []
            for lane in self._lanes:
                d = units.lanes[lane][x - units.first : y - units.first].view(np.uint64)
                rows.append(seal(link_words(self._incarnation, n, lane), self._layout.position(x), d))
            yield Sealed(self._incarnation, x, np.stack(rows))

    async def _begin(self, start: int) -> Stream:
        stream_id = await self._root.random(STREAM_BYTES)
        descriptor = Descriptor(
            stream=stream_id,
            layout=self._layout,
            lanes=tuple(LANES[lane] for lane in self._lanes),
            start=start,
            signing_key=self._root.public_key,
            assurance=self._root.assurance,
        )
        self._descriptor = await sign(self._root, descriptor)
        return Stream(stream_id, self.meter, self._layout, self._lanes, start, cose.digest(self._descriptor))

    async def _ring(self, stream: bytes) -> KeyRing:
        if stream not in self._rings:
            self._rings[stream] = await KeyRing.open(self._root, stream)
        ring = self._rings[stream]
        await ring.load([self._incarnation])
        return ring

    def _look_for_lanes(self) -> None:
        lacking = " and ".join(self._sampler.lacking())
        lack = (
            f"meter {self.meter}: units wait for {lacking}, which no reading has held so far, or none for "
            "two hours; some meters tell it once an hour; if this one never does, leave it out of its lanes "
            "(a stream that has begun keeps its lanes: give the meter another name then)"
            if lacking
            else None
        )
        if lack is not None and self._lack is None:
            _log.warning("%s", lack)
        elif lack is None and self._lack is not None:
            _log.info("meter %s: no lane is missing any more", self.meter)
        self._lack = lack

    async def _note(self, event: RegisterEvent) -> None:
        """Tell what the meter did, but no more than every ten minutes that readings are held."""
        begins, now = event.kind in ("fell", "rose", "other"), self._clock.monotonic()
        if begins and self._told is not None and now - self._told < _TELL_EVERY_NS:
            self._untold = True
            return
        if self._untold and event.kind == "back":
            return
        self._untold = False
        detail = self._sentence(event)
        await self._ledger.audit(AuditEntry(self._clock.wall() // 1_000_000, "meter", detail))
        _log.warning("%s", detail)
        if begins:
            self._told = now

    def _sentence(self, event: RegisterEvent) -> str:
        return f"meter {self.meter}: " + _TOLD[event.kind].format(lanes=" and ".join(event.lanes))


def _place(stream: bytes) -> bytes:
    return b"state/" + stream
