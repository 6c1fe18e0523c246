"""The take-over: a ledger that is behind takes the store's signed chain over (PROTOCOL.md, rule 6).

What had been sealed again is dropped before a token of it was sent. No energy is lost: the root opens both
the dropped units and the store's, so the meter's register at the new head is known to the last mWh. The
readings in the dropped units after that head are regained, to be sealed anew.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.chain.grant import Grant
from gateway.chain.keys import link_key
from gateway.chain.layout import ENERGY
from gateway.chain.page import SPANS, Calendar, Period, Span
from gateway.chain.seal import unseal, words
from gateway.chain.windows import GrantWindows
from gateway.daemon.found import FoundGrants, descriptor_of
from gateway.daemon.grants import GrantBook
from gateway.daemon.issuer import progress
from gateway.daemon.regained import Regained
from gateway.daemon.rollback import RollbackCheck
from gateway.errors import LedgerError, Refused, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.intervals.state import SamplerState
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import (
    AuditEntry,
    ChunkEntry,
    GrantRecord,
    PageEntry,
    Progress,
    Sealed,
    StoreChain,
    Stream,
)
from gateway.store.bucket import Bucket
from gateway.stream.chunks import ChainFollower, ChunkMark, Place, check_chunk
from gateway.stream.fetch import get, holding, listed, objects
from gateway.stream.pages import FoundPage, check_page
from gateway.stream.tokens import check_bundle
from gateway.trust.keyring import KeyRing
from gateway.trust.root import Root
from gateway.wire import cose, names
from gateway.wire.grant import Tokens
from gateway.wire.names import Fold
from gateway.wire.stream import Chunk, Page

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Found:
    """The store's chain after the last chunk that it shares with the ledger, and the energy in it (mWh)."""

    entries: list[ChunkEntry]
    energy: dict[str, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Pages:
    """The store's pages after unit `begin`, and the chunks from which later pages will be made."""

    begin: int
    entries: list[PageEntry]
    chunks: list[Sealed]


@dataclass(frozen=True, slots=True)
class StoreRead:
    """All that a take-over needs from the store. `common` is the last chunk that the ledger shares with it,
    `found` the chain after that chunk, up to unit `end`. `progress` says how far the store has each grant's
    tokens, and `revoked` from which unit it has grants revoked that the ledger serves."""

    common: ChunkEntry | None
    found: _Found
    end: int
    pages: _Pages
    progress: dict[bytes, Progress]
    revoked: dict[bytes, int]


class Takeover:
    """The take-over of one stream: `read` what the store holds, then `apply` it to the ledger.

    Nothing may be sent from `read` on. Sealing may go on until `apply`, after which a new incarnation must
    follow."""

    def __init__(
        self, ledger: Ledger, bucket: Bucket, clock: Clock, root: Root, stream: Stream, ring: KeyRing
    ) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._stream = stream
        self._ring = ring
        self._check = RollbackCheck(ledger, bucket, clock, root)
        self._found = FoundGrants(ledger, bucket, clock, root)
        self._descriptor = descriptor_of(stream, root)

    async def read(self) -> StoreRead:
        """Read the store. LedgerError where it has lost a part of the chain; StoreUnavailable and StoreDenied
        where it does not answer: call this again."""
        stream = self._stream
        await self._found.adopt(stream)
        common = await self._common()
        found = await self._chain_after(common)
        at = stream.start if common is None else common.end
        end = found.entries[-1].end if found.entries else at
        head = await self._check.head(stream)
        if head is not None and head.next_unit > end:
            raise self._missing(f"its head is at unit {head.next_unit}, but its chunks end at unit {end}")
        pages = await self._pages(at, found.entries, end)
        served = {
            one.grant.id: await self._served(one.grant, one.record)
            for one in await GrantBook(self._ledger, self._clock).of(stream)
        }
        revoked = await self._check.revoked(stream)
        return StoreRead(common, found, end, pages, served, revoked)

    async def apply(self, read: StoreRead) -> Regained:
        """Let the store's chain replace the ledger's; the readings in the units that this drops. Asks nothing
        of the store. LedgerError and TrustError leave the ledger as it was."""
        stream, ring = self._stream, self._ring
        at = stream.start if read.common is None else read.common.end
        own_end = (await self._ledger.position(stream)).next_unit
        own = await self._dropped(at)
        place = b"state/" + stream.id
        last = SamplerState.from_bytes(ring.vault.open(await self._ledger.state(stream.id), place))
        gained = {lane: read.found.energy[lane] - own.energy[lane] for lane in ENERGY}
        state = last.moved(read.end - 1, gained)
        own.settle(read.end, last.registers, state.registers)
        served = {record.id for record in await self._ledger.grants(stream.id) if record.revoked_from is None}
        revoked = {grant: unit for grant, unit in read.revoked.items() if grant in served}
        detail = (
            f"stream {stream.id.hex()}: {len(read.found.entries)} chunks were taken over from the store, up "
            f"to unit {read.end}; {own_end - at} units that had been sealed again were dropped; "
            f"{len(revoked)} revoked grants that were open again are revoked once more"
        )
        chain = StoreChain(
            seq=0 if read.common is None else read.common.seq + 1,
            chunks=read.found.entries,
            pages_end=read.pages.begin,
            pages=read.pages.entries,
            ciphertexts=read.pages.chunks,
            state=ring.vault.seal(state.to_bytes(), place),
            progress=await self._progress(read),
            revoked=revoked,
        )
        audit = AuditEntry(unix_ms(self._clock), "rollback", detail)
        await self._ledger.take_over(stream, chain, audit)
        _log.warning("the ledger was rolled back; %s", detail)
        return own

    async def _common(self) -> ChunkEntry | None:
        """The ledger's last chunk that the store holds with the same bytes."""
        entry = (await self._ledger.position(self._stream)).last
        while entry is not None:
            data = await get(self._bucket, self._chunk_key(entry.first))
            if data is not None and cose.digest(data) == entry.digest:
                return entry
            entry = await self._ledger.chunk_at(self._stream, entry.seq - 1)
        return None

    async def _chain_after(self, common: ChunkEntry | None) -> _Found:
        """The store's chain after `common`. Objects among its chunks that this gateway did not sign are
        skipped."""
        stream = self._stream
        if common is None:
            key, incarnation = names.descriptor(stream.id), None
            mark = ChunkMark(-1, stream.descriptor_digest, stream.start)
        else:
            key, incarnation = self._chunk_key(common.first), common.incarnation
            mark = ChunkMark(common.seq, common.digest, common.end)
        follower = ChainFollower(self._descriptor, {}, Place(key, mark, incarnation))
        found = _Found([], dict.fromkeys(ENERGY, 0))
        keys = listed(self._bucket, names.chunks(stream.id), self._chunk_key(mark.next_unit - 1))
        async with aclosing(objects(self._bucket, keys)) as chunks:
            async for key, data in chunks:
                try:
                    chunk = check_chunk(self._descriptor, key, data)
                except Refused as error:
                    await self._check.note(str(error))
                    continue
                assert data is not None
                for problem in follower.follow(key, chunk, data):
                    raise self._missing(problem.text)
                for lane, d in (await self._opened(_sealed(chunk), ENERGY)).items():
                    found.energy[lane] += int(d.sum())
                found.entries.append(
                    ChunkEntry(chunk.seq, chunk.incarnation, chunk.first, chunk.end, cose.digest(data))
                )
        return found

    async def _pages(self, at: int, found: list[ChunkEntry], end: int) -> _Pages:
        """The pages after the take-over: those of whole months before `at` that were sent are kept, later
        ones are the store's, up to `end`, and the days after them need their chunks' ciphertexts again."""
        stream = self._stream
        calendar = Calendar.of(stream.layout.unit_ms, stream.start)
        if calendar is None:
            return _Pages(end, [], [])
        units = [at]
        for span in SPANS:
            last = await self._ledger.last_page(stream, span)
            units.append(stream.start if last is None else last.end)
            for outgoing in await self._ledger.waiting(stream, names.pages(stream.id, span)):
                units.append(Page.read(outgoing.data, self._descriptor.signing_key, outgoing.key).first)
        begin = calendar.period("month", min(units)).begin
        chunks = [*await self._ledger.chunks(stream, begin, at), *found]
        made: dict[str, list[PageEntry]] = {}
        for span in SPANS:
            below: list[ChunkEntry] | list[PageEntry] = chunks if span == "day" else made["day"]
            made[span], unit = [], max(begin, calendar.first(span))
            while unit < end and (period := calendar.period(span, unit)).end <= end:
                children = [one.digest for one in below if one.end > period.begin and one.first < period.end]
                page = await self._own_page(span, period, children)
                if page is None:
                    break
                made[span].append(page)
                unit = period.end
        paged = made["day"][-1].end if made["day"] else begin
        needed = [await self._ciphertexts(chunk) for chunk in chunks if chunk.end > paged]
        return _Pages(begin, made["day"] + made["month"], needed)

    async def _own_page(self, span: Span, period: Period, children: list[bytes]) -> PageEntry | None:
        """The store's page of a period, if this gateway signed it and it was made of these children."""
        key = names.page(self._stream.id, period.name)
        data = await get(self._bucket, key)
        if data is None:
            return None
        try:
            page = FoundPage(period, key, data, check_page(self._descriptor, period, key, data))
        except Refused as error:
            await self._check.note(str(error))
            return None
        if list(page.page.children) != children:
            return None
        made = page.page
        return PageEntry(span, period.name, made.step, made.first, made.end, page.digest, page.c)

    async def _ciphertexts(self, chunk: ChunkEntry) -> Sealed:
        key = self._chunk_key(chunk.first)
        data = await get(self._bucket, key)
        if data is None or cose.digest(data) != chunk.digest:
            raise self._missing(f"it had confirmed {key}, and the pages of its days are still to be made")
        return _sealed(check_chunk(self._descriptor, key, data))

    async def _dropped(self, at: int) -> Regained:
        """The units to drop, opened: those that the ledger sealed from `at` on."""
        stream = self._stream
        end = (await self._ledger.position(stream)).next_unit
        waiting = [
            Chunk.read(outgoing.data, self._descriptor.signing_key, outgoing.key)
            for outgoing in await self._ledger.waiting(stream, names.chunks(stream.id))
        ]
        parts = [_sealed(chunk) for chunk in waiting if chunk.first >= at]
        parts += await self._ledger.open_units(stream)
        if sum(part.end - part.first for part in parts) != end - at:
            raise self._missing(f"it had confirmed chunks from unit {at} on that it does not hold")
        regained = Regained(stream.id)
        for part in sorted(parts, key=lambda part: part.first):
            regained.add(part.first, await self._opened(part, stream.lanes))
        return regained

    async def _opened(self, part: Sealed, lanes: Iterable[str]) -> dict[str, NDArray[np.int64]]:
        """The plaintexts of some lanes of a sealed part."""
        layout = self._stream.layout
        await self._ring.load([part.incarnation])
        n, p = layout.link(part.first), layout.position(part.first)
        opened = {}
        for row, lane in enumerate(self._stream.lanes):
            if lane in lanes:
                w = words(link_key(self._ring(part.incarnation), n, lane), layout.link_units)
                opened[lane] = unseal(w, p, part.c[row]).view(np.int64)
        return opened

    async def _progress(self, read: StoreRead) -> dict[bytes, Progress]:
        """How far each grant is served, by grant id: up to the token bundles in the store, whose windows must
        not be issued again with other edges. Of a grant that cannot be read, what the ledger has."""
        served = {}
        for one in await GrantBook(self._ledger, self._clock).of(self._stream):
            found = read.progress.get(one.grant.id)
            if found is None:  # it was made since then, and the store has nothing of it
                found = progress(*await self._sent(one.grant, one.record))
            served[one.grant.id] = found
        return served

    async def _sent(self, grant: Grant, record: GrantRecord) -> tuple[GrantWindows, int]:
        """A grant's windows, and the number of those whose tokens were sent."""
        prefix = names.bundles(grant.stream, grant.id)
        unsent = [
            names.number_in(outgoing.key) for outgoing in await self._ledger.waiting(self._stream, prefix)
        ]
        at = min([record.next_window, *unsent])
        return GrantWindows(grant, record.edges[: at + 1]), at

    async def _served(self, grant: Grant, record: GrantRecord) -> Progress:
        windows, at = await self._sent(grant, record)
        found = sorted(
            [bundle for fold in names.FOLDS async for bundle in self._bundles(grant, fold, at)],
            key=lambda bundle: bundle.first_window,
        )
        for bundle in found:
            end = bundle.end_window(grant.words)
            if bundle.first_window > at:
                break
            if end > at:
                try:
                    if bundle.edges is not None:
                        windows.settle(at, bundle.edges[at - bundle.first_window :])
                except (ValueError, UsageError):
                    await self._check.note(
                        f"the bundles of grant {grant.id.hex()} do not join at window {at}"
                    )
                    break
                at = end
        return progress(windows, at)

    async def _bundles(self, grant: Grant, fold: Fold, at: int) -> AsyncGenerator[Tokens, None]:
        """The valid bundles of one folder from the one on that should hold window `at`."""
        keys = holding(listed(self._bucket, names.bundles(grant.stream, grant.id, fold)), at)
        async with aclosing(objects(self._bucket, keys)) as found:
            async for key, data in found:
                try:
                    yield check_bundle(self._descriptor, grant, key, data)
                except Refused as error:
                    await self._check.note(str(error))

    def _chunk_key(self, first: int) -> str:
        return names.chunk(self._stream.id, first, self._stream.layout.unit_ms)

    def _missing(self, why: str) -> LedgerError:
        return LedgerError(
            f"chunks of stream {self._stream.id.hex()} are missing from the store: {why}. Restore them there "
            "to continue the stream, or move the ledger away to begin a new one"
        )


def _sealed(chunk: Chunk) -> Sealed:
    lanes = range(len(chunk.lanes))
    return Sealed(chunk.incarnation, chunk.first, np.stack([chunk.c(lane) for lane in lanes]))
