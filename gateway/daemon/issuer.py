"""The issuer: makes the tokens of closed windows, once as each closes, and again folded by day and month."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gateway.chain.commitment import COMMITTED, commit
from gateway.chain.grant import Grant
from gateway.chain.issue import Sealing, bill_word, hide, raw_tokens, sealed_by, window_words
from gateway.chain.keys import KeyChain
from gateway.chain.layout import Run
from gateway.chain.page import SPANS, Calendar
from gateway.chain.seal import U64
from gateway.chain.tariff import Tariff, Weight, steps_digest
from gateway.chain.token import cuts_of
from gateway.chain.windows import GrantWindows
from gateway.daemon.ciphertexts import Ciphertexts
from gateway.daemon.doubts import Doubts
from gateway.daemon.grants import AnyGrant, GrantBook, ServedGrant
from gateway.errors import LedgerError, Refused, TrustError, Unavailable, UsageError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Doubt, GrantRecord, Outgoing, Progress, Stream
from gateway.trust.keyring import KeyRing
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import names
from gateway.wire.grant import Tokens
from gateway.wire.names import Fold

_log = logging.getLogger(__name__)
_BUNDLE = 2880  # most tokens in a bundle: thirty days of quarter hours, two days of minutes
_FOLDED = 2**16  # most tokens in a folded bundle: 18 hours of seconds, 2 MB for four lanes
_BILL_FOLDS: tuple[Fold, ...] = ("new", "month")


class Issuer:
    """The issuer of one gateway's grants."""

    def __init__(
        self,
        ledger: Ledger,
        root: Root,
        rings: Mapping[bytes, KeyRing],
        grants: GrantBook,
        ciphertexts: Ciphertexts,
        doubts: Doubts,
    ) -> None:
        self._ledger = ledger
        self._root = root
        self._rings = rings
        self._grants = grants
        self._ciphertexts = ciphertexts
        self._doubts = doubts
        self._chains: dict[bytes, KeyChain] = {}  # by grant
        self._lock = asyncio.Lock()  # a window's token is issued once

    async def issue(self, stream: Stream, end: int) -> None:
        """Put the tokens of all granted windows that end at or before unit `end` into the outbox, but those
        that wait for units in doubt."""
        async with self._lock:
            doubt = await self._doubts.of(stream)
            grants = {one.record.id: one for one in await self._grants.all(stream)}
            for one in grants.values():
                try:
                    served = _served(one, grants)
                    if served is not None:
                        await self._issue(stream, served, served.windows_free(served.complete(end), doubt))
                except (LedgerError, TrustError):
                    raise
                except (UsageError, Refused, Unavailable) as error:
                    # One bad grant must not hold up sealing or other grants.
                    await self._grants.fails(one, str(error))
                else:
                    self._grants.succeeds(one)

    async def confirm_ledger(self) -> None:
        """The owner vouches for the ledger: the tokens that waited for units in doubt are issued."""
        await self._doubts.confirm()
        for stream in await self._ledger.streams():
            await self.issue_closed(stream)

    async def issue_closed(self, stream: Stream) -> None:
        """Put the tokens of all windows that have closed into the outbox. What a fault of the ledger or the
        TPM keeps from it comes with the next chunk."""
        try:
            last = (await self._ledger.position(stream)).last
            if last is not None:
                await self.issue(stream, last.end)
        except (LedgerError, TrustError) as error:
            _log.warning("meter %s: tokens come with the next chunk: %s", stream.meter, error)

    async def waiting(self, stream: Stream) -> tuple[Doubt, int] | None:
        """The units in doubt, and how many windows of all grants have closed and wait for them; None without
        doubt."""
        doubt, last = await self._doubts.of(stream), (await self._ledger.position(stream)).last
        if doubt is None or last is None:
            return None if doubt is None else (doubt, 0)
        grants = {one.record.id: one for one in await self._grants.all(stream)}
        count = 0
        for one in grants.values():
            with contextlib.suppress(UsageError):  # of one that gets no tokens anyway
                served = _served(one, grants)
                if served is not None:
                    done = served.complete(last.end)
                    count += max(0, done - max(served.record.next_window, served.windows_free(done, doubt)))
        return doubt, count

    async def _issue(self, stream: Stream, served: _Served, done: int) -> None:
        """Put the tokens of a grant's windows before number `done` into the outbox."""
        first = served.record.next_window
        while first < done:
            upto, folds = await self._next(stream, served, first, done)
            data = await self._bundle(stream, served, first, upto)
            bundles = [_outgoing(served.grant, first, fold, data) for fold in folds]
            page = await self._ledger.last_page(stream, "day") if "day" in folds else None
            if page is not None and upto == served.complete(page.end):
                bundles += await self._so_far(stream, served, page.end, upto)
            await self._ledger.advance_grant(served.record, progress(served.windows, upto), bundles)
            first = upto

    async def _next(
        self, stream: Stream, served: _Served, first: int, done: int
    ) -> tuple[int, tuple[Fold, ...]]:
        """The end of the bundle that begins with window `first`, of those before `done`, and its folders.

        Windows of a day or a month that has its page already, as a grant into the past has them, come too
        late to be folded with it: their bundle is the folded one at once.
        """
        if served.grant.kind == "bill":
            # By itself, so that one that must wait keeps no other; and folded at once: to weigh it again, its
            # ciphertexts would have to be read back again.
            return first + 1, _BILL_FOLDS
        calendar = Calendar.of(stream.layout.unit_ms, stream.start)
        for span in reversed(SPANS) if calendar is not None else ():
            assert calendar is not None
            page = await self._ledger.last_page(stream, span)
            period = calendar.period(span, served.windows.edge(first + 1) - 1)
            if page is not None and period.end <= page.end:
                upto = min(done, served.windows.complete(period.end), first + _FOLDED)
                return upto, ("new", span)
        return min(done, first + _BUNDLE), ("new",)

    async def fold(self, stream: Stream, first_unit: int, end_unit: int, fold: Fold) -> list[Outgoing]:
        """The tokens of each grant's windows that ended in a UTC day or month, repeated in a few bundles;
        with those of a day, those of its month so far. Bills are folded already.

        A token is a pure function of sealed units and the grant's chain, so it comes out the same again.
        """
        bundles: list[Outgoing] = []
        async with self._lock:
            grants = {one.record.id: one for one in await self._grants.all(stream)}
            for one in grants.values():
                try:
                    served = _served(one, grants)
                    if served is not None and served.grant.kind != "bill":
                        bundles += await self._fold(stream, served, first_unit, end_unit, fold)
                        if fold == "day":
                            bundles += await self._so_far(stream, served, end_unit, served.record.next_window)
                except (UsageError, Refused) as error:
                    await self._grants.fails(one, str(error))
        return bundles

    async def _fold(
        self, stream: Stream, served: _Served, first_unit: int, end_unit: int, fold: Fold
    ) -> list[Outgoing]:
        first = served.complete(first_unit)
        upto = min(served.complete(end_unit), served.record.next_window)
        return [
            _outgoing(served.grant, x, fold, await self._bundle(stream, served, x, min(upto, x + _FOLDED)))
            for x in range(first, upto, _FOLDED)
        ]

    async def _so_far(self, stream: Stream, served: _Served, end_unit: int, made: int) -> list[Outgoing]:
        """The tokens of the month up to the end of a day in which a window ended: of a grant of sums whose
        windows are whole steps of the month's page, where the month goes on and all of them are among the
        first `made`."""
        calendar = Calendar.of(stream.layout.unit_ms, stream.start)
        assert calendar is not None  # it has pages
        month, grant = calendar.period("month", end_unit - 1), served.grant
        size = grant.granularity.size
        first, upto = served.complete(month.begin), served.complete(end_unit)
        if grant.kind != "windows" or isinstance(size, str) or size % month.step or end_unit == month.end:
            return []
        day = calendar.period("day", end_unit - 1)
        if served.complete(day.begin) == upto or upto > made:
            return []
        data = await self._bundle(stream, served, first, upto, so_far=True)
        return [Outgoing("tokens", names.tokens_so_far(stream.id, grant.id, upto), data)]

    async def _bundle(
        self, stream: Stream, served: _Served, first: int, end: int, *, so_far: bool = False
    ) -> bytes:
        """The signed bundle of windows `first` to `end` - 1; with `so_far`, of their month until then."""
        grant, ring = served.grant, self._rings[stream.id]
        edges = served.windows.edges(first, end)
        runs = await self._ledger.runs(stream, edges[0], edges[-1])
        await ring.load(run.incarnation for run in runs)
        work = _Work(grant, Sealing(stream.layout, runs, ring), runs, first, edges)
        chain = self._chain(stream, served.record)
        partner = None if served.partner is None else self._chain(stream, served.partner)
        weighed = commitment = None
        if grant.kind == "raw":
            words: bytes | tuple[bytes, ...] = tuple(await asyncio.to_thread(work.raw, chain))
        elif served.tariff is None:
            words, commitment = await asyncio.to_thread(work.windows, chain, partner, served.windows.calendar)
        else:
            (words, commitment), digest = await self._bill(stream, served.tariff, work, chain)
            weighed = (digest,)
        tokens = Tokens(
            stream.id,
            grant.id,
            first,
            words,
            tuple((one.window, one.incarnation) for one in work.sealed),
            tuple(edges) if served.windows.calendar else None,
            weighed,
            commitment,
            end if so_far else None,
        )
        return await sign(self._root, tokens)

    async def _bill(
        self, stream: Stream, tariff: Tariff, work: _Work, chain: KeyChain
    ) -> tuple[tuple[bytes, bytes | None], bytes]:
        """The word of one bill as `_Work.hidden` gives it, and H of its steps."""
        a, b = work.edges
        weights = await asyncio.to_thread(tariff.weights, work.grant.lanes, stream.layout.unit_ms, a, b)
        c = {
            lane: (await self._ciphertexts.sums(stream, _edges(a, steps), [lane]))[0].tolist()
            for lane, steps in weights.items()
        }

        digest = steps_digest(weights)

        def hidden() -> tuple[bytes, bytes | None]:
            word = bill_word(work.grant, work.sealing, weights, c, a)
            return work.hidden(np.array([[word]], dtype=np.uint64), chain, None, cuts_of(None, [digest]))

        return await asyncio.to_thread(hidden), digest

    def _chain(self, stream: Stream, record: GrantRecord) -> KeyChain:
        if record.id not in self._chains:
            try:
                k_0 = self._rings[stream.id].vault.open(record.key, b"grant/" + record.id)
            except LedgerError as error:
                raise Refused(str(error)) from None  # one grant's key: it stops no other
            self._chains[record.id] = KeyChain(k_0)
        return self._chains[record.id]


def _outgoing(grant: Grant, first: int, fold: Fold, data: bytes) -> Outgoing:
    return Outgoing("tokens", names.bundle(grant.stream, grant.id, first, fold), data)


def progress(windows: GrantWindows, next_window: int) -> Progress:
    """How far a grant is served once windows before `next_window` have their tokens."""
    return Progress(next_window, tuple(windows.edges(0, next_window)) if windows.calendar else ())


@dataclass(frozen=True, slots=True)
class _Served:
    """A grant whose tokens are published; for a load `partner` is the centre's, whose words they hide too."""

    grant: Grant
    tariff: Tariff | None
    record: GrantRecord
    partner: GrantRecord | None
    windows: GrantWindows

    def complete(self, unit: int) -> int:
        """How many windows have ended, and are granted still, when the units before `unit` are sealed."""
        records = [self.record] if self.partner is None else [self.record, self.partner]
        revoked = [one.revoked_from for one in records if one.revoked_from is not None]
        return self.windows.complete(min([unit, *revoked]))

    def windows_free(self, done: int, doubt: Doubt | None) -> int:
        """How many of the first `done` windows may be served: those before the first with a unit in doubt, if
        one is still to be served."""
        first = self.record.next_window
        if doubt is None or (doubt.end is not None and self.windows.edge(first) >= doubt.end):
            return done
        return min(done, self.windows.complete(doubt.first))


def _served(one: AnyGrant, grants: Mapping[bytes, AnyGrant]) -> _Served | None:
    """The grant as tokens are made for it, found among all `grants` of its stream. None for one that gets
    none, as the load monitoring centre's; UsageError for one that should and cannot."""
    if one.flaw is not None and one.record.revoked_from is not None:
        return None
    if not isinstance(one, ServedGrant) or one.flaw is not None:
        raise UsageError(str(one.flaw))
    grant, partner = one.grant, None
    if grant.kind == "load" and grant.partner is None:
        return None
    if grant.partner is not None:
        partner = grants.get(grant.partner)
        if partner is None or partner.flaw is not None:
            why = "the ledger does not have it" if partner is None else partner.flaw
            raise UsageError(f"its other half, grant {grant.partner.hex()}, cannot be served: {why}")
    windows = GrantWindows(grant, one.record.edges)
    return _Served(grant, one.tariff, one.record, None if partner is None else partner.record, windows)


class _Work:
    """The making of one bundle: the windows from number `first` on, between `edges`."""

    def __init__(
        self, grant: Grant, sealing: Sealing, runs: Sequence[Run], first: int, edges: Sequence[int]
    ) -> None:
        self.grant = grant
        self.sealing = sealing
        self.edges = edges
        self.sealed = sealed_by(runs, first, edges)
        self._first = first

    def windows(
        self, chain: KeyChain, partner: KeyChain | None, calendar: bool
    ) -> tuple[bytes, bytes | None]:
        """Tokens of kind windows, or of a load."""
        cuts = cuts_of(self.edges if calendar else None, None)
        return self.hidden(window_words(self.grant, self.sealing, self.edges), chain, partner, cuts)

    def hidden(
        self, words: U64, chain: KeyChain, partner: KeyChain | None, cuts: Sequence[bytes]
    ) -> tuple[bytes, bytes | None]:
        """Words as tokens, u64 little-endian, and the commitment to them: none of a load's, which its two
        parties alone could try out."""
        tokens = hide(words, chain, self.sealed, self._first, partner, cuts).astype("<u8").tobytes()
        if self.grant.kind not in COMMITTED:
            return tokens, None
        return tokens, commit(words, chain, self.sealed, self._first, cuts)

    def raw(self, chain: KeyChain) -> list[bytes]:
        """The tokens of a raw grant."""
        return raw_tokens(self.grant, self.sealing, chain, self.sealed, self._first, self.edges)


def _edges(first: int, steps: Sequence[Weight]) -> list[int]:
    return [first, *(step.end for step in steps)]
