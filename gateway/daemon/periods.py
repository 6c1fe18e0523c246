"""The periods of a standing decision: days or months, each of which gets one grant of its bill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.chain.tariff import Tariff
from gateway.chain.window import Granularity
from gateway.control.documents import NewGrant
from gateway.ledger.records import FollowedPeriod, FollowRecord, Stream
from gateway.stream.prices import tariff_of
from gateway.wire.prices import PriceSeries

_LOOKED_BACK = 3
"""So many periods are gone through for one whose prices are known, when a decision is made."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period [first, end) of a decision, in units, that has no grant: why it waits, or the `findings` that
    the household has to confirm; `check` is what identifies these."""

    first: int
    end: int
    why: str | None = None
    findings: tuple[str, ...] = ()
    check: str | None = None
    asked: dict[str, int] = field(default_factory=dict)


def open_periods(
    record: FollowRecord, stream: Stream, granted: Sequence[FollowedPeriod], now_ms: int
) -> Iterator[Period]:
    """The decision's periods of which no part has a grant: those that are over at `now_ms` (Unix ms), and the
    next one."""
    granularity = _granularity(record, stream)
    k, a, over, left = granularity.index(record.first), record.first, True, list(granted)[::-1]
    while over:
        k += 1
        b = granularity.start(k)
        over = b * stream.layout.unit_ms <= now_ms
        while left and left[-1].end <= a:
            left.pop()
        if not left or left[-1].first >= b:
            yield Period(a, b, why=None if over else "the period is not over yet")
        a = b


def latest_periods(record: FollowRecord, stream: Stream, now_ms: int) -> Iterator[Period]:
    """The last periods that are over at `now_ms` (Unix ms), the latest first, also those before the
    decision's first."""
    granularity = _granularity(record, stream)
    k = granularity.index(now_ms // stream.layout.unit_ms)
    for n in range(k - 1, k - 1 - _LOOKED_BACK, -1):
        a, b = granularity.start(n), granularity.start(n + 1)
        if a < stream.start:
            return
        yield Period(a, b)


def period_tariff(
    record: FollowRecord, series: Sequence[PriceSeries], period: Period, stream: Stream
) -> Tariff:
    """The tariff of a period; UsageError where a part of it has no price, and as for `tariff_of`."""
    unit_ms = stream.layout.unit_ms
    return tariff_of(series, record.lanes, record.zone, period.first * unit_ms, period.end * unit_ms)


def period_grant(record: FollowRecord, stream: Stream, period: Period, tariff: Tariff) -> NewGrant:
    """The grant of a period's bill."""
    unit_ms = stream.layout.unit_ms
    return NewGrant(
        kind="bill",
        granularity=record.granularity,
        zone=record.zone,
        lanes=record.lanes,
        purpose=record.purpose,
        from_ms=period.first * unit_ms,
        until_ms=period.end * unit_ms,
        tariff=tariff,
    )


def _granularity(record: FollowRecord, stream: Stream) -> Granularity:
    return Granularity.parse(record.granularity, stream.layout.unit_ms, record.zone)
