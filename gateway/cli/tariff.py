"""`gateway tariff`: how a tariff file is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import click

from gateway.chain.prices import spell_date
from gateway.chain.tariff import Tariff
from gateway.chain.window import Granularity, spell_ms, zone_of
from gateway.cli.output import EPOCH, examples, json_option, print_json, print_table
from gateway.config.tariff import load_tariff, read_toml
from gateway.errors import UsageError
from gateway.provider.invoice import Charge, Terms
from gateway.wire.cose import digest
from gateway.wire.tariff import tariff_body

_EPOCH_DAY = EPOCH.date()


@click.group(
    epilog=examples(
        "gateway tariff example > tariff.toml", "gateway tariff show tariff.toml --date 2026-12-24"
    )
)
def command() -> None:
    """See how a tariff file is read."""


@command.command(epilog=examples("gateway tariff example > tariff.toml"))
def example() -> None:
    """Print a commented tariff to start from."""
    text = resources.files("gateway.config").joinpath("tariff_example.toml").read_text(encoding="utf-8")
    click.echo(text, nl=False)


@command.command(
    short_help="Show a tariff's prices, day by day.",
    epilog=examples(
        "gateway tariff show tariff.toml", "gateway tariff show tariff.toml --date 2026-12-24 --json"
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--date", "on", type=click.DateTime(["%Y-%m-%d"]), help="One day.  [default: a week from today on]"
)
@json_option
def show(file: Path, on: datetime | None, as_json: bool) -> None:
    """Show the prices of the tariff in FILE, as they hold on a day or in a week of its time zone.

    Household and provider have the same prices where the digest of the prices is the same. It does not cover
    the lines of [bill], which are the provider's.
    """
    tariff, terms = load_tariff(file), load_terms(file)
    today = datetime.now(zone_of(tariff.zone)).date()
    days = [today + timedelta(days=n) for n in range(7)] if on is None else [on.date()]
    prices = {day: list(_prices(tariff, day)) for day in days}
    if as_json:
        print_json(_document(tariff, terms, prices))
        return
    for sentence in _sentences(tariff, terms):
        click.echo(sentence)
    rows = [
        [_name(tariff, day), _time(one.begin, day), _time(one.end, day), *one.prices]
        for day, held in prices.items()
        for one in held
    ]
    print_table(["day", "from", "until", *tariff.lanes], rows, numbers=tariff.lanes)


def load_terms(path: Path) -> Terms | None:
    """The table [bill] of a tariff file; None where it has none."""
    raw = read_toml(path)
    try:
        return Terms.read(raw["bill"]) if "bill" in raw else None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


class _Held(NamedTuple):
    """The prices of all lanes between two moments at which one of them changes."""

    begin: datetime
    end: datetime
    prices: tuple[str, ...]


def _prices(tariff: Tariff, day: date) -> Iterator[_Held]:
    windows, zone = Granularity("day", 1, tariff.zone), zone_of(tariff.zone)
    number = (day - _EPOCH_DAY).days
    weights = tariff.weights(tariff.lanes, 1, windows.start(number), windows.start(number + 1))
    for begin in sorted({one.first for runs in weights.values() for one in runs}):
        held = [next(one for one in runs if one.first <= begin < one.end) for runs in weights.values()]
        x, y = (
            (EPOCH + timedelta(milliseconds=ms)).astimezone(zone)
            for ms in (begin, min(one.end for one in held))
        )
        yield _Held(x, y, tuple(f"{Decimal(one.price).scaleb(-tariff.scale):f}" for one in held))


def _name(tariff: Tariff, day: date) -> str:
    return f"{day} {'holiday' if _holiday(tariff, day) else f'{day:%a}'}"


def _holiday(tariff: Tariff, day: date) -> bool:
    return (day - _EPOCH_DAY).days in tariff.calendar.holidays


def _time(moment: datetime, day: date) -> str:
    return "24:00" if moment.date() > day else f"{moment:%H:%M}"


def _sentences(tariff: Tariff, terms: Terms | None) -> Iterator[str]:
    dates, step = tariff.calendar.in_words(), spell_ms(tariff.step_ms)
    yield (
        f"prices in {tariff.currency} a kWh, by the time of {tariff.zone}, in steps of {step}"
        + (f", for dates {dates}" if dates else "")
    )
    if tariff.calendar.holidays:
        yield f"public holidays: {', '.join(map(spell_date, tariff.calendar.holidays))}"
    for line in () if terms is None else terms.lines:
        what = f"{line.amount:f} a {line.per}" if isinstance(line, Charge) else f"{line.percent:f} %"
        yield f"on the bill: {line.name}, {what}"
    yield f"digest of the prices: {digest(tariff_body(tariff)).hex()}"


def _document(
    tariff: Tariff, terms: Terms | None, prices: Mapping[date, Sequence[_Held]]
) -> dict[str, object]:
    calendar = tariff.calendar
    return {
        "currency": tariff.currency,
        "zone": tariff.zone,
        "step_ms": tariff.step_ms,
        "since": None if calendar.since is None else spell_date(calendar.since),
        "before": None if calendar.before is None else spell_date(calendar.before),
        "holidays": [spell_date(day) for day in calendar.holidays],
        "digest": digest(tariff_body(tariff)).hex(),
        "lines": [] if terms is None else [line.name for line in terms.lines],
        "days": [
            {
                "date": day.isoformat(),
                "holiday": _holiday(tariff, day),
                "prices": [
                    {
                        "from": one.begin.isoformat(),
                        "until": one.end.isoformat(),
                        **dict(zip(tariff.lanes, one.prices, strict=True)),
                    }
                    for one in held
                ],
            }
            for day, held in prices.items()
        ],
    }
