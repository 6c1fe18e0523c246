"""Bills from windows are those from bill grants, to the quantum, and their energy is what was sealed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.chain.prices import Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff, rounded
from gateway.errors import NotGranted, UsageError
from gateway.provider.bill import Bill, Step, bill_grants, bills
from gateway.provider.windows import WindowBills
from gateway.stream.times import unix_ms
from gateway.wire import names
from tests.provider.reading import opened
from tests.stream.stream import Home, Provider, random_readings

pytestmark = pytest.mark.slow

QUARTER = 900_000
ZONE = "Europe/Berlin"
TIME_OF_USE = Tariff(
    "EUR",
    4,
    ZONE,
    QUARTER,
    {
        "import": TimeOfUse((Rule(3215, (0, 1, 2, 3, 4), 6 * 60, 22 * 60), Rule(2450))),
        "export": TimeOfUse((Rule(-810),)),
    },
)


def at(*when: int) -> int:
    """The unit of 15 min that begins at a UTC date and time."""
    return int(datetime(*when, tzinfo=UTC).timestamp()) // 900  # type: ignore[misc, arg-type]


@pytest.fixture(scope="module")
def whole() -> Home:
    """From 26 February to 3 May 2026, over Berlin's change of clocks, in two runs."""
    home = Home(layout=Layout(QUARTER, 20), start=at(2026, 2, 26) // 20 * 20, chunk_units=20)
    for end in (at(2026, 3, 17, 5), at(2026, 5, 3, 13)):
        home.seal(random_readings(end - home.end))
        home.restart()
    return home


@pytest.fixture
def home(whole: Home) -> Home:
    return whole.fork()


def asked(
    home: Home,
    provider: Provider,
    tariff: Tariff,
    period: str = "month",
    from_ms: int | None = None,
    until_ms: int | None = None,
) -> tuple[list[Bill], WindowBills]:
    async def all_of_them() -> tuple[list[Bill], WindowBills]:
        async with opened(home) as reader:
            asked = await WindowBills.ask(reader, provider.identity, tariff, period)
            return [bill async for bill in asked.bills(from_ms, until_ms)], asked

    return asyncio.run(all_of_them())


def granted(home: Home, provider: Provider, tariff: Tariff) -> list[Bill]:
    async def all_of_them() -> list[Bill]:
        async with opened(home) as reader:
            held = await bill_grants(reader, provider.identity, tariff)
            return [bill async for bill in bills(reader, held, tariff)]

    return asyncio.run(all_of_them())


def sealed(home: Home, bill: Bill) -> Iterator[Step]:
    """Each unit's energy and price, from what was sealed."""
    unit = home.layout.unit_ms
    a, b = unix_ms(bill.start) // unit, unix_ms(bill.end) // unit
    for lane, runs in bill.tariff.weights(bill.lanes, unit, a, b).items():
        for w in runs:
            yield Step(lane, w.price, home.truth(lane, w.first, w.end))


def check(home: Home, bill: Bill) -> None:
    """The energy at each price is what was sealed, and the value is made of it."""
    assert bill.steps is not None
    expected: dict[tuple[str, int], int] = {}
    for step in sealed(home, bill):
        key = (step.lane, step.price)
        expected[key] = expected.get(key, 0) + step.energy
    assert {(step.lane, step.price): step.energy for step in bill.steps} == expected
    assert len(bill.steps) == len(expected)
    assert bill.value == sum(step.price * step.energy for step in bill.steps)
    assert bill.amount == Decimal(bill.value).scaleb(-bill.tariff.scale - 6)


@pytest.mark.parametrize("granularity", ["15min", "30min", "1h", "2h"])
def test_a_months_bill_is_that_of_the_bill_grant(home: Home, provider: Provider, granularity: str) -> None:
    """March has an hour less in Berlin; 2 h of UTC end on whole hours of two offsets only where prices do."""
    home.grant(provider.card, "month", zone=ZONE, kind="bill", tariff=TIME_OF_USE)
    home.grant(provider.card, granularity)
    [march, april] = granted(home, provider, TIME_OF_USE)
    if granularity == "2h":
        found, told = asked(home, provider, TIME_OF_USE)
        assert [bill.start for bill in found] == [april.start]
        check(home, found[0])
        assert (
            "no granted windows add up to the price step of import from 2026-03-01T00:00" in told.missing[0]
        )
        assert "opens 2h sums" in told.missing[0]
        return
    found, told = asked(home, provider, TIME_OF_USE)
    assert told.missing == []
    assert told.waiting is None
    for one, other in zip(found, (march, april), strict=True):
        check(home, one)
        assert (one.start, one.end, one.lanes) == (other.start, other.end, other.lanes)
        assert rounded(one.value, other.quantum) == other.value
        assert other.steps is None
        assert len(other.grants) == len(one.grants) == 1
        assert (one.quantum, one.zone) == (1, ZONE)


@settings(max_examples=5)
@given(
    scale=st.integers(0, 5),
    quantum=st.integers(1, 10**9),
    period=st.sampled_from(["day", "month", "month-15"]),
    lanes=st.sampled_from([("import",), ("export",), ("import", "export")]),
    data=st.data(),
)
def test_both_ways_agree(
    whole: Home, scale: int, quantum: int, period: str, lanes: tuple[str, ...], data: st.DataObject
) -> None:
    """Whatever the prices, negative ones among them, and the quantum."""
    price = st.integers(-(10**scale), 10**scale)
    first = whole.start * QUARTER
    dynamic = Dynamic(first, tuple(data.draw(price) for _ in range(7)) * ((whole.end - whole.start) // 7 + 1))
    flat = data.draw(price)
    hours = TimeOfUse(
        (Rule(flat, (5, 6), 0, 24 * 60), Rule(flat + 1, (0, 1, 2, 3, 4), 360, 1320), Rule(flat))
    )
    kinds: dict[str, TimeOfUse | Dynamic] = {"import": dynamic, "export": hours}
    tariff = Tariff("EUR", scale, ZONE, QUARTER, {lane: kinds[lane] for lane in lanes})
    home = whole.fork()
    with tempfile.TemporaryDirectory() as folder:
        provider = Provider.new(Path(folder) / "p")
        try:
            home.grant(provider.card, period, lanes, zone=ZONE, kind="bill", tariff=tariff, quantum=quantum)
        except UsageError:  # few steps decide nearly all of such a bill: it is never granted
            return
        home.grant(provider.card, "15min")
        ours = granted(home, provider, tariff)
        found, _ = asked(home, provider, tariff, period)
    assert ours
    for one, other in zip(found, ours, strict=True):
        check(home, one)
        assert (one.start, one.end, one.lanes) == (other.start, other.end, other.lanes)
        assert abs(Fraction(one.value - other.value)) <= Fraction(quantum, 2)
        assert rounded(one.value, quantum) == other.value


def test_days_do_for_a_flat_price_and_grants_may_follow_each_other(home: Home, provider: Provider) -> None:
    flat = Tariff("EUR", 2, ZONE, QUARTER, {"import": TimeOfUse((Rule(30),))})
    middle = at(2026, 3, 19, 11)
    home.grant(provider.card, "day", zone=ZONE, until=at(2026, 3, 17, 23))
    home.grant(provider.card, "1h", first=at(2026, 3, 17, 20), until=middle)
    home.grant(provider.card, "15min", first=middle)
    found, told = asked(home, provider, flat)
    assert told.missing == []
    assert [bill.start.month for bill in found] == [2, 3]
    for bill in found:
        check(home, bill)
    assert len(found[0].grants) == 3


def test_a_hole_between_grants_is_said(home: Home, provider: Provider) -> None:
    flat = Tariff("EUR", 2, ZONE, QUARTER, {"import": TimeOfUse((Rule(30),))})
    home.grant(provider.card, "15min", until=at(2026, 3, 17))
    home.grant(provider.card, "15min", first=at(2026, 3, 18))
    found, told = asked(home, provider, flat)
    assert [bill.start.month for bill in found] == [3]  # April's, which begins at 22:00 UTC
    assert len(told.missing) == 1
    assert "2026-03-01T00:00:00+01:00 to 2026-04-01T00:00:00+02:00: no granted windows" in told.missing[0]
    assert "at 0.30 EUR a kWh" in told.missing[0]


def test_what_is_not_granted_or_no_period(home: Home, provider: Provider) -> None:
    with pytest.raises(NotGranted, match="no window of import or export is granted: there is no grant"):
        asked(home, provider, TIME_OF_USE)
    home.grant(provider.card, "15min", ["import"])
    with pytest.raises(UsageError, match=r"billing period '1h': it must be day, month, or month-2"):
        asked(home, provider, TIME_OF_USE, "1h")
    found, _ = asked(home, provider, TIME_OF_USE)
    assert {bill.lanes for bill in found} == {("import",)}


def test_only_the_periods_asked_for(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "15min")
    [april], _ = asked(home, provider, TIME_OF_USE, "month", at(2026, 3, 2) * QUARTER)
    assert april.start == datetime(2026, 3, 31, 22, tzinfo=UTC)
    [march], _ = asked(home, provider, TIME_OF_USE, "month", None, at(2026, 4, 30) * QUARTER)
    assert march.end == april.start
    days, _ = asked(
        home, provider, TIME_OF_USE, "day", at(2026, 3, 28, 23) * QUARTER, at(2026, 3, 30) * QUARTER
    )
    assert [(day.end - day.start).seconds for day in days] == [23 * 3600]


def test_tokens_that_are_yet_to_come_are_waited_for(home: Home, provider: Provider) -> None:
    grant = home.grant(provider.card, "15min")
    for key in [key for key in home.objects if key.startswith(names.bundles(home.id, grant.id))]:
        del home.objects[key]
    home.put_bundle(grant.id, 0, 96 * 7)
    found, told = asked(home, provider, TIME_OF_USE, "day")
    assert found
    assert told.waiting is not None
    assert "are not in the store yet" in told.waiting
    for bill in found:
        check(home, bill)
