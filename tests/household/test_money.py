"""Costs: exact, rounded as bills are, and what has no price is named, never counted as 0."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chain.prices import Calendar, Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.errors import UsageError
from gateway.household.money import Missing, Money, SeriesRates, Sums, TariffRates, cost, invoice
from gateway.household.prices import Prices, SeriesName
from gateway.stream.times import unix_ms
from tests.household.test_prices import NOW_MS, Acme, opened
from tests.support.clock import FakeClock

MIN = 60_000
HOUR = 60 * MIN
DAY = 24 * HOUR
BERLIN = ZoneInfo("Europe/Berlin")
LANES = ("import", "export")


def ms(*when: int) -> int:
    """A moment in Berlin, the first of two."""
    return unix_ms(datetime(*when, tzinfo=BERLIN))  # type: ignore[misc, arg-type]


TIME_OF_USE = Tariff(
    "EUR",
    4,
    "Europe/Berlin",
    15 * MIN,
    {
        "import": TimeOfUse((Rule(3215, (0, 1, 2, 3, 4), 6 * 60, 22 * 60), Rule(2450))),
        "export": TimeOfUse((Rule(-810),)),
    },
)


def of(
    rates: TariffRates | SeriesRates,
    rows: Sequence[tuple[int, int]],
    energy: Mapping[str, Mapping[int, int | None]],
    unit: int = MIN,
) -> list[Money]:
    """The costs, with the energy of each unit, 0 where none is given."""

    async def sums(edges: Sequence[int], lanes: Sequence[str]) -> dict[str, list[int | None]]:
        def between(lane: str, a: int, b: int) -> int | None:
            assert a % unit == b % unit == 0, "finer than what is known"
            parts = [mwh for at, mwh in energy[lane].items() if a <= at < b]
            known = [mwh for mwh in parts if mwh is not None]
            return sum(known) if len(known) == len(parts) else None

        return {lane: [between(lane, a, b) for a, b in pairwise(edges)] for lane in lanes}

    asked: Sums = sums
    return asyncio.run(cost(rates, rows, LANES, asked))


def by_the_clock(lane: str, at: int) -> Fraction:
    when = datetime.fromtimestamp(at // 1000, BERLIN)
    if lane == "export":
        return Fraction("-0.0810")
    return Fraction("0.3215" if when.weekday() < 5 and 6 <= when.hour < 22 else "0.2450")


@st.composite
def rows(draw: st.DrawFn, begin: int) -> list[tuple[int, int]]:
    """Rows of whole minutes, some with time between them."""
    found, at = [], begin
    for _ in range(draw(st.integers(1, 6))):
        end = at + draw(st.sampled_from((MIN, 15 * MIN, HOUR, 7 * HOUR, DAY)))
        found.append((at, end))
        at = end + draw(st.sampled_from((0, 0, 7 * MIN)))
    return found


@given(st.data())
def test_rows_of_any_length_cost_each_minute_at_its_price(data: st.DataObject) -> None:
    """Over Berlin's change of clocks, in either direction."""
    begin = (
        data.draw(st.sampled_from((ms(2026, 3, 28, 23), ms(2026, 10, 24, 23))))
        + data.draw(st.integers(0, 90)) * MIN
    )
    asked = data.draw(rows(begin))
    moments = st.integers(0, (asked[-1][1] - begin) // MIN - 1).map(lambda n: begin + n * MIN)
    energy = {lane: data.draw(st.dictionaries(moments, st.integers(0, 10**7), max_size=30)) for lane in LANES}
    for row, found in zip(asked, of(TariffRates(TIME_OF_USE), asked, energy), strict=True):
        right = {
            lane: sum(
                (by_the_clock(lane, at) * mwh / 10**6 for at, mwh in given.items() if row[0] <= at < row[1]),
                Fraction(0),
            )
            for lane, given in energy.items()
        }
        assert (found.start_ms, found.end_ms) == row
        assert {lane: Fraction(value, 10**18) for lane, value in found.lanes.items()} == right
        exact = sum(right.values(), Fraction(0))
        assert Fraction(found.exact) == exact
        assert found.amount is not None
        assert Fraction(found.amount) == floor(exact * 100 + Fraction(1, 2)) * Fraction(1, 100)
        assert str(found.amount).partition(".")[2].__len__() == 2


@given(st.data())
def test_what_is_not_known_is_named_and_the_rest_added_up(data: st.DataObject) -> None:
    """Prices for some hours, and some hours whose energy is not known."""
    begin, hours = ms(2026, 5, 1), 12
    start, count = data.draw(st.integers(0, hours)), data.draw(st.integers(1, hours))
    tariff = Tariff("EUR", 3, "UTC", HOUR, {"import": Dynamic(begin + start * HOUR, (500,) * count)})
    closed = data.draw(st.sets(st.integers(0, hours - 1)))
    energy = {
        "import": {begin + n * HOUR: None if n in closed else 10**6 for n in range(hours)},
        "export": {},
    }
    (found,) = of(TariffRates(tariff), [(begin, begin + hours * HOUR)], energy, HOUR)
    assert found.missing[-1] == Missing("export", begin, begin + hours * HOUR, "price")
    priced = set(range(start, min(hours, start + count)))
    named = {"price": set(range(hours)) - priced, "energy": priced & closed}
    # Several hours of one price are asked for as one: if one of them is closed, so are all.
    if named["energy"]:
        named["energy"] = priced
    for what, right in named.items():
        parts = [one for one in found.missing if one.lane == "import" and one.what == what]
        assert {
            n for one in parts for n in range((one.start_ms - begin) // HOUR, (one.end_ms - begin) // HOUR)
        } == right
        assert all(one.end_ms < other.start_ms for one, other in pairwise(parts))
    assert found.amount is None
    assert found.exact == Decimal("0.5") * len(priced - named["energy"])


def test_dates_before_and_after_a_tariff_have_no_price() -> None:
    dates = Calendar(since=(days := (ms(2026, 5, 1) + 2 * HOUR) // DAY), before=days + 2)
    rates = TariffRates(replace(TIME_OF_USE, calendar=dates))
    (found,) = of(rates, [(ms(2026, 4, 30, 12), ms(2026, 5, 4))], {"import": {}, "export": {}})
    assert found.missing == tuple(
        Missing(lane, a, b, "price")
        for lane in LANES
        for a, b in ((ms(2026, 4, 30, 12), ms(2026, 5, 1)), (ms(2026, 5, 3), ms(2026, 5, 4)))
    )


def test_a_year_of_one_price_takes_one_sum_and_many_rows_few_questions() -> None:
    flat = Tariff("EUR", 2, "Europe/Berlin", 15 * MIN, {"import": TimeOfUse((Rule(30),))})
    asked = []

    async def sums(edges: Sequence[int], lanes: Sequence[str]) -> dict[str, list[int | None]]:
        asked.append(len(edges))
        return {lane: [1_000_000] * (len(edges) - 1) for lane in lanes}

    def costs(rows: Sequence[tuple[int, int]]) -> list[Money]:
        return asyncio.run(cost(TariffRates(flat), rows, ["import"], sums))

    (year,) = costs([(ms(2026, 1, 1), ms(2027, 1, 1))])
    assert (year.amount, asked) == (Decimal("0.30"), [2])
    hours = [(ms(2026, 1, 1) + n * HOUR, ms(2026, 1, 1) + (n + 1) * HOUR) for n in range(30_000)]
    assert {one.amount for one in costs(hours)} == {Decimal("0.30")}
    assert len(asked) < 10


async def _accepted(tmp_path: Path, *series: bytes, acme: Acme) -> Prices:
    prices = opened(tmp_path, FakeClock(), acme)
    for one in series:
        await prices.accept(one)
    return prices


def test_a_price_series_is_a_tariff_that_corrections_change(tmp_path: Path) -> None:
    acme = Acme(tmp_path / "acme")
    begin = NOW_MS // HOUR * HOUR
    first = acme.signed(begin, [100, 200, 300])[1]
    correction = acme.signed(begin + HOUR, [-50])[1]
    foreign = acme.signed(begin + 2 * HOUR, [1], currency="CHF")[1]
    feed_in = acme.signed(begin, [-80], name="Feed-in", lanes=("export",))[1]
    prices = asyncio.run(_accepted(tmp_path, first, correction, feed_in, acme=acme))
    name = SeriesName(acme.identity.kid, "Day ahead")
    rates = SeriesRates.open(prices, {"import": name, "export": name._replace(name="Feed-in")})
    assert (rates.currency, rates.zone, rates.lanes) == ("EUR", "Europe/Berlin", LANES)
    energy = {
        "import": {begin + n * HOUR: 10**6 for n in range(3)},
        "export": {begin + n * HOUR: 2 * 10**6 for n in range(1)},
    }
    (found,) = of(rates, [(begin, begin + 3 * HOUR)], energy, HOUR)
    assert {lane: Decimal(value).scaleb(-18) for lane, value in found.lanes.items()} == {
        "import": Decimal("0.350"),
        "export": Decimal("-0.160"),
    }
    assert found.missing == (Missing("export", begin + HOUR, begin + 3 * HOUR, "price"),)
    asyncio.run(prices.accept(foreign))
    (found,) = of(rates, [(begin, begin + 3 * HOUR)], energy, HOUR)
    assert found.missing[0] == Missing("import", begin + 2 * HOUR, begin + 3 * HOUR, "price")
    with pytest.raises(UsageError, match="no prices of export named 'Day ahead' have come"):
        SeriesRates.open(prices, {"export": name})
    with pytest.raises(UsageError, match="needs the name of one"):
        SeriesRates.open(prices, {})


FILE = """
currency = "EUR"
zone = "Europe/Berlin"
[[import]]
price = "0.3000"
[bill]
[[bill.line]]
name = "Standing charge"
amount = "0.5"
per = "day"
[[bill.line]]
name = "VAT"
percent = "19"
"""


def test_a_tariff_file_says_the_other_lines_of_a_bill(tmp_path: Path) -> None:
    (tmp_path / "tariff.toml").write_text(FILE)
    rates = TariffRates.load(tmp_path / "tariff.toml")
    energy: dict[str, dict[int, int | None]] = {"import": {ms(2026, 3, 2): 1_000_016_666}, "export": {}}
    month, hour = (ms(2026, 3, 1), ms(2026, 4, 1)), (ms(2026, 4, 1), ms(2026, 4, 1, 1))

    async def sums(edges: Sequence[int], lanes: Sequence[str]) -> dict[str, list[int | None]]:
        return {
            "import": [
                sum(v or 0 for at, v in energy["import"].items() if a <= at < b) for a, b in pairwise(edges)
            ]
        }

    found, short = asyncio.run(cost(rates, [month, hour], ["import"], sums))
    assert found.exact == Decimal("300.0049998")
    assert [(line.name, str(line.amount)) for line in invoice(rates, found)] == [
        ("energy", "300.00"),
        ("Standing charge", "15.50"),
        ("VAT", "59.95"),
        ("total", "375.45"),
    ]
    with pytest.raises(UsageError, match="charged per day"):
        invoice(rates, short)
    with pytest.raises(UsageError, match="a part is not known"):
        invoice(rates, replace(found, missing=(Missing("import", 0, 1, "price"),)))
    with pytest.raises(UsageError, match=r"has no table \[bill\]"):
        invoice(TariffRates(TIME_OF_USE), found)
    (tmp_path / "tariff.toml").write_text(FILE.replace("19", "much"))
    with pytest.raises(UsageError, match=r"tariff.toml: bill: VAT: percent is 'much'"):
        TariffRates.load(tmp_path / "tariff.toml")


def test_the_upper_of_two_cents_is_taken_as_a_bill_takes_it() -> None:
    half = 5 * 10**15
    assert [str(Money(0, 1, "EUR", {"import": n * half}).amount) for n in (-3, -1, 0, 1, 3)] == [
        "-0.01",
        "0.00",
        "0.00",
        "0.01",
        "0.02",
    ]
    assert Money(0, 1, "EUR", {"import": 3}).exact == Decimal(3).scaleb(-18)
    assert str(Money(0, 1, "EUR", {"import": 10**20}).exact) == "100.00"
