"""The price series that the household has accepted: checked with their providers' cards, kept, and asked.

A series comes as its signed bytes, over MQTT or from the bucket; how it came does not matter, as its
signature is checked. Of a provider whose card the gateway does not know nothing is accepted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from gateway.chain.layout import DAY_MS
from gateway.control.client import ControlClient
from gateway.errors import GatewayError, NotFound, Refused, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.host.files import write_durably
from gateway.store.bucket import Bucket
from gateway.stream.prices import PriceInForce, in_force, read_series
from gateway.stream.times import spell
from gateway.wire import cose, names
from gateway.wire.card import Card
from gateway.wire.prices import MAX_SPAN_MS, PriceSeries

_log = logging.getLogger(__name__)

KEPT_MS = 2 * 366 * DAY_MS
"""A series is kept for two years after its last price, as long as a year's bills are disputed."""
MOST_KEPT = 4096
"""Series of one provider that are kept, chosen: five a day for two years. Of more the ones that begin last
are kept."""
MOST_BYTES = 64 << 20
"""Bytes of them, chosen: ten times as many as five a day take."""
_DECODED = 128
_EVERY_S = 900.0

Cards = Callable[[], Awaitable[Iterable[bytes]]]
"""Asks the gateway for the signed cards of the providers that it knows."""


class SeriesName(NamedTuple):
    """What names a provider's continuing prices: the provider's kid, and the name in its series."""

    provider: bytes
    name: str


class _Kept(NamedTuple):
    """A series in the folder, as far as one looks for it."""

    path: Path
    provider: bytes
    serial: int
    name: str
    lanes: tuple[str, ...]
    start_ms: int
    end_ms: int
    size: int

    @classmethod
    def of(cls, path: Path, series: PriceSeries) -> _Kept:
        return cls(
            path,
            series.provider,
            series.serial,
            series.name,
            series.lanes,
            series.start_ms,
            series.end_ms,
            path.stat().st_size,
        )


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a look into the bucket brought: the series that are new, and a sentence for each object that was
    refused."""

    new: tuple[PriceSeries, ...] = ()
    refused: tuple[str, ...] = ()


class Prices:
    """The accepted price series, a file each in `folder`."""

    def __init__(self, folder: Path, cards: Cards, clock: Clock) -> None:
        """Opens the folder, made where there is none; a file in it that is no series is passed over. OSError
        where it cannot be read."""
        self._folder = folder
        self._cards = cards
        self._clock = clock
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._kept: dict[tuple[bytes, int], _Kept] = {}
        self._refused: dict[str, str] = {}  # by the key in the bucket, under the cards that were known then
        self._known: frozenset[bytes] = frozenset()
        self._handed: set[bytes] = set()  # H of each series that the gateway has been handed
        self._lock = asyncio.Lock()  # a serial is kept once
        for path in sorted(folder.glob("*.cose")):
            try:
                one = _read_own(path)
            except (Refused, OSError) as error:
                _log.warning("%s is passed over: %s", path, error)
            else:
                self._kept[one.provider, one.serial] = _Kept.of(path, one)
        self._prune()

    async def accept(self, data: bytes) -> PriceSeries:
        """The series in signed bytes, once it is kept durably; the same one again changes nothing.

        Refused for what is no series, for one that no known provider signed, or not while its card was valid,
        for another of a serial that the provider has used, and for one that ended two years ago. Unavailable
        where the gateway does not answer for the cards; OSError where the folder cannot be written.
        """
        cards = await self._read_cards()
        return await self._keep(data, cards, "the price series")

    async def refresh(self, bucket: Bucket) -> Refreshed:
        """Accept the series that lie in the bucket under the kids of known providers and are not kept yet.
        One that is refused stops no other. Unavailable where bucket or gateway do not answer."""
        cards = await self._read_cards()
        new: list[PriceSeries] = []
        refused: list[str] = []
        for kid in cards:
            async for key in bucket.list(names.prices(kid), names.price_series(kid, self._since_ms(kid), 0)):
                try:
                    if (kid, names.number_in(key)) in self._kept:
                        continue
                    if key not in self._refused:
                        new.append(await self._keep(await bucket.get(key), cards, key, key))
                        continue
                except NotFound:
                    continue
                except Refused as error:
                    self._refused[key] = str(error)
                    _log.warning("%s", error)
                refused.append(self._refused[key])
        return Refreshed(tuple(new), tuple(refused))

    @asynccontextmanager
    async def current(self, bucket: Bucket, gateway: ControlClient) -> AsyncIterator[None]:
        """While the block runs, accept what is new in the bucket every quarter of an hour, and hand the
        gateway what it waits for."""
        task = asyncio.create_task(self._stay_current(bucket, gateway))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _stay_current(self, bucket: Bucket, gateway: ControlClient) -> None:
        faults = FaultLog(self._clock, _log.warning, _log.info, "no prices can be read now: ")
        while True:
            try:
                await self.refresh(bucket)
                await self.hand_over(gateway)
                faults.clear("prices can be read again")
            except (GatewayError, OSError) as error:
                faults.report(str(error))
            await self._clock.sleep(_EVERY_S)

    async def hand_over(self, gateway: ControlClient) -> int:
        """Hand the gateway the series that its standing decisions wait for, each once while this runs; how
        many these were. The gateway trusts none of them unverified. One that it refuses stops no other.
        Unavailable where it does not answer."""
        count = 0
        for follow in await gateway.follows():
            of = SeriesName(bytes.fromhex(follow.provider_kid), follow.series)
            for period in follow.periods:
                for data in self.signed(of, period.from_ms, period.until_ms):
                    if (which := cose.digest(data)) in self._handed:
                        continue
                    try:
                        await gateway.hand_prices(data)
                        count += 1
                    except (Refused, UsageError) as error:
                        _log.warning("the gateway does not take a price series: %s", error)
                    self._handed.add(which)
        return count

    def series(self) -> dict[SeriesName, tuple[str, ...]]:
        """The names of all kept series, each with the lanes that it has prices of."""
        found: dict[SeriesName, set[str]] = {}
        for one in self._kept.values():
            found.setdefault(SeriesName(one.provider, one.name), set()).update(one.lanes)
        return {of: tuple(sorted(lanes, reverse=True)) for of, lanes in sorted(found.items())}

    def range(self, of: SeriesName, lane: str, from_ms: int, until_ms: int) -> list[PriceInForce]:
        """The prices of a lane over [from_ms, until_ms), Unix ms, in order; a stretch without a price is left
        out."""
        return in_force(self._decoded(of, lane, from_ms, until_ms), lane, from_ms, until_ms)

    def at(self, of: SeriesName, lane: str, when_ms: int) -> PriceInForce | None:
        """The price of a lane at a moment, Unix ms, as `range` would have that millisecond; None where there
        is none."""
        return next(iter(self.range(of, lane, when_ms, when_ms + 1)), None)

    def latest(self, of: SeriesName) -> PriceSeries | None:
        """The series of this name with the highest serial; None where there is none."""
        found = max((one for one in self._kept.values() if _named(one) == of), key=_serial, default=None)
        return None if found is None else _read_own(found.path)

    def until_ms(self, of: SeriesName, lane: str) -> int | None:
        """The end of the last price of a lane, Unix ms; None where there is no price."""
        fitting = (one for one in self._kept.values() if lane in one.lanes and _named(one) == of)
        return max((one.end_ms for one in fitting), default=None)

    def signed(self, of: SeriesName, from_ms: int, until_ms: int) -> list[bytes]:
        """The signed bytes of the series that have a part of [from_ms, until_ms), Unix ms, by serial."""
        found = [one for one in self._kept.values() if _named(one) == of and _within(one, from_ms, until_ms)]
        return [one.path.read_bytes() for one in sorted(found, key=_serial)]

    def _decoded(self, of: SeriesName, lane: str, from_ms: int, until_ms: int) -> list[PriceSeries]:
        return [
            _read_own(one.path)
            for one in self._kept.values()
            if _named(one) == of and lane in one.lanes and _within(one, from_ms, until_ms)
        ]

    async def _read_cards(self) -> dict[bytes, list[Card]]:
        """The known providers' cards by kid; a provider that renewed its card has several."""
        signed = frozenset(await self._cards())
        if signed != self._known:
            self._known = signed
            self._refused.clear()
        found: dict[bytes, list[Card]] = {}
        for data in sorted(signed):
            card = Card.read_self_signed(data, "a card of the gateway's")
            if card.role == "provider":
                found.setdefault(card.kid, []).append(card)
        return found

    async def _keep(
        self, data: bytes, cards: dict[bytes, list[Card]], what: str, key: str | None = None
    ) -> PriceSeries:
        series = _verified(data, cards, what)
        if key is not None:
            series.check_place(key, 1)
        async with self._lock:
            before = self._kept.get((series.provider, series.serial))
            if before is not None:
                if _read_own(before.path) == series:
                    return series
                raise Refused(
                    f"{what} has the serial {series.serial}, which the provider has given to another series: "
                    "a correction must have a higher one"
                )
            if series.end_ms <= unix_ms(self._clock) - KEPT_MS:
                raise Refused(f"{what} ended at {spell(series.end_ms, 1)}, more than two years ago")
            if series.start_ms < self._since_ms(series.provider):
                raise self._too_many(series, what)
            path = self._folder / f"{series.provider.hex()}.{series.start_ms:016x}.{series.serial:016x}.cose"
            await asyncio.to_thread(write_durably, path, data)
            self._kept[series.provider, series.serial] = _Kept.of(path, series)
            self._prune()
            if (series.provider, series.serial) not in self._kept:
                raise self._too_many(series, what)
        return series

    def _too_many(self, series: PriceSeries, what: str) -> Refused:
        others = sum(one.provider == series.provider for one in self._kept.values())
        return Refused(f"{what} begins before {others} others that its provider has published")

    def _since_ms(self, provider: bytes) -> int:
        """The earliest start, Unix ms, of a series of the provider that may still be kept."""
        starts = [one.start_ms for one in self._kept.values() if one.provider == provider]
        full = min(starts) if len(starts) >= MOST_KEPT else 0
        return max(full, unix_ms(self._clock) - KEPT_MS - MAX_SPAN_MS)

    def _prune(self) -> None:
        """Drop the series that ended long ago, and of a provider with very many those that begin first. Not
        before the clock is set: it may be years off until then."""
        if not self._clock.trusted():
            return
        horizon_ms = unix_ms(self._clock) - KEPT_MS
        kept: dict[bytes, list[_Kept]] = {}
        for one in self._kept.values():
            kept.setdefault(one.provider, []).append(one)
        for some in kept.values():
            some.sort(key=lambda one: (one.start_ms, one.serial))
            over, too_much = len(some) - MOST_KEPT, sum(one.size for one in some) - MOST_BYTES
            for n, one in enumerate(some):
                if n < over or too_much > 0 or one.end_ms <= horizon_ms:
                    too_much -= one.size
                    one.path.unlink(missing_ok=True)
                    del self._kept[one.provider, one.serial]


def _verified(data: bytes, cards: dict[bytes, list[Card]], what: str) -> PriceSeries:
    """The series, checked with the card that was valid when it was issued."""
    kid = cose.payload_unchecked(data, what)[0]
    known = cards.get(kid)
    if known is None:
        raise Refused(
            f"{what} is signed by {kid.hex()}, whose card the gateway does not know: it knows the providers "
            "that something was granted to, and those that its registrar vouches for"
        )
    for card in known[:-1]:
        try:
            return read_series(data, card, what)
        except Refused:
            continue
    return read_series(data, known[-1], what)


@lru_cache(_DECODED)
def _read_own(path: Path) -> PriceSeries:
    """The series in a file of the folder, whose signature was checked before it was written."""
    return PriceSeries.from_payload(cose.payload_unchecked(path.read_bytes(), path.name)[1], path.name)


def _named(one: _Kept) -> SeriesName:
    return SeriesName(one.provider, one.name)


def _serial(one: _Kept) -> int:
    return one.serial


def _within(one: _Kept, from_ms: int, until_ms: int) -> bool:
    return one.start_ms < until_ms and one.end_ms > from_ms
