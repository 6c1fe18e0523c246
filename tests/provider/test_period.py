"""The bills of one period: from bill grants where there are some, else from windows, or as one says."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest

from gateway.chain.tariff import Tariff
from gateway.errors import NotGranted, Unavailable, UsageError
from gateway.provider.bill import Bill
from gateway.provider.period import period_bills
from gateway.wire import names
from tests.provider.reading import opened
from tests.provider.test_windows import TIME_OF_USE, ZONE, at, home, whole
from tests.stream.stream import Home, Provider

__all__ = ["home", "whole"]

pytestmark = pytest.mark.slow

APRIL = date(2026, 4, 30)


def found(
    home: Home, provider: Provider, *, tariff: Tariff = TIME_OF_USE, **asked: Any
) -> list[tuple[str, tuple[str, ...], bool]]:
    """Each bill's first day in UTC, its lanes, and whether its energy is known."""

    async def all_of_them() -> tuple[Bill, ...]:
        async with opened(home) as reader:
            return await period_bills(reader, provider.identity, tariff, **asked)

    return [
        (str(bill.start.date()), bill.lanes, bill.steps is not None) for bill in asyncio.run(all_of_them())
    ]


def test_bills_come_first_and_windows_else(home: Home, provider: Provider) -> None:
    both = ("import", "export")
    home.grant(provider.card, "15min")
    assert found(home, provider) == [("2026-03-31", both, True)]
    assert found(home, provider, day=date(2026, 3, 1)) == [("2026-02-28", both, True)]
    assert found(home, provider, period="day") == [("2026-05-01", both, True)]
    with pytest.raises(NotGranted, match="no bill under this tariff is granted"):
        found(home, provider, source="bills")
    home.grant(provider.card, "month", zone=ZONE, kind="bill", tariff=TIME_OF_USE)
    assert found(home, provider) == [("2026-03-31", both, False)]
    assert found(home, provider, day=date(2026, 3, 31)) == [("2026-02-28", both, False)]
    assert found(home, provider, source="windows", day=APRIL) == [("2026-03-31", both, True)]


def test_each_lane_is_in_one_bill_of_the_longest_period(home: Home, provider: Provider) -> None:
    for lanes in (("export",), ("import",), ("import",)):
        home.grant(provider.card, "month", lanes, zone=ZONE, kind="bill", tariff=TIME_OF_USE)
    assert sorted(found(home, provider, day=APRIL)) == [
        ("2026-03-31", ("export",), False),
        ("2026-03-31", ("import",), False),
    ]
    home.grant(provider.card, "month", zone=ZONE, kind="bill", tariff=TIME_OF_USE)
    assert found(home, provider, day=APRIL) == [("2026-03-31", ("import", "export"), False)]


@pytest.mark.parametrize("kind", ["bill", "windows"])
def test_a_period_that_is_not_over_or_not_granted(kind: Any, home: Home, provider: Provider) -> None:
    first = at(2026, 2, 27)
    if kind == "bill":
        home.grant(
            provider.card, "month", zone=ZONE, kind=kind, tariff=TIME_OF_USE, first=at(2026, 2, 28, 23)
        )
    else:
        home.grant(provider.card, "15min", first=first)
    until = r"is not over: the stream is sealed until 2026-05-03T15:00:00\+02:00"
    with pytest.raises(UsageError, match="the billing period that holds 2026-05-01 " + until):
        found(home, provider, day=date(2026, 5, 1))
    with pytest.raises(NotGranted, match="that holds 2026-02-1"):
        found(home, provider, day=date(2026, 2, 10))


def test_nothing_is_over_yet(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "15min", first=at(2026, 4, 20))
    with pytest.raises(Unavailable, match="no billing period is over yet"):
        found(home, provider)
    with pytest.raises(NotGranted, match="not of the whole month that holds 2026-04-30"):
        found(home, provider, day=APRIL)


def test_a_grant_that_ended_gives_its_last_period(home: Home, provider: Provider) -> None:
    home.grant(provider.card, "15min", until=at(2026, 4, 15))
    assert found(home, provider)[0][0] == "2026-02-28"


def test_tokens_that_are_missing_are_waited_for(home: Home, provider: Provider) -> None:
    grant = home.grant(provider.card, "15min")
    for key in [key for key in home.objects if key.startswith(names.bundles(home.id, grant.id))]:
        del home.objects[key]
    home.put_bundle(grant.id, 0, 96 * 7)
    with pytest.raises(Unavailable, match="are not in the store yet"):
        found(home, provider, day=APRIL)


def test_nothing_is_granted(home: Home, provider: Provider) -> None:
    with pytest.raises(
        NotGranted, match=r"no bill under this tariff is granted.*; and no window of import or"
    ):
        found(home, provider)
    with pytest.raises(NotGranted, match=r"^no window of import or export is granted"):
        found(home, provider, source="windows")
