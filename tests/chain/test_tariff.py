"""Tariffs: which price holds when, whatever the clocks do, and what is refused."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.prices import MAX_PRICES, Dynamic, Rule, TimeOfUse
from gateway.chain.seal import MASK
from gateway.chain.tariff import MAX_QUANTUM, Tariff, Weight, cent, rounded, steps_digest
from gateway.chain.window import Granularity
from gateway.errors import UsageError

QUARTER = 900_000
HOUR = 3_600_000
DAY = 24 * HOUR
WEEKDAYS = (0, 1, 2, 3, 4)
PEAK = TimeOfUse((Rule(3215, WEEKDAYS, 6 * 60, 22 * 60), Rule(2450)))


def tariff(
    prices: TimeOfUse | Dynamic = PEAK, *, zone: str = "Europe/Berlin", step_ms: int = QUARTER
) -> Tariff:
    return Tariff("EUR", 4, zone, step_ms, {"import": prices})


def month(year: int, number: int, zone: str = "Europe/Berlin", unit_ms: int = 1000) -> tuple[int, int]:
    windows = Granularity("month", unit_ms, zone)
    k = (year - 1970) * 12 + number - 1
    return windows.start(k), windows.start(k + 1)


def imported(one: Tariff, a: int, b: int, unit_ms: int = 1000) -> list[Weight]:
    return one.weights(["import"], unit_ms, a, b)["import"]


@pytest.mark.parametrize(
    ("number", "hours"),
    [(3, 31 * 24 - 1), (10, 31 * 24 + 1), (11, 30 * 24)],
    ids=["spring", "autumn", "even"],
)
def test_peak_hours_go_by_the_clock_on_the_wall(number: int, hours: int) -> None:
    a, b = month(2026, number)
    assert b - a == hours * 3600
    weights = imported(tariff(), a, b)
    assert (weights[0].first, weights[-1].end) == (a, b)
    assert all(x.end == y.first and x.price != y.price for x, y in pairwise(weights))
    zone = ZoneInfo("Europe/Berlin")
    for weight in weights:
        for unit in range(weight.first, weight.end, 900):
            when = datetime.fromtimestamp(unit, zone)
            peak = when.weekday() < 5 and 6 <= when.hour < 22
            assert weight.price == (3215 if peak else 2450)


def test_the_first_rule_that_fits_counts() -> None:
    a, b = month(2026, 6)
    rules = (Rule(1, begin=0, end=720), Rule(2), Rule(3, begin=600, end=900))
    assert {w.price for w in imported(tariff(TimeOfUse(rules)), a, b)} == {1, 2}


@settings(max_examples=50)
@given(st.lists(st.integers(-3, 3), min_size=96, max_size=96), st.integers(0, 95), st.integers(1, 96))
def test_dynamic_prices_hold_step_by_step(prices: list[int], first: int, count: int) -> None:
    """From any step on, with any prices: neighbours of one price are one weight."""
    end = min(96, first + count)
    weights = imported(tariff(Dynamic(DAY, tuple(prices))), 86_400 + first * 900, 86_400 + end * 900)
    by_step = [w.price for w in weights for _ in range(w.first, w.end, 900)]
    assert by_step == prices[first:end]
    assert all(x.end == y.first and x.price != y.price for x, y in pairwise(weights))


def test_lanes_are_priced_apart() -> None:
    both = Tariff("EUR", 4, "UTC", QUARTER, {"export": Dynamic(0, (-810,) * 96), "import": PEAK})
    assert both.lanes == ("import", "export")
    weights = both.weights(["export", "import"], 1000, 0, 86_400)
    assert list(weights) == ["export", "import"]
    assert weights["export"] == [Weight(0, 86_400, -810)]
    assert [w.price for w in weights["import"]] == [2450, 3215, 2450]  # a Thursday
    assert both.end_ms(["import", "export"]) == DAY
    assert both.end_ms(["import"]) is None


def test_periods_are_those_that_can_be_billed() -> None:
    a, _ = month(2026, 1)
    windows = Granularity("month", 1000, "Europe/Berlin")
    found = list(tariff().periods(["import"], windows, a, None))
    assert found[0] == month(2026, 1)
    assert found[11:] == [month(2026, 12), month(2027, 1)]  # the last begins within 366 days
    until = month(2026, 3)[1]
    assert list(tariff().periods(["import"], windows, a, until)) == [month(2026, n) for n in (1, 2, 3)]
    short = tariff(Dynamic(a * 1000, (5,) * (40 * 96)))
    with pytest.raises(UsageError, match="no price of import for the step that begins at 2026-02-10T00:00"):
        list(short.periods(["import"], windows, a, None))


@pytest.mark.parametrize(
    ("span", "unit_ms", "sentence"),
    [
        ((0, 86_401), 1000, "does not begin and end on a step of 15min"),
        ((1, 86_401), 1000, "does not begin and end on a step of 15min"),
        ((0, 10), 3_600_000, "steps of 15min are not whole units of 1h"),
        ((0, 86_400_000), 7, "not whole units of 7ms"),
        ((0, 900 * 600_000), 1000, "at most 527040 steps"),
    ],
)
def test_what_cannot_be_billed_gets_a_sentence(span: tuple[int, int], unit_ms: int, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        imported(tariff(), *span, unit_ms)


@pytest.mark.parametrize("first", [-1, 95, 96])
def test_a_step_without_a_price_gets_a_sentence(first: int) -> None:
    one = tariff(Dynamic(DAY, (1,) * 96), zone="UTC")
    a = 86_400 + first * 900
    with pytest.raises(UsageError, match=r"no price of import for the step that begins at 1970-01-0"):
        imported(one, a, a + 1800)
    with pytest.raises(UsageError, match="no price of export"):
        one.weights(["import", "export"], 1000, 86_400, 2 * 86_400)


def test_no_bill_can_pass_two_to_the_63() -> None:
    """The bound holds for 100 kW all the time, over all lanes together, and however it is rounded; 8 decimals
    fit a month."""
    a, b = month(2026, 3, "UTC")
    bound = 2**63 - MAX_QUANTUM
    most = (bound - 1) * 3600 // ((b - a) * 1000 * 10**5)  # |price| of a flat tariff

    def flat(price: int) -> TimeOfUse:
        return TimeOfUse((Rule(price),))

    one = replace(tariff(flat(-most), zone="UTC"), scale=8)
    (weight,) = imported(one, a, b)
    energy = (b - a) * 10**5 * 1000 // 3600  # mWh
    assert abs(weight.price) * energy < bound <= (abs(weight.price) + 1) * (energy + 1)
    assert -(2**63) < rounded(-bound, MAX_QUANTUM) <= rounded(bound, MAX_QUANTUM) < 2**63
    assert most > 10**8
    with pytest.raises(UsageError, match=r"could pass 2\^63 in units of 10\^-14 EUR; use prices with fewer"):
        imported(replace(one, prices={"import": flat(most + 1)}), a, b)
    half = replace(one, prices={"import": flat(most // 2 + 1), "export": flat(-(most // 2) - 1)})
    half.weights(["import"], 1000, a, b)
    with pytest.raises(UsageError, match=r"2\^63"):
        half.weights(["import", "export"], 1000, a, b)


def test_a_cent_is_a_hundredth_of_the_currency_in_the_unit_of_a_bill() -> None:
    one = tariff(TimeOfUse((Rule(2500),)))
    assert cent(one.scale) == 40_000 * 2500  # 40 Wh, 40 000 mWh, at 0.25 EUR a kWh


def promised(one: Tariff, granularity: str = "month") -> list[tuple[int, int]]:
    windows = Granularity.parse(granularity, 1000, "UTC")
    a = windows.align_up(month(2026, 6, "UTC")[0])
    return list(one.periods(["import"], windows, a, windows.start(windows.index(a) + 1)))


def test_a_bill_needs_a_day_and_prices_of_at_most_a_hundred() -> None:
    for price in (100 * 10**4, -100 * 10**4):
        assert len(promised(tariff(TimeOfUse((Rule(price),)), zone="UTC"))) == 1
        beyond = TimeOfUse((Rule(price + (1 if price > 0 else -1), begin=0, end=720), Rule(1)))
        with pytest.raises(UsageError, match=r"import: a price of -?100\.0001 EUR is not granted a bill"):
            promised(tariff(beyond, zone="UTC"))
    flat = tariff(TimeOfUse((Rule(1),)), zone="UTC")
    assert len(promised(flat, "24h")) == 1
    with pytest.raises(UsageError, match="a bill for each 12h reveals nearly as much as sums would"):
        promised(flat, "12h")


@given(st.lists(st.integers(-3, 3) | st.integers(-(10**6), 10**6), min_size=96, max_size=96))
def test_few_steps_decide_no_bill(prices: list[int]) -> None:
    """The heaviest quarter of a day, second by second, must carry less than nine tenths of its bill, or just
    these."""
    begin = month(2026, 6, "UTC")[0]
    heavy = sorted((abs(price) for price in prices), reverse=True)
    quarter = 900 * sum(heavy[:24]) - heavy[23]  # a second less than a quarter
    one = tariff(Dynamic(begin * 1000, tuple(prices)), zone="UTC")
    if 10 * quarter < 9 * 900 * sum(heavy) or not any(prices):
        assert promised(one, "day") == [(begin, begin + 86_400)]
    else:
        with pytest.raises(UsageError, match="decide nine tenths of this tariff's bill for 24h"):
            promised(one, "day")


def test_steps_that_a_zones_clocks_cut_are_refused() -> None:
    """Kathmandu is 5:45 ahead: hours of Unix time begin there at a quarter to."""
    a, b = month(2026, 6, "UTC")
    with pytest.raises(UsageError, match=r"a step of 1h begins at .*05:45.*; use steps of 15min"):
        imported(tariff(TimeOfUse((Rule(1),)), zone="Asia/Kathmandu", step_ms=HOUR), a, b)
    assert imported(tariff(TimeOfUse((Rule(1),)), zone="Asia/Kathmandu"), a, b) == [Weight(a, b, 1)]


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ((), "there must be 1 to 256 rules, not 0"),
        ((Rule(1),) * 257, "there must be 1 to 256 rules, not 257"),
        ((Rule(1, begin=10, end=20),), "price changes within a step"),
        ((Rule(1, begin=0, end=1425), Rule(1, (0, 1, 2, 3, 4, 5), 1425, 1440)), "from 23:45 on of day 7"),
        ((Rule(1, begin=60, end=1440),), "no rule has a price from 00:00 on of day 1"),
        ((Rule(1, WEEKDAYS),), "no rule has a price from 00:00 on of day 6"),
        ((Rule(1, begin=0, end=600), Rule(1, begin=660)), "no rule has a price from 10:00 on of day 1"),
        ((Rule(2**63),), r"passes 2\^63"),
    ],
)
def test_rules_that_leave_a_time_without_a_price_are_refused(rules: tuple[Rule, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        tariff(TimeOfUse(rules))


RULES = st.builds(
    lambda days, x, y: Rule(1, tuple(sorted(days)), min(x, y) * 60, (max(x, y) + 1) * 60),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 23),
    st.integers(0, 23),
)


@given(st.lists(RULES, min_size=1, max_size=8))
def test_rules_are_taken_if_and_only_if_each_hour_of_the_week_has_a_price(rules: list[Rule]) -> None:
    covered = all(
        any(day in rule.days and rule.begin <= hour * 60 < rule.end for rule in rules)
        for day in range(7)
        for hour in range(24)
    )
    try:
        tariff(TimeOfUse(tuple(rules)))
    except UsageError:
        assert not covered
    else:
        assert covered


@pytest.mark.parametrize(
    ("days", "begin", "end"),
    [
        ((), 0, 60),
        ((8,), 0, 60),
        ((1, 0), 0, 60),
        ((0, 0), 0, 60),
        ((0,), 60, 60),
        ((0,), -1, 60),
        ((0,), 0, 1441),
    ],
)
def test_a_rule_is_some_minutes_of_some_days(days: tuple[int, ...], begin: int, end: int) -> None:
    with pytest.raises(UsageError, match="a tariff's rule needs"):
        Rule(1, days, begin, end)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"currency": ""}, "currency"),
        ({"currency": "€€€"}, "1 to 8 printable bytes"),
        ({"currency": "E\n"}, "currency"),
        ({"scale": -1}, "0 to 12 decimals"),
        ({"scale": 13}, "0 to 12 decimals"),
        ({"zone": "Mars/Base"}, "time zone 'Mars/Base'"),
        ({"step_ms": 0}, "does not divide a day"),
        ({"step_ms": 7 * 60_000}, "does not divide a day; 15min and 1h are usual"),
        ({"prices": {}}, "for import, for export, or for both"),
        ({"prices": {"power": PEAK}}, "for import, for export, or for both"),
        ({"prices": {"import": Dynamic(0, ())}}, f"1 to {MAX_PRICES} prices"),
        ({"prices": {"import": Dynamic(0, (0,) * (MAX_PRICES + 1))}}, f"1 to {MAX_PRICES} prices"),
        ({"prices": {"import": Dynamic(0, (-(2**63) - 1,))}}, r"passes 2\^63"),
        ({"prices": {"import": Dynamic(1, (1,))}}, "do not begin on a step of 15min"),
        ({"prices": {"import": Dynamic(-QUARTER, (1,))}}, "do not begin on a step of 15min"),
    ],
)
def test_what_is_no_tariff_gets_a_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        replace(tariff(), **changes)  # type: ignore[arg-type]


def test_a_period_outside_the_calendar_gets_a_sentence() -> None:
    far = 10**12 // 900 * 900
    with pytest.raises(UsageError, match="outside the calendar"):
        imported(tariff(), far, far + 900)


def test_a_day_of_one_price_is_one_weight_though_its_clocks_change() -> None:
    begin = datetime(2026, 10, 25, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    a = int(begin.timestamp())
    b = a + int(timedelta(hours=25).total_seconds())
    assert imported(tariff(TimeOfUse((Rule(7),))), a, b) == [Weight(a, b, 7)]


# Rounding, and what was weighed

BILL = st.integers(-(2**63), 2**63 - 1) | st.integers(-50, 50)
QUANTUM = st.integers(1, 12) | st.integers(1, 2**62)


@given(BILL, QUANTUM)
def test_a_bill_is_rounded_to_the_nearest_multiple(bill: int, quantum: int) -> None:
    found = rounded(bill, quantum)
    assert found % quantum == 0
    away = Fraction(bill - found, quantum)
    assert Fraction(-1, 2) <= away < Fraction(1, 2)  # of two that are as near, the upper one


@given(BILL, QUANTUM)
def test_rounding_again_changes_nothing(bill: int, quantum: int) -> None:
    assert rounded(rounded(bill, quantum), quantum) == rounded(bill, quantum)
    assert rounded(bill, 1) == bill
    assert rounded(bill + quantum, quantum) == rounded(bill, quantum) + quantum


@pytest.mark.parametrize(
    ("bill", "result"), [(-151, -200), (-150, -100), (-50, 0), (-49, 0), (49, 0), (50, 100), (150, 200)]
)
def test_halves_go_up(bill: int, result: int) -> None:
    assert rounded(bill, 100) == result


@given(st.integers(0, 12), st.integers(0, 10**6))
def test_a_cent_is_a_hundredth_of_the_currency(scale: int, cents: int) -> None:
    """A bill of a kWh at so many cents, in prices of any scale that can say it."""
    assert Fraction(cent(scale), 10 ** (scale + 6)) == Fraction(1, 100)
    if scale >= 2:
        price = cents * 10 ** (scale - 2)  # 10^-scale of the currency for a kWh
        assert price * 10**6 == cents * cent(scale)  # a kWh is 10^6 mWh


WEIGHTS = st.dictionaries(
    st.sampled_from(("import", "export")),
    st.lists(st.builds(Weight, *(st.integers(0, 3) for _ in range(3))), max_size=3),
    max_size=2,
)


@given(WEIGHTS, WEIGHTS)
def test_steps_that_differ_have_another_digest(
    one: dict[str, list[Weight]], two: dict[str, list[Weight]]
) -> None:
    """In a border, a price, a lane, or the lanes' order."""
    assert (steps_digest(one) == steps_digest(two)) == ([*one.items()] == [*two.items()])


def test_the_digest_is_of_the_bytes_that_the_protocol_names() -> None:
    weights = {"import": [Weight(0, 3, 5), Weight(3, 2**40, -1)], "export": [Weight(0, 2**40, 2**63 - 1)]}
    content = b"import" + (2).to_bytes(8, "big")
    for number in (0, 3, 5, 3, 2**40, MASK):
        content += number.to_bytes(8, "big")
    content += b"export" + (1).to_bytes(8, "big")
    for number in (0, 2**40, 2**63 - 1):
        content += number.to_bytes(8, "big")
    assert steps_digest(weights) == hashlib.sha256(content).digest()


def test_both_sides_weigh_the_same_steps() -> None:
    """The digest is of the prices over the period alone: of merged steps, however the tariff says them."""
    a, b = month(2026, 3)
    by_rule = tariff(TimeOfUse((Rule(7, begin=0, end=720), Rule(7))))
    listed = tariff(Dynamic(a * 1000, (7,) * ((b - a) // 900)))
    assert steps_digest(by_rule.weights(["import"], 1000, a, b)) == steps_digest(
        {"import": [Weight(a, b, 7)]}
    )
    assert steps_digest(listed.weights(["import"], 1000, a, b)) == steps_digest({"import": [Weight(a, b, 7)]})


def test_bills_are_checked_for_as_long_as_the_year_matters() -> None:
    """A grant of bills goes on for ever only where no price is named for a date beyond the year that was
    checked, by a rule or by a list."""
    days, first = Granularity("day", 1000, "Europe/Berlin"), month(2026, 3)[0]
    late = first + 366 * 86_400
    day = first // 86_400
    checked = days.align_up(late)
    rules = (Rule(9000, begin=600, end=660, dates=(day + 300,)), Rule(2450))
    assert tariff().checked_end(["import"], days, first) is None
    assert tariff(TimeOfUse(rules)).checked_end(["import"], days, first) is None
    beyond = (replace(rules[0], dates=(day + 400,)), rules[1])
    assert tariff(TimeOfUse(beyond)).checked_end(["import"], days, first) == checked
    assert tariff(TimeOfUse(beyond)).checked_end(["export"], days, first) is None
    for count, end in ((96 * 300, None), (96 * 400, checked)):
        listed = Dynamic(first * 1000, (1,) * count)
        assert tariff(listed).checked_end(["import"], days, first) == end


def test_what_lies_beyond_the_calendar_has_no_price() -> None:
    a = 300_000_000 * 900
    with pytest.raises(UsageError, match="outside the calendar"):
        imported(tariff(Dynamic(0, (1,)), zone="UTC"), a, a + 900)
