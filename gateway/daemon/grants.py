"""The grants of one gateway as its parts use them: decoded once, at the ledger's edge."""

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
    """A grant on a stream, a bill's tariff, and how far the ledger has served it."""

    stream: Stream
    grant: Grant
    tariff: Tariff | None
    record: GrantRecord


class GrantBook:
    """Reads grants from the ledger. What was granted never changes, so that it is decoded once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._decoded: dict[bytes, tuple[Grant, Tariff | None]] = {}

    async def of(self, stream: Stream) -> list[ServedGrant]:
        """All grants of a stream, as they stand now."""
        return [self._served(stream, record) for record in await self._ledger.grants(stream.id)]

    async def find(self, grant_id: bytes) -> ServedGrant | None:
        """The grant with this id; None where there is none."""
        for stream in await self._ledger.streams():
            for served in await self.of(stream):
                if served.grant.id == grant_id:
                    return served
        return None

    def _served(self, stream: Stream, record: GrantRecord) -> ServedGrant:
        if record.id not in self._decoded:
            grant = read_grant_body(record.body, stream.layout.unit_ms, f"grant {record.id.hex()}")
            priced = record.tariff
            tariff = None if priced is None else read_tariff_body(priced, f"the tariff of {record.id.hex()}")
            self._decoded[record.id] = grant, tariff
        return ServedGrant(stream, *self._decoded[record.id], record)
