"""Energy row by row, and what it cost: all of it is what the meter counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.household.energy import energy, energy_between
from gateway.household.money import Sums, TariffRates
from gateway.household.periods import HOUR_MS, Period
from tests.support.energy import MINUTE_MS, FakeHistory, exported, imported

BERLIN = "Europe/Berlin"
BEGIN_MS = 1_743_000_000_000 // MINUTE_MS * MINUTE_MS
END_MS = BEGIN_MS + 400 * 1440 * MINUTE_MS
TARIFF = """
currency = "EUR"
zone = "Europe/Berlin"
[[import]]
price = "0.3215"
from = "06:00"
until = "22:00"
[[import]]
price = "0.2450"
[[export]]
price = "-0.0810"
"""


@pytest.fixture
def history() -> FakeHistory:
    return FakeHistory(BEGIN_MS, END_MS)


@pytest.fixture
def rates(tmp_path: Path) -> TariffRates:
    (tmp_path / "tariff.toml").write_text(TARIFF)
    return TariffRates.load(tmp_path / "tariff.toml")


def truth(start_ms: int, end_ms: int) -> tuple[int, int]:
    """What the meter counted, mWh: drawn and given."""
    minutes = np.arange(max(start_ms, BEGIN_MS) // MINUTE_MS, min(end_ms, END_MS) // MINUTE_MS)
    return int(imported(minutes).sum()), int(exported(minutes).sum())


@pytest.mark.parametrize("day", [date(2025, 10, 26), date(2026, 3, 29), date(2025, 7, 1)])
async def test_each_line_is_what_the_meter_counted(history: FakeHistory, day: date) -> None:
    found = await energy(history, "main", Period.of("day", BERLIN, day), "quarter")
    assert all((line.imported, line.exported) == truth(line.start_ms, line.end_ms) for line in found.lines)
    assert found.imported == sum(line.imported or 0 for line in found.lines)
    assert found.exported == sum(line.exported or 0 for line in found.lines)
    assert found.whole
    assert len(found.lines) == {date(2025, 10, 26): 100, date(2026, 3, 29): 92}.get(day, 96)


async def test_what_lies_outside_the_history_is_not_known(history: FakeHistory) -> None:
    first = Period.of("month", BERLIN, date(2025, 3, 1))
    found = await energy(history, "main", first, "day")
    assert [line.imported is None for line in found.lines[:25]] == [True] * 25
    assert found.lines[25].imported == truth(found.lines[25].start_ms, found.lines[25].end_ms)[0]
    assert not found.whole
    now = Period.of("year", BERLIN, date(2026, 4, 1))
    found = await energy(history, "main", now, "month")
    assert [line.imported is not None for line in found.lines] == [True] * 4 + [False] * 8
    assert found.whole
    assert (await energy(history, "main", now.beside(1), "month")).empty


async def test_costs_are_each_minute_s_energy_at_its_price(history: FakeHistory, rates: TariffRates) -> None:
    period = Period.of("day", BERLIN, date(2025, 10, 26))
    found = await energy(history, "main", period, "hour", rates)
    total = Decimal(0)
    for start in range(period.start_ms, period.end_ms, MINUTE_MS):
        drawn, given = truth(start, start + MINUTE_MS)
        (price,) = rates.prices("import", start, start + MINUTE_MS)
        total += (price.price * drawn - Decimal("0.0810") * given) / 10**6
    assert found.cost == total
    assert found.cost == sum(line.cost.exact for line in found.lines if line.cost)
    assert not found.unpriced


@settings(max_examples=12)
@given(st.lists(st.integers(0, 80 * 1440), min_size=2, max_size=12, unique=True), st.booleans())
def test_energy_between_any_minutes_is_what_the_meter_counted(edges: list[int], coarse: bool) -> None:
    """Over more minutes than are asked for at a time, and beyond the end of what is known."""
    moments = sorted({BEGIN_MS + (edge // 15 * 15 if coarse else edge) * MINUTE_MS for edge in edges})
    end_ms = BEGIN_MS + 70 * 1440 * MINUTE_MS
    sums = energy_between(FakeHistory(BEGIN_MS, end_ms), "main")
    found = asyncio.run(_ask(sums, moments))
    for at, (a, b) in enumerate(pairwise(moments)):
        assert (found["import"][at], found["export"][at]) == (truth(a, b) if b <= end_ms else (None, None))


async def _ask(sums: Sums, moments: list[int]) -> Mapping[str, Sequence[int | None]]:
    return await sums(moments, ("import", "export"))


async def test_what_is_not_open_has_no_sum_and_no_cost(history: FakeHistory, rates: TariffRates) -> None:
    period = Period.of("day", BERLIN, date(2025, 7, 1))
    history.closed_ms = range(period.start_ms + 2 * HOUR_MS, period.start_ms + 3 * HOUR_MS)
    found = await energy(history, "main", period, "hour", rates)
    assert [line.imported is None for line in found.lines] == [hour == 2 for hour in range(24)]
    assert found.imported == sum(line.imported or 0 for line in found.lines)
    assert found.unpriced


async def test_a_month_of_days_asks_once_for_quarters_of_an_hour(
    history: FakeHistory, rates: TariffRates
) -> None:
    """A year is opened from month pages, whatever the price's times."""
    await energy(history, "main", Period.of("month", BERLIN, date(2025, 10, 1)), "day", rates)
    assert [asked[3] for asked in history.asked] == ["quarter"]
