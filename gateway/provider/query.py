"""A query of a stream, resolved against the grants: its windows and lanes, or a sentence why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.chain.layout import DAY_MS
from gateway.chain.window import Granularity
from gateway.errors import NotGranted, UsageError
from gateway.provider.grants import OwnGrant
from gateway.stream.times import spell
from gateway.wire.stream import Descriptor


@dataclass(frozen=True, slots=True)
class Query:
    """A person's query. None means whatever the grants open, in their finest windows. Times are Unix ms; the
    windows lie wholly between them. `zone` is the IANA time zone of the granularity's days or months; None:
    that of days and months that are granted, or UTC."""

    granularity: str | None = None
    lanes: tuple[str, ...] | None = None
    from_ms: int | None = None
    until_ms: int | None = None
    zone: str | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A `Query` that the grants can answer, each lane for some windows at least. Its windows lie wholly
    between the units `first` and `until`."""

    granularity: Granularity
    lanes: tuple[str, ...]
    first: int
    until: int | None


def resolve(query: Query, descriptor: Descriptor, held: Sequence[OwnGrant], kid: bytes) -> Resolved:
    """Resolve `query` against these grants to the provider `kid`. NotGranted, with what they do open, where
    they open nothing of a requested lane; UsageError for what no grant could answer."""
    present = tuple(lane.name for lane in descriptor.lanes)
    unknown = [lane for lane in query.lanes or () if lane not in present]
    if unknown:
        raise UsageError(f"the stream has no lane {', '.join(unknown)}: use {', '.join(present)}")
    if not held:
        raise NotGranted(
            f"stream {descriptor.stream.hex()} has no grant of sums to this provider, {kid.hex()}:"
            " the household makes one for the provider's card.cose"
        )
    choices = _granularities(query, descriptor, held)
    for granularity in choices:
        resolved = _span(query, descriptor, granularity, query.lanes or present)
        open_lanes = tuple(
            lane for lane in resolved.lanes if any(why_not(resolved, one, [lane]) is None for one in held)
        )
        if open_lanes and query.lanes in (None, open_lanes):
            return Resolved(granularity, open_lanes, resolved.first, resolved.until)
    resolved = _span(query, descriptor, choices[0], query.lanes or present)
    closed = [lane for lane in resolved.lanes if all(why_not(resolved, one, [lane]) for one in held)]
    reasons = "; ".join(f"{one}; {why_not(resolved, one, closed)}" for one in held)
    raise NotGranted(f"{resolved.granularity} sums of {', '.join(closed)} are not granted: {reasons}")


def why_not(resolved: Resolved, held: OwnGrant, lanes: Sequence[str]) -> str | None:
    """Why a grant opens none of the query's windows for any of the lanes; None where it opens some."""
    if not set(lanes) & set(held.grant.lanes):
        return f"it does not open {' or '.join(lanes)}"
    granularity = resolved.granularity
    if granularity == held.grant.granularity:
        a = held.edge_from(resolved.first)
        b = held.edge_from(a + 1)
    else:
        a = granularity.align_up(max(resolved.first, held.grant.first))
        b = granularity.start(granularity.index(a) + 1)
        if not held.divides(a, b):
            zone = f" in {granularity.zone}" if isinstance(granularity.size, str) else ""
            return f"it does not open windows of {granularity}{zone}"
    if min(end for end in (resolved.until, held.limit, b) if end is not None) < b:
        return "it does not open a whole window in the requested time"
    return None


def length_ms(granularity: Granularity) -> int:
    """The length of a window, approximate for days and months, by which to sort granularities."""
    if isinstance(granularity.size, int):
        return granularity.size * granularity.unit_ms
    return DAY_MS if granularity.size == "day" else 30 * DAY_MS


def _granularities(query: Query, descriptor: Descriptor, held: Sequence[OwnGrant]) -> list[Granularity]:
    """The requested granularity, or those of the grants, the finest first."""
    granted = sorted({one.grant.granularity for one in held}, key=length_ms)
    if query.granularity is None:
        return granted
    zones = [granularity.zone for granularity in granted if isinstance(granularity.size, str)]
    zone = query.zone or (zones[0] if zones else "UTC")
    return [Granularity.parse(query.granularity, descriptor.layout.unit_ms, zone)]


def _span(query: Query, descriptor: Descriptor, granularity: Granularity, lanes: tuple[str, ...]) -> Resolved:
    """The requested time. NotGranted where it is over before the stream begins; UsageError where it holds no
    window."""
    unit_ms = descriptor.layout.unit_ms
    first, until = descriptor.start, None
    if query.from_ms is not None and query.until_ms is not None and query.until_ms <= query.from_ms:
        raise UsageError("the requested time ends before it begins")
    if query.from_ms is not None:
        first = max(first, -(-query.from_ms // unit_ms))
    if query.until_ms is not None:
        until = query.until_ms // unit_ms
        if until <= descriptor.start:
            raise NotGranted(
                f"the stream begins at {spell(descriptor.start, unit_ms)}, after the requested time"
            )
        if granularity.start(granularity.index(until)) <= granularity.align_up(first):
            raise UsageError(f"there is no whole window of {granularity} between the requested times")
    return Resolved(granularity, lanes, first, until)
