"""The grants of one gateway, decoded once, at the ledger's edge."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chain.grant import Grant
from gateway.chain.tariff import Tariff
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import GrantRecord, Stream
from gateway.wire.grant import read_grant_body
from gateway.wire.tariff import read_tariff_body


@dataclass(frozen=True, slots=True)
class ServedGrant:
    """A grant on a stream, the tariff if it is a bill, and the ledger's record of how far it is served."""

    stream: Stream
    grant: Grant
    tariff: Tariff | None
    record: GrantRecord


class GrantBook:
    """The grants in the ledger. What was granted never changes, so it is decoded once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._decoded: dict[bytes, tuple[Grant, Tariff | None]] = {}

    async def of(self, stream: Stream) -> list[ServedGrant]:
        """All grants of a stream in their current state."""
        return [self._served(stream, record) for record in await self._ledger.grants(stream.id)]

    async def find(self, grant_id: bytes) -> ServedGrant | None:
        """The grant with this id, or None."""
        for stream in await self._ledger.streams():
            for served in await self.of(stream):
                if served.grant.id == grant_id:
                    return served
        return None

    def _served(self, stream: Stream, record: GrantRecord) -> ServedGrant:
        if record.id not in self._decoded:
            where, priced = f"grant {record.id.hex()}", record.tariff
            grant = read_grant_body(record.body, stream.layout.unit_ms, where)
            tariff = None if priced is None else read_tariff_body(priced, f"the tariff of {where}")
            self._decoded[record.id] = grant, tariff
        return ServedGrant(stream, *self._decoded[record.id], record)
