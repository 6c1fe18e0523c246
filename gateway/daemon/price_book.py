"""The price series that standing decisions follow: read from the bucket or handed over, verified, and kept.

Nobody is trusted for prices. They come as their signed bytes, and are verified with the card that the
household compared when it decided, as they come and again as they are used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from gateway.chain.layout import DAY_MS
from gateway.errors import NotFound, Refused, Unavailable
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import FollowRecord, PriceRecord
from gateway.store.bucket import Bucket
from gateway.stream.prices import read_series
from gateway.wire import names
from gateway.wire.card import Card
from gateway.wire.prices import MAX_SPAN_MS, PriceSeries

_log = logging.getLogger(__name__)

_AT_ONCE = 16  # objects that are read side by side
_MONTH_MS = 31 * DAY_MS


class PriceBook:
    """The kept price series. `faults` says, by provider, why its prices cannot be read from the bucket."""

    def __init__(self, ledger: Ledger, bucket: Bucket) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._refused: set[str] = set()  # keys of objects that are no series of their provider's
        self.faults: dict[bytes, str] = {}

    async def take(self, data: bytes, following: Sequence[FollowRecord], what: str) -> PriceSeries:
        """Keep the series in signed bytes, which `what` names; the same one again changes nothing. Refused
        unless the card of one of these decisions, of one provider, verifies it, and for another series of a
        serial that is kept."""
        series = _verified(data, following, what)
        before = await self._ledger.price(series.provider, series.serial)
        if before is not None and _verified(before, following, what) != series:
            raise Refused(f"{what} has the serial {series.serial}, as another series of its provider has")
        needed = any(one.series == series.name for one in following)
        times = series.start_ms, series.end_ms
        await self._ledger.add_price(
            PriceRecord(series.provider, series.serial, series.name, *times, data if needed else None)
        )
        return series

    async def series(self, record: FollowRecord, card: Card) -> list[PriceSeries]:
        """The kept series that a decision follows, each verified with its card."""
        found = []
        for one in await self._ledger.prices(record.provider):
            if one.series == record.series and one.data is not None:
                try:
                    found.append(read_series(one.data, card, f"series {one.serial}"))
                except Refused:
                    continue  # made while another card of the provider was valid
        return found

    async def read_store(
        self, provider: bytes, following: Sequence[FollowRecord], needed_ms: int
    ) -> list[PriceSeries]:
        """Keep the provider's series that the bucket has and the ledger has not; these. Those that end before
        `needed_ms`, Unix ms, are dropped. One that is refused stops no other; where the bucket cannot be
        read, `faults` says so."""
        known = {one.serial for one in await self._ledger.prices(provider)}
        new: list[PriceSeries] = []
        try:
            keys = [key async for key in self._keys(provider, max(0, needed_ms - MAX_SPAN_MS))]
            unknown = [key for key in keys if key not in self._refused and _serial(key) not in known]
            async with aclosing(self._read(unknown)) as found:
                async for key, data in found:
                    try:
                        series = await self.take(data, following, key)
                        series.check_place(key, 1)
                        new.append(series)
                    except Refused as error:
                        _log.warning("%s", error)
                        self._refused.add(key)
            self.faults.pop(provider, None)
        except Unavailable as error:
            self.faults[provider] = f"prices cannot be read from the store: {error}"
        await self._ledger.trim_prices(provider, needed_ms, needed_ms - MAX_SPAN_MS)
        return new

    async def in_store(self, record: FollowRecord, card: Card, since_ms: int) -> list[PriceSeries]:
        """The series that a decision would follow and the bucket has, with prices after `since_ms`, Unix ms,
        to show before the household decides: those that begin up to a month before. None where the bucket
        cannot be read."""
        found: list[PriceSeries] = []
        try:
            keys = [key async for key in self._keys(record.provider, max(0, since_ms - _MONTH_MS))]
            async with aclosing(self._read(keys)) as read:
                async for key, data in read:
                    try:
                        series = read_series(data, card, key)
                    except Refused:
                        continue
                    if series.name == record.series:
                        found.append(series)
        except Unavailable:
            return []
        return found

    def _keys(self, provider: bytes, since_ms: int) -> AsyncIterator[str]:
        """The keys of the provider's series that begin at `since_ms`, Unix ms, or later."""
        return self._bucket.list(names.prices(provider), names.price_series(provider, since_ms, 0))

    async def _read(self, keys: Sequence[str]) -> AsyncGenerator[tuple[str, bytes], None]:
        """The objects that lie under these keys, some read at a time; one that is gone, or far too long for a
        series, is left out."""
        for at in range(0, len(keys), _AT_ONCE):
            some = keys[at : at + _AT_ONCE]
            for key, data in zip(some, await asyncio.gather(*map(self._get, some)), strict=True):
                if data is not None:
                    yield key, data

    async def _get(self, key: str) -> bytes | None:
        try:
            return await self._bucket.get(key)
        except (NotFound, Refused):
            return None


def _serial(key: str) -> int | None:
    """The serial in the key of a series; None for another key."""
    try:
        return names.number_in(key)
    except Refused:
        return None


def _verified(data: bytes, following: Sequence[FollowRecord], what: str) -> PriceSeries:
    """The series, checked with the card of one of these decisions; else Refused."""
    for record in following[:-1]:
        try:
            return read_series(data, Card.read_self_signed(record.card, "the card"), what)
        except Refused:
            continue
    return read_series(data, Card.read_self_signed(following[-1].card, "the card"), what)
