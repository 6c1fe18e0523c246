"""Bills beside the household's own sums: what is shown is what the supplier opens, to the last digit."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.chain.prices import Dynamic, Rule, TimeOfUse
from gateway.chain.tariff import Tariff, cent
from gateway.control.documents import GrantStatus
from gateway.errors import NotFound
from gateway.household.bills import SupplierBills, bills
from gateway.household.money import Rates, Sums, TariffRates
from gateway.provider.bill import Bill, bill_grants
from gateway.provider.bill import bills as opened_bills
from gateway.stream.times import unix_ms
from gateway.wire.cose import digest
from gateway.wire.tariff import tariff_body
from tests.provider.reading import opened
from tests.stream.stream import Home, Provider, random_readings

HOUR = 3_600_000
DAY = 24 * HOUR
DAYS = 20_000
BEGIN = DAYS * DAY


def flat(price: int = 25, **more: object) -> Tariff:
    return Tariff("EUR", 2, "UTC", HOUR, {"import": TimeOfUse((Rule(price),))}, **more)  # type: ignore[arg-type]


def home_of(days: float, lanes: Sequence[str] = ("import",)) -> Home:
    home = Home(lanes, layout=Layout(HOUR, 6), start=DAYS * 24)
    home.seal(random_readings(round(days * 24), lanes))
    return home


def status(grant: Grant, home: Home, served: int, **changes: object) -> GrantStatus:
    """As the gateway answers for a grant."""
    unit_ms = home.layout.unit_ms
    found = GrantStatus(
        id=grant.id.hex(),
        stream=home.id.hex(),
        meter="main",
        provider="ACME",
        revoked_from_ms=None,
        windows_served=served,
        provider_kid=grant.provider.hex(),
        kind=grant.kind,
        granularity=str(grant.granularity),
        zone=grant.granularity.zone,
        lanes=grant.lanes,
        purpose=grant.purpose,
        from_ms=grant.first * unit_ms,
        until_ms=None if grant.until is None else grant.until * unit_ms,
        issued_ms=grant.issued_ms,
        serial=grant.serial,
        tariff=None if grant.tariff is None else grant.tariff.hex(),
        partner=None,
        quantum=grant.quantum,
    )
    return found.model_copy(update=changes)


def shown(
    home: Home,
    grants: Sequence[GrantStatus],
    *tariffs: Tariff,
    now_ms: int | None = None,
    rates: Rates | None = None,
    known_from_ms: int = 0,
    from_ms: int = 0,
) -> list[SupplierBills]:
    """What the household sees; its own sums begin at `known_from_ms`."""
    bodies = {digest(body).hex(): body for body in map(tariff_body, tariffs)}

    async def body(tariff: str) -> bytes:
        if tariff not in bodies:
            raise NotFound(f"there is no tariff {tariff}")
        return bodies[tariff]

    def sums(meter: str) -> Sums:
        assert meter == "main"

        async def own(edges: Sequence[int], lanes: Sequence[str]) -> dict[str, list[int | None]]:
            unit = home.layout.unit_ms
            return {
                lane: [
                    home.truth(lane, a // unit, b // unit) if a >= known_from_ms else None
                    for a, b in pairwise(edges)
                ]
                for lane in lanes
            }

        return own

    now = home.end * home.layout.unit_ms if now_ms is None else now_ms
    return asyncio.run(bills(grants, body, sums, now, rates=rates, from_ms=from_ms))


def by_supplier(home: Home, provider: Provider, tariff: Tariff) -> list[Bill]:
    async def all_of_them() -> list[Bill]:
        async with opened(home) as reader:
            held = await bill_grants(reader, provider.identity, tariff)
            return [bill async for bill in opened_bills(reader, held, tariff)]

    return asyncio.run(all_of_them())


@settings(max_examples=12)
@given(st.data())
def test_what_was_told_is_what_the_supplier_opens(data: st.DataObject) -> None:
    days, scale = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 6))
    home = home_of(days + 0.5, ("import", "export"))
    prices = st.lists(st.integers(-(10**6), 10**6), min_size=24 * days, max_size=24 * days)
    tariff = Tariff(
        "SEK",
        scale,
        "UTC",
        HOUR,
        {lane: Dynamic(BEGIN, tuple(data.draw(prices))) for lane in ("import", "export")},
    )
    quantum = data.draw(st.just(1) | st.just(cent(scale)) | st.integers(1, 2**40))
    with tempfile.TemporaryDirectory() as folder:
        provider = Provider.new(Path(folder) / "acme")
        grant = home.grant(
            provider.card, "day", kind="bill", tariff=tariff, quantum=quantum, until=home.start + 24 * days
        )
        right = by_supplier(home, provider, tariff)
    (found,) = shown(home, [status(grant, home, days)], tariff)
    assert (found.currency, found.kind, found.lanes) == ("SEK", "bill", ("import", "export"))
    assert found.quantum is not None
    assert Fraction(found.quantum) == Fraction(quantum, 10 ** (scale + 6))
    assert [(one.start_ms, one.end_ms, one.told) for one in found.periods] == [
        (unix_ms(bill.start), unix_ms(bill.end), bill.amount) for bill in right
    ]
    for one in found.periods:
        assert one.why == "rounded"
        assert one.own is not None
        assert one.difference is not None
        assert abs(Fraction(one.difference)) * 2 <= Fraction(found.quantum)
        assert Fraction(one.own.exact) + Fraction(one.difference) == Fraction(str(one.told))


def test_why_nothing_was_told(provider: Provider) -> None:
    home = home_of(3.5)
    tariff = flat()
    grant = home.grant(provider.card, "day", kind="bill", tariff=tariff)
    one = status(grant, home, 2)

    def whys(**changes: object) -> list[str]:
        (found,) = shown(home, [one.model_copy(update=changes)], tariff)
        for period in found.periods:
            assert (period.told is None) == (period.why != "rounded")
            assert (period.own is None) == (period.end_ms > home.end * HOUR)
        return [period.why for period in found.periods]

    assert whys() == ["rounded", "rounded", "waiting", "running"]
    assert whys(windows_served=3, revoked_from_ms=BEGIN + 3 * DAY) == ["rounded"] * 3 + ["revoked"]
    assert whys(windows_served=2, revoked_from_ms=BEGIN + 2 * DAY) == [
        "rounded",
        "rounded",
        "revoked",
        "revoked",
    ]
    (found,) = shown(home, [one], tariff, known_from_ms=BEGIN + HOUR, from_ms=BEGIN)
    assert [(period.told is None, period.why) for period in found.periods[:2]] == [
        (True, "unknown"),
        (False, "rounded"),
    ]
    (found,) = shown(home, [one], tariff, from_ms=BEGIN + DAY)
    assert found.periods[0].start_ms == BEGIN + DAY
    (found,) = shown(home, [one], flat(26))
    assert (found.periods, found.fault) == ((), f"there is no tariff {one.tariff}")


def test_grants_that_follow_each_other_are_one_row_of_periods(provider: Provider) -> None:
    """A grant a month, each under its own prices, as a followed price series makes them."""
    home = home_of(3.5)
    grants, tariffs = [], []
    for n in range(3):
        tariffs.append(Tariff("EUR", 2, "UTC", HOUR, {"import": Dynamic(BEGIN + n * DAY, (n + 1,) * 24)}))
        first = home.start + 24 * n
        made = home.grant(provider.card, "day", kind="bill", tariff=tariffs[n], first=first, until=first + 24)
        grants.append(status(made, home, 1))
    (found,) = shown(home, grants[::-1], *tariffs)
    assert [(one.grant, one.start_ms) for one in found.periods] == [
        (grant.id, BEGIN + n * DAY) for n, grant in enumerate(grants)
    ]
    for n, one in enumerate(found.periods):
        (bill,) = by_supplier(home, provider, tariffs[n])
        assert one.told == bill.amount
    other = grants[0].model_copy(update={"purpose": "another"})
    assert len(shown(home, [*grants, other], *tariffs)) == 2


def test_windows_open_the_exact_amount_where_prices_keep_to_them(provider: Provider) -> None:
    home = Home(
        ("import",), layout=Layout(HOUR, 6), start=int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) // 3600
    )
    home.seal(random_readings(24 * 40, ("import",)))
    served = 31 * 4 + 2
    grant = home.grant(provider.card, "6h")
    one = status(grant, home, served)
    assert shown(home, [one]) == []
    (found,) = shown(home, [one], rates=TariffRates(flat()))
    assert (found.quantum, found.kind, [p.why for p in found.periods]) == (
        None,
        "windows",
        ["exact", "running"],
    )
    (march, _) = found.periods
    assert march.own is not None
    assert (
        march.told
        == march.own.exact
        == Decimal(home.truth("import", home.start, home.start + 31 * 24) * 25).scaleb(-8)
    )
    assert march.difference == 0
    assert shown(home, [one.model_copy(update={"own": True})], rates=TariffRates(flat())) == []
    short = one.model_copy(update={"windows_served": 31 * 4 - 1})
    assert shown(home, [short], rates=TariffRates(flat()))[0].periods[0].why == "waiting"
    nights = replace(flat(), prices={"import": TimeOfUse((Rule(10, begin=0, end=60), Rule(20)))})
    assert shown(home, [one], rates=TariffRates(nights))[0].periods[0].why == "coarse"
    gap = Tariff("EUR", 2, "UTC", HOUR, {"import": Dynamic(home.start * HOUR, (1,) * 700)})
    assert shown(home, [one], rates=TariffRates(gap))[0].periods[0].why == "unpriced"
    exported = Tariff("EUR", 2, "UTC", HOUR, {"export": TimeOfUse((Rule(-8),))})
    assert shown(home, [one], rates=TariffRates(exported)) == []
