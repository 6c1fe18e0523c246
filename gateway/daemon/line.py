"""One meter's line: the steps, in order, from readings to what a provider reads.

    seal the gathered readings -> close the chunks that are full -> issue the tokens of closed windows
    -> make the pages of days and months that are over, each with the tokens folded for it -> sign the head

Each step is durable before the next begins, and finds in the ledger how far it has come: the next commit
does what a crash or a fault left undone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from gateway.daemon.chunker import Chunker
from gateway.daemon.issuer import Issuer
from gateway.daemon.pager import Pager
from gateway.daemon.sealer import Sealer
from gateway.errors import LedgerError, TrustError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.intervals.hold import Choice
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import ChunkEntry, Outgoing, Stream
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import names
from gateway.wire.stream import MOST_REVOKED, Head

_log = logging.getLogger(__name__)
_LAST_COMMIT_S = 4.0
_REGAINED_AT_ONCE = 3600  # far below what the sampler keeps of each unit


class Finisher:
    """The steps after sealing, for all streams of one gateway: chunks, tokens, pages, head."""

    def __init__(
        self, ledger: Ledger, root: Root, clock: Clock, chunker: Chunker, issuer: Issuer, pager: Pager
    ) -> None:
        self._ledger = ledger
        self._root = root
        self._clock = clock
        self._chunker = chunker
        self._issuer = issuer
        self._pager = pager
        # By stream, what its last head says: the end of the last chunk, which has all steps done, and the
        # revoked grants.
        self._said: dict[bytes, tuple[int, list[bytes]]] = {}

    async def catch_up(self, stream: Stream) -> None:
        """After a start: close what earlier incarnations left open, and do the steps after a chunk."""
        last = await self._chunker.close_all(stream)
        if last is not None:
            await self._finish(stream, last, await self._ledger.revoked(stream))

    async def advance(self, stream: Stream) -> None:
        """Close the chunks that have reached their borders, and do the steps after a chunk: also where a
        grant was revoked since, as the head names it."""
        last = await self._chunker.close_ready(stream)
        revoked = await self._ledger.revoked(stream)
        if last is not None and self._said.get(stream.id) != (last.end, revoked):
            await self._finish(stream, last, revoked)

    async def _finish(self, stream: Stream, last: ChunkEntry, revoked: list[bytes]) -> None:
        await self._issuer.issue(stream, last.end)
        async for span, period in self._pager.due(stream, last.end):
            folded = await self._issuer.fold(stream, period.begin, period.end, span)
            await self._pager.make(stream, span, period, folded)
        # The revocations entered the outbox before the ledger listed them: they leave before this head.
        named = tuple(revoked) if len(revoked) <= MOST_REVOKED else None
        day = await self._pager.last_day(stream, last.end)
        head = Head(stream.id, last.seq, last.digest, last.end, unix_ms(self._clock), named, day)
        data = await sign(self._root, head)
        await self._ledger.enqueue(stream.id, [Outgoing("head", names.head(stream.id), data)])
        self._said[stream.id] = last.end, revoked


class EndedStreams:
    """The streams of meters and series that are gone. Nothing is sealed in them any more, but a revocation
    makes a new head."""

    def __init__(self, streams: Sequence[Stream], finisher: Finisher, clock: Clock) -> None:
        self._streams = streams
        self._finisher = finisher
        self._clock = clock
        self._faults = FaultLog(clock, _log.error, _log.info, "the heads of ended streams have to wait: ")

    async def run(self, commit_seconds: float) -> None:
        """Commit every `commit_seconds` until cancelled; done at once where there is no such stream."""
        while self._streams:
            await self._clock.sleep(commit_seconds)
            await self.commit()

    async def commit(self) -> None:
        """Sign the heads that are due. A fault of the ledger or the TPM is logged."""
        try:
            for stream in self._streams:
                await self._finisher.advance(stream)
        except (LedgerError, TrustError) as error:
            self._faults.report(str(error))
        else:
            self._faults.clear("the heads of ended streams are up to date again")


class Line:
    """One meter's line. Readings are delivered to its `sealer`; `commit` takes them through all steps."""

    def __init__(self, sealer: Sealer, finisher: Finisher, clock: Clock) -> None:
        self.sealer = sealer
        self._finisher = finisher
        self._clock = clock
        self._busy = asyncio.Lock()
        self._began: int | None = None  # the commit under way (ns, monotonic)
        self.finishing = False
        """Whether the commit under way has sealed, and takes the steps after that."""
        self._faults = FaultLog(
            clock,
            _log.error,
            _log.info,
            f"{sealer.title}: units stay in memory for the next attempt: ",
        )

    @property
    def fault(self) -> str | None:
        """What keeps units from becoming durable, as a sentence; None while nothing does."""
        return self._faults.fault or self.sealer.lanes_missing

    @property
    def stepped(self) -> int | None:
        """When the commit under way began, or last made units durable (ns, monotonic); None while none is
        under way."""
        return None if self._began is None else max(self._began, self.sealer.saved)

    async def resume(self, stream: Stream, regained: Iterable[tuple[int, Mapping[str, int]]] = ()) -> None:
        """Continue a stream that an earlier run began, first with the readings regained in a take-over:
        (unit, registers) in order."""
        await self.sealer.resume(stream)
        await self._finisher.catch_up(stream)
        units = iter(regained)
        while some := list(islice(units, _REGAINED_AT_ONCE)):
            self.sealer.regain(some)
            await self.commit()

    async def run(self, commit_seconds: float) -> None:
        """Commit every `commit_seconds` until cancelled, and then once more, unless that takes seconds: then
        the energy of the readings since is in the next run's first reading. A fault of the ledger or the TPM
        is logged, and the next commit tries again."""
        commit: asyncio.Task[None] | None = None
        try:
            while True:
                await self._clock.sleep(commit_seconds)
                commit = asyncio.create_task(self.commit())
                await asyncio.shield(commit)
        finally:
            try:
                async with asyncio.timeout(_LAST_COMMIT_S):
                    if commit is not None:
                        await commit
                    await self.commit()
            except TimeoutError:
                _log.error("%s: the last units are not durable: the TPM or the disk hangs", self.sealer.title)

    async def commit(self) -> None:
        """Take the gathered readings through all steps, as far as they go by now."""
        self._began = self._clock.monotonic()
        try:
            async with self._busy:
                await self.sealer.seal_gathered()
                if self.sealer.stream is not None:
                    self.finishing = True
                    await self._finisher.advance(self.sealer.stream)
        except (LedgerError, TrustError) as error:
            self._faults.report(str(error))
        else:
            self._faults.clear(f"{self.sealer.title}: sealing goes on, units are durable again")
        finally:
            self._began, self.finishing = None, False

    async def accept(self, choice: Choice, seen: Mapping[str, int]) -> str:
        """End the meter's hold as its owner decided: see `Sealer.accept`."""
        async with self._busy:
            return await self.sealer.accept(choice, seen)
