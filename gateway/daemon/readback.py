"""The read-back: what the store has confirmed is read from there once more before the ledger lets go of it.

A store may lose what it has confirmed: a power cut, a snapshot that was put back, a disk that was replaced.
So objects are kept, and once a day, when the page of a day is confirmed, each is read. One that is gone, or
has other bytes, is sent again byte for byte. One that is there is let go, unless it was sent only hours ago
or belongs to a day whose page is not confirmed yet: such a one is looked for the next day again.
"""

from __future__ import annotations

import asyncio
import logging
import math

from gateway.chain.page import Calendar
from gateway.daemon.publisher import Publisher
from gateway.daemon.rollback import RollbackCheck
from gateway.errors import LedgerError, NotFound, Refused, StoreDenied, StoreUnavailable
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, Kept, Stream
from gateway.store.bucket import Bucket

_log = logging.getLogger(__name__)
_AT_ONCE = 8
_EVERY_S, _LONGEST_PAUSE_S = 60.0, 3600.0
_SETTLED_MS = 6 * 3_600_000  # what a store still has after so long is on its disks


class ReadBack:
    """The task that looks for what was sent. It waits until the publisher has compared the store with the
    ledger: while the store may be ahead, the ledger is not to be believed."""

    def __init__(
        self, ledger: Ledger, bucket: Bucket, clock: Clock, rollback: RollbackCheck, publisher: Publisher
    ) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._rollback = rollback
        self._publisher = publisher
        self._looked: set[bytes] = set()  # the streams looked for in this session
        self._lost: dict[bytes, str] = {}
        self._faults = FaultLog(clock, _log.warning, _log.info, "what was sent cannot be read back now: ")

    @property
    def faults(self) -> list[str]:
        """A sentence for each stream of which the last look found objects lost or damaged, and one where what
        was sent cannot be read back now."""
        unread = self._faults.fault
        unable = () if unread is None else (f"what was sent cannot be read back now: {unread}",)
        return [*self._lost.values(), *unable]

    async def run(self) -> None:
        """Look whenever it is due, until cancelled."""
        pause = _EVERY_S
        while True:
            try:
                for stream in await self._ledger.streams() if self._publisher.compared else ():
                    if await self._due(stream):
                        await self.look(stream)
                self._faults.clear("what was sent can be read back again")
                pause = _EVERY_S
            except (StoreUnavailable, StoreDenied, LedgerError) as error:
                self._faults.report(str(error))
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            await self._clock.sleep(pause)

    async def look(self, stream: Stream) -> None:
        """Look for all that is kept of a stream. StoreUnavailable and StoreDenied where the store does not
        answer: look again later."""
        kept, until = await self._ledger.kept(stream), await self._paged_until(stream)
        gone: list[Kept] = []
        changed: list[Kept] = []
        for at in range(0, len(kept), _AT_ONCE):
            some = kept[at : at + _AT_ONCE]
            sent = await self._ledger.kept_data([one.id for one in some])
            found = await asyncio.gather(*(self._get(one.key) for one in some))
            settled = unix_ms(self._clock) - _SETTLED_MS
            done: list[int] = []
            for one, ours, theirs in zip(some, sent, found, strict=True):
                if theirs == ours.data:
                    if one.id < until and one.sent_ms <= settled:
                        done.append(one.id)
                elif theirs is None:
                    gone.append(one)
                else:
                    changed.append(one)
            await self._ledger.let_go(done)
        if gone or changed:
            await self._send_again(stream, gone, changed)
        else:
            self._lost.pop(stream.id, None)
        if kept:
            await self._ledger.looked(stream, kept[-1].id, unix_ms(self._clock))
        self._looked.add(stream.id)

    async def _due(self, stream: Stream) -> bool:
        if stream.id not in self._looked and self._rollback.went_back(stream):
            return True
        return await self._ledger.look_due(stream, unix_ms(self._clock))

    async def _paged_until(self, stream: Stream) -> float:
        """What has a smaller id belongs to days whose pages are confirmed."""
        if Calendar.of(stream.layout.unit_ms, stream.start) is None:
            return math.inf
        return await self._ledger.last_kept_day(stream) or 0

    async def _get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None; of an object that is far too long, none at all."""
        try:
            return await self._bucket.get(key)
        except NotFound:
            return None
        except Refused:
            return b""

    async def _send_again(self, stream: Stream, gone: list[Kept], changed: list[Kept]) -> None:
        parts = [
            f"{len(objects)} {what}, from {objects[0].key} to {objects[-1].key}"
            for objects, what in ((gone, "are gone"), (changed, "have other bytes than were sent"))
            if objects
        ]
        detail = (
            f"of the objects of meter {stream.meter} that the store had confirmed, {' and '.join(parts)}: "
            "the gateway sends them again; check the store's disks and backups"
        )
        _log.warning("%s", detail)
        again = sorted(one.id for one in gone + changed)
        await self._ledger.send_again(again, AuditEntry(unix_ms(self._clock), "store", detail))
        self._lost[stream.id] = detail
