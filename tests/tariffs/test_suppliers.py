"""Tariffs as suppliers have them, billed exactly over the months in which clocks change.

The files beside this one say where their hours and prices come from. What they must mean is written here once
more, in plain Python, as a price for a local time.
"""

from __future__ import annotations

import random
import re
import textwrap
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.chain.layout import Layout
from gateway.chain.tariff import Tariff
from gateway.chain.window import Granularity
from gateway.config.tariff import load_tariff, read_toml
from gateway.errors import UsageError
from gateway.provider.invoice import Terms
from gateway.wire.tariff import read_tariff_body, tariff_body

FOLDER = Path(__file__).parent
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
SPANISH = {(1, 1), (1, 6), (5, 1), (8, 15), (10, 12), (12, 8), (12, 25)}  # of 2026, but for Sundays
BELGIAN = {(1, 1), (4, 6), (5, 1), (5, 14), (5, 25), (7, 21), (8, 15), (11, 11), (12, 25)}  # likewise
RED = {(2, 26), (2, 27), (3, 3), (3, 27), (3, 30)}
WHITE = {(2, 25), (2, 28), (3, 2), (3, 4), (3, 28), (3, 31)}


def spain(at: datetime) -> str:
    if at.weekday() >= 5 or (at.month, at.day) in SPANISH or at.hour < 8:
        return "0.091234"
    return "0.215678" if at.hour in (10, 11, 12, 13, 18, 19, 20, 21) else "0.142345"


def denmark(at: datetime) -> str:
    winter = at.month >= 10 or at.month <= 3
    if at.hour < 6:
        return "0.0882"
    if 17 <= at.hour < 21:
        return "0.7959" if winter else "0.3439"
    return "0.2653" if winter else "0.1323"


def germany(at: datetime) -> str:
    if at.month in (4, 5, 6, 7, 8, 9):
        return "0.0862"
    return {1: "0.0345", 2: "0.0345", 3: "0.0345", 17: "0.1084", 18: "0.1084"}.get(at.hour, "0.0862")


def tempo(at: datetime) -> str:
    full = 6 <= at.hour < 22
    day = at.date() - timedelta(days=at.hour < 6)
    if (day.month, day.day) in RED:
        return "0.7562" if full else "0.1568"
    if (day.month, day.day) in WHITE:
        return "0.1894" if full else "0.1486"
    return "0.1609" if full else "0.1296"


def heures_creuses(at: datetime) -> str:
    empty = not (6, 38) <= (at.hour, at.minute) < (22, 38)
    if at.date() < date(2026, 3, 15):
        return "0.1635" if empty else "0.2081"
    return "0.1579" if empty else "0.2065"


def octopus_go(at: datetime) -> str:
    return "0.0850" if (0, 30) <= (at.hour, at.minute) < (5, 30) else "0.2713"


def economy_7(at: datetime) -> str:
    gmt = at.astimezone(UTC)
    return "0.1532" if (0, 30) <= (gmt.hour, gmt.minute) < (7, 30) else "0.3049"


AGILE: list[str] = tomllib.loads(FILES["britain-agile"].read_text("utf-8"))["import"]["prices"]


def agile(at: datetime) -> str:
    return AGILE[(at - datetime(2026, 3, 1, tzinfo=UTC)) // timedelta(minutes=30)]


def belgian_day(at: datetime) -> bool:
    return at.weekday() < 5 and (at.month, at.day) not in BELGIAN and 7 <= at.hour < 22


def constant(price: str) -> Callable[[datetime], str]:
    return lambda _: price


@dataclass(frozen=True, slots=True)
class Supplier:
    """What a file must mean: a price for a local time. The months of 2026 that are billed."""

    zone: str
    prices: dict[str, Callable[[datetime], str]]
    months: tuple[str, ...] = ("month/3", "month/10", "month-15/3", "month-15/10")


SUPPLIERS = {
    "spain-2.0td": Supplier("Europe/Madrid", {"import": spain}),
    "denmark-net-c": Supplier("Europe/Copenhagen", {"import": denmark}),
    "germany-14a-module-3": Supplier("Europe/Berlin", {"import": germany, "export": constant("-0.0786")}),
    "france-tempo": Supplier("Europe/Paris", {"import": tempo}, ("month/2", "month/3", "month-20/2")),
    "france-heures-creuses": Supplier("Europe/Paris", {"import": heures_creuses}),
    "britain-octopus-go": Supplier("Europe/London", {"import": octopus_go, "export": constant("-0.15")}),
    "britain-economy-7": Supplier("Europe/London", {"import": economy_7}),
    "britain-agile": Supplier("Europe/London", {"import": agile}, ("month/3",)),
    "belgium-two-rates": Supplier(
        "Europe/Brussels",
        {
            "import": lambda at: "0.3312" if belgian_day(at) else "0.2745",
            "export": lambda at: "-0.041" if belgian_day(at) else "-0.029",
        },
        ("month/3", "month/4", "month/5", "month/10", "month-15/11"),
    ),
}
CASES = [(name, period) for name, one in SUPPLIERS.items() for period in one.months]


def load(name: str) -> Tariff:
    """As household and provider have it: from the file, and through its bytes."""
    tariff = load_tariff(FILES[name])
    assert read_tariff_body(tariff_body(tariff), name) == tariff
    return tariff


def span(period: str, zone: str, unit_ms: int) -> tuple[int, int]:
    """Units of a billing period such as "month-15/3", the one that begins in March 2026."""
    size, _, month = period.partition("/")
    windows, k = Granularity(size, unit_ms, zone), (2026 - 1970) * 12 + int(month) - 1
    return windows.start(k), windows.start(k + 1)


def test_each_file_is_tested() -> None:
    assert SUPPLIERS.keys() == FILES.keys()


@pytest.mark.parametrize(("name", "period"), CASES)
def test_each_step_of_a_month_has_the_suppliers_price(name: str, period: str) -> None:
    supplier, tariff = SUPPLIERS[name], load(name)
    zone, step = ZoneInfo(supplier.zone), tariff.step_ms // 1000
    a, b = span(period, supplier.zone, 1000)
    weights = tariff.weights(list(supplier.prices), 1000, a, b)
    for lane, price in supplier.prices.items():
        found = [w.price for w in weights[lane] for _ in range(w.first, w.end, step)]
        wanted = [Fraction(price(datetime.fromtimestamp(at, zone))) for at in range(a, b, step)]
        assert [Fraction(one, 10**tariff.scale) for one in found] == wanted


@pytest.mark.parametrize(("name", "period"), CASES)
def test_a_month_of_any_readings_is_billed_exactly(name: str, period: str) -> None:
    """Readings of each minute, in mWh: their weighted sum is the amount, to the last of its decimals."""
    supplier, tariff = SUPPLIERS[name], load(name)
    zone, unit_ms, random_mwh = (
        ZoneInfo(supplier.zone),
        Layout(60_000, 60).unit_ms,
        random.Random(name + period),
    )
    a, b = span(period, supplier.zone, unit_ms)
    amount, due = 0, Fraction(0)
    for lane, runs in tariff.weights(list(supplier.prices), unit_ms, a, b).items():
        mwh = [random_mwh.randrange(-50_000, 1_600_000) for _ in range(a, b)]
        amount += sum(w.price * sum(mwh[w.first - a : w.end - a]) for w in runs)
        for unit, energy in enumerate(mwh, a):
            due += Fraction(supplier.prices[lane](datetime.fromtimestamp(unit * 60, zone))) * energy / 10**6
    assert Fraction(amount, 10 ** (tariff.scale + 6)) == due


@pytest.mark.parametrize(("name", "period"), CASES)
def test_a_bill_of_a_month_may_be_granted(name: str, period: str) -> None:
    """No few steps decide nearly all of it."""
    tariff, size = load(name), period.partition("/")[0]
    a, b = span(period, tariff.zone, 1000)
    assert list(tariff.periods(list(tariff.lanes), Granularity(size, 1000, tariff.zone), a, b)) == [(a, b)]


def test_months_in_which_clocks_change_are_an_hour_longer_or_shorter() -> None:
    """So that the cases above have such a day."""
    for period, hours in (("month/3", 743), ("month/10", 745), ("month-15/3", 743), ("month-15/10", 745)):
        a, b = span(period, "Europe/Madrid", 3_600_000)
        assert b - a == hours


@pytest.mark.parametrize(
    ("name", "period", "when"),
    [
        ("spain-2.0td", "month/36", "2028-12-01"),
        ("france-tempo", "month/4", "2026-04-01"),
        ("france-tempo", "month/1", "2026-01-01"),
        ("britain-agile", "month/4", "2026-04-01"),
        ("belgium-two-rates", "month-15/12", "2027-01-01"),
    ],
)
def test_a_period_beyond_the_known_dates_is_refused(name: str, period: str, when: str) -> None:
    tariff = load(name)
    with pytest.raises(UsageError, match=f"no price of import for the step that begins at {when}T00:00"):
        tariff.weights(["import"], 1000, *span(period, tariff.zone, 1000))


@pytest.mark.parametrize("name", [name for name, path in FILES.items() if "bill" in read_toml(path)])
def test_the_other_lines_are_read_and_add_up(name: str) -> None:
    tariff, terms = load(name), Terms.read(read_toml(FILES[name])["bill"])
    a, b = (datetime.fromtimestamp(at, UTC) for at in span("month/3", tariff.zone, 1000))
    energy, *lines, total = terms.invoice(Fraction(81).numerator * terms.unit, a, b, tariff.zone)
    assert [line.name for line in lines] == [line.name for line in terms.lines]
    assert total.amount == energy.amount + sum(line.amount for line in lines)


def test_the_tariff_in_the_readme_is_one(tmp_path: Path) -> None:
    text = (FOLDER.parents[1] / "README.md").read_text("utf-8")
    block = re.search(r"^### Tariffs$.*?\n\n((?:    [^\n]*\n)+)", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    path = tmp_path / "tariff.toml"
    path.write_text(textwrap.dedent(block[1]))
    assert load_tariff(path).calendar.holidays
