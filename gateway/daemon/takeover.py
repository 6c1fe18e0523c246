"""When the store knows more than the ledger: PROTOCOL.md, rule 6.

A ledger that was restored from a backup, or an SD card that was cloned, is behind what this gateway
published. The store's signed chain then stands: the ledger takes it over, and what had been sealed
again is dropped before a token of it left. No energy is lost: the root opens both the dropped units
and the store's, so the meter's register at the new head is known to the last mWh.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from gateway.chain.keys import link_key
from gateway.chain.page import SPANS, Calendar, Period
from gateway.chain.seal import signed, total, unseal, words
from gateway.errors import GatewayError, LedgerError, NotFound, Refused
from gateway.host.clock import Clock
from gateway.intervals.state import SamplerState
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, ChunkEntry, PageEntry, Queued, Sealed, Stream
from gateway.store.bucket import Bucket
from gateway.trust.keyring import KeyRing
from gateway.wire import cose, names
from gateway.wire.grant import GrantObject, Revocation, Tokens
from gateway.wire.kinds import class_at
from gateway.wire.stream import Chunk, Descriptor, Head, Page

_log = logging.getLogger(__name__)
_ENERGY = ("import", "export")
# What of an object its key is made of: the store can put a signed object where another belongs.
_NAMED_BY: dict[type[object], tuple[str, ...]] = {
    Descriptor: ("stream",),
    Head: ("stream",),
    Chunk: ("stream", "first"),
    GrantObject: ("stream", "body"),
    Revocation: ("stream", "grant"),
    Tokens: ("stream", "grant", "first_window"),
    Page: ("stream", "period"),
}


class StoreAhead(GatewayError):
    """The store holds objects of this gateway's that its ledger does not know."""

    def __init__(self, stream: bytes, why: str) -> None:
        super().__init__(f"the ledger was rolled back: {why}")
        self.stream = stream


@dataclass(frozen=True, slots=True)
class _Found:
    """The store's chain after the last chunk that both know."""

    entries: list[ChunkEntry]
    energy: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Pages:
    """Pages after unit `begin` that the store holds, and the chunks that later ones will be made of."""

    begin: int
    entries: list[PageEntry]
    chunks: list[Sealed]


class Takeover:
    """Compares the store with the ledger, and lets the store's chain stand where they differ."""

    def __init__(self, ledger: Ledger, bucket: Bucket, clock: Clock, public_key: bytes) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._public_key = public_key

    async def compare(self) -> None:
        """Read every stream's head back; StoreAhead if the ledger does not know the chunk it names, or
        holds a grant for open that was revoked."""
        for stream in await self._ledger.streams():
            head = await self._head(stream)
            known = None if head is None else await self._ledger.chunk_at(stream, head.seq)
            if head is not None and (known is None or known.digest != head.digest):
                key = names.head(stream.id)
                raise StoreAhead(stream.id, f"{key} names chunk {head.seq}, which the ledger does not know")
            for grant in await self._revoked(stream):
                raise StoreAhead(stream.id, f"it holds grant {grant.hex()} for open, which was revoked")

    async def settle(self, queued: Queued) -> bool:
        """The key of `queued` is taken by other bytes. True: the store's object stands, ours need not go.
        False: a foreign object is in the way, and may be overwritten. StoreAhead: the ledger is behind."""
        key = queued.object.key
        kind = class_at(key)
        try:
            theirs = kind.read(await self._bucket.get(key), self._public_key, key)
            ours = kind.read(queued.object.data, self._public_key, key)
            if any(getattr(theirs, name) != getattr(ours, name) for name in _NAMED_BY[kind]):
                raise Refused(f"{key} holds an object of this gateway's from another place: copied or moved")
        except NotFound:
            return False
        except Refused as error:
            await self._note("store", f"a foreign object was in the way and is overwritten: {error}")
            return False
        if isinstance(theirs, Page) and isinstance(ours, Page) and theirs.children != ours.children:
            await self._note("store", f"{key} is a page of other children than the store holds: overwritten")
            return False
        # Folded tokens are copies: whichever were there first stand.
        if kind in (Chunk, Page) or (kind is Tokens and "/new/" in key):
            raise StoreAhead(
                queued.stream, f"{key} is in the store already, with other bytes of this gateway's"
            )
        await self._note("store", f"{key} was in the store already, signed by this gateway: it stands")
        return True

    async def take_over(self, stream: Stream, ring: KeyRing) -> None:
        """Let the store's chain stand. Nothing may be sealing; a new incarnation must follow.

        LedgerError, with nothing changed, where the store has lost a part of its chain."""
        common = await self._common(stream)
        found = await self._walk(stream, common, ring)
        at = stream.start if common is None else common.end
        dropped, own = await self._dropped(stream, at, ring)
        end = found.entries[-1].end if found.entries else at
        head = await self._head(stream)
        if head is not None and head.next_unit > end:
            raise _gone(stream, f"its head names unit {head.next_unit}, and its chunks end with unit {end}")
        pages = await self._pages(stream, at, found.entries, end)
        place = b"state/" + stream.id
        state = SamplerState.from_bytes(ring.vault.open(await self._ledger.state(stream.id), place))
        gained = {lane: found.energy[lane] - own[lane] for lane in _ENERGY}
        state = replace(
            state,
            unit=end - 1,
            imported=None if state.imported is None else state.imported + gained["import"],
            exported=None if state.exported is None else state.exported + gained["export"],
        )
        revoked = await self._revoked(stream)
        detail = (
            f"stream {stream.id.hex()}: {len(found.entries)} chunks of the store's chain were taken over, "
            f"up to unit {end}; {dropped} units that had been sealed again were dropped; "
            f"{len(revoked)} grants that had been revoked were open again, and are not any more"
        )
        await self._ledger.take_over(
            stream,
            0 if common is None else common.seq + 1,
            found.entries,
            pages.begin,
            pages.entries,
            pages.chunks,
            ring.vault.seal(state.to_bytes(), place),
            await self._windows(stream),
            revoked,
            AuditEntry(self._clock.wall() // 1_000_000, "rollback", detail),
        )
        _log.warning("the ledger was rolled back; %s", detail)

    async def _head(self, stream: Stream) -> Head | None:
        """The stream's head in the store, if it holds one that this gateway signed."""
        key = names.head(stream.id)
        try:
            head = Head.read(await self._bucket.get(key), self._public_key, key)
            if head.stream != stream.id:
                raise Refused(f"{key} is the head of another stream, {head.stream.hex()}")
        except NotFound:
            return None
        except Refused as error:
            await self._note("store", f"not this gateway's, and will be overwritten: {error}")
            return None
        return head

    async def _common(self, stream: Stream) -> ChunkEntry | None:
        """The last of the ledger's chunks that the store holds with the same bytes."""
        entry = (await self._ledger.position(stream)).last
        while entry is not None:
            try:
                data = await self._bucket.get(names.chunk(stream.id, entry.first, stream.layout.unit_ms))
                if cose.digest(data) == entry.digest:
                    return entry
            except NotFound:
                pass
            entry = await self._ledger.chunk_at(stream, entry.seq - 1)
        return None

    async def _walk(self, stream: Stream, common: ChunkEntry | None, ring: KeyRing) -> _Found:
        """The store's chain after `common`. What else lies between its chunks is passed over."""
        seq, at, previous = (
            (0, stream.start, stream.descriptor_digest)
            if common is None
            else (common.seq + 1, common.end, common.digest)
        )
        found = _Found([], dict.fromkeys(_ENERGY, 0))
        after = names.chunk(stream.id, at - 1, stream.layout.unit_ms)
        async for key in self._bucket.list(names.chunks(stream.id), after):
            data = await self._bucket.get(key)
            try:
                chunk = Chunk.read(data, self._public_key, key)
                if names.chunk(chunk.stream, chunk.first, stream.layout.unit_ms) != key:
                    raise Refused(f"{key} holds a chunk from another place: copied or moved")
            except Refused as error:
                await self._note("store", str(error))
                continue
            if (chunk.seq, chunk.first, chunk.previous) != (seq, at, previous):
                raise _gone(stream, f"{key} is chunk {chunk.seq}, and chunk {seq} at unit {at} is not there")
            await self._add(stream, [_sealed(chunk)], ring, found.energy)
            seq, at, previous = seq + 1, chunk.end, cose.digest(data)
            found.entries.append(ChunkEntry(chunk.seq, chunk.incarnation, chunk.first, chunk.end, previous))
        return found

    async def _pages(self, stream: Stream, at: int, found: list[ChunkEntry], end: int) -> _Pages:
        """What becomes of the pages: those of whole months before `at` that were sent are kept, later ones
        are the store's, up to `end`, and the days after them need their chunks' ciphertexts again."""
        calendar = Calendar.of(stream.layout.unit_ms, stream.start)
        if calendar is None:
            return _Pages(end, [], [])
        units = [at]
        for span in SPANS:
            last = await self._ledger.last_page(stream, span)
            units.append(stream.start if last is None else last.end)
            for outgoing in await self._ledger.waiting(stream, names.pages(stream.id, span)):
                units.append(Page.read(outgoing.data, self._public_key, outgoing.key).first)
        begin = calendar.period("month", min(units)).begin
        chunks = [*await self._ledger.chunks(stream, begin, at), *found]
        made: dict[str, list[PageEntry]] = {}
        for span in SPANS:
            below: list[ChunkEntry] | list[PageEntry] = chunks if span == "day" else made["day"]
            made[span], unit = [], max(begin, calendar.first(span))
            while unit < end and (period := calendar.period(span, unit)).end <= end:
                children = [one.digest for one in below if one.end > period.begin and one.first < period.end]
                page = await self._own_page(stream, period, children)
                if page is None:
                    break
                made[span].append(page)
                unit = period.end
        paged = made["day"][-1].end if made["day"] else begin
        needed = [await self._ciphertexts(stream, chunk) for chunk in chunks if chunk.end > paged]
        return _Pages(begin, made["day"] + made["month"], needed)

    async def _own_page(self, stream: Stream, period: Period, children: list[bytes]) -> PageEntry | None:
        """The store's page of a period, if it is this gateway's and was made of these children."""
        key = names.page(stream.id, period.name)
        try:
            data = await self._bucket.get(key)
            page = Page.read(data, self._public_key, key)
        except NotFound:
            return None
        except Refused as error:
            await self._note("store", str(error))
            return None
        if (page.stream, page.period, list(page.children)) != (stream.id, period.name, children):
            return None
        sums = np.stack([page.c(lane) for lane in range(len(page.sums))])
        return PageEntry(page.period, page.step, page.first, page.end, cose.digest(data), sums)

    async def _ciphertexts(self, stream: Stream, chunk: ChunkEntry) -> Sealed:
        key = names.chunk(stream.id, chunk.first, stream.layout.unit_ms)
        try:
            data = await self._bucket.get(key)
        except NotFound:
            data = b""
        if cose.digest(data) != chunk.digest:
            raise _gone(stream, f"it had confirmed {key}, and the pages of its days are still to be made")
        return _sealed(Chunk.read(data, self._public_key, key))

    async def _dropped(self, stream: Stream, at: int, ring: KeyRing) -> tuple[int, dict[str, int]]:
        """How many units the ledger sealed from `at` on that give way, and the energy in them."""
        end = (await self._ledger.position(stream)).next_unit
        waiting = [
            Chunk.read(outgoing.data, self._public_key, outgoing.key)
            for outgoing in await self._ledger.waiting(stream, names.chunks(stream.id))
        ]
        parts = [_sealed(chunk) for chunk in waiting if chunk.first >= at] + await self._ledger.open_units(
            stream
        )
        if sum(part.end - part.first for part in parts) != end - at:
            raise _gone(stream, f"it had confirmed chunks from unit {at} on that it does not hold")
        energy = dict.fromkeys(_ENERGY, 0)
        await self._add(stream, parts, ring, energy)
        return end - at, energy

    async def _add(
        self, stream: Stream, parts: Iterable[Sealed], ring: KeyRing, energy: dict[str, int]
    ) -> None:
        """Open the energy lanes of sealed parts and add up what is in them."""
        layout = stream.layout
        for part in parts:
            await ring.load([part.incarnation])
            n, p = layout.link(part.first), layout.position(part.first)
            for row, lane in enumerate(stream.lanes):
                if lane in _ENERGY:
                    w = words(link_key(ring(part.incarnation), n, lane), layout.link_units)
                    energy[lane] += signed(total(unseal(w, p, part.c[row])))

    async def _windows(self, stream: Stream) -> dict[bytes, int]:
        """Each grant's next window: after the bundles that the store holds."""
        windows: dict[bytes, int] = {}
        for grant in await self._ledger.grants(stream.id):
            prefix = names.bundles(stream.id, grant.id)
            unsent = [
                names.number_in(outgoing.key) for outgoing in await self._ledger.waiting(stream, prefix)
            ]
            at = min([grant.next_window, *unsent])
            after = names.bundle(stream.id, grant.id, at - 1) if at else ""
            async for key in self._bucket.list(prefix, after):
                try:
                    bundle = Tokens.read(await self._bucket.get(key), self._public_key, key)
                except Refused as error:
                    await self._note("store", str(error))
                    break
                if (bundle.grant, bundle.first_window) != (grant.id, at):
                    break
                at = bundle.end_window
            windows[grant.id] = at
        return windows

    async def _revoked(self, stream: Stream) -> dict[bytes, int]:
        """The grants that the ledger holds for open and the store knows to be revoked; from which unit."""
        revoked: dict[bytes, int] = {}
        for grant in await self._ledger.grants(stream.id):
            key = names.revocation(stream.id, grant.id)
            if grant.revoked_from is None:
                try:
                    found = Revocation.read(await self._bucket.get(key), self._public_key, key)
                except (NotFound, Refused):
                    continue
                if (found.stream, found.grant) == (stream.id, grant.id):
                    revoked[grant.id] = found.from_unit
        return revoked

    async def _note(self, what: str, detail: str) -> None:
        _log.warning("%s", detail)
        await self._ledger.audit(AuditEntry(self._clock.wall() // 1_000_000, what, detail))


def _gone(stream: Stream, what: str) -> LedgerError:
    return LedgerError(
        f"chunks of stream {stream.id.hex()} are gone from the store: {what}. The stream can only go on if "
        "they are restored there; or move the ledger away to begin anew"
    )


def _sealed(chunk: Chunk) -> Sealed:
    lanes = range(len(chunk.lanes))
    return Sealed(chunk.incarnation, chunk.first, np.stack([chunk.c(lane) for lane in lanes]))
