"""The rollback check: a ledger is behind if the store holds an object that this gateway signed and the ledger
does not know (PROTOCOL.md, rule 6).

A ledger restored from a backup, or on a cloned SD card, is behind what was published. Then
`gateway.daemon.takeover` takes the store's chain over.
"""

from __future__ import annotations

import logging

from gateway.errors import GatewayError, NotFound, Refused
from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, Queued, Stream
from gateway.store.bucket import Bucket
from gateway.wire import names
from gateway.wire.grant import Revocation, Tokens
from gateway.wire.kinds import class_at
from gateway.wire.stream import Chunk, Head, Page

_log = logging.getLogger(__name__)


class StoreAhead(GatewayError):
    """The store holds the object `key` of `stream`, signed by this gateway and unknown to its ledger."""

    def __init__(self, stream: bytes, key: str, why: str) -> None:
        super().__init__(f"the ledger was rolled back: {why}")
        self.stream = stream
        self.key = key


class RollbackCheck:
    """Compares the ledger with this gateway's objects in the store."""

    def __init__(self, ledger: Ledger, bucket: Bucket, clock: Clock, public_key: bytes) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._public_key = public_key

    async def compare(self) -> None:
        """Read every stream's head back; StoreAhead if the ledger does not know the chunk it names, or
        serves a grant that was revoked."""
        for stream in await self._ledger.streams():
            head = await self.head(stream)
            known = None if head is None else await self._ledger.chunk_at(stream, head.seq)
            if head is not None and (known is None or known.digest != head.digest):
                key = names.head(stream.id)
                why = f"{key} names chunk {head.seq}, which the ledger does not know"
                raise StoreAhead(stream.id, key, why)
            for grant in await self.revoked(stream):
                key = names.revocation(stream.id, grant)
                raise StoreAhead(stream.id, key, f"{key} revokes a grant that the ledger serves")

    async def settle(self, queued: Queued) -> bool:
        """Decide what happens where the key of `queued` is taken by other bytes. True: the store's object
        stays and ours need not be sent. False: the store's may be overwritten. StoreAhead: the ledger is
        behind."""
        key, kind = queued.object.key, class_at(queued.object.key)
        unit_ms = await self._unit_ms(queued.stream)
        try:
            theirs = kind.read_at(key, await self._bucket.get(key), self._public_key, unit_ms)
        except NotFound:
            return False
        except Refused as error:
            await self.note(f"a foreign object was in the way and is overwritten: {error}")
            return False
        if isinstance(theirs, Page):
            ours = Page.read(queued.object.data, self._public_key, key)
            if theirs.children != ours.children:
                await self.note(f"{key} in the store is a page of other children and is overwritten")
                return False
        # Folded tokens are copies: those that were there first stay.
        if isinstance(theirs, Chunk | Page) or (isinstance(theirs, Tokens) and names.fold_of(key) == "new"):
            why = f"{key} is already in the store, with other bytes signed by this gateway"
            raise StoreAhead(queued.stream, key, why)
        await self.note(f"{key} was already in the store, signed by this gateway, and stays as it is")
        return True

    async def head(self, stream: Stream) -> Head | None:
        """The stream's head in the store; None unless it holds one that this gateway signed."""
        key = names.head(stream.id)
        try:
            return Head.read_at(key, await self._bucket.get(key), self._public_key, stream.layout.unit_ms)
        except NotFound:
            return None
        except Refused as error:
            await self.note(f"an invalid head will be overwritten: {error}")
            return None

    async def revoked(self, stream: Stream) -> dict[bytes, int]:
        """The grants that the ledger serves although the store holds their revocations: by id, the unit from
        which each is revoked."""
        revoked: dict[bytes, int] = {}
        for grant in await self._ledger.grants(stream.id):
            if grant.revoked_from is not None:
                continue
            key, unit_ms = names.revocation(stream.id, grant.id), stream.layout.unit_ms
            try:
                found = Revocation.read_at(key, await self._bucket.get(key), self._public_key, unit_ms)
            except (NotFound, Refused):
                continue
            revoked[grant.id] = found.from_unit
        return revoked

    async def note(self, detail: str) -> None:
        """Write a finding about the store to the log and the audit log."""
        _log.warning("%s", detail)
        await self._ledger.audit(AuditEntry(unix_ms(self._clock), "store", detail))

    async def _unit_ms(self, stream_id: bytes) -> int:
        (stream,) = [stream for stream in await self._ledger.streams() if stream.id == stream_id]
        return stream.layout.unit_ms
