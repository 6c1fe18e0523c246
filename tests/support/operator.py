"""A registrar with something to see, for the operator's pages: households, providers, streams, and refused
attempts."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import insert

from gateway.chain.layout import DAY_MS
from gateway.errors import Refused
from gateway.registrar.service import Registrar
from gateway.registrar.streams import Listing, add_streams
from gateway.registrar.tables import coverage, grants
from gateway.wire.request import Request
from tests.support.registrar import ADDRESS, Holder, register

OPERATOR = "opérator"
STREAMS = (b"\1" * 16, b"\xab" * 16)
FAULT = "the store holds a descriptor of another stream"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was made: the operator's password, and who registered."""

    password: str
    home: Holder
    home_password: str
    provider: Holder


async def furnish(registrar: Registrar, now_ms: int) -> Seen:
    """An operator; the household müller with two streams, one of them with a fault; the household empty; the
    provider stadtwerk with an open request and a grant; and a refused password."""
    accounts = registrar.accounts
    password = await accounts.add(OPERATOR, "operator")
    home_password = await accounts.add("müller", "household")
    await accounts.add("empty", "household")
    home, provider = Holder("gateway", now_ms, "Home <Bern>"), Holder("provider", now_ms, "Stadtwerk")
    await register(registrar, "müller", home_password, home, *map(home.descriptor, STREAMS))
    await register(registrar, "stadtwerk", await accounts.add("stadtwerk", "provider"), provider)
    found = {stream: home.descriptor(stream) for stream in STREAMS}
    async with registrar.database.writing() as connection:
        await add_streams(connection, home.kid, found, now_ms, Listing("Bern", "H4", True))
        for stream, fault in zip(STREAMS, (None, FAULT), strict=True):
            row = {"unit_ms": 1000, "lanes": ",import,count,", "start_ms": 0, "looked_ms": now_ms - 60_000}
            await connection.execute(
                insert(coverage).values(stream=stream, sealed_until_ms=now_ms - 3_600_000, fault=fault, **row)
            )
        terms = {"kind": "windows", "lanes": "import", "granularity": "900", "zone": "UTC", "purpose": "bill"}
        for revoked in (None, now_ms):
            ends = {"from_ms": 0, "until_ms": None, "revoked_from_ms": revoked}
            await connection.execute(
                insert(grants).values(
                    stream=STREAMS[0], id=secrets.token_bytes(16), provider=provider.kid, **terms, **ends
                )
            )
    await ask(registrar, provider, now_ms)
    await refuse(registrar, "password", "müller", "the user name or the password is wrong")
    return Seen(password, home, home_password, provider)


async def ask(registrar: Registrar, provider: Holder, now_ms: int) -> None:
    """A request of the provider on the first stream."""
    nonce, _ = registrar.sessions.nonce()
    login = provider.login(nonce, registrar.identity.card.kid, now_ms)
    token, _ = await registrar.sessions.begin(login, ADDRESS)
    request = Request(
        id=secrets.token_bytes(16),
        provider=provider.kid,
        stream=STREAMS[0],
        kind="windows",
        lanes=("import",),
        granularity=900,
        zone="UTC",
        purpose="bill",
        from_ms=None,
        until_ms=now_ms + DAY_MS,
        tariff=None,
        time_ms=now_ms,
    )
    session = await registrar.sessions.find(token)
    await registrar.requests.add(session, provider.sign(request), ADDRESS)


async def refuse(registrar: Registrar, kind: str, who: str, sentence: str, address: str = ADDRESS) -> None:
    """A refused attempt."""
    with suppress(Refused):
        async with registrar.access.attempt(kind, address, who):
            raise Refused(sentence)
