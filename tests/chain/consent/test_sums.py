"""What bills reveal: each class whose sum is in the span of all that a holder has, and nothing else."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.chain.consent.bills import MEAN_W, bits
from gateway.chain.consent.check import check
from gateway.chain.consent.held import Held
from gateway.chain.prices import Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff, cent
from gateway.chain.window import Granularity
from gateway.errors import UsageError
from tests.chain.consent.test_windows import DAY, flat, held
from tests.chain.views import Span

NOVEMBER = Granularity("month", 1000).start((2026 - 1970) * 12 + 10)
DECEMBER = NOVEMBER + 30 * DAY
PEAK = Tariff(
    "EUR", 4, "UTC", 900_000, {"import": TimeOfUse((Rule(3215, (0, 1, 2, 3, 4), 360, 1320), Rule(2450)))}
)


def steps(prices: dict[int, int], rest: int, scale: int = 2) -> Tariff:
    """Quarter-hour prices of November: some steps' own, the rest alike."""
    values = [prices.get(step, rest) for step in range(30 * 96)]
    return Tariff("EUR", scale, "UTC", 900_000, {"import": Dynamic(NOVEMBER * 1000, tuple(values))})


def bill(tariff: Tariff, granularity: str = "month", zone: str = "UTC") -> Held:
    lanes = tariff.lanes
    return held(granularity, NOVEMBER, DECEMBER, "bill", zone=zone, tariff=tariff, lanes=lanes)


def sums(*grants: Held) -> set[tuple[int, int]]:
    return {(finding.first, finding.end) for finding in check(grants).provider}


@pytest.mark.parametrize("tariff", [flat(), flat(0), PEAK, steps({17: 400}, 30)])
def test_one_bill_reveals_no_class(tariff: Tariff) -> None:
    assert check([bill(tariff)]).provider == []


def test_a_bill_beside_the_sum_of_its_month_tells_peak_energy() -> None:
    found = check([bill(PEAK), held("month", NOVEMBER, DECEMBER)]).provider
    assert {finding.sentence.split(", from")[0] for finding in found} == {
        "Acme learns the sum of import over 336h at 0.3215 EUR a kWh",
        "Acme learns the sum of import over 384h at 0.2450 EUR a kWh",
    }
    assert all(" at the meter main" in f.sentence and 'for "test"' in f.sentence for f in found)
    assert sum(b - a for f in found for _, a, b in f.parts) == 30 * DAY


def test_two_tariffs_that_differ_by_little_tell_peak_energy() -> None:
    other = Tariff(
        "EUR", 4, "UTC", 900_000, {"import": TimeOfUse((Rule(3216, (0, 1, 2, 3, 4), 360, 1320), Rule(2450)))}
    )
    found = check([bill(PEAK), bill(other)]).provider
    assert sorted(sum(b - a for _, a, b in f.parts) // 3600 for f in found) == [336, 384]
    assert any("to 1e+02 kWh" in f.sentence for f in found)  # a cent by 0.0001 EUR a kWh


def test_two_bills_of_one_month_tell_the_windows_in_which_they_differ() -> None:
    one, two = steps({}, 30), steps({17: 31, 40: 31}, 30)
    (marked,) = [f for f in check([bill(one), bill(two)]).provider if len(f.parts) == 2]
    assert [(a - NOVEMBER) // 900 for _, a, _ in marked.parts] == [17, 40]


def test_an_export_is_what_a_bill_leaves_beside_the_import() -> None:
    both = Tariff(
        "EUR", 2, "UTC", 900_000, {x: TimeOfUse((Rule(p),)) for x, p in (("import", 30), ("export", -8))}
    )
    assert sums(bill(both)) == set()
    assert sums(bill(both), held("month", NOVEMBER, DECEMBER)) == {(NOVEMBER, DECEMBER)}
    # Power is import and export here.
    assert sums(bill(both), held("month", NOVEMBER, DECEMBER, lanes=("power",))) == set()


def test_a_bill_that_varies_within_one_day_tells_that_days_parts_beside_days() -> None:
    """All days are known, and only one has two prices: the bill is one equation in its two parts."""
    found = sums(bill(steps(dict.fromkeys(range(8), 40), 30)), held("day", NOVEMBER, DECEMBER))
    assert (NOVEMBER, NOVEMBER + 8 * 900) in found


def test_the_dearer_half_of_each_day_is_told_though_its_prices_change() -> None:
    prices = {day * 96 + step: 30 + day + 5 * (step < 40) for day in range(30) for step in range(96)}
    (finding,) = check([bill(steps(prices, 0)), held("day", NOVEMBER, DECEMBER)]).provider
    assert [(a % DAY, b - a) for _, a, b in finding.parts] == [(0, 40 * 900)] * 30


def test_what_is_known_already_is_not_asked_about_again() -> None:
    old = [bill(PEAK), held("month", NOVEMBER, DECEMBER), held("15min", NOVEMBER), held("10min", NOVEMBER)]
    assert len(check(old).provider) > 0
    assert check(old, [held("1h", NOVEMBER)]).provider == []
    assert check(old, [bill(PEAK)]).provider == []
    found = check(old, [held("1s", NOVEMBER)])
    assert ["every single unit of 1s" in f.sentence for f in found.provider] == [True]
    assert found.pooled == []


def test_more_prices_than_can_be_checked_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of a year in several lists would take all memory of the gateway."""
    lists = [bill(steps({17: 30 + n, 40: 32}, 30)) for n in (1, 2)]  # five steps each
    monkeypatch.setattr("gateway.chain.consent.bills.MOST_STEPS", 10)
    assert len(check(lists).provider) > 0
    monkeypatch.setattr("gateway.chain.consent.bills.MOST_STEPS", 9)
    with pytest.raises(UsageError, match="more than 9 prices together, too many to check"):
        check(lists[:1], lists[1:])
    assert check(lists[:1]).provider == []


def test_a_bill_says_so_many_bits() -> None:
    assert MEAN_W == 400
    assert bits(bill(flat(30))) == pytest.approx(13.08, abs=0.01)  # 288 kWh: 86.40 EUR
    assert bits(bill(flat(0))) == 0


@st.composite
def hands(draw: st.DrawFn) -> tuple[list[Held], list[list[int]], list[list[int]]]:
    """Bills and windows over four days of three steps of 8 h; all equations and classes, as rows of steps."""
    grants, rows, columns = [], [], []
    for _ in range(draw(st.integers(1, 3))):
        days, first = draw(st.integers(1, 4)), draw(st.integers(0, 3))
        days = min(days, 4 - first)
        prices = draw(st.lists(st.sampled_from((0, 1, 2, 5)), min_size=12, max_size=12))
        listed = {"import": Dynamic(0, tuple(prices))}
        tariff = Tariff("EUR", 2, "UTC", 8 * 3_600_000, listed)
        a, b = first * DAY, (first + days) * DAY
        grants.append(held("day", a, b, "bill", tariff=tariff))
        for day in range(first, first + days):
            row = [price if day * 3 <= step < day * 3 + 3 else 0 for step, price in enumerate(prices)]
            rows.append(row)
            columns.append(
                [price if day * 3 <= step < day * 3 + 3 else -1 for step, price in enumerate(prices)]
            )
    for _ in range(draw(st.integers(0, 2))):
        size = draw(st.sampled_from((1, 2, 3, 4)))
        first = draw(st.integers(0, 11 // size)) * size
        count = draw(st.integers(1, max(1, (12 - first) // size)))
        if first + count * size > 12:
            continue
        grants.append(held(f"{8 * size}h", first * 28_800, (first + count * size) * 28_800))
        for j in range(count):
            rows.append([int(first + j * size <= step < first + (j + 1) * size) for step in range(12)])
    alike: dict[tuple[int, ...], list[int]] = {}
    for step in range(12):
        alike.setdefault(tuple(column[step] for column in columns), []).append(step)
    within = [members for key, members in alike.items() if any(x >= 0 for x in key)]
    return grants, rows, within


@settings(max_examples=300)
@given(hands())
def test_each_class_in_the_span_is_named_and_all_that_is_named_is_in_it(
    hand: tuple[list[Held], list[list[int]], list[list[int]]],
) -> None:
    """Classes that a flat bill or windows open by themselves are granted, and not named."""
    grants, rows, classes = hand
    span = Span(rows, 12)
    found = [f for f in check(grants).provider if f.parts]
    named = {tuple(s for s in range(12) if _inside(s, f.parts)) for f in found}
    for steps_ in named:
        assert span.combination([int(s in steps_) for s in range(12)]) is not None
    windows = [row for row, one in _rows_of(grants, rows) if one.grant.kind != "bill"]
    opened = Span(windows, 12)
    for members in classes:
        target = [int(s in members) for s in range(12)]
        whole = any(
            sorted(members) == [s for s in range(12) if row[s]] and len({*row} - {0}) == 1 for row in rows
        )
        if span.combination(target) is not None and opened.combination(target) is None and not whole:
            assert tuple(sorted(members)) in named


def _inside(step: int, parts: tuple[tuple[str, int, int], ...]) -> bool:
    return any(a <= step * 28_800 < b for _, a, b in parts)


def _rows_of(grants: list[Held], rows: list[list[int]]) -> list[tuple[list[int], Held]]:
    owners = [one for one in grants for _ in range(one.grant.complete(10**6))]
    return list(zip(rows, owners, strict=True))


@settings(max_examples=100)
@given(
    st.lists(st.integers(1, 4), min_size=6, max_size=6), st.lists(st.integers(0, 6), min_size=6, max_size=6)
)
def test_a_rounded_bill_leaves_each_class_several_values(prices: list[int], energies: list[int]) -> None:
    """All plaintexts in a box that round to the same bill: no class is left with a single value."""
    quantum = 8
    bill_of = sum(p * e for p, e in zip(prices, energies, strict=True))
    rounded = (2 * bill_of + quantum) // (2 * quantum)
    classes = sorted(set(prices))
    if len(classes) == 1:
        return
    sizes = [prices.count(price) for price in classes]
    fits = [
        totals
        for totals in product(*(range(6 * size + 1) for size in sizes))
        if (2 * sum(p * t for p, t in zip(classes, totals, strict=True)) + quantum) // (2 * quantum)
        == rounded
    ]
    exhausted = rounded == 0 or bill_of + 2 * quantum > sum(
        6 * p * n for p, n in zip(classes, sizes, strict=True)
    )
    assert exhausted or all(len({totals[k] for totals in fits}) > 1 for k in range(len(classes)))


def rounded(bill_: int, quantum: int) -> int:
    return quantum * ((2 * bill_ + quantum) // (2 * quantum))


@st.composite
def days(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """The prices of one to three bills of a day of eight steps, with 8 decimals; the steps' energies, mWh."""
    price = st.integers(5_000_000, 95_000_000)
    bills = []
    for _ in range(draw(st.integers(1, 3))):
        palette = draw(st.lists(price, min_size=1, max_size=3))
        bills.append([draw(st.sampled_from(palette)) for _ in range(8)])
    return bills, draw(st.lists(st.integers(200_000, 2_000_000), min_size=8, max_size=8))


@settings(max_examples=200)
@given(days())
def test_rounded_bills_tell_no_class_that_is_not_named(day: tuple[list[list[int]], list[int]]) -> None:
    """For each class that the check does not name there are two homes with the same rounded bills, every step
    within its bounds, in which the class has more and less: by at least 200 Wh times the largest part of
    `free`, which is how the class can change though no bill does.

    The homes have whole mWh, so that their exact bills differ and could tell one from another.
    """
    prices, energies = day
    step_ms, quantum, most = 3 * 3_600_000, 10**12, 4_000_000
    grants = [
        held(
            "day", 0, DAY, "bill", tariff=Tariff("EUR", 8, "UTC", step_ms, {"import": Dynamic(0, tuple(row))})
        )
        for row in prices
    ]
    assert all(one.tariff is not None and cent(one.tariff.scale) == quantum for one in grants)
    named = {
        tuple(s for s in range(8) if any(a <= s * 10_800 < b for _, a, b in finding.parts))
        for finding in check(grants).provider
    }
    classes = {
        tuple(s for s in range(8) if all(row[s] == row[first] for row in rows))
        for rows in (prices, *([row] for row in prices))
        for first in range(8)
    }
    bills = [sum(p * e for p, e in zip(row, energies, strict=True)) for row in prices]
    assume(all(quantum // 20 < (bill_ + quantum // 2) % quantum < quantum - quantum // 20 for bill_ in bills))
    table = np.array(prices, dtype=float)
    for members in classes - named - {tuple(range(8))}:
        wanted = np.array([s in members for s in range(8)], dtype=float)
        free = wanted - np.linalg.pinv(table) @ table @ wanted
        assume(abs(free).max() > 1e-3)  # else bills with nearly these prices tell the class
        for sign in (1, -1):
            far = sign * 200_000 / abs(free).max() * free
            other = [e + round(float(x)) for e, x in zip(energies, far, strict=True)]
            assert all(0 <= e <= most for e in other)
            for row, bill_ in zip(prices, bills, strict=True):
                now = sum(p * e for p, e in zip(row, other, strict=True))
                assert rounded(now, quantum) == rounded(bill_, quantum)
            change = sign * sum(other[s] - energies[s] for s in members)
            assert change >= 200_000 * abs(free).max() - 8
