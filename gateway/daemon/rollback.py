"""The rollback check: a ledger is behind if the store holds an object that this gateway signed and the ledger
does not know (PROTOCOL.md, rule 6).

A ledger restored from a backup, or on a cloned SD card, is behind what was published. Then
`gateway.daemon.takeover` takes the store's chain over.
"""

from __future__ import annotations

import logging

from gateway.daemon.found import FoundGrants
from gateway.errors import GatewayError, NotFound, Refused
from gateway.host.clock import Clock, unix_ms
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import AuditEntry, Queued, Stream
from gateway.store.bucket import Bucket
from gateway.stream.fetch import get
from gateway.trust.root import Root
from gateway.wire import names
from gateway.wire.grant import Tokens
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

    def __init__(self, ledger: Ledger, bucket: Bucket, clock: Clock, root: Root) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._clock = clock
        self._public_key = root.public_key
        self._found = FoundGrants(ledger, bucket, clock, root)
        self._went_back: dict[bytes, str] = {}

    @property
    def faults(self) -> list[str]:
        """A sentence for each stream whose head in the store was found to have gone back."""
        return list(self._went_back.values())

    def went_back(self, stream: Stream) -> bool:
        """Whether the stream's head in the store was found to have gone back."""
        return stream.id in self._went_back

    async def compare(self) -> None:
        """Read every stream's grants and head back. Grants that the ledger does not know are taken into it;
        a head that has gone back is noted. StoreAhead if the ledger does not know the chunk that the head
        names, or serves a grant that was revoked."""
        for stream in await self._ledger.streams():
            await self._found.adopt(stream)
            data = await get(self._bucket, names.head(stream.id))
            head = await self._own_head(stream, data)
            known = None if head is None else await self._ledger.chunk_at(stream, head.seq)
            if head is not None and (known is None or known.digest != head.digest):
                key = names.head(stream.id)
                why = f"{key} names chunk {head.seq}, which the ledger does not know"
                raise StoreAhead(stream.id, key, why)
            for grant in await self.revoked(stream):
                key = names.revocation(stream.id, grant)
                raise StoreAhead(stream.id, key, f"{key} revokes a grant that the ledger serves")
            if data is None or head is not None:  # an invalid one has been noted
                await self._compare_with_confirmed(stream, head, data)

    async def _compare_with_confirmed(self, stream: Stream, head: Head | None, data: bytes | None) -> None:
        """Note, once, a head older than one that the store confirmed to this ledger, or none at all."""
        key, confirmed = names.head(stream.id), await self._ledger.confirmed_head(stream)
        if confirmed is None:
            return
        seq = Head.read(confirmed, self._public_key, key).seq
        if head is not None and head.seq >= seq:
            return
        now = "there is none" if head is None else f"it names chunk {head.seq}"
        detail = f"the store had confirmed {key} of chunk {seq}, and now {now}: it has lost or hides objects"
        self._went_back[stream.id] = detail
        _log.warning("%s", detail)
        await self._ledger.head_went_back(stream, data, AuditEntry(unix_ms(self._clock), "store", detail))

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
            ours = type(theirs).read(queued.object.data, self._public_key, key)
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
        return await self._own_head(stream, await get(self._bucket, names.head(stream.id)))

    async def _own_head(self, stream: Stream, data: bytes | None) -> Head | None:
        if data is None:
            return None
        try:
            return Head.read_at(names.head(stream.id), data, self._public_key, stream.layout.unit_ms)
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
            from_unit = await self._found.revoked_from(stream, grant.id)
            if from_unit is not None:
                revoked[grant.id] = from_unit
        return revoked

    async def note(self, detail: str) -> None:
        """Write a finding about the store to the log and the audit log."""
        _log.warning("%s", detail)
        await self._ledger.audit(AuditEntry(unix_ms(self._clock), "store", detail))

    async def _unit_ms(self, stream_id: bytes) -> int:
        (stream,) = [stream for stream in await self._ledger.streams() if stream.id == stream_id]
        return stream.layout.unit_ms
