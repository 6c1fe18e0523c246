"""The consent check: exactly what several grants open together, and which tariffs tell too much."""

from __future__ import annotations

import itertools
from itertools import accumulate, combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.consent.bills import isolated
from gateway.chain.consent.held import Held
from gateway.chain.consent.windows import check
from gateway.chain.grant import Grant, Kind
from gateway.chain.tariff import Dynamic, Rule, Tariff, TimeOfUse
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
        quantum=1 if tariff else None,
        partner=partner,
    )
    return Held(grant, tariff)


def flat(price: int = 30) -> Tariff:
    return Tariff("EUR", 2, "UTC", 900_000, {"import": TimeOfUse((Rule(price),))})


def test_fifteen_and_ten_minutes_open_five() -> None:
    (finding,) = check([held("15min"), held("10min")])
    assert finding.end - finding.first == 300
    assert "together open 5min sums of import" in finding.sentence


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
    assert check(grants) == []


def test_the_end_of_one_grant_cuts_the_windows_of_another() -> None:
    (finding,) = check([held("1h"), held("10min", BEGIN, BEGIN + 2 * 3600 + 600)])
    assert finding.end - finding.first == 3000  # the hour that the last ten minutes were taken from


def test_days_of_two_zones_open_the_hours_between_their_midnights() -> None:
    a, b = (Granularity("day", 1000, zone).align_up(BEGIN) for zone in ("Europe/Berlin", "Europe/London"))
    grants = [held("day", a, zone="Europe/Berlin"), held("day", b, zone="Europe/London")]
    assert check(grants) == []  # never a midnight in common: two totals that nothing ties together
    (finding,) = check([*grants, held("1h")]) or [None]  # type: ignore[list-item]
    assert finding is None  # hours open all of it by themselves


def test_both_halves_of_a_load_in_one_hand_are_its_windows() -> None:
    centre = held("10min", kind="load")
    service = held("10min", kind="load", partner=centre.grant.id)
    assert check([centre, held("15min")]) == []
    both = check([centre, service])
    assert [(f.end - f.first, f.grants) for f in both] == [(600, (centre.grant.id, service.grant.id))]
    assert "two halves, together open 10min sums of import" in both[0].sentence
    assert [f.end - f.first for f in check([centre, service, held("15min")])] == [600, 300]
    assert check([centre, service, held("5min")]) == []


def test_a_revoked_grant_counts_as_far_as_it_went() -> None:
    ended = Held(held("10min").grant, None, revoked_from=BEGIN + 600)
    (finding,) = check([held("15min"), ended])
    assert (finding.first, finding.end) == (BEGIN + 600, BEGIN + 900)


@settings(max_examples=60, deadline=None)
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
    found = {(finding.first, finding.end) for finding in check(grants)}
    assert found <= derivable
    assert bool(found) == bool(derivable)
    if derivable:
        assert min(b - a for a, b in found) == min(b - a for a, b in derivable)


def _whole(one: Held, a: int, b: int) -> bool:
    borders = [one.grant.window(j)[0] for j in range(one.grant.complete(10**6) + 1)]
    return a in borders and b in borders


# --- bills

NOVEMBER = Granularity("month", 1000).start((2026 - 1970) * 12 + 10)


def day_steps(prices: dict[int, int], rest: int) -> Tariff:
    """Quarter-hour prices of two days from November's first: some steps' own, the rest alike."""
    values = [prices.get(step, rest) for step in range(30 * 96)]
    return Tariff("EUR", 2, "UTC", 900_000, {"import": Dynamic(NOVEMBER * 1000, tuple(values))})


@pytest.mark.parametrize(
    ("tariff", "refused"),
    [
        (flat(), False),
        (flat(0), False),
        (
            Tariff(
                "EUR",
                4,
                "UTC",
                900_000,
                {"import": TimeOfUse((Rule(3215, (0, 1, 2), 360, 1320), Rule(2450)))},
            ),
            False,
        ),
        (day_steps({17: 400}, 30), False),  # a peak price of 4.00 EUR
        (day_steps({17: 1}, 0), True),  # zero except one
        (day_steps({17: 10**9}, 30), True),  # one outweighs all
        (day_steps({17: 1}, 10**6), True),  # all others leave its remainder
    ],
)
def test_a_tariff_that_isolates_a_window_is_found(tariff: Tariff, refused: bool) -> None:
    bill = held("month", NOVEMBER, kind="bill", tariff=tariff)
    assert bool(isolated(bill)) is refused
    assert bool(check([bill])) is refused


def test_two_bills_of_one_month_tell_the_window_in_which_they_differ() -> None:
    one, two = day_steps({}, 30), day_steps({17: 31}, 30)
    findings = check([held("month", NOVEMBER, kind="bill", tariff=tariff) for tariff in (one, two)])
    assert (NOVEMBER + 17 * 900, NOVEMBER + 18 * 900) in {(f.first, f.end) for f in findings}


def test_a_bill_beside_days_tells_no_quarter_hour() -> None:
    tariff = Tariff(
        "EUR", 2, "UTC", 900_000, {"import": TimeOfUse((Rule(32, (0, 1, 2), 360, 1320), Rule(24)))}
    )
    bill = held("month", NOVEMBER, NOVEMBER + 30 * DAY, kind="bill", tariff=tariff)
    assert check([bill, held("day", NOVEMBER)]) == []


def test_a_bill_that_varies_within_one_day_tells_that_days_parts_beside_days() -> None:
    """All days are known, and only one has two prices: the bill is one equation in its two parts."""
    tariff = day_steps(dict.fromkeys(range(8), 40), 30)
    bill = held("month", NOVEMBER, NOVEMBER + 30 * DAY, kind="bill", tariff=tariff)
    findings = check([bill, held("day", NOVEMBER)])
    assert (NOVEMBER, NOVEMBER + 8 * 900) in {(f.first, f.end) for f in findings}
