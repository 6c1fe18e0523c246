"""Units in doubt: those that another copy of this ledger may have sealed (PROTOCOL.md, rule 3).

The TPM's counter shows that the gateway has run on another copy since. Sealing and sending go on, but no
token of a window with such a unit leaves, nor of a later window of the same grant: bundles are consecutive.
"""

from __future__ import annotations

import logging

from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, Doubt, Stream

_log = logging.getLogger(__name__)


class Doubts:
    """The units in doubt of one gateway's streams, as they are known in one session."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._began = clock.monotonic()

    async def note(self, counter: int) -> None:
        """Note that the TPM's counter is about to be stepped; what it shows may put units in doubt."""
        now_ms, trusted = unix_ms(self._clock), self._clock.trusted()
        noticed = await self._ledger.note_counter(counter, now_ms, trusted=trusted)
        if noticed is not None:
            _log.warning("%s", noticed.detail)

    async def of(self, stream: Stream) -> Doubt | None:
        """A stream's units in doubt, None if there are none. They end at this session's start where the clock
        was not trusted before."""
        doubt = await self._ledger.doubt(stream)
        if doubt is None or doubt.end is not None or not self._clock.trusted():
            return doubt
        began_ns = self._clock.wall() - (self._clock.monotonic() - self._began)
        end = max(doubt.first, stream.layout.unit_at(began_ns) + 1)
        await self._ledger.end_doubt_at(stream, end)
        return doubt._replace(end=end)

    async def confirm(self) -> None:
        """The owner vouches for this ledger: no unit is in doubt any longer."""
        doubts = [await self._ledger.doubt(stream) for stream in await self._ledger.streams()]
        if any(doubt is not None for doubt in doubts):
            detail = (
                "the owner confirmed that this ledger is the newest: tokens of units that another copy of it "
                "may have sealed leave"
            )
            _log.warning("%s", detail)
            await self._ledger.confirm_doubts(AuditEntry(unix_ms(self._clock), "rollback", detail))
