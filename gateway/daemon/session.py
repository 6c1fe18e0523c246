"""A session: the gateway's parts, wired together and running under one incarnation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import gateway
from gateway.chain.layout import NO_FACTOR, Factor, Layout
from gateway.config import Config
from gateway.config.wiring import Buses, Controls, open_controls, open_meters
from gateway.control.documents import ReadingStatus, Status
from gateway.daemon.acts import with_topics
from gateway.daemon.chunker import Chunker
from gateway.daemon.ciphertexts import Ciphertexts
from gateway.daemon.clock_watch import ClockWatch
from gateway.daemon.command_routes import CommandRoutes
from gateway.daemon.commander import Commander
from gateway.daemon.control import Control
from gateway.daemon.doubts import Doubts
from gateway.daemon.follow_routes import FollowRoutes
from gateway.daemon.follower import Follower
from gateway.daemon.grant_routes import GrantRoutes
from gateway.daemon.granter import Granter
from gateway.daemon.grants import GrantBook
from gateway.daemon.issuer import Issuer
from gateway.daemon.line import EndedStreams, Finisher, Line
from gateway.daemon.mandates import Mandates
from gateway.daemon.objects import Objects
from gateway.daemon.pager import Pager
from gateway.daemon.publisher import Publisher
from gateway.daemon.readback import ReadBack
from gateway.daemon.regained import Regained
from gateway.daemon.registration import Registration
from gateway.daemon.rollback import RollbackCheck, StoreAhead
from gateway.daemon.sealer import Sealer
from gateway.daemon.series import Series
from gateway.daemon.setup import Setup
from gateway.daemon.status import StatusReporter
from gateway.daemon.takeover import StoreRead, Takeover
from gateway.daemon.watched import WatchedBucket, WatchedRoot
from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, Stream
from gateway.meters.reader import ReaderState, read_forever
from gateway.meters.reading import Meter
from gateway.store.bucket import Bucket
from gateway.trust.keyring import KeyRing

_log = logging.getLogger(__name__)

_NO_ROLLOVER: Mapping[str, int] = {}


class TakeoverDue(Exception):
    """The end of a session whose ledger turned out, by `ahead`, to be behind the store. `takeover` has read
    the store, and is to be applied before the next session begins."""

    def __init__(self, ahead: StoreAhead, takeover: Takeover, read: StoreRead) -> None:
        super().__init__(str(ahead))
        self.ahead = ahead
        self.takeover = takeover
        self.read = read


class Session:
    """One run of the parts: `open` draws the incarnation, `run` works until cancelled."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        root: WatchedRoot,
        ledger: Ledger,
        bucket: Bucket,
        registration: Registration,
        regained: Regained | None = None,
        setup: Setup | None = None,
    ) -> None:
        """`regained` are the readings of the units that a take-over before this session dropped."""
        self._registration = registration
        self._regained = regained
        self._bucket = bucket = WatchedBucket(bucket, clock)
        self._config = config
        self._clock = clock
        self._root = root
        self._ledger = ledger
        self._readers = {name: ReaderState() for name in config.names}
        self.lines: dict[str, Line] = {}
        self.series: dict[str, Series] = {}
        self._meters: dict[str, Meter] = {}
        self._rings: dict[bytes, KeyRing] = {}
        self._grants = grants = GrantBook(ledger, clock)
        ciphertexts = Ciphertexts(ledger, bucket, clock, root.public_key)
        self._doubts = doubts = Doubts(ledger, clock)
        self._issuer = Issuer(ledger, root, self._rings, grants, ciphertexts, doubts)
        self.granter = Granter(
            ledger, root, clock, self._rings, grants, self._issuer, doubts, registration.vouching.verified_by
        )
        self._rollback = RollbackCheck(ledger, bucket, clock, root)
        self.publisher = Publisher(ledger, bucket, clock, self._rollback)
        self.follower = Follower(ledger, root, bucket, clock, self.granter, lambda: self.publisher.compared)
        self.readback = ReadBack(ledger, bucket, clock, self._rollback, self.publisher)
        self._controls: dict[str, Controls] = {}
        mandates = Mandates(config.commands, registration.vouching, ledger, clock)
        self.commander = Commander(ledger, root, clock, mandates, self._controls)
        self._control = Control(
            (
                GrantRoutes(ledger, grants, self.granter, registration.vouching),
                FollowRoutes(ledger, self.follower),
                CommandRoutes(self.commander),
                *(() if setup is None else (setup,)),
            ),
            self._issuer,
            self.status,
            self.readings,
            self.lines,
            self.series,
            registration,
            Objects(ledger, bucket, lambda: self.publisher.fault if self.publisher.away else None),
        )

    async def open(self) -> None:
        """Draw the incarnation, and continue the streams where the ledger ends."""
        # First: meters that cannot be opened must not cost a step of the TPM's counter, which wears out.
        buses: Buses = {}
        self._meters = open_meters(
            self._config.meter, self._clock, state=self._config.gateway.state, buses=buses
        )
        self._controls |= with_topics(
            self._config.meter, open_controls(self._config.meter, self._meters, buses)
        )
        self._incarnation = await self._draw()
        await self.commander.open()
        streams = {stream.meter: stream for stream in await self._ledger.streams()}
        for stream in streams.values():
            self._rings[stream.id] = await KeyRing.open(self._root, stream.id)
        finisher = self._finisher()
        watch = ClockWatch(self._clock, self._ledger, await self._sealed_until(streams))
        for section in self._config.meter:
            rollover, factor = self._meters[section.name].rollover, section.factor.factor
            sealer = self._sealer(section.name, section.lanes, watch, rollover, factor)
            self.lines[section.name] = Line(sealer, finisher, self._clock)
        for series in self._config.series:
            name = series.name
            sealer = self._sealer(name, series.sealed, watch)
            self.lines[name] = Line(sealer, finisher, self._clock)
            self.series[name] = Series(
                name, series.lanes, sealer.layout, self._clock, sealer.deliver, self._readers[name]
            )
        for name, line in self.lines.items():
            if name in streams:
                stream = streams.pop(name)
                regained = self._regained if self._regained and self._regained.stream == stream.id else ()
                await line.resume(stream, regained)
        self._regained = None
        self._reporter = StatusReporter(
            self._config.store.url,
            self._config.gateway.state,
            self._incarnation,
            ledger=self._ledger,
            root=self._root,
            clock=self._clock,
            watch=watch,
            publisher=self.publisher,
            bucket=self._bucket,
            rollback=self._rollback,
            readback=self.readback,
            grants=self._grants,
            follower=self.follower,
            issuer=self._issuer,
            readers=self._readers,
            lines=self.lines,
            registration=self._registration,
            commander=self.commander,
        )
        ended = tuple(streams.values())  # of meters that are gone: what they left open is still sent
        for stream in ended:
            await finisher.catch_up(stream)
        self.ended = EndedStreams(ended, finisher, self._clock)

    async def run(self) -> None:
        """Read, seal, publish and answer until cancelled, or until a part fails for good. Where the ledger is
        behind the store this goes on, without publishing, until the store has been read; then TakeoverDue."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._control.serve(self._config.gateway.socket))
            tasks.create_task(self._publish())
            tasks.create_task(self.readback.run())
            tasks.create_task(self.commander.run())
            tasks.create_task(self.follower.run())
            for line in self.lines.values():
                tasks.create_task(line.run(self._config.gateway.commit_seconds))
            tasks.create_task(self.ended.run(self._config.gateway.commit_seconds))
            for section in self._config.meter:
                sealer = self.lines[section.name].sealer
                tasks.create_task(
                    read_forever(
                        self._meters[section.name],
                        self._clock,
                        section.interval_s,
                        sealer.deliver,
                        self._readers[section.name],
                        sealer.last_read_wall,
                    )
                )

    async def _publish(self) -> None:
        try:
            await self.publisher.run()
        except StoreAhead as ahead:
            (stream,) = [stream for stream in await self._ledger.streams() if stream.id == ahead.stream]
            ring = await KeyRing.open(self._root, stream.id)
            takeover = Takeover(self._ledger, self._bucket, self._clock, self._root, stream, ring)
            read = await self.publisher.wait_for(ahead, takeover.read)
            raise TakeoverDue(ahead, takeover, read) from None

    def _finisher(self) -> Finisher:
        chunker = Chunker(
            self._ledger,
            self._root,
            self._clock,
            chunk_units=self._config.stream.chunk_units,
            incarnation=self._incarnation,
        )
        pager = Pager(self._ledger, self._root)
        return Finisher(self._ledger, self._root, self._clock, chunker, self._issuer, pager)

    async def _sealed_until(self, streams: Mapping[str, Stream]) -> int | None:
        """The end (ns of Unix time) of the last unit sealed of a configured meter or series, also of
        those that a take-over dropped."""
        ends = []
        for name in self._config.names:
            if (stream := streams.get(name)) is not None:
                end = (await self._ledger.position(stream)).next_unit
                if self._regained is not None and self._regained.stream == stream.id:
                    end = max(end, self._regained.end)
                ends.append(end * stream.layout.unit_ms * 1_000_000)
        return max(ends, default=None)

    def _sealer(
        self,
        name: str,
        lanes: tuple[str, ...],
        watch: ClockWatch,
        rollover: Mapping[str, int] = _NO_ROLLOVER,
        factor: Factor = NO_FACTOR,
    ) -> Sealer:
        division = self._config.stream
        return Sealer(
            name,
            Layout(division.unit_ms, division.link_units),
            lanes,
            ledger=self._ledger,
            root=self._root,
            clock=self._clock,
            watch=watch,
            rings=self._rings,
            incarnation=self._incarnation,
            rollover=rollover,
            factor=factor,
        )

    async def _draw(self) -> int:
        """A new incarnation, made durable."""
        now_ms = unix_ms(self._clock)
        # A ledger that cannot write must not cost a step of the counter either.
        await self._ledger.audit(AuditEntry(now_ms, "start", f"gateway {gateway.__version__} starts"))
        value = await self._root.draw_incarnation(self._doubts.note)
        await self._ledger.begin_incarnation(value, now_ms)
        return value

    async def status(self) -> Status:
        """The status of all parts."""
        return await self._reporter.status()

    def readings(self) -> tuple[ReadingStatus, ...]:
        """What each meter showed when it was last read, and the last values of each series."""
        return self._reporter.readings()
