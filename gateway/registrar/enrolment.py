"""Enrolment of holders of keys without their taking part, for demonstrations with simulated homes.

It writes the rows and certificates that registrations write (`gateway.registrar.registration`), each holder
with an account of its own, which no password opens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import UsageError
from gateway.host.clock import unix_ms
from gateway.registrar.service import Registrar
from gateway.registrar.streams import Listing, add_streams
from gateway.registrar.tables import accounts, holders
from gateway.wire.card import Card

_LOCKED = "!"
"""No password has this digest, as in shadow(5)."""
_MANY = 500  # streams of one statement


@dataclass(frozen=True, slots=True)
class Holder:
    """A gateway or a provider: its account's name, its card and the same as it signed it; of a gateway also
    its signed descriptors by their streams' ids, and how these are listed."""

    account: str
    card: Card
    signed_card: bytes
    descriptors: Mapping[bytes, bytes] = field(default_factory=dict)
    listing: Listing | None = None


async def enrol(registrar: Registrar, wanted: Iterable[Holder]) -> dict[bytes, bytes]:
    """Enrol holders, all or none; those that are enrolled already stay. The catalogue then knows their
    streams and what they granted. Gives each one's certificate, by its kid.

    UsageError for a registrar without a store, Conflict where another holder has one of the streams.
    """
    if registrar.indexer is None:
        raise UsageError("the registrar has no [store], and a catalogue is of what is in one: set it first")
    certificates, streams = dict[bytes, bytes](), list[bytes]()
    async with registrar.database.writing() as connection:
        known = set((await connection.execute(select(holders.c.kid))).scalars())
        for one in wanted:
            assurance: Literal["software"] | None = "software" if one.card.role == "gateway" else None
            if one.card.kid not in known:
                await _add(connection, one, assurance, unix_ms(registrar.clock))
            certificates[one.card.kid] = await registrar.cards.certify(
                connection, one.card, one.signed_card, assurance
            )
            streams += one.descriptors
    for at in range(0, len(streams), _MANY):
        await registrar.indexer.look(streams[at : at + _MANY])
    return certificates


async def _add(connection: AsyncConnection, one: Holder, assurance: str | None, now_ms: int) -> None:
    role = "provider" if assurance is None else "household"
    account = {"name": one.account, "role": role, "password": _LOCKED, "created_ms": now_ms}
    made = (await connection.execute(insert(accounts).values(account))).inserted_primary_key
    assert made is not None
    row = {"kid": one.card.kid, "account_id": made[0], "role": one.card.role, "card": one.signed_card}
    await connection.execute(insert(holders).values(row | {"assurance": assurance, "registered_ms": now_ms}))
    await add_streams(connection, one.card.kid, dict(one.descriptors), now_ms, one.listing)
