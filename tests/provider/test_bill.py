"""Bills are exact to their rounding under any tariff, from public ciphertexts and one token a period."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.layout import Layout
from gateway.chain.prices import Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff, cent
from gateway.errors import NotGranted, Refused
from gateway.provider.bill import Bill, bill_grants, bills
from gateway.stream.times import unix_ms
from gateway.wire import names
from gateway.wire.grant import Tokens
from tests.provider.reading import opened, read
from tests.stream.stream import Home, Provider, random_readings

pytestmark = pytest.mark.slow

QUARTER = 900_000
BERLIN = ZoneInfo("Europe/Berlin")
CENT = Fraction(1, 100)
TIME_OF_USE = Tariff(
    "EUR",
    4,
    "Europe/Berlin",
    QUARTER,
    {
        "import": TimeOfUse((Rule(3215, (0, 1, 2, 3, 4), 6 * 60, 22 * 60), Rule(2450))),
        "export": TimeOfUse((Rule(-810),)),
    },
)


def at(*when: int) -> int:
    """The unit of 15 min that begins at a UTC date and time."""
    return int(datetime(*when, tzinfo=UTC).timestamp()) // 900  # type: ignore[misc, arg-type]


def made(home: Home, provider: Provider, tariff: Tariff) -> list[Bill]:
    async def all_of_them() -> list[Bill]:
        async with opened(home) as reader:
            held = await bill_grants(reader, provider.identity, tariff)
            return [bill async for bill in bills(reader, held, tariff)]

    return asyncio.run(all_of_them())


def due(home: Home, bill: Bill, price: Callable[[str, int], Fraction]) -> Fraction:
    """The amount, added up unit by unit from what was sealed; `price` of a lane in the unit, per kWh."""
    unit = home.layout.unit_ms
    a, b = unix_ms(bill.start) // unit, unix_ms(bill.end) // unit
    return sum(
        (price(lane, u) * home.truth(lane, u, u + 1) / 10**6 for lane in bill.lanes for u in range(a, b)),
        Fraction(0),
    )


def rounded(exact: Fraction, quantum: Fraction) -> Fraction:
    """The multiple of `quantum` nearest to `exact`, the upper one of two."""
    return floor(exact / quantum + Fraction(1, 2)) * quantum


def by_the_clock(lane: str, unit: int) -> Fraction:
    when = datetime.fromtimestamp(unit * 900, BERLIN)
    if lane == "export":
        return Fraction("-0.0810")
    return Fraction("0.3215" if when.weekday() < 5 and 6 <= when.hour < 22 else "0.2450")


@pytest.fixture(scope="module")
def whole() -> Home:
    """From 26 February to 3 May 2026, over Berlin's change of clocks, in units of 15 min, in three runs."""
    home = Home(layout=Layout(QUARTER, 20), start=at(2026, 2, 26) // 20 * 20, chunk_units=20)
    for end in (at(2026, 3, 17, 5), at(2026, 3, 29, 1), at(2026, 5, 3, 13)):
        home.seal(random_readings(end - home.end))
        home.restart()
    return home


@pytest.fixture
def home(whole: Home) -> Home:
    return whole.fork()


def test_a_months_bill_by_time_of_use(home: Home, provider: Provider) -> None:
    """March has an hour less in Berlin; import and export are priced apart; one token is one word."""
    grant = home.grant(
        provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE, quantum=1
    )
    found = made(home, provider, TIME_OF_USE)
    assert [(bill.start.isoformat(), bill.end.isoformat()) for bill in found] == [
        ("2026-02-28T23:00:00+00:00", "2026-03-31T22:00:00+00:00"),
        ("2026-03-31T22:00:00+00:00", "2026-04-30T22:00:00+00:00"),
    ]
    for bill in found:
        assert Fraction(bill.amount) == due(home, bill, by_the_clock) != 0
        assert bill.lanes == ("import", "export")
        assert bill.amount.as_tuple().exponent == -10
    key = names.bundle(home.id, grant.id, 0)
    tokens = Tokens.read(home.objects[key], home.signer.public, key)
    assert isinstance(tokens.words, bytes)
    assert len(tokens.words) == 2 * 8


def test_a_months_bill_under_dynamic_prices(home: Home, provider: Provider) -> None:
    """A price for each quarter of an hour, below zero at times; the bill ends with the prices."""
    first, end = at(2026, 4, 1), at(2026, 5, 1)
    prices = {
        "import": [(7919 * i) % 40_000 - 8_000 for i in range(end - first)],
        "export": [(104_729 * i) % 9_000 - 12_000 for i in range(end - first)],
    }
    tariff = Tariff(
        "EUR",
        5,
        "UTC",
        QUARTER,
        {lane: Dynamic(first * QUARTER, tuple(values)) for lane, values in prices.items()},
    )
    home.grant(provider.card, "month", first=first, until=end, kind="bill", tariff=tariff, quantum=1)
    (bill,) = made(home, provider, tariff)
    assert Fraction(bill.amount) == due(home, bill, lambda lane, u: Fraction(prices[lane][u - first], 10**5))
    assert any(price < 0 for price in prices["import"])


@settings(max_examples=25)
@given(st.data())
def test_any_readings_prices_runs_and_incarnations(data: st.DataObject) -> None:
    """Two and a half days of hours, a bill a day, rounded to anything."""
    count, days = 60, 20_000 + data.draw(st.integers(0, 5))
    lanes = data.draw(st.sampled_from((("import",), ("export",), ("import", "export"))))
    home = Home(lanes, layout=Layout(3_600_000, data.draw(st.sampled_from((1, 2, 3, 6, 8)))), start=days * 24)
    values = st.lists(st.integers(-(2**40), 2**40), min_size=count, max_size=count)
    readings = {lane: data.draw(values) for lane in lanes}
    cuts = sorted({0, count, *data.draw(st.lists(st.integers(1, count - 1), max_size=3))})
    for x, y in pairwise(cuts):
        home.seal({lane: readings[lane][x:y] for lane in lanes})
        home.restart()
    prices = st.lists(st.integers(-(10**6), 10**6), min_size=count, max_size=count)
    lists = {lane: Dynamic(days * 86_400_000, tuple(data.draw(prices))) for lane in lanes}
    scale = data.draw(st.integers(0, 6))
    tariff = Tariff("SEK", scale, "UTC", 3_600_000, {lane: lists[lane] for lane in lanes})
    with tempfile.TemporaryDirectory() as folder:
        provider = Provider.new(Path(folder) / "acme")
        quantum = data.draw(st.just(1) | st.just(cent(scale)) | st.integers(1, 2**40))
        home.grant(provider.card, "day", kind="bill", tariff=tariff, quantum=quantum)
        found = made(home, provider, tariff)
    assert len(found) == 2
    for bill in found:
        expected = due(home, bill, lambda lane, u: Fraction(lists[lane].prices[u - home.start], 10**scale))
        assert Fraction(bill.amount) == rounded(expected, Fraction(quantum, 10 ** (scale + 6)))
        assert bill.value % quantum == 0


@pytest.mark.parametrize(
    "changed",
    [
        replace(TIME_OF_USE, currency="CHF"),
        replace(TIME_OF_USE, scale=5),
        replace(TIME_OF_USE, zone="Europe/Vienna"),
        replace(TIME_OF_USE, step_ms=3_600_000),
        replace(TIME_OF_USE, prices={"import": TIME_OF_USE.prices["import"]}),
        replace(TIME_OF_USE, prices={**TIME_OF_USE.prices, "export": TimeOfUse((Rule(-811),))}),
    ],
    ids=["currency", "scale", "zone", "step", "lanes", "price"],
)
def test_a_changed_tariff_is_not_granted(changed: Tariff, home: Home, provider: Provider) -> None:
    home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    sentence = (
        r"no bill under this tariff is granted: grant .* opens the bill of each month \(Europe/Berlin\)"
    )
    with pytest.raises(NotGranted, match=sentence):
        made(home, provider, changed)


def test_without_a_grant_there_is_no_bill(home: Home, provider: Provider, tmp_path: Path) -> None:
    home.grant(provider.card, "15min")
    home.grant(Provider.new(tmp_path / "other").card, "month", kind="bill", tariff=TIME_OF_USE)
    with pytest.raises(NotGranted, match="there is no grant of a bill to this provider"):
        made(home, provider, TIME_OF_USE)


def test_a_bill_opens_no_sum(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    with pytest.raises(NotGranted, match="has no grant of sums"):
        read(home, provider)


def test_one_tariff_serves_homes_without_export(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "month", ("import",), zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    for bill in made(home, provider, TIME_OF_USE):
        assert bill.lanes == ("import",)
        assert Fraction(bill.amount) == rounded(due(home, bill, by_the_clock), CENT)


def test_a_period_that_two_grants_open_is_billed_once(home: Home, provider: Provider) -> None:
    def grant(first: int, lanes: tuple[str, ...] = ("import", "export")) -> None:
        home.grant(
            provider.card,
            "month",
            lanes,
            first=first,
            zone="Europe/Berlin",
            kind="bill",
            tariff=TIME_OF_USE,
        )

    grant(at(2026, 4, 1))
    grant(home.start)
    assert [bill.start.month for bill in made(home, provider, TIME_OF_USE)] == [2, 3]
    grant(home.start, ("import",))
    assert len(made(home, provider, TIME_OF_USE)) == 4


def test_a_revoked_grant_bills_what_was_over(home: Home, provider: Provider) -> None:
    grant = home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    home.revoke(grant)
    home.seal(random_readings(40 * 96))
    assert len(made(home, provider, TIME_OF_USE)) == 2


def test_nothing_before_a_period_is_over(home: Home, provider: Provider) -> None:
    home.grant(
        provider.card, "month", zone="Europe/Berlin", first=at(2026, 5, 1), kind="bill", tariff=TIME_OF_USE
    )
    assert made(home, provider, TIME_OF_USE) == []


def test_a_changed_chunk_or_page_is_refused(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    key = names.page(home.id, "2026-03")
    home.objects[key] = home.objects[key][:-1] + bytes([home.objects[key][-1] ^ 1])
    with pytest.raises(Refused, match=r"the signature of .*2026-03"):
        made(home, provider, TIME_OF_USE)


def test_a_bill_is_rounded_to_a_cent_where_nothing_else_is_said(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
    for bill in made(home, provider, TIME_OF_USE):
        exact = due(home, bill, by_the_clock)
        assert Fraction(bill.amount) == rounded(exact, CENT) != exact
        assert Fraction(bill.rounding) == CENT


# As if summer time began on 5 April, a week late: March has no other steps, April has.
LATER = replace(
    TIME_OF_USE,
    prices={
        "import": Dynamic(
            at(2026, 2, 28, 23) * QUARTER,
            tuple(
                3215 if when.weekday() < 5 and 6 <= when.hour < 22 else 2450
                for when in (
                    datetime.fromtimestamp(unit * 900, BERLIN)
                    - timedelta(hours=at(2026, 4, 1) <= unit < at(2026, 4, 5))
                    for unit in range(at(2026, 2, 28, 23), at(2026, 4, 30, 22))
                )
            ),
        ),
        "export": TIME_OF_USE.prices["export"],
    },
)


def some(home: Home, provider: Provider, tariff: Tariff) -> tuple[list[Bill], str]:
    """The bills that come before something is refused, and why it is."""
    found: list[Bill] = []

    async def all_of_them() -> None:
        async with opened(home) as reader:
            async for bill in bills(reader, await bill_grants(reader, provider.identity, tariff), tariff):
                found.append(bill)

    with pytest.raises(Refused) as refusal:
        asyncio.run(all_of_them())
    return found, str(refusal.value)


def test_other_steps_of_one_period_do_not_hide_the_other_bills(home: Home, provider: Provider) -> None:
    """Time zone data that differ in April. The second grant is billed after that."""
    zone = "Europe/Berlin"
    grant = home.grant(provider.card, "month", zone=zone, kind="bill", tariff=TIME_OF_USE, weighs=LATER)
    april = grant.window(1)[0]
    home.grant(provider.card, "month", ("import",), first=april, zone=zone, kind="bill", tariff=TIME_OF_USE)
    found, why = some(home, provider, TIME_OF_USE)
    assert [(bill.start.month, bill.lanes) for bill in found] == [
        (2, ("import", "export")),
        (3, ("import",)),
    ]
    assert why == (
        "household and provider disagree about the price steps of 2026-03-31T22:00:00Z to "
        "2026-04-30T22:00:00Z: their time zone data or their tariffs differ, so grant "
        f"{grant.id.hex()[:8]}... gives no bill of it"
    )


def test_a_period_that_this_tariff_does_not_divide_is_refused_alone(home: Home, provider: Provider) -> None:
    """Household and provider have other time zone data: its day begins between two hours here."""
    tariff = replace(TIME_OF_USE, step_ms=3_600_000)
    days = [at(2026, 3, 1, 23), at(2026, 3, 2, 23), at(2026, 3, 3, 22, 30), at(2026, 3, 4, 23)]
    first, until = days[0], at(2026, 3, 5, 23)
    home.grant(
        *(provider.card, "day"),
        first=first,
        until=until,
        zone="Europe/Berlin",
        kind="bill",
        tariff=tariff,
        weighs=TIME_OF_USE,
        edges=days,
    )
    found, why = some(home, provider, tariff)
    assert [bill.start.day for bill in found] == [1, 4]
    assert why.count("household and provider disagree about the price steps of") == 2
    assert why.count("(the billing period does not begin and end on a step of 1h)") == 2


def test_a_token_under_another_key_is_refused(home: Home, provider: Provider) -> None:
    """Such a word leaves no multiple of the quantum."""
    keys = []
    for _ in range(2):
        grant = home.grant(provider.card, "month", zone="Europe/Berlin", kind="bill", tariff=TIME_OF_USE)
        keys.append(names.bundle(home.id, grant.id, 0))
    own, other = (Tokens.read(home.objects[key], home.signer.public, key) for key in keys)
    home.objects[keys[0]] = home.signer.sign(replace(own, words=other.words))
    with pytest.raises(Refused, match=f"{keys[0]} does not round the bill of 2026-02-28T23:00:00Z to "):
        made(home, provider, TIME_OF_USE)


def test_an_amount_is_written_to_its_last_decimal() -> None:
    for value, text in ((0, "0E-10"), (1, "1E-10"), (-(2**63), "-922337203.6854775808")):
        bill = Bill(
            datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC), (), value, 1, TIME_OF_USE
        )
        assert bill.amount == Decimal(text)
        assert f"{bill.amount:f}" == f"{Decimal(text):f}"
