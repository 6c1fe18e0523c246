"""The status of a session's parts, as the control API reports it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gateway
from gateway.control.documents import (
    DiskStatus,
    DoubtStatus,
    HeldRegisterStatus,
    HoldStatus,
    MeterStatus,
    ReadingStatus,
    ReleaseStatus,
    ScaleStatus,
    Status,
    StoreStatus,
)
from gateway.daemon.clock_watch import ClockWatch
from gateway.daemon.commander import Commander
from gateway.daemon.follower import Follower
from gateway.daemon.grants import GrantBook
from gateway.daemon.issuer import Issuer
from gateway.daemon.line import Line
from gateway.daemon.publisher import Publisher
from gateway.daemon.readback import ReadBack
from gateway.daemon.registration import Registration
from gateway.daemon.rollback import RollbackCheck
from gateway.daemon.sealer import Sealer
from gateway.daemon.watched import WatchedBucket, WatchedRoot
from gateway.host.clock import Clock, unix_ms
from gateway.host.release import booted
from gateway.intervals.hold import HeldLane, Hold, counted
from gateway.intervals.scale import Scale
from gateway.ledger.ledger import Ledger
from gateway.meters.reader import ReaderState
from gateway.wire import cose


class StatusReporter:
    """Collects the status of a session's parts. `readers` and `lines` are by meter or series."""

    def __init__(
        self,
        store_url: str,
        state: Path,
        incarnation: int,
        *,
        ledger: Ledger,
        root: WatchedRoot,
        clock: Clock,
        watch: ClockWatch,
        publisher: Publisher,
        bucket: WatchedBucket,
        rollback: RollbackCheck,
        readback: ReadBack,
        grants: GrantBook,
        follower: Follower,
        issuer: Issuer,
        readers: Mapping[str, ReaderState],
        lines: Mapping[str, Line],
        registration: Registration,
        commander: Commander,
    ) -> None:
        self._commander = commander
        self._registration = registration
        self._store_url = store_url
        self._state = state
        self._release = booted()
        self._began = clock.monotonic()
        self._incarnation = incarnation
        self._ledger = ledger
        self._root = root
        self._clock = clock
        self._watch = watch
        self._publisher = publisher
        self._bucket = bucket
        self._rollback = rollback
        self._readback = readback
        self._grants = grants
        self._follower = follower
        self._issuer = issuer
        self._readers = readers
        self._lines = lines

    async def status(self) -> Status:
        """The status of all parts now."""
        sometimes: dict[str, Any] = {
            "commands": await self._commander.open_commands(),
            "registration": self._registration.status(),
            "release": None if self._release is None else ReleaseStatus(**self._release._asdict()),
            "root_error": self._root.fault,
            "disk": await asyncio.to_thread(self._disk),
        }
        now_ms = unix_ms(self._clock)
        return Status(
            version=gateway.__version__,
            assurance=self._root.assurance,
            signer=cose.kid_of(self._root.public_key).hex(),
            incarnation=self._incarnation,
            now_ms=now_ms,
            clock_trusted=self._clock.trusted(),
            clock_waits=self._watch.waits,
            store=StoreStatus(
                url=self._store_url,
                answered_ms=self._publisher.answered_ms,
                error="; ".join(filter(None, (self._publisher.fault, self._bucket.slow))) or None,
                waiting=await self._ledger.backlog(),
                errors=self._bucket.errors,
            ),
            meters=tuple([await self._meter(name) for name in self._lines]),
            faults=(
                *self._root_faults(),
                *self._registration.faults,
                *self._rollback.faults,
                *self._readback.faults,
                *await self._grants.faults(),
                *self._commander.faults,
                *await self._follower.faults(),
            ),
            doubts=await self._doubts(),
            started_ms=now_ms - (self._clock.monotonic() - self._began) // 1_000_000,
            starts=await self._ledger.starts(),
            root_errors=self._root.errors,
            ledger_errors=self._ledger.errors,
            **{name: value for name, value in sometimes.items() if value},
        )

    def readings(self) -> tuple[ReadingStatus, ...]:
        """What each meter showed when it was last read, and the last values of each series."""
        return tuple(self._reading(name) for name in self._lines)

    def _reading(self, name: str) -> ReadingStatus:
        reading, error = self._readers[name].latest, self._readers[name].fault
        if reading is None:
            return ReadingStatus(meter=name, error=error)
        return ReadingStatus(
            meter=name,
            wall_ns=reading.wall,
            age_ns=self._clock.monotonic() - reading.monotonic,
            registers=dict(reading.registers),
            meter_time_ns=reading.meter_time,
            error=error,
        )

    def _root_faults(self) -> list[str]:
        return [] if self._root.fault is None else [self._root.fault]

    def _disk(self) -> DiskStatus | None:
        try:
            usage = shutil.disk_usage(self._state)
        except OSError:
            return None
        return DiskStatus(size_bytes=usage.total, free_bytes=usage.free)

    async def _doubts(self) -> tuple[DoubtStatus, ...]:
        doubts = []
        for stream in await self._ledger.streams():
            found, unit_ms = await self._issuer.waiting(stream), stream.layout.unit_ms
            if found is not None:
                doubt, windows = found
                doubts.append(
                    DoubtStatus(
                        meter=stream.meter,
                        stream=stream.id.hex(),
                        noticed_ms=doubt.noticed_ms,
                        from_ms=doubt.first * unit_ms,
                        until_ms=None if doubt.end is None else doubt.end * unit_ms,
                        windows_waiting=windows,
                    )
                )
        return tuple(doubts)

    async def _meter(self, name: str) -> MeterStatus:
        reader, line = self._readers[name], self._lines[name]
        stream = line.sealer.stream
        error, held = reader.fault or line.fault, line.sealer.held()
        ahead = line.sealer.sealed_ahead()
        waits = not self._clock.trusted() or self._watch.waits is not None
        status = MeterStatus(
            meter=name,
            read_ms=None if reader.last_wall is None else reader.last_wall // 1_000_000,
            meter_ahead_ms=None if reader.meter_ahead is None else reader.meter_ahead // 1_000_000,
            error=error,
            held=held,
            sealing=error is None and held is None and ahead is None and not waits,
            read_errors=reader.errors,
            readings_sealed=line.sealer.readings_sealed,
            stream=None if stream is None else stream.id.hex(),
        )
        if line.sealer.of_series:
            status = status.model_copy(update={"series": True})
        hold = line.sealer.hold
        if hold is not None:
            status = status.model_copy(update={"hold": _hold_status(name, hold, line.sealer)})
        scale = line.sealer.scale
        if scale is not None:
            status = status.model_copy(update={"scale": _scale_status(name, scale)})
        if stream is None:
            return status
        position, unit_ms = await self._ledger.position(stream), stream.layout.unit_ms
        return status.model_copy(
            update={
                "start_ms": stream.start * unit_ms,
                "sealed_until_ms": position.next_unit * unit_ms,
                "chunked_until_ms": None if position.last is None else position.last.end * unit_ms,
                "chunks": 0 if position.last is None else position.last.seq + 1,
                **({} if ahead is None else {"sealed_ahead": ahead}),
            }
        )


def _scale_status(meter: str, scale: Scale) -> ScaleStatus:
    return ScaleStatus(
        seconds=scale.seconds,
        power_mwh=scale.power_mwh,
        registers_mwh=scale.energy_mwh,
        factor=scale.factor,
        sentence=scale.sentence(meter),
    )


def _hold_status(meter: str, hold: Hold, sealer: Sealer) -> HoldStatus:
    return HoldStatus(
        kind=hold.event.kind,
        since_ms=sealer.read_from(hold.event.unit) // 1_000_000,
        registers=tuple(_held_register(lane) for lane in hold.lanes),
        command=f"gateway meters accept {meter}",
    )


def _held_register(lane: HeldLane) -> HeldRegisterStatus:
    marks = {"believed": lane.believed, "first": lane.first, "latest": lane.latest}
    known = {name: mark for name, mark in marks.items() if mark is not None}
    return HeldRegisterStatus(
        lane=lane.lane,
        counts_mwh=counted(lane),
        **{f"{name}_mwh": mark.register for name, mark in known.items()},
        **{f"{name}_ms": mark.wall // 1_000_000 for name, mark in known.items()},
    )
