"""Grants: makes them, issues the tokens of windows that have closed, and stops when one is revoked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.chain.grant import ID_BYTES, Grant, seal_k0
from gateway.chain.keys import KEY_BYTES, advance, next_key, token_key
from gateway.chain.layout import Run
from gateway.chain.seal import nonces, words_under
from gateway.chain.token import make_token
from gateway.chain.window import Granularity
from gateway.clock import Clock
from gateway.errors import LedgerError, TrustError, Unavailable, UsageError
from gateway.keyring import KeyRing
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, GrantRecord, Outgoing, Stream
from gateway.signer import sign
from gateway.trust.root import Root
from gateway.wire import names
from gateway.wire.objects import Card, GrantObject, Revocation, Tokens, grant_body, read_grant_body

_log = logging.getLogger(__name__)
_FAR_MS = 253_370_764_800_000  # 9999-01-01: later ones have no date a person could be shown
_BUNDLE = 2880  # tokens a bundle at the most: a month of quarter hours, two days of minutes


@dataclass(frozen=True, slots=True)
class Wish:
    """What the household decided: a grant that has no number, key or first window yet."""

    granularity: str
    zone: str
    lanes: tuple[str, ...] | None  # None: the meter's energy
    purpose: str
    from_ms: int | None  # None: from now on
    until_ms: int | None  # None: open


class Granter:
    """The grants of one gateway's streams."""

    def __init__(self, ledger: Ledger, root: Root, clock: Clock, rings: Mapping[bytes, KeyRing]) -> None:
        self._ledger = ledger
        self._root = root
        self._clock = clock
        self._rings = rings
        self._cursors: dict[bytes, tuple[int, bytes]] = {}  # grant -> (j, K_j): the last key that was reached
        self._lock = asyncio.Lock()  # a window's token is issued once, a serial given once

    async def new(self, stream: Stream, card: Card, wish: Wish) -> GrantRecord:
        """Make a grant to the holder of `card`; windows that have closed already get their tokens at once."""
        if not self._clock.trusted():
            raise Unavailable(
                "the clock is not set yet, so no grant can say when it begins: ask again when it is right, "
                "`gateway status` tells"
            )
        now_ms = self._clock.wall() // 1_000_000
        if card.role != "provider":
            raise UsageError(f"the card of {card.name!r} is a {card.role}'s; a grant goes to a provider")
        if not card.valid_from_ms <= now_ms < card.valid_until_ms:
            raise UsageError(f"the card of {card.name!r} is not valid today; ask the provider for a new one")
        async with self._lock:  # two at a time would get the same serial
            record = await self._add(stream, card, await self._decide(stream, card, wish, now_ms))
        try:
            last = (await self._ledger.position(stream)).last
            if last is not None:
                await self.issue(stream, last.end)
            return await self._record(record.id)
        except (LedgerError, TrustError) as error:
            _log.warning("grant %s stands, its tokens come with the next chunk: %s", record.id.hex(), error)
            return record

    async def _add(self, stream: Stream, card: Card, grant: Grant) -> GrantRecord:
        k_0 = await self._root.random(KEY_BYTES)
        body = grant_body(grant)
        data = await sign(self._root, GrantObject(stream.id, body, seal_k0(k_0, card.xwing_key, body)))
        key = self._rings[stream.id].vault.seal(k_0, b"grant/" + grant.id)
        record = GrantRecord(grant.id, stream.id, body, card.name, 0, key)
        what = f"{describe(grant)} to {card.name}, for: {grant.purpose}"
        audit = AuditEntry(grant.issued_ms, "grant", what)
        await self._ledger.add_grant(record, Outgoing(names.grant(stream.id, grant.id), data), audit)
        return record

    async def _decide(self, stream: Stream, card: Card, wish: Wish, now_ms: int) -> Grant:
        unit_ms = stream.layout.unit_ms
        granularity = Granularity.parse(wish.granularity, unit_ms, wish.zone)
        lanes = wish.lanes
        if lanes is None:
            lanes = tuple(lane for lane in stream.lanes if lane in ("import", "export"))
        missing = [lane for lane in lanes if lane not in stream.lanes]
        if missing:
            raise UsageError(
                f"lanes {', '.join(missing)}: the meter {stream.meter} gives {', '.join(stream.lanes)}"
            )
        first = -(-(now_ms if wish.from_ms is None else wish.from_ms) // unit_ms)
        until = None
        if wish.until_ms is not None:  # a window that lies partly behind it stays closed
            until = granularity.start(granularity.index(wish.until_ms // unit_ms))
        first = granularity.align_up(max(first, stream.start))
        if max(first, until or 0) * unit_ms >= _FAR_MS:
            raise UsageError("the grant's times, with its windows, reach beyond the year 9998")
        return Grant(
            id=await self._root.random(ID_BYTES),
            stream=stream.id,
            provider=card.kid,
            lanes=lanes,
            granularity=granularity,
            first=first,
            until=until,
            purpose=wish.purpose,
            kind="windows",
            issued_ms=now_ms,
            serial=len(await self._ledger.grants()) + 1,
        )

    async def revoke(self, grant_id: bytes) -> GrantRecord:
        """From the next unit on the grant opens nothing. A second revocation changes nothing."""
        async with self._lock:
            record = await self._record(grant_id)
            if record.revoked_from is None:
                stream = next(s for s in await self._ledger.streams() if s.id == record.stream)
                from_unit = (await self._ledger.position(stream)).next_unit
                data = await sign(self._root, Revocation(stream.id, grant_id, from_unit))
                what = f"grant {grant_id.hex()} of {record.provider_name}"
                await self._ledger.revoke_grant(
                    record,
                    from_unit,
                    Outgoing(names.revocation(stream.id, grant_id), data),
                    AuditEntry(self._clock.wall() // 1_000_000, "revocation", what),
                )
            return await self._record(grant_id)

    async def _record(self, grant_id: bytes) -> GrantRecord:
        for record in await self._ledger.grants():
            if record.id == grant_id:
                return record
        raise UsageError(f"there is no grant {grant_id.hex()}; `gateway grant list` shows those there are")

    async def issue(self, stream: Stream, end: int) -> None:
        """Put the tokens of all granted windows that end at or before unit `end` into the outbox."""
        async with self._lock:
            for record in await self._ledger.grants(stream.id):
                grant = read_grant_body(record.body, stream.layout.unit_ms, f"grant {record.id.hex()}")
                done = grant.complete(end if record.revoked_from is None else min(end, record.revoked_from))
                for first in range(record.next_window, done, _BUNDLE):
                    await self._bundle(stream, record, grant, first, min(done, first + _BUNDLE))

    async def _bundle(self, stream: Stream, record: GrantRecord, grant: Grant, first: int, end: int) -> None:
        boundaries = [grant.window(j)[0] for j in range(first, end + 1)]
        runs = await self._ledger.runs(stream, boundaries[0], boundaries[-1])
        ring = self._rings[stream.id]
        await ring.load(run.incarnation for run in runs)
        reached, key = self._cursors.get(record.id, (0, b""))
        if not key or reached > first:
            reached, key = 0, ring.vault.open(record.key, b"grant/" + record.id)
        tokens, key = await asyncio.to_thread(
            _make_tokens, stream, grant, runs, boundaries, ring, key, first - reached
        )
        self._cursors[record.id] = (end, key)
        bundle = await sign(self._root, Tokens(stream.id, record.id, first, end - first, tokens))
        outgoing = Outgoing(names.bundle(stream.id, record.id, first), bundle)
        await self._ledger.advance_grant(record, end, outgoing)


def _make_tokens(
    stream: Stream,
    grant: Grant,
    runs: Sequence[Run],
    boundaries: Sequence[int],
    ring: KeyRing,
    key: bytes,
    steps: int,
) -> tuple[bytes, bytes]:
    """The tokens of the windows between the boundaries, and the key of the window after them.

    `key` is the grant's key so many steps before the first of the windows.
    """
    key = advance(key, steps)
    link_words = words_under(ring, stream.layout)
    lanes = [nonces(runs, boundaries, lane, stream.layout, link_words) for lane in grant.lanes]
    tokens = []
    for a, b, r in zip(boundaries, boundaries[1:], zip(*lanes, strict=True), strict=False):
        tokens.append(make_token(token_key(key), grant.id, a, b, r))
        key = next_key(key)
    return b"".join(tokens), key


def describe(grant: Grant) -> str:
    """A grant in a few words."""
    return f"{grant.granularity} sums of {', '.join(grant.lanes)} (grant {grant.id.hex()})"
