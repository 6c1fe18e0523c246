"""The objects that the household may read: those of the gateway's own streams, and price series.

Nothing is handed out but what lies in the bucket, or waits in the outbox to go there: signed objects, whose
readings are encrypted. So whoever reads here learns what the storage's operator may learn, and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from gateway.errors import StoreDenied, StoreUnavailable, UsageError
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import Stream
from gateway.store.bucket import Bucket, check_key, shown
from gateway.stream.fetch import listed
from gateway.wire import names


class Objects:
    """Reads the outbox, and the bucket for what has left it.

    `away` is the sentence to fail with at once while the publisher finds that the store does not answer, or
    None: a page must not wait as long as sending may.
    """

    def __init__(self, ledger: Ledger, bucket: Bucket, away: Callable[[], str | None]) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._away = away

    async def keys(self, prefix: str, after: str, most: int) -> tuple[list[str], bool]:
        """The first `most` keys that may be read, begin with `prefix` and come after `after`, in the order of
        their bytes; and whether others follow. Unavailable while the store is: what the outbox holds is only
        the end of a stream, and a list of it alone would look like a gap."""
        found: list[str] = []
        for area in await self._areas():
            if area.startswith(prefix) or prefix.startswith(area):
                found += await self._keys(max(area, prefix, key=len), after, most + 1 - len(found))
                if len(found) > most:
                    break
        return found[:most], len(found) > most

    async def get(self, key: str) -> bytes:
        """The object at `key`: as it waits in the outbox, else as the store has it, and while the store is
        away as it was last sent, if the ledger still keeps it. NotFound where there is none; UsageError for a
        key that is not below a stream of this gateway, nor a price series'."""
        check_key(key)
        area = next((area for area in await self._areas() if key.startswith(area)), None)
        if area is None:
            raise UsageError(
                f"the object {shown(key)} is not this gateway's: expected a key below one of its streams, or "
                f"below {names.PRICES}"
            )
        unsent = await self._ledger.unsent(key)
        if unsent is not None:
            return unsent
        try:
            self._check_there()
            return await self._bucket.get(key)
        except (StoreUnavailable, StoreDenied):
            stream = (await self._areas())[area]
            sent = None if stream is None else await self._sent(stream, key)
            if sent is None:
                raise
            return sent

    async def _areas(self) -> dict[str, Stream | None]:
        """The prefixes below which objects may be read, in order, each with its stream if it has one."""
        streams = {names.stream_prefix(stream.id): stream for stream in await self._ledger.streams()}
        return dict(sorted({**streams, names.PRICES: None}.items()))

    def _check_there(self) -> None:
        away = self._away()
        if away is not None:
            raise StoreUnavailable(away)

    async def _keys(self, prefix: str, after: str, most: int) -> list[str]:
        self._check_there()
        found = set(await self._ledger.unsent_keys(prefix, after, most))
        count = 0
        async with aclosing(listed(self._bucket, prefix, after)) as keys:
            async for key in keys:
                found.add(key)
                count += 1
                if count == most:
                    break
        return sorted(found)[:most]

    async def _sent(self, stream: Stream, key: str) -> bytes | None:
        if key == names.head(stream.id):
            return await self._ledger.confirmed_head(stream)
        return await self._ledger.sent(stream, key)
