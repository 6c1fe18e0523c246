"""The lines of an invoice besides its energy: counted, taxed and rounded."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.provider.invoice import Charge, Line, Tax, Terms

BERLIN = ZoneInfo("Europe/Berlin")
MARCH = (datetime(2026, 3, 1, tzinfo=BERLIN), datetime(2026, 4, 1, tzinfo=BERLIN))


def terms(text: str) -> Terms:
    return Terms.read(tomllib.loads(text)["bill"])


def lines(
    one: Terms, energy: str, start: datetime = MARCH[0], end: datetime = MARCH[1]
) -> list[tuple[str, str]]:
    found = one.invoice(Decimal(energy), start.astimezone(UTC), end.astimezone(UTC), "Europe/Berlin")
    return [(line.name, f"{line.amount:f}") for line in found]


def test_lines_add_up_in_their_order() -> None:
    """Each is rounded by itself, so that the paper adds up; a tax is on all above it, another tax too."""
    spanish = terms(
        """
        [[bill.line]]
        name = "Potencia"
        amount = "0.103944"
        per = "day"
        [[bill.line]]
        name = "Impuesto electrico"
        percent = "5.11269632"
        [[bill.line]]
        name = "Alquiler"
        amount = "0.81"
        per = "month"
        [[bill.line]]
        name = "IVA"
        percent = "21"
        [[bill.line]]
        name = "Bonus"
        amount = "-5"
        per = "period"
        """
    )
    assert lines(spanish, "51.23449999") == [
        ("energy", "51.23"),
        ("Potencia", "3.22"),  # 31 days, one of them of 23 hours
        ("Impuesto electrico", "2.78"),
        ("Alquiler", "0.81"),
        ("IVA", "12.19"),
        ("Bonus", "-5.00"),
        ("total", "65.23"),
    ]


@pytest.mark.parametrize(
    ("unit", "energy", "rounded"),
    [
        ("0.01", "1.005", "1.01"),
        ("0.01", "-1.005", "-1.01"),
        ("0.01", "1.0049999999", "1.00"),
        ("0.05", "1.024999", "1.00"),
        ("0.05", "1.025", "1.05"),
        ("1", "0.5", "1"),
        ("0.01", "-0.001", "0.00"),
        ("0.000000000001", "922337203.6854775808", "922337203.685477580800"),
    ],
)
def test_halves_go_away_from_zero(unit: str, energy: str, rounded: str) -> None:
    assert lines(Terms((), Decimal(unit)), energy) == [("energy", rounded), ("total", rounded)]


def test_a_cent_is_what_lines_are_rounded_to() -> None:
    assert terms("[bill]") == Terms((), Decimal("0.01"))


AMOUNTS = st.decimals(-(10**6), 10**6, places=6)
LINES = st.lists(
    st.builds(Charge, st.just("c"), AMOUNTS, st.sampled_from(("day", "month", "period")))
    | st.builds(Tax, st.just("t"), AMOUNTS),
    max_size=4,
)


@given(LINES, AMOUNTS, st.sampled_from(("0.01", "0.05", "1", "0.000001")))
def test_invoices_are_exact(some: list[Charge | Tax], energy: Decimal, unit: str) -> None:
    """Against fractions: each line is the nearest multiple, and the total their sum."""
    found = Terms(tuple(some), Decimal(unit)).invoice(energy, *MARCH, "Europe/Berlin")
    half = Fraction(unit) / 2
    total = Fraction(0)
    for line, made in zip([None, *some], found[:-1], strict=True):
        if line is None:
            exact = Fraction(energy)
        elif isinstance(line, Tax):
            exact = total * Fraction(line.percent) / 100
        else:
            exact = Fraction(line.amount) * {"day": 31, "month": 1, "period": 1}[line.per]
        assert Fraction(made.amount) % Fraction(unit) == 0
        away = abs(Fraction(made.amount)) - abs(exact)
        assert -half < away <= half
        total += Fraction(made.amount)
    assert found[-1] == Line("total", found[-1].amount)
    assert Fraction(found[-1].amount) == total


def of(per: str) -> Terms:
    return Terms((Charge("Abo", Decimal(1), per),), Decimal(1))


@pytest.mark.parametrize(
    ("start", "end", "days", "months"),
    [
        ((2026, 3, 1), (2026, 4, 1), "31", "1"),
        ((2026, 10, 15), (2026, 11, 15), "31", "1"),
        ((2026, 2, 28), (2027, 2, 28), "365", "12"),
        ((2026, 3, 29), (2026, 3, 30), "1", None),
    ],
)
def test_days_and_months_are_counted_by_the_calendar(
    start: tuple[int, int, int], end: tuple[int, int, int], days: str, months: str | None
) -> None:
    period = (datetime(*start, tzinfo=BERLIN), datetime(*end, tzinfo=BERLIN))
    assert lines(of("day"), "0", *period)[1] == ("Abo", days)
    assert lines(of("period"), "0", *period)[1] == ("Abo", "1")
    if months is not None:
        assert lines(of("month"), "0", *period)[1] == ("Abo", months)
        return
    with pytest.raises(UsageError, match="is not of whole months; charge it per day or period"):
        lines(of("month"), "0", *period)


@pytest.mark.parametrize("per", ["day", "month"])
def test_a_period_of_another_zone_has_no_whole_days(per: str) -> None:
    period = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    sentence = (
        f"Abo is charged per {per}, and the billing period from 2026-03-01 01:00 until 2026-04-01 02:00 in "
    )
    with pytest.raises(
        UsageError, match=f"{sentence}Europe/Berlin is not of whole {per}s; charge it per period"
    ):
        lines(of(per), "0", *period)


@pytest.mark.parametrize(
    ("bill", "sentence"),
    [
        (7, "bill must be a table"),
        ({"line": 7}, "line must be up to 100 tables"),
        ({"line": [{}] * 101}, "line must be up to 100 tables"),
        ({"line": [7]}, "bill.line must be a table"),
        ({"vat": 1}, "bill: vat is not a known key; known are line, round"),
        ({"round": "0"}, "bill: round is 0; it must be more than 0"),
        ({"round": "-0.01"}, "bill: round is -0.01; it must be more than 0"),
        ({"round": 0.01}, 'bill: round is 0.01; it must be a number as text, such as "0.5012"'),
        ({"line": [{"amount": "1", "per": "day"}]}, "bill.line: name is None; it must be text such as"),
        ({"line": [{"name": "a\n", "percent": "1"}]}, "it must be text such as"),
        ({"line": [{"name": "a"}]}, "bill: a: per is None; it must be one of day, month, period"),
        (
            {"line": [{"name": "a", "per": "kWh", "amount": "1"}]},
            "per is 'kWh'; it must be one of day, month",
        ),
        (
            {"line": [{"name": "a", "kwh": "1"}]},
            "kwh is not a known key.*a levy for each kWh is part of the tariff's",
        ),
        (
            {"line": [{"name": "a", "percent": "1", "per": "day"}]},
            "a percent, or an amount and per; not both",
        ),
        ({"line": [{"name": "a", "per": "day"}]}, "bill: a: amount is None; it must be a number as text"),
        *(
            (
                {"line": [{"name": "a", "percent": text}]},
                "bill: a: percent is .*; it must be a number as text",
            )
            for text in (
                "x",
                "",
                "NaN",
                "Infinity",
                "1e12",
                "1e-13",
                "0.0000000000001",
                "1" * 13,
                "1e999999999",
            )
        ),
    ],
)
def test_what_is_no_bill_gets_a_sentence(bill: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Terms.read(bill)
