"""The consent check: exactly what several grants open together, and which tariffs tell too much."""

from __future__ import annotations

import itertools
from itertools import accumulate, combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.consent.held import Held
from gateway.chain.consent.windows import by_units, by_windows
from gateway.chain.grant import Grant, Kind
from gateway.chain.prices import Rule, TimeOfUse
from gateway.chain.tariff import Tariff, cent
from gateway.chain.window import Granularity
from tests.chain.views import Span

DAY = 86_400
BEGIN = 20_000 * DAY
_ids = itertools.count(1)


def held(
    granularity: str,
    first: int = BEGIN,
    until: int | None = None,
    kind: Kind = "windows",
    *,
    zone: str = "UTC",
    tariff: Tariff | None = None,
    partner: bytes | None = None,
    lanes: tuple[str, ...] = ("import",),
) -> Held:
    windows = Granularity.parse(granularity, 1000, zone)
    grant = Grant(
        id=next(_ids).to_bytes(16, "big"),
        stream=bytes(16),
        provider=bytes(16),
        lanes=lanes,
        granularity=windows,
        first=windows.align_up(first),
        until=until,
        purpose="test",
        kind=kind,
        issued_ms=0,
        serial=1,
        tariff=bytes(32) if tariff else None,
        quantum=cent(tariff.scale) if tariff else None,
        partner=partner,
    )
    return Held(grant, tariff, None, "Acme", "main")


def flat(price: int = 30) -> Tariff:
    return Tariff("EUR", 2, "UTC", 900_000, {"import": TimeOfUse((Rule(price),))})


def test_fifteen_and_ten_minutes_open_five() -> None:
    (finding,) = by_windows([held("15min"), held("10min")])
    assert finding.end - finding.first == 300
    assert finding.sentence == (
        'Acme learns 5min sums of import at the meter main, from 10min sums of import for "test" '
        '(grant 00000000) and 15min sums of import for "test" (grant 00000000) together'
    )


@pytest.mark.parametrize(
    "grants",
    [
        [held("15min")],
        [held("15min"), held("1h"), held("day"), held("month")],
        [held("15min"), held("15min", BEGIN + 3600)],
        [held("1s"), held("month", BEGIN + 60 * DAY), held("15min")],
        [held("15min", BEGIN, BEGIN + DAY), held("10min", BEGIN + 2 * DAY)],
        [held("15min", lanes=("import",)), held("10min", lanes=("export",))],
        [held("1h", kind="raw"), held("15min")],
    ],
)
def test_what_lies_on_each_others_borders_opens_nothing_new(grants: list[Held]) -> None:
    assert by_windows(grants) == []


def test_the_end_of_one_grant_cuts_the_windows_of_another() -> None:
    (finding,) = by_windows([held("1h"), held("10min", BEGIN, BEGIN + 2 * 3600 + 600)])
    assert finding.end - finding.first == 3000  # the hour that the last ten minutes were taken from


def test_days_of_two_zones_open_the_hours_between_their_midnights() -> None:
    a, b = (Granularity("day", 1000, zone).align_up(BEGIN) for zone in ("Europe/Berlin", "Europe/London"))
    grants = [held("day", a, zone="Europe/Berlin"), held("day", b, zone="Europe/London")]
    assert by_windows(grants) == []  # never a midnight in common: two totals that nothing ties together
    (finding,) = by_windows([*grants, held("1h")]) or [None]  # type: ignore[list-item]
    assert finding is None  # hours open all of it by themselves


def test_both_halves_of_a_load_in_one_hand_are_its_windows() -> None:
    centre = held("10min", kind="load")
    service = held("10min", kind="load", partner=centre.grant.id)
    assert by_windows([centre, held("15min")]) == []
    both = by_windows([centre, service])
    assert [(f.end - f.first, f.grants) for f in both] == [(600, (centre.grant.id, service.grant.id))]
    assert both[0].sentence.startswith("Acme learns 10min sums of import at the meter main, from a share of")
    assert both[0].sentence.endswith("(grant 00000000), the two halves of a load")
    assert [f.end - f.first for f in by_windows([centre, service, held("15min")])] == [600, 300]
    assert by_windows([centre, service, held("5min")]) == []


def test_a_revoked_grant_counts_as_far_as_it_went() -> None:
    ended = Held(held("10min").grant, None, revoked_from=BEGIN + 600)
    (finding,) = by_windows([held("15min"), ended])
    assert (finding.first, finding.end) == (BEGIN + 600, BEGIN + 900)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 6), st.integers(1, 8)), min_size=1, max_size=4))
def test_the_findings_are_what_linear_algebra_says(shapes: list[tuple[int, int, int]]) -> None:
    """Small grants: a stretch is derivable if and only if it is a rational combination of the windows.

    What is looked for are the derivable stretches that are not put together from shorter ones.
    """
    grants = []
    for size, start, count in shapes:
        first = start * size
        grants.append(held(f"{size}s", first, first + count * size))
    windows = {one.grant.window(j) for one in grants for j in range(one.grant.complete(10**6))}
    points = sorted({point for window in windows for point in window})
    span = Span([[int(x <= a and b <= y) for a, b in pairwise(points)] for x, y in windows], len(points) - 1)
    totals = [dict(zip(points, accumulate(change, initial=0), strict=True)) for change in span.unseen()]
    derivable = {(a, b) for a, b in combinations(points, 2) if all(total[a] == total[b] for total in totals)}
    derivable = {
        (a, b)
        for a, b in derivable
        if not any((a, c) in derivable and (c, b) in derivable for c in points)
        and not any(_whole(one, a, b) for one in grants)
    }
    found = {(finding.first, finding.end) for finding in by_windows(grants)}
    assert found <= derivable
    assert bool(found) == bool(derivable)
    if derivable:
        assert min(b - a for a, b in found) == min(b - a for a, b in derivable)


def _whole(one: Held, a: int, b: int) -> bool:
    borders = [one.grant.window(j)[0] for j in range(one.grant.complete(10**6) + 1)]
    return a in borders and b in borders


def test_a_revocation_within_a_window_reveals_nothing() -> None:
    """The window it cuts is never opened: no border lies where the revocation does."""
    cut = Held(held("10min").grant, None, revoked_from=BEGIN + 901)
    assert by_windows([held("5min"), cut]) == []
    assert by_windows([held("15min"), Held(held("15min").grant, None, BEGIN + 901)]) == []


def test_power_is_the_same_quantity_as_import() -> None:
    (finding,) = by_windows([held("15min"), held("10min", lanes=("power",))])
    assert (finding.lane, finding.end - finding.first) == ("import", 300)
    assert finding.sentence.endswith("import follows from power, W over units of known length")


@pytest.mark.parametrize("kind", ["windows", "raw"])
def test_single_units_are_a_finding_by_themselves(kind: Kind) -> None:
    (finding,) = by_units([held("1s" if kind == "windows" else "1h", kind=kind), held("1min")])
    assert finding.sentence.startswith("Acme learns every single unit of 1s of import at the meter main")


def test_ordinary_grants_of_seconds_minutes_and_months_are_no_finding() -> None:
    grants = [held("1s"), held("2s"), held("1min"), held("15min")]
    grants += [held("month", zone="Europe/Berlin"), held("day", zone="America/New_York")]
    assert by_windows(grants) == []


def test_only_what_a_new_grant_adds_is_found() -> None:
    old = [held("15min"), held("10min")]
    assert [f.end - f.first for f in by_windows([*old, held("20min")], [old])] == []
    assert [f.end - f.first for f in by_windows([*old, held("12min")], [old])] == [120]


def test_a_raw_grant_that_is_revoked_within_a_link_ends_with_the_link_before() -> None:
    raw = Held(held("1h", kind="raw").grant, None, revoked_from=BEGIN + 5400)
    (finding,) = by_windows([held("10h"), raw])
    assert (finding.first, finding.end) == (BEGIN + 3600, BEGIN + 36_000)
