"""What a holder of several grants could derive that none of them opens alone.

The windows of a grant follow each other, so it opens the differences of one running total between its
boundaries. Two grants that share a boundary put their totals on one scale, and every stretch between a
boundary of one and a boundary of the other becomes known: 15 min and 10 min of a lane give 5 min. Bills add
one linear equation each. All of it is computed exactly, over the boundaries that the grants have from the
first of them to the horizon.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import lcm

from gateway.chain.consent.bills import by_bills, isolated
from gateway.chain.consent.held import Finding, Held
from gateway.chain.layout import DAY_MS
from gateway.chain.window import spell_ms
from gateway.errors import UsageError

_HORIZON_MS = 2 * 366 * DAY_MS
_MOST_POINTS = 500_000


def check(held: Sequence[Held]) -> list[Finding]:
    """What the holder of these grants of one stream learns beyond what each of them opens.

    Give the grants of all providers for what they could learn if they pooled them. UsageError where the
    windows of the grants have no common pattern that is short enough to go through.
    """
    findings: list[Finding] = []
    opening = list(_opening(held))
    findings += _by_halves(opening)
    for lane in dict.fromkeys(lane for one in opening for lane in one.grant.lanes):
        findings += _by_windows(lane, [one for one in opening if lane in one.grant.lanes])
    bills = [one for one in held if one.grant.kind == "bill"]
    for one in bills:
        findings += isolated(one)
    if bills:
        findings += by_bills(opening, bills)
    return findings


def _opening(held: Sequence[Held]) -> Iterator[Held]:
    """The grants that open windows. Both halves of a load in one hand count as one of them."""
    ids = {one.grant.id for one in held}
    for one in held:
        halves = one.grant.kind == "load" and one.grant.partner in ids
        if one.grant.kind in ("windows", "raw") or halves:
            yield one


def _by_halves(opening: Sequence[Held]) -> Iterator[Finding]:
    """The windows that both halves of a load in one hand open, unless they are open anyway."""
    for one in opening:
        a, b = one.grant.window(0)
        for lane in one.grant.lanes:
            others = [other for other in opening if other.grant.kind != "load" and lane in other.grant.lanes]
            if one.grant.kind == "load" and not any(other.opens(a, b) for other in others):
                names = " and ".join(f"grant {id_.hex()[:8]}" for id_ in _halves(one))
                sentence = f"{names}, two halves, together open {one.granularity} sums of {lane}"
                yield Finding(lane, a, b, _halves(one), sentence)


def _halves(one: Held) -> tuple[bytes, bytes]:
    assert one.grant.partner is not None
    return one.grant.partner, one.grant.id


def _by_windows(lane: str, held: Sequence[Held]) -> Iterator[Finding]:
    """The shortest stretch that no grant opens alone, for each group of grants on one scale."""
    stretches = _stretches(held)
    points = {one.grant.id: _boundaries(one, held, stretches) for one in held}
    for group in _connected(held, points):
        together = sorted(set().union(*(points[one.grant.id] for one in group)))
        finer = [
            (a, b)
            for x, y in stretches
            for a, b in pairwise(point for point in together if x <= point <= y)
            if not any(one.opens(a, b) for one in group)
        ]
        if not finer:
            continue
        first, end = min(finer, key=lambda stretch: stretch[1] - stretch[0])
        near = [one for one in group if one.covers(first, first) or one.covers(end, end)]
        near.sort(key=lambda one: one.grant.serial)
        names = " and ".join(f"{one.granularity} of grant {one.grant.id.hex()[:8]}" for one in near)
        length = spell_ms((end - first) * held[0].grant.granularity.unit_ms)
        ids = tuple(one.grant.id for one in near)
        yield Finding(lane, first, end, ids, f"{names} together open {length} sums of {lane}")


def _stretches(held: Sequence[Held]) -> list[tuple[int, int]]:
    """Where to look: around every beginning and end, far enough that each pattern is seen whole.

    Patterns of whole units repeat after their least common multiple; calendar windows are gone through for
    two years.
    """
    sizes = [one.granularity.size for one in held]
    whole = [size for size in sizes if isinstance(size, int)]
    calendar = _HORIZON_MS // held[0].grant.granularity.unit_ms if len(whole) < len(sizes) else 0
    span = max(2 * lcm(*whole), calendar)
    merged: list[tuple[int, int]] = []
    for edge in sorted({edge for one in held for edge in (one.grant.first, one.end) if edge is not None}):
        x, y = edge - span, edge + span
        if merged and x <= merged[-1][1]:
            x, _ = merged.pop()
        merged.append((x, y))
    return merged


def _boundaries(one: Held, among: Sequence[Held], stretches: Sequence[tuple[int, int]]) -> set[int]:
    """The boundaries of the grant that can bring up something new beside the other grants'.

    Where a grant divides the windows of the others it opens everything between their borders itself, so there
    only their borders count.
    """
    others = [other for other in among if other is not one]
    size = one.granularity.size
    if not isinstance(size, int) or not all(_divides(size, other) for other in others):
        return set(_walk(one, stretches))
    ends = {one.grant.first} if one.end is None else {one.grant.first, one.end}
    return ends | {unit for other in others for unit in _walk(other, stretches) if one.covers(unit, unit)}


def _divides(size: int, other: Held) -> bool:
    """Whether all borders of the other grant lie on multiples of `size`: zones shift by quarter hours."""
    theirs = other.granularity.size
    if isinstance(theirs, int):
        return theirs % size == 0
    return 900_000 % (size * other.granularity.unit_ms) == 0


def _walk(one: Held, stretches: Sequence[tuple[int, int]]) -> Iterator[int]:
    """The borders of the grant within the stretches."""
    granularity = one.granularity
    for x, y in stretches:
        first = max(x, one.grant.first)
        end = y if one.end is None else min(y, one.end)
        if isinstance(granularity.size, int) and (end - first) // granularity.size > _MOST_POINTS:
            raise UsageError(
                f"windows of {granularity} beside the other grants' have no pattern short enough to check; "
                "choose granularities that divide each other"
            )
        k = granularity.index(granularity.align_up(first))
        while (point := granularity.start(k)) <= end:
            yield point
            k += 1


def _connected(held: Sequence[Held], points: Mapping[bytes, set[int]]) -> list[list[Held]]:
    """The grants in groups that share boundaries, directly or through others."""
    groups: list[tuple[set[int], list[Held]]] = []
    for one in held:
        mine, members = points[one.grant.id], [one]
        apart = []
        for theirs, others in groups:
            if mine.isdisjoint(theirs):
                apart.append((theirs, others))
            else:
                mine = mine | theirs
                members = others + members
        groups = [*apart, (mine, members)]
    return [members for _, members in groups]
