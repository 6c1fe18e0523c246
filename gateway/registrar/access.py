"""Refused attempts: recorded, slowed down, and shown to the account that they concern and to the operator.

An attempt is charged before it is checked, to the address that it comes from and, where it is a password,
to the account that it is for; it is given back where it succeeds. So a thousand at once count a thousand.
Who has failed often waits ever longer, twice as long each time.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network

from sqlalchemy import delete, func, insert, select, update

from gateway.errors import GatewayError, Refused, Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.registrar.database import Database
from gateway.registrar.tables import NAME_LENGTH, SENTENCE_LENGTH, attempts
from gateway.web.limits import Limits
from gateway.web.refusals import TooMany

_HOUR_MS = 3_600_000
_KEPT_MS = 90 * 24 * _HOUR_MS
_MOST_ROWS = 10_000
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
