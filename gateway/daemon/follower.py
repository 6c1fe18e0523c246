"""The follower: grants the bill of each period under a price series, as the household decided once.

Once a period is over and the prices of all of it are known, its one grant is made, under the tariff that the
price series in force give, by the granter, with the consent check. A decision covers what the household has
confirmed, and nothing worse: where the check finds more, the period waits for the household's word. A period
gets one grant for good, since a second bill, under corrected prices, would tell how much was used where they
differ.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from gateway.chain.consent.standing import beyond
from gateway.chain.grant import ID_BYTES
from gateway.chain.layout import DAY_MS, ENERGY
from gateway.chain.window import Granularity
from gateway.control.documents import Consent
from gateway.daemon.follow_findings import check_of, extent_of, sentences
from gateway.daemon.granter import Granter
from gateway.daemon.periods import Period, latest_periods, open_periods, period_grant, period_tariff
from gateway.daemon.price_book import PriceBook
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.ledger.ledger import Ledger
from gateway.ledger.records import (
    AuditEntry,
    FollowedPeriod,
    FollowRecord,
    GrantRecord,
    Outgoing,
    Stream,
)
from gateway.store.bucket import Bucket
from gateway.stream.times import spell
from gateway.trust.root import Root
from gateway.wire import cose
from gateway.wire.card import Card
from gateway.wire.cose import digest
from gateway.wire.form import tstr
from gateway.wire.prices import PriceSeries
from gateway.wire.tariff import tariff_body

_log = logging.getLogger(__name__)

_EVERY_S = 900.0
_SOON_S = 30.0
_KEPT_MS = 92 * DAY_MS
"""Prices are kept so long, chosen: a correction of the quarter is noticed."""
_NOT_COMPARED = (
    "the store was not compared with the ledger since the gateway started: it may show grants that a ledger "
    "from a backup does not know"
)
_UNSEEN = "it was not looked at yet: the gateway does so every quarter of an hour"


@dataclass(frozen=True, slots=True)
class NewFollow:
    """A standing decision as the household made it, without an id or a first period yet."""

    card: bytes
    series: str
    lanes: tuple[str, ...]
    granularity: str
    zone: str
    from_ms: int | None
    purpose: str


@dataclass(frozen=True, slots=True)
class Followed:
    """A decision, its stream and card, the grants of its series so far, and the periods without one: all that
    are over, and the one that comes next."""

    record: FollowRecord
    stream: Stream
    card: Card
    grants: tuple[bytes, ...]
    periods: tuple[Period, ...]
    fault: str | None


class Follower:
    """The follower of one gateway's standing decisions."""

    def __init__(
        self,
        ledger: Ledger,
        root: Root,
        bucket: Bucket,
        clock: Clock,
        granter: Granter,
        compared: Callable[[], bool],
    ) -> None:
        """`compared` says whether the store is known not to be ahead of the ledger. Until then nothing is
        granted: a ledger that was rolled back does not know which periods have their grants."""
        self._ledger = ledger
        self._compared = compared
        self._root = root
        self._clock = clock
        self._granter = granter
        self._periods: dict[tuple[bytes, int], Period] = {}  # by decision and first unit, without a grant
        self._prices = PriceBook(ledger, bucket)
        self._begun = asyncio.Event()  # something is followed
        self._lock = asyncio.Lock()  # a period is looked at once at a time
        self._faults = FaultLog(clock, _log.warning, _log.info, "price series are not followed now: ")

    async def run(self) -> None:
        """Read prices and make the grants that are due, until cancelled; it rests while nothing is
        followed."""
        while True:
            try:
                if not await self._standing():
                    self._begun.clear()
                    await self._begun.wait()
                await self.tick()
                self._faults.clear("price series are followed again")
            except Unavailable as error:
                self._faults.report(str(error))
            await self._clock.sleep(_EVERY_S if self._compared() else _SOON_S)

    async def tick(self) -> None:
        """Read what is new, and make the grants that are due. LedgerError where the ledger fails."""
        if not self._clock.trusted():
            return
        standing = await self._standing()
        for provider in dict.fromkeys(one.provider for one in standing):
            await self._read(provider, [one for one in standing if one.provider == provider])
        for record in standing:
            await self._grant_due(record)

    # --- decisions

    async def follow(
        self,
        stream: Stream,
        card: Card,
        wanted: NewFollow,
        *,
        confirmed: bool,
        fingerprints: Collection[str] = (),
        dry_run: bool = False,
    ) -> tuple[Followed | None, Consent, Period | None]:
        """Record a decision, and make the grants that are due by it.

        What the check finds for the latest period whose prices are known comes back with that period. Where
        it finds something that is not `confirmed`, or the card is a stranger's and its fingerprint was not
        compared, and in a `dry_run`, nothing is recorded. UsageError for a decision that can never be.
        """
        if not self._clock.trusted():
            raise Unavailable("the clock is not set yet, so a decision's beginning is not known: try again")
        record = await self._decided(stream, card, wanted)
        introduced = await self._granter.introduce(card, fingerprints)
        latest = list(latest_periods(record, stream, unix_ms(self._clock)))
        since_ms = min((one.first * stream.layout.unit_ms for one in latest), default=0)
        series = await self._prices.in_store(record, card, since_ms) if latest else []
        found, sample = Consent([], []), None
        for period in latest:
            try:
                tariff = period_tariff(record, series, period, stream)
                _, found = await self._granter.new(
                    stream,
                    [card],
                    period_grant(record, stream, period, tariff),
                    confirmed=False,
                    fingerprints=fingerprints,
                    dry_run=True,
                )
            except UsageError:
                continue
            sample = period
            break
        found = replace(found, strangers=introduced.strangers, verified=introduced.verified)
        judged = extent_of(found, await self._own(record))
        if dry_run or found.strangers or (beyond(judged, {}) and not confirmed):
            return None, found, sample
        record = replace(record, covered=judged)
        detail = (
            f"bills of each {record.granularity} ({record.zone}) for {', '.join(record.lanes)} under the "
            f"price series {record.series!r}, decision {record.id.hex()}, to {card.name}, for: "
            f"{record.purpose}"
        )
        await self._ledger.add_follow(record, self._audit("follow", detail))
        self._begun.set()
        await self._read(record.provider, [record])
        await self._grant_due(record)
        return await self._followed(record), found, sample

    async def end(self, follow: bytes) -> Followed:
        """End a decision: no further grant is made by it. UsageError where there is none with this id."""
        record = await self._find(follow)
        detail = f"decision {follow.hex()} about the price series {record.series!r} is ended"
        await self._ledger.end_follow(follow, unix_ms(self._clock), self._audit("follow", detail))
        await self._ledger.drop_prices()
        return await self._followed(await self._find(follow))

    async def confirm(self, follow: bytes, from_ms: int, seen: str) -> Followed:
        """The household has seen what the check found for a period, and wants its grant, and later ones of
        which nothing worse is found. UsageError where that period asks nothing, or something else by now."""
        record = await self._find(follow)
        stream = await self._stream(record)
        await self._grant_due(record)
        period = self._periods.get((record.id, from_ms // stream.layout.unit_ms))
        begin = spell(from_ms, 1, record.zone)
        if period is None or period.check is None:
            raise UsageError(f"nothing is asked about the period from {begin}")
        if period.check != seen:
            raise UsageError(
                f"something else is found about the period from {begin} by now: look at it again"
            )
        detail = f"decision {follow.hex()} covers: {'; '.join(period.findings)}"
        await self._ledger.cover(follow, period.asked, self._audit("follow", detail))
        await self._grant_due(await self._find(follow))
        return await self._followed(await self._find(follow))

    async def all(self) -> list[Followed]:
        """All decisions, ended ones too."""
        return [await self._followed(record) for record in await self._ledger.follows()]

    async def faults(self) -> list[str]:
        """A sentence for each period that waits for the household's word."""
        return [
            f"the bill from {spell(one.first, of.stream.layout.unit_ms, of.record.zone)} on under the prices "
            f"{of.record.series!r} of {of.card.name} waits for your word: gateway grant follow confirm "
            f"{of.record.id.hex()[:8]}"
            for of in await self.all()
            for one in of.periods
            if one.check is not None
        ]

    async def _decided(self, stream: Stream, card: Card, wanted: NewFollow) -> FollowRecord:
        """The record of a decision; UsageError for one that can never be."""
        granularity = Granularity.parse(wanted.granularity, stream.layout.unit_ms, wanted.zone)
        if isinstance(granularity.size, int):
            raise UsageError(
                f"granularity {wanted.granularity!r}: bills are of each day or month: use month, month-2 to "
                "month-28 for months that begin on that day, or day"
            )
        if not wanted.series.strip() or not tstr(80).fits(wanted.series):
            raise UsageError("series: it must be the name in the provider's price series")
        if not wanted.purpose.strip():
            raise UsageError("purpose: it is empty; say what the data is for, such as 'the bill'")
        missing = [lane for lane in wanted.lanes if lane not in stream.lanes or lane not in ENERGY]
        if missing or not wanted.lanes or len(set(wanted.lanes)) < len(wanted.lanes):
            raise UsageError(
                f"lanes {', '.join(wanted.lanes)}: they must be import, export or both, which the meter "
                f"{stream.meter} has"
            )
        for other in await self._standing():
            if (other.stream, other.provider, other.series) == (stream.id, card.kid, wanted.series):
                raise UsageError(
                    f"the price series {wanted.series!r} is followed already, by decision {other.id.hex()}: "
                    "end it first"
                )
        now_ms, unit_ms = unix_ms(self._clock), stream.layout.unit_ms
        begin = -(-(now_ms if wanted.from_ms is None else wanted.from_ms) // unit_ms)
        return FollowRecord(
            await self._root.random(ID_BYTES),
            stream.id,
            card.kid,
            wanted.card,
            wanted.series,
            tuple(lane for lane in ENERGY if lane in wanted.lanes),
            str(granularity),
            wanted.zone,
            wanted.purpose,
            granularity.align_up(max(begin, stream.start)),
            now_ms,
        )

    async def _standing(self) -> list[FollowRecord]:
        return [one for one in await self._ledger.follows() if one.ended_ms is None]

    async def _find(self, follow: bytes) -> FollowRecord:
        for record in await self._ledger.follows():
            if record.id == follow:
                return record
        raise UsageError(f"there is no decision {follow.hex()}; `gateway grant list` shows all of them")

    async def _stream(self, record: FollowRecord) -> Stream:
        (stream,) = [one for one in await self._ledger.streams() if one.id == record.stream]
        return stream

    async def _followed(self, record: FollowRecord) -> Followed:
        stream = await self._stream(record)
        granted = await self._granted(record)
        periods = []
        if record.ended_ms is None:
            for period in open_periods(record, stream, granted, unix_ms(self._clock)):
                unseen = replace(period, why=period.why or _UNSEEN)
                periods.append(self._periods.get((record.id, period.first), unseen))
        card = Card.read_self_signed(record.card, "the card")
        fault = None if record.ended_ms is not None else self._prices.faults.get(record.provider)
        return Followed(record, stream, card, tuple(one.grant for one in granted), tuple(periods), fault)

    # --- periods

    async def _granted(self, record: FollowRecord) -> list[FollowedPeriod]:
        """The series' periods that have their grants, in order, whichever decision made them."""
        return [
            one
            for one in await self._ledger.followed()
            if (one.stream, one.provider, one.series) == (record.stream, record.provider, record.series)
        ]

    async def _own(self, record: FollowRecord) -> set[bytes]:
        return {one.grant for one in await self._granted(record)}

    async def _grant_due(self, record: FollowRecord) -> None:
        """Make the grants of the decision's periods that are over, as far as their prices are known and the
        decision covers what is found. What keeps one from it stops no other."""
        stream, card = await self._stream(record), Card.read_self_signed(record.card, "the card")
        async with self._lock:
            await self._grant_all(record, stream, card)

    async def _grant_all(self, record: FollowRecord, stream: Stream, card: Card) -> None:
        granted = await self._granted(record)
        due = [one for one in open_periods(record, stream, granted, unix_ms(self._clock)) if one.why is None]
        series = await self._prices.series(record, card) if due else []
        known = {one.first for one in due}
        for key in [key for key in self._periods if key[0] == record.id and key[1] not in known]:
            del self._periods[key]
        for period in due:
            if not self._compared():
                self._periods[record.id, period.first] = replace(period, why=_NOT_COMPARED)
                continue
            try:
                outcome = await self._grant(record, stream, card, series, period)
            except GatewayError as error:
                outcome = replace(period, why=str(error))
            if outcome is None:
                self._periods.pop((record.id, period.first), None)
            else:
                self._periods[record.id, period.first] = outcome

    async def _grant(
        self,
        record: FollowRecord,
        stream: Stream,
        card: Card,
        series: Sequence[PriceSeries],
        period: Period,
    ) -> Period | None:
        """Make the grant of a period, and return None; or the period, with what the household has to
        confirm."""
        tariff = period_tariff(record, series, period, stream)
        own = await self._own(record)
        asked: dict[str, int] = {}  # what the decision does not cover

        def agreed(found: Consent) -> bool:
            asked.update(beyond(extent_of(found, own), record.covered))
            return not asked

        async def add(new: Sequence[tuple[GrantRecord, Outgoing, AuditEntry]]) -> None:
            (made,) = new
            of = (record.stream, record.provider, record.series)
            key = FollowedPeriod(*of, period.first, period.end, made[0].id)
            await self._ledger.add_followed(record.id, key, new)

        made, found = await self._granter.new(
            stream,
            [card],
            period_grant(record, stream, period, tariff),
            confirmed=agreed,
            fingerprints=[card.fingerprint],
            record=add,
        )
        if made:
            return None
        return replace(
            period,
            findings=sentences(found, asked, own),
            check=check_of(asked, digest(tariff_body(tariff))),
            asked=asked,
        )

    # --- prices

    async def accept(self, data: bytes) -> PriceSeries:
        """Take a price series in its signed bytes. Refused where it is not by the card of a provider whose
        prices are followed; UsageError where nobody's are that signed it."""
        kid = cose.payload_unchecked(data, "the price series")[0]
        following = [one for one in await self._standing() if one.provider == kid]
        if not following:
            raise UsageError(f"the prices of {kid.hex()} are not followed, so they are not needed here")
        series = await self._prices.take(data, following, "the price series")
        await self._note_corrections([series], following)
        return series

    async def _read(self, provider: bytes, following: Sequence[FollowRecord]) -> None:
        """Take the provider's series that the store has and the ledger has not."""
        new = await self._prices.read_store(provider, following, await self._needed_ms(following))
        await self._note_corrections(new, following)

    async def _needed_ms(self, following: Sequence[FollowRecord]) -> int:
        """From when on, Unix ms, prices are needed: those of periods without a grant, and of the last
        months, so that a correction is noticed."""
        needed = [unix_ms(self._clock) - _KEPT_MS]
        for record in following:
            stream = await self._stream(record)
            for period in open_periods(record, stream, await self._granted(record), unix_ms(self._clock)):
                needed.append(period.first * stream.layout.unit_ms)
                break
        return max(0, min(needed))

    async def _note_corrections(self, new: Sequence[PriceSeries], following: Sequence[FollowRecord]) -> None:
        """Write to the audit log which granted bills stand under earlier prices than those in force now."""
        for record in following:
            mine = [one for one in new if one.name == record.series]
            stream, card = await self._stream(record), Card.read_self_signed(record.card, "the card")
            known = await self._prices.series(record, card) if mine else []
            tariffs = {one.id: one.tariff for one in await self._ledger.grants(record.stream)}
            unit_ms = stream.layout.unit_ms
            for one in await self._granted(record) if mine else ():
                a, b = one.first * unit_ms, one.end * unit_ms
                serials = [of.serial for of in mine if of.start_ms < b and of.end_ms > a]
                if not serials:
                    continue
                try:
                    body = tariff_body(period_tariff(record, known, Period(one.first, one.end), stream))
                except UsageError:  # some of its prices are no longer kept
                    continue
                if body != tariffs.get(one.grant):
                    detail = (
                        f"series {max(serials)} of the prices {record.series!r} of {card.name} corrects a "
                        f"period whose bill is granted: grant {one.grant.hex()} keeps the earlier prices, "
                        "since a second bill would tell how much was used where they differ"
                    )
                    await self._ledger.audit_once(self._audit("prices", detail))

    def _audit(self, what: str, detail: str) -> AuditEntry:
        return AuditEntry(unix_ms(self._clock), what, detail)
