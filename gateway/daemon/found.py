"""Grants that the store holds and the ledger does not know: it is an older copy than they are.

The ledger takes them over from there, so that they are shown, counted in the consent check, and can be
revoked. Their keys are lost with the ledger that made them, so no more tokens can be made for them.
"""

from __future__ import annotations

import logging
from contextlib import aclosing

from gateway.chain.layout import LANES
from gateway.errors import Refused
from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, GrantRecord, Stream
from gateway.store.bucket import Bucket
from gateway.stream.fetch import get
from gateway.stream.grants import check_grant, check_revocation, grant_folders
from gateway.trust.root import Root
from gateway.wire import names
from gateway.wire.stream import Descriptor

_log = logging.getLogger(__name__)


def descriptor_of(stream: Stream, root: Root) -> Descriptor:
    """The descriptor of a stream that this gateway began."""
    return Descriptor(
        stream=stream.id,
        layout=stream.layout,
        lanes=tuple(LANES[lane] for lane in stream.lanes),
        start=stream.start,
        signing_key=root.public_key,
        assurance=root.assurance,
        factor=stream.factor,
    )


class FoundGrants:
    """The grants in the store that the ledger does not know."""

    def __init__(self, ledger: Ledger, bucket: Bucket, clock: Clock, root: Root) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._root = root

    async def adopt(self, stream: Stream) -> None:
        """Take a stream's grants that this gateway signed, and their revocations, into the ledger. What else
        lies in their place is noted once."""
        known = {record.id for record in await self._ledger.grants(stream.id)}
        found: list[tuple[GrantRecord, AuditEntry]] = []
        async with aclosing(grant_folders(self._bucket, stream.id)) as folders:
            async for grant_id in folders:
                if grant_id in known:
                    continue
                try:
                    found.append(await self._read(stream, grant_id))
                except Refused as error:
                    await self._ledger.audit_once(AuditEntry(unix_ms(self._clock), "store", str(error)))
        if found:
            await self._ledger.adopt_grants(found)
        for _, entry in found:
            _log.warning("%s", entry.detail)

    async def revoked_from(self, stream: Stream, grant_id: bytes) -> int | None:
        """The unit from which the store has a grant revoked; None unless it holds a valid revocation."""
        key = names.revocation(stream.id, grant_id)
        data = await get(self._bucket, key)
        try:
            found = None if data is None else check_revocation(descriptor_of(stream, self._root), key, data)
        except Refused:
            return None
        return None if found is None else found.from_unit

    async def _read(self, stream: Stream, grant_id: bytes) -> tuple[GrantRecord, AuditEntry]:
        descriptor, key = descriptor_of(stream, self._root), names.grant(stream.id, grant_id)
        signed, grant = check_grant(descriptor, key, await get(self._bucket, key))
        record = GrantRecord(
            grant_id,
            stream.id,
            signed.body,
            provider_name=grant.provider.hex(),
            next_window=0,
            key=b"",
            revoked_from=await self.revoked_from(stream, grant_id),
        )
        detail = (
            f"{grant.opens} (grant {grant_id.hex()}) to {record.provider_name}, for: {grant.purpose}; this "
            "grant was found in the store, and the ledger, restored or copied, did not know it"
        )
        return record, AuditEntry(unix_ms(self._clock), "rollback", detail)
