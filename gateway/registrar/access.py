"""Refused attempts: recorded, slowed down, and shown to the account that they concern and to the operator.

An attempt is charged before it is checked, to the address that it comes from and, where it is a password,
to the account that it is for; it is given back where it succeeds. So a thousand at once count a thousand.
Who has failed often waits ever longer, twice as long each time.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network

from sqlalchemy import delete, func, insert, select, update

from gateway.errors import GatewayError, Refused, Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.registrar.database import Database
from gateway.registrar.refusals import TooMany
from gateway.registrar.tables import NAME_LENGTH, SENTENCE_LENGTH, attempts

_HOUR_MS = 3_600_000
_KEPT_MS = 90 * 24 * _HOUR_MS
_MOST_ROWS = 10_000
_MOST_KEYS = 100_000
_IPV6_NETWORK = 64  # what one customer has (RFC 6177)
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Attempt:
    """An attempt under way: what is tried ("password", "nonce", ...), from which address, by whom as they
    say, and for which account, once that is known."""

    kind: str
    address: str
    who: str = ""
    account_id: int | None = None


@dataclass(frozen=True, slots=True)
class RefusedAttempt:
    """A refused attempt, `times` times from `first_ms` to `last_ms` (Unix ms)."""

    kind: str
    who: str
    address: str
    sentence: str
    first_ms: int
    last_ms: int
    times: int

    @property
    def notice(self) -> str:
        """What its account and the operator are shown."""
        often = f" ({self.times} times)" if self.times > 1 else ""
        return f"refused from {self.address}{often}: {self.sentence}"


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_ms: int = 0
    told_ms: int = 0


class Limits:
    """How often each key has failed of late, in memory. The first `free` failures cost nothing; each further
    one makes the key wait twice as long, from 1 s to `most_s`. An hour without one forgets them."""

    def __init__(self, clock: Clock, free: int, most_s: int) -> None:
        self._clock = clock
        self._free = free
        self._most_s = most_s
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def charge(self, key: str) -> None:
        """Count a failure ahead of time; TooMany while the key has to wait."""
        now_ms = self._clock.monotonic() // 1_000_000
        known = self._failures.setdefault(key, _Failures())
        self._failures.move_to_end(key)
        if len(self._failures) > _MOST_KEYS:
            self._failures.popitem(last=False)
        if now_ms - known.last_ms > _HOUR_MS:
            known.count = 0
        elif (left_ms := known.last_ms + self._wait_s(known.count) * 1000 - now_ms) > 0:
            seconds = -(-left_ms // 1000)
            raise TooMany(f"too many attempts have failed: try again in {seconds} s", seconds)
        known.count += 1
        known.last_ms = now_ms

    def first_in_a_minute(self, key: str) -> bool:
        """Whether this was not asked of the key for a minute: a flood is recorded once a minute."""
        now_ms = self._clock.monotonic() // 1_000_000
        known = self._failures.setdefault(key, _Failures())
        first = not known.told_ms or now_ms - known.told_ms >= 60_000
        if first:
            known.told_ms = now_ms
        return first

    def give_back(self, key: str) -> None:
        """The attempt succeeded: it is not counted."""
        if (known := self._failures.get(key)) is not None and known.count:
            known.count -= 1

    def forget(self, key: str) -> None:
        """Forget all failures."""
        self._failures.pop(key, None)

    def _wait_s(self, count: int) -> int:
        return 0 if count < self._free else min(self._most_s, 2 ** min(count - self._free, 30))


class Access:
    """The record of refused attempts, and the limits."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._by_address = Limits(clock, free=60, most_s=900)
        self._by_account = Limits(clock, free=10, most_s=300)

    @asynccontextmanager
    async def attempt(self, kind: str, address: str, who: str = "") -> AsyncIterator[Attempt]:
        """An attempt for the account called `who`, or with the key of that kid; recorded where the block
        raises Refused. TooMany, before anything is checked, for those who failed too often.

        What cannot be guessed, a signature, counts against the address alone: whoever knows a gateway's kid,
        which is no secret, would keep it from its credentials otherwise.
        """
        one = Attempt(kind, address, who[:NAME_LENGTH])
        network = _network(address)
        guessed = who if kind == "password" else ""
        try:
            self._by_address.charge(network)
            if guessed:
                self._by_account.charge(guessed)
        except TooMany as error:
            if self._by_address.first_in_a_minute(network):
                await self._record(one, error)
            raise
        try:
            yield one
        except Refused as error:
            await self._record(one, error)
            raise
        except GatewayError:
            self._by_address.give_back(network)
            self._by_account.give_back(guessed)
            raise
        self._by_address.give_back(network)
        self._by_account.forget(guessed)

    async def of_account(self, account_id: int, limit: int = 100) -> list[RefusedAttempt]:
        """The latest refused attempts that concern an account, the newest first."""
        return await self._select(limit, account_id)

    async def all(self, limit: int = 1000) -> list[RefusedAttempt]:
        """The latest refused attempts, the newest first, for the operator."""
        return await self._select(limit, None)

    async def _select(self, limit: int, account_id: int | None) -> list[RefusedAttempt]:
        query = select(attempts).order_by(attempts.c.last_ms.desc(), attempts.c.id.desc()).limit(limit)
        if account_id is not None:
            query = query.where(attempts.c.account_id == account_id)
        async with self._database.reading() as connection:
            rows = await connection.execute(query)
        return [
            RefusedAttempt(row.kind, row.who, row.address, row.sentence, row.first_ms, row.last_ms, row.times)
            for row in rows
        ]

    async def prune(self) -> None:
        """Delete what is older than 90 days, and all but the newest 10 000 of those that concern no account
        and of those that do."""
        async with self._database.writing() as connection:
            await connection.execute(
                delete(attempts).where(attempts.c.last_ms < unix_ms(self._clock) - _KEPT_MS)
            )
            for concerned in (attempts.c.account_id.is_(None), attempts.c.account_id.is_not(None)):
                newest = (
                    select(attempts.c.id).where(concerned).order_by(attempts.c.id.desc()).offset(_MOST_ROWS)
                )
                last = (await connection.execute(newest.limit(1))).scalar()
                if last is not None:
                    await connection.execute(delete(attempts).where(concerned, attempts.c.id <= last))

    async def _record(self, one: Attempt, error: Refused | TooMany) -> None:
        """Add the attempt to the record; of the same one within an hour only how often."""
        kind = "too_many" if isinstance(error, TooMany) else one.kind
        sentence = "too many attempts" if isinstance(error, TooMany) else str(error)
        _LOG.warning("refused: %s from %s", kind, one.address)
        now_ms = unix_ms(self._clock)
        same = (
            (attempts.c.kind == kind)
            & (attempts.c.who == one.who)
            & (attempts.c.address == one.address)
            & (attempts.c.sentence == sentence[:SENTENCE_LENGTH])
            & (attempts.c.first_ms > now_ms - _HOUR_MS)
        )
        with suppress(Unavailable):  # the refusal is answered even where it cannot be recorded
            async with self._database.writing() as connection:
                known = (await connection.execute(select(func.max(attempts.c.id)).where(same))).scalar()
                if known is not None:
                    again = update(attempts).where(attempts.c.id == known)
                    await connection.execute(again.values(times=attempts.c.times + 1, last_ms=now_ms))
                    return
                await connection.execute(
                    insert(attempts).values(
                        kind=kind,
                        account_id=one.account_id,
                        who=one.who,
                        address=one.address,
                        sentence=sentence[:SENTENCE_LENGTH],
                        first_ms=now_ms,
                        last_ms=now_ms,
                        times=1,
                    )
                )


def _network(address: str) -> str:
    """Whose address it is: an IPv4 address by itself, an IPv6 address by its /64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return address
    return str(ip_network((parsed.packed, _IPV6_NETWORK), strict=False))
