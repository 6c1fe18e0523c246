"""The streams of gateways: the paper's an-IDs, each registered for one account only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.errors import Refused
from gateway.registrar.tables import holders, streams
from gateway.web.refusals import Conflict
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.stream import Descriptor

_OWNERS = select(streams.c.stream, streams.c.kid).where(
    streams.c.stream.in_(bindparam("ids", expanding=True))
)
_INSERT = insert(streams)
_IDS = select(streams.c.stream).where(streams.c.kid == bindparam("key")).order_by(streams.c.stream)


@dataclass(frozen=True, slots=True)
class Listing:
    """How the catalogue lists streams: where they are, and whether providers without a grant find them."""

    region: str
    tariff_zone: str
    listed: bool


def read_descriptors(signed: Sequence[bytes], card: Card, assurance: str) -> dict[bytes, bytes]:
    """Signed descriptors by their streams' ids. Refused for one that the card's key did not sign, that names
    another key, or that claims a TPM which the registrar has not seen."""
    found: dict[bytes, bytes] = {}
    for number, data in enumerate(signed, start=1):
        what = f"descriptor {number}"
        signer = cose.payload_unchecked(data, what)[0]
        if signer != card.kid:
            raise Refused(
                f"{what} is a foreign one: the key {signer.hex()} signed it, and the card has "
                f"{card.kid.hex()}"
            )
        one = Descriptor.read(data, card.signing_key, what)
        if one.signing_key != card.signing_key:
            raise Refused(f"{what} names another signing key than the card's")
        if one.assurance == "tpm" != assurance:
            raise Refused(
                f"{what} says that a TPM holds the gateway's keys, and the registrar has seen no TPM answer: "
                "register with the TPM's evidence"
            )
        found[one.stream] = data
    return found


def registered_descriptor(signed: bytes, stream: bytes) -> Descriptor:
    """A descriptor out of the database: its signature was checked when it was registered."""
    what = f"the registered descriptor of {stream.hex()}"
    return Descriptor.from_payload(cose.payload_unchecked(signed, what)[1], what)


async def add_streams(
    connection: AsyncConnection,
    kid: bytes,
    descriptors: dict[bytes, bytes],
    now_ms: int,
    listing: Listing | None = None,
) -> None:
    """Register streams for a gateway, in the caller's transaction, and how they are listed where that is
    said. Conflict for a stream that another key has."""
    rows = await connection.execute(_OWNERS, {"ids": list(descriptors)}) if descriptors else ()
    known = {row.stream: row.kid for row in rows}
    for stream, owner in known.items():
        if owner != kid:
            raise Conflict(
                f"the stream {stream.hex()} is registered for another gateway: each belongs to one"
            )
    values = {}
    if listing is not None:
        values = {"region": listing.region, "tariff_zone": listing.tariff_zone, "listed": listing.listed}
    for stream, descriptor in descriptors.items():
        if stream in known:
            change = update(streams).where(streams.c.stream == stream)
            await connection.execute(change.values(descriptor=descriptor, **values))
    new = [
        {"region": "", "tariff_zone": "", "listed": False}
        | values
        | {"stream": stream, "kid": kid, "descriptor": descriptor, "registered_ms": now_ms}
        for stream, descriptor in descriptors.items()
        if stream not in known
    ]
    if new:
        await connection.execute(_INSERT, new)


async def ids_of(connection: AsyncConnection, kid: bytes) -> list[bytes]:
    """The streams of a gateway, by id."""
    return list((await connection.execute(_IDS, {"key": kid})).scalars())


async def ids_of_account(connection: AsyncConnection, account_id: int) -> list[bytes]:
    """The streams of an account's gateways, by id."""
    query = (
        select(streams.c.stream)
        .join(holders)
        .where(holders.c.account_id == account_id)
        .order_by(streams.c.stream)
    )
    return list((await connection.execute(query)).scalars())
