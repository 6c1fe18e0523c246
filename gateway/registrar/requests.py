"""Providers' requests for grants, which the registrar keeps for the households that they are made to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import NotFound, Refused
from gateway.host.clock import Clock, unix_ms
from gateway.registrar.access import Access
from gateway.registrar.cards import Cards
from gateway.registrar.database import Database
from gateway.registrar.sessions import Session
from gateway.registrar.tables import requests, streams
from gateway.web.refusals import Conflict, TooMany
from gateway.wire.request import Request

_MOST_OPEN = 100
"""Requests of one provider on one stream that wait for an answer."""
_MOST_BYTES = 2**20
"""All that one provider asks of one gateway and that waits: it is sent in one answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: the signed gw1/request, the provider's certificate, what became of it, and when it came
    (Unix ms)."""

    id: bytes
    stream: bytes
    signed: bytes
    certificate: bytes
    state: Literal["open", "granted", "declined"]
    asked_ms: int


class Requests:
    """Takes requests from providers, and decisions from gateways."""

    def __init__(self, database: Database, access: Access, cards: Cards, clock: Clock) -> None:
        self._database = database
        self._access = access
        self._cards = cards
        self._clock = clock

    async def add(self, session: Session, signed: bytes, address: str) -> Asked:
        """Keep a provider's signed request; the same one again is the same. Refused, and recorded, where it
        is another's; NotFound for a stream that is not registered."""
        async with self._access.attempt("request", address, session.kid.hex()) as attempt:
            attempt.account_id = session.account_id
            request = Request.read(signed, session.card.signing_key, "the request")
            if request.provider != session.kid:
                raise Refused("the request is in another provider's name")
        async with self._database.writing() as connection:
            known = (
                await connection.execute(select(requests).where(requests.c.id == request.id))
            ).one_or_none()
            if known is not None and known.signed != signed:
                raise Conflict(f"there is another request with the id {request.id.hex()}: draw a new one")
            if known is None:
                same = requests.c.stream == request.stream
                there = (
                    await connection.execute(select(func.count()).where(streams.c.stream == request.stream))
                ).scalar()
                if not there:
                    raise NotFound(f"no stream {request.stream.hex()} is registered here")
                waiting = select(func.count()).where(
                    same, requests.c.provider == session.kid, requests.c.state == "open"
                )
                if ((await connection.execute(waiting)).scalar() or 0) >= _MOST_OPEN:
                    raise TooMany(
                        f"{_MOST_OPEN} of this provider's requests on the stream wait for an answer", 3600
                    )
                if await _waiting_bytes(connection, session.kid, request.stream) > _MOST_BYTES - len(signed):
                    raise TooMany(
                        "this provider's open requests to the gateway are too large together: at most"
                        f" {_MOST_BYTES} bytes of them may wait for an answer",
                        3600,
                    )
                await connection.execute(
                    insert(requests).values(
                        id=request.id,
                        provider=session.kid,
                        stream=request.stream,
                        signed=signed,
                        state="open",
                        asked_ms=unix_ms(self._clock),
                    )
                )
        (asked,) = await self._select(requests.c.id == request.id)
        return asked

    async def of(self, session: Session) -> list[Asked]:
        """A provider's own requests, or the open ones on a gateway's streams, in the order in which they
        came."""
        if session.role == "provider":
            return await self._select(requests.c.provider == session.kid)
        return await self._select((streams.c.kid == session.kid) & (requests.c.state == "open"))

    async def decide(
        self, session: Session, request_id: bytes, state: Literal["granted", "declined"]
    ) -> Asked:
        """Note what the household decided; NotFound unless the request is on a stream of this gateway."""
        mine = select(streams.c.stream).where(streams.c.kid == session.kid)
        async with self._database.writing() as connection:
            done = await connection.execute(
                update(requests)
                .where(requests.c.id == request_id, requests.c.stream.in_(mine))
                .values(state=state, decided_ms=unix_ms(self._clock))
            )
        found = await self._select(requests.c.id == request_id) if done.rowcount else []
        if not found:
            raise NotFound(f"there is no request {request_id.hex()} on a stream of this gateway")
        return found[0]

    async def _select(self, condition: Any) -> list[Asked]:
        query = (
            select(requests)
            .join(streams, streams.c.stream == requests.c.stream)
            .where(condition)
            .order_by(requests.c.asked_ms, requests.c.id)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        found = await self._certificates({row.provider for row in rows})
        return [
            Asked(row.id, row.stream, row.signed, found[row.provider], row.state, row.asked_ms)
            for row in rows
            if row.provider in found
        ]

    async def _certificates(self, kids: set[bytes]) -> dict[bytes, bytes]:
        """The certificates of providers; revoked ones have none, and their requests show no more."""
        found = {}
        for kid in kids:
            try:
                found[kid] = await self._cards.present(kid)
            except (NotFound, Refused):
                continue
        return found


async def _waiting_bytes(connection: AsyncConnection, provider: bytes, stream: bytes) -> int:
    """How much a provider's open requests to the gateway of a stream have together."""
    gateway = select(streams.c.kid).where(streams.c.stream == stream).scalar_subquery()
    query = (
        select(func.sum(func.length(requests.c.signed)))
        .join(streams, streams.c.stream == requests.c.stream)
        .where(streams.c.kid == gateway, requests.c.provider == provider, requests.c.state == "open")
    )
    return int((await connection.execute(query)).scalar() or 0)
