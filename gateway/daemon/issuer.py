"""The issuer: makes the tokens of closed windows, once as each closes, and again folded by day and month."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.chain.grant import Grant
from gateway.chain.issue import Cursor, Sealing, make_tokens
from gateway.chain.tariff import Tariff
from gateway.daemon.grants import AnyGrant, GrantBook, ServedGrant
from gateway.errors import Refused, UsageError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import GrantRecord, Outgoing, Stream
from gateway.trust.keyring import KeyRing
from gateway.trust.root import Root
from gateway.trust.signing import sign
from gateway.wire import names
from gateway.wire.grant import Tokens
from gateway.wire.names import Fold

_BUNDLE = 2880  # most tokens in a bundle: thirty days of quarter hours, two days of minutes
_FOLDED = 2**16  # most tokens in a folded bundle: 18 hours of seconds, 3 MB for four lanes


class Issuer:
    """The issuer of one gateway's grants."""

    def __init__(self, ledger: Ledger, root: Root, rings: Mapping[bytes, KeyRing], grants: GrantBook) -> None:
        self._ledger = ledger
        self._grants = grants
        self._root = root
        self._rings = rings
        self._cursors: dict[tuple[bytes, Fold], Cursor] = {}  # how far each grant's chain was followed
        self._lock = asyncio.Lock()  # a window's token is issued once

    async def issue(self, stream: Stream, end: int) -> None:
        """Put the tokens of all granted windows that end at or before unit `end` into the outbox."""
        async with self._lock:
            grants = {one.record.id: one for one in await self._grants.all(stream)}
            for one in grants.values():
                try:
                    served = _served(one, grants)
                    if served is not None:
                        await self._issue(stream, served, end)
                except (UsageError, Refused) as error:
                    # One bad grant must not hold up sealing or other grants.
                    await self._grants.fails(one, str(error))
                else:
                    self._grants.succeeds(one)

    async def _issue(self, stream: Stream, served: _Served, end: int) -> None:
        done = served.grant.complete(served.end(end))
        for first in range(served.record.next_window, done, _BUNDLE):
            upto = min(done, first + _BUNDLE)
            bundle = await self._bundle(stream, served, first, upto, "new")
            await self._ledger.advance_grant(served.record, upto, bundle)

    async def fold(self, stream: Stream, first_unit: int, end_unit: int, fold: Fold) -> list[Outgoing]:
        """The tokens of each grant's windows that ended in a UTC day or month, repeated in a few bundles.

        A token is a pure function of sealed units and the grant's chain, so it comes out the same again.
        """
        bundles: list[Outgoing] = []
        async with self._lock:
            grants = {one.record.id: one for one in await self._grants.all(stream)}
            for one in grants.values():
                try:
                    served = _served(one, grants)
                    if served is not None:
                        bundles += await self._fold(stream, served, first_unit, end_unit, fold)
                except (UsageError, Refused) as error:
                    await self._grants.fails(one, str(error))
        return bundles

    async def _fold(
        self, stream: Stream, served: _Served, first_unit: int, end_unit: int, fold: Fold
    ) -> list[Outgoing]:
        first = served.grant.complete(served.end(first_unit))
        upto = min(served.grant.complete(served.end(end_unit)), served.record.next_window)
        return [
            await self._bundle(stream, served, x, min(upto, x + _FOLDED), fold)
            for x in range(first, upto, _FOLDED)
        ]

    async def _bundle(self, stream: Stream, served: _Served, first: int, end: int, fold: Fold) -> Outgoing:
        grant, record, ring = served.grant, served.record, self._rings[stream.id]
        runs = await self._ledger.runs(stream, grant.window(first)[0], grant.window(end)[0])
        await ring.load(run.incarnation for run in runs)
        cursor = self._cursors.get((record.id, fold))
        if cursor is None or cursor.j > first:
            cursor = Cursor(0, *(ring.vault.open(one.key, b"grant/" + one.id) for one in served.records))
        sealing = Sealing(stream.layout, runs, ring)
        tokens, after = await asyncio.to_thread(_tokens, grant, served.tariff, sealing, cursor, (first, end))
        self._cursors[record.id, fold] = after
        data = await sign(self._root, Tokens(stream.id, record.id, first, tuple(tokens)))
        return Outgoing("tokens", names.bundle(stream.id, record.id, first, fold), data)


@dataclass(frozen=True, slots=True)
class _Served:
    """A grant whose tokens are published; for a load `partner` is the centre's, whose half they leave out."""

    grant: Grant
    tariff: Tariff | None
    record: GrantRecord
    partner: GrantRecord | None

    @property
    def records(self) -> list[GrantRecord]:
        return [self.record] if self.partner is None else [self.record, self.partner]

    def end(self, unit: int) -> int:
        """The unit at which the grant ends, as far as is known at `unit`."""
        return min([unit, *(one.revoked_from for one in self.records if one.revoked_from is not None)])


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
    return _Served(grant, one.tariff, one.record, None if partner is None else partner.record)


def _tokens(
    grant: Grant, tariff: Tariff | None, sealing: Sealing, cursor: Cursor, windows: tuple[int, int]
) -> tuple[list[bytes], Cursor]:
    first, end = windows
    return make_tokens(grant, tariff, sealing, cursor.forward(first), end)
