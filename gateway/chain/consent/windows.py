"""Sums that several grants of windows open together and none of them alone.

Between two neighbouring borders on one scale the sum is known: 15 min and 10 min of a lane give 5 min. The
power in W of a unit of known length is its energy, import less export, so grants of `power` count as grants
of all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import lcm

import numpy as np

from gateway.chain.consent.borders import (
    FAR,
    NONE,
    Borders,
    Scale,
    Units,
    borders,
    horizon,
    scales,
    share,
    sorted_once,
)
from gateway.chain.consent.held import Finding, Held, sentence
from gateway.chain.layout import ENERGY
from gateway.chain.window import spell_ms

_MOST_WINDOWS = 2**17
Hands = Sequence[Sequence[Held]]


def by_windows(held: Sequence[Held], before: Hands = ()) -> list[Finding]:
    """What the holder of these grants of one stream learns beyond what each of them opens, and beyond what
    follows from the grants of any one of the hands `before`.

    For each lane and scale, the shortest such stretch. The windows that have whole units are gone through for
    one pattern, after which they repeat, from each beginning and end on; calendar windows for two years.
    """
    if not held:
        return []
    opening, until = opened(held), horizon(held)
    findings = _by_halves(held, before)
    for lane in dict.fromkeys(lane for one in opening for lane in one.grant.lanes):
        known = [Scale((one,)) for one in of_lane(opening, lane, until)]
        known += [scale for hand in before for scale in scales(of_lane(opened(hand), lane, until))]
        if lane in ENERGY:
            known += scales(of_lane(opening, "power", until))  # what they open is found for `power`
        for scale in scales(of_lane(opening, lane, until)):
            findings += _shortest(lane, scale, known)
    return findings


def opened(held: Sequence[Held]) -> list[Held]:
    """The grants that open windows. Both halves of a load in one hand count as one of them."""
    ids = {one.grant.id for one in held}
    return [
        one
        for one in held
        if one.grant.kind in ("windows", "raw") or (one.grant.kind == "load" and one.grant.partner in ids)
    ]


def of_lane(opening: Sequence[Held], lane: str, until: int) -> list[Borders]:
    """The borders of the grants that open sums of this lane."""
    lanes = {lane, "power"} if lane in ENERGY else {lane}
    return borders((one for one in opening if not lanes.isdisjoint(one.grant.lanes)), until)


def by_units(held: Sequence[Held], before: Hands = ()) -> list[Finding]:
    """The grants that open each unit by itself, so that nothing is left to find out."""
    asked = {one.grant.id for hand in before for one in hand}
    findings = []
    for one in held:
        fine = one.grant.kind == "raw" or (one.grant.kind == "windows" and one.granularity.size == 1)
        if fine and one.grant.id not in asked:
            (a, b), unit = one.grant.window(0), spell_ms(one.granularity.unit_ms)
            lanes = one.grant.lanes
            what = f"every single unit of {unit} of {', '.join(lanes)}"
            parts = tuple((lane, a, b) for lane in lanes)
            findings.append(Finding(lanes[0], a, b, (one.grant.id,), sentence(what, [one]), parts))
    return findings


def _by_halves(held: Sequence[Held], before: Hands) -> list[Finding]:
    """The windows that both halves of a load in one hand open, unless they are open anyway."""
    asked = {one.grant.id for hand in before for one in opened(hand)}
    by_id = {one.grant.id: one for one in held}
    findings = []
    for one in opened(held):
        if one.grant.partner is None or one.grant.id in asked:
            continue
        halves, (a, b) = [by_id[one.grant.partner], one], one.grant.window(0)
        for lane in one.grant.lanes:
            others = [x for x in opened(held) if x.grant.kind != "load" and lane in x.grant.lanes]
            if not any(_opens(other, a, b) for other in others):
                text = sentence(f"{one.granularity} sums of {lane}", halves) + ", the two halves of a load"
                findings.append(Finding(lane, a, b, tuple(half.grant.id for half in halves), text))
    return findings


def _opens(one: Held, a: int, b: int) -> bool:
    return all(bool(x.at(np.array([a, b])).all()) for x in borders([one], b))


def _shortest(lane: str, scale: Scale, known: Sequence[Scale]) -> Iterator[Finding]:
    """The shortest stretch between neighbouring borders of a scale that do not both lie on a known one."""
    x = _candidates(scale)
    a, b = np.concatenate([scale.below(x), x]), np.concatenate([x, scale.above(x)])
    new = (a != NONE) & (b != FAR)
    for one in known:
        new &= ~(one.at(a) & one.at(b))
    if not new.any():
        return
    a, b = a[new], b[new]
    at = np.lexsort((a, b - a))[0]
    first, end = int(a[at]), int(b[at])
    held = [one.held for one in _between(scale, first, end)]
    length = spell_ms((end - first) * held[0].grant.granularity.unit_ms)
    text = f"{sentence(f'{length} sums of {lane}', held)} together"
    if any(lane not in one.grant.lanes for one in held):
        text += f": {lane} follows from power, W over units of known length"
    yield Finding(lane, first, end, tuple(one.grant.id for one in held), text)


def _candidates(scale: Scale) -> Units:
    """Borders among which is an end of the shortest stretch of any kind: every beginning and end, all of
    calendar windows, and of whole units one pattern from each beginning and end on.

    The smallest windows are left out: the other end of a stretch that is new is a border of larger ones.
    """
    cuts = sorted({unit for one in scale.members for unit in (one.first, one.last)})
    found = [np.array([unit for unit in cuts if unit != FAR], dtype=np.int64)]
    found += [one.listed for one in scale.members if one.listed is not None]
    sizes = sorted({one.size for one in scale.members if one.listed is None})
    pattern = lcm(*sizes)
    for size in sizes[1:]:
        for x, y in pairwise(cuts):
            end = min(y, x + pattern, x + _MOST_WINDOWS * size)
            found.append(np.arange(-(-x // size) * size, end + 1, size))
    points = sorted_once(*found)
    return points[scale.at(points)]


def _between(scale: Scale, first: int, end: int) -> list[Borders]:
    """The grants on whose borders a stretch begins and ends: two that share a border, or else all of the
    scale."""
    begin_there = [one for one in scale.members if one.at(np.array([first]))[0]]
    end_there = [one for one in scale.members if one.at(np.array([end]))[0]]
    pairs = ((one, other) for one in begin_there for other in end_there if share(one, other))
    near = list(next(pairs, scale.members))
    return sorted(near, key=lambda one: one.held.grant.serial)
