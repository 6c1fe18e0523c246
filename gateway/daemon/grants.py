"""The grants of one gateway, decoded once, at the ledger's edge, and what is wrong with any of them.

A grant that cannot be read or served (its time zone is unknown, its tariff does not decode) holds up neither
sealing nor the other grants.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gateway.chain.grant import Grant
from gateway.chain.tariff import Tariff
from gateway.chain.window import Granularity
from gateway.chain.windows import GrantWindows
from gateway.errors import Refused, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, GrantRecord, Stream
from gateway.wire.grant import read_grant_body
from gateway.wire.tariff import read_tariff_body

_log = logging.getLogger(__name__)
_KEY_LOST = (
    "its key was lost with the ledger that made it, so nothing is published for it any more. Revoke it, and "
    "grant anew"
)


@dataclass(frozen=True, slots=True)
class ServedGrant:
    """A grant on a stream, the tariff if it is a bill, and the ledger's record of how far it is served.

    `moved` says, where its time zone has changed since the grant was made, that its windows lie elsewhere
    than the zone's days or months; None for all other grants. The tariff of a bill is None where it was lost.
    """

    stream: Stream
    grant: Grant
    tariff: Tariff | None
    record: GrantRecord
    moved: str | None = None

    @property
    def flaw(self) -> str | None:
        """Why no tokens can be made for it, as a sentence; None where they can."""
        return None if self.record.key else _KEY_LOST

    @property
    def uncounted(self) -> str | None:
        """Why the consent check cannot count it, as a sentence; None where it can."""
        lost = self.grant.kind == "bill" and self.tariff is None
        return "its tariff was lost with the ledger that made it" if lost else self.moved


@dataclass(frozen=True, slots=True)
class UnreadGrant:
    """A grant whose record the gateway cannot decode; `flaw` says why. It can still be revoked."""

    stream: Stream
    record: GrantRecord
    flaw: str

    @property
    def uncounted(self) -> str:
        """Why the consent check cannot count it."""
        return self.flaw


AnyGrant = ServedGrant | UnreadGrant


class GrantBook:
    """The grants in the ledger. What was granted never changes, so it is decoded once."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._decoded: dict[bytes, tuple[Grant, Tariff | None, str | None] | str] = {}
        self._faults: dict[bytes, FaultLog] = {}

    async def all(self, stream: Stream) -> list[AnyGrant]:
        """All grants of a stream in their current state."""
        return [self._found(stream, record) for record in await self._ledger.grants(stream.id)]

    async def of(self, stream: Stream) -> list[ServedGrant]:
        """The grants of a stream that can be read, in their current state."""
        return [one for one in await self.all(stream) if isinstance(one, ServedGrant)]

    async def find(self, grant_id: bytes) -> AnyGrant | None:
        """The grant with this id, or None."""
        for stream in await self._ledger.streams():
            for one in await self.all(stream):
                if one.record.id == grant_id:
                    return one
        return None

    def fault(self, one: AnyGrant) -> str | None:
        """Why a grant gets no tokens, as a sentence; None where it gets them."""
        faults = self._faults.get(one.record.id)
        return one.flaw or (None if faults is None else faults.fault)

    async def faults(self) -> list[str]:
        """A sentence for each grant that gets no tokens and is not revoked."""
        return [
            f"{_named(one)} gets no tokens: {fault}"
            for stream in await self._ledger.streams()
            for one in await self.all(stream)
            if one.record.revoked_from is None and (fault := self.fault(one)) is not None
        ]

    async def fails(self, one: AnyGrant, why: str) -> None:
        """A grant gets no tokens: log it, and write it to the audit log once."""
        faults = self._faults.setdefault(
            one.record.id, FaultLog(self._clock, _log.warning, _log.info, f"{_named(one)} gets no tokens: ")
        )
        if faults.fault != why:
            detail = f"{_named(one)} gets no tokens: {why}"
            await self._ledger.audit_once(AuditEntry(unix_ms(self._clock), "grant", detail))
        faults.report(why)

    def succeeds(self, one: AnyGrant) -> None:
        """A grant has got all tokens that were due."""
        faults = self._faults.pop(one.record.id, None)
        if faults is not None:
            faults.clear(f"{_named(one)} gets its tokens again")

    def _found(self, stream: Stream, record: GrantRecord) -> AnyGrant:
        if record.id not in self._decoded:
            try:
                self._decoded[record.id] = _decode(stream, record)
            except (Refused, UsageError) as error:
                self._decoded[record.id] = str(error)
        decoded = self._decoded[record.id]
        if isinstance(decoded, str):
            return UnreadGrant(stream, record, decoded)
        grant, tariff, moved = decoded
        return ServedGrant(stream, grant, tariff, record, moved)


def _decode(stream: Stream, record: GrantRecord) -> tuple[Grant, Tariff | None, str | None]:
    """The grant, its tariff, and `moved` of ServedGrant; Refused or UsageError where they do not decode."""
    where, priced = f"grant {record.id.hex()}", record.tariff
    grant = read_grant_body(record.body, stream.layout.unit_ms, where)
    tariff = None if priced is None else read_tariff_body(priced, f"the tariff of {where}")
    return grant, tariff, _moved(GrantWindows(grant, record.edges), grant.granularity)


def _moved(windows: GrantWindows, granularity: Granularity) -> str | None:
    """The first edge of a grant that is no boundary of its granularity, as a sentence; None if there is
    none."""
    for edge in windows.settled if windows.calendar else ():
        try:
            if granularity.align_up(edge) == edge:
                continue
        except UsageError as error:
            return str(error)
        return (
            f"the time zone {granularity.zone} has changed since it was made: one of its windows begins at "
            f"unit {edge}, where no {granularity} begins"
        )
    return None


def _named(one: AnyGrant) -> str:
    return f"grant {one.record.id.hex()} of {one.record.provider_name}"
