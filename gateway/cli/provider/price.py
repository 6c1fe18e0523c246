"""`gateway provider price`: signed price series, published and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import TypeVar

import click

from gateway.chain.layout import DAY_MS
from gateway.cli.card import read_card
from gateway.cli.output import examples, json_option, local_time, print_json, print_table, printable
from gateway.cli.provider.place import key_option, own_store_options
from gateway.cli.values import Lanes, Moment
from gateway.config.tariff import load_tariff
from gateway.errors import UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.identity import open_identity
from gateway.provider.openadr import read_event, write_event
from gateway.provider.prices import (
    SeriesTerms,
    draft,
    from_tariff,
    publish,
    read_csv,
    sign,
    spell_price,
    write_csv,
)
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.stream.prices import published, read_series
from gateway.stream.times import spell
from gateway.wire.prices import PriceSeries

Result = TypeVar("Result")

_SERIES = "--name 'Day ahead' --currency EUR --zone Europe/Berlin"
_PUBLISH = f"gateway provider price publish prices.csv --key acme --store s3://home {_SERIES}"
_SIGN = f"gateway provider price sign prices.csv series.cose --key acme --serial 1 {_SERIES}"
_SHOW = "gateway provider price show series.cose --card card.cose"
_LIST = "gateway provider price list --store s3://home --card card.cose"


@click.group(epilog=examples(_PUBLISH, _SHOW, _LIST))
def price() -> None:
    """Publish signed prices of energy, and look at what was published.

    A price series has a price of the currency for a kWh in each of its intervals. Prices come from a file:

    \b
      prices.csv    lines of from,until,price
      tariff.toml   a tariff, as households and bills have it
      event.json    an OpenADR 3.1 event with PRICE or EXPORT_PRICE
    """


def _series_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """`--name`, `--lanes`, `--currency`, `--zone`, `--from` and `--until` for a command that takes `series`,
    the draft of one."""

    @click.option(
        "--name", required=True, help="The series' name: later ones of this name continue or correct it."
    )
    @click.option("--lanes", type=Lanes(), help="import, export or both.  [default: import, or the event's]")
    @click.option("--currency", help="Such as EUR.  [default: the tariff's, or the event's]")
    @click.option(
        "--zone", is_eager=True, help="The market's IANA time zone.  [default: the tariff's, or UTC]"
    )
    @click.option("--from", "from_ms", type=Moment(), help="The first price of a tariff begins here.")
    @click.option("--until", "until_ms", type=Moment(), help="The last price of a tariff ends here.")
    @click.argument("source", metavar="SOURCE", type=click.Path(path_type=Path, dir_okay=False))
    @wraps(command)
    def with_series(
        source: Path,
        name: str,
        lanes: tuple[str, ...] | None,
        currency: str | None,
        zone: str | None,
        from_ms: int | None,
        until_ms: int | None,
        **others: object,
    ) -> Result:
        series = _draft(source, name, lanes, currency, zone, from_ms, until_ms)
        return command(series=series, **others)

    return with_series


def _draft(
    source: Path,
    name: str,
    lanes: tuple[str, ...] | None,
    currency: str | None,
    zone: str | None,
    from_ms: int | None,
    until_ms: int | None,
) -> PriceSeries:
    """The series in a file, not signed yet."""
    kind, what = source.suffix.lower(), str(source)
    if kind == ".toml":
        tariff = load_tariff(source)
        lanes = lanes or ("import",)
        prices = from_tariff(tariff, lanes, from_ms, until_ms)
        own, zone = tariff.currency, zone or tariff.zone
    elif from_ms is not None or until_ms is not None:
        raise UsageError("--from and --until are for a tariff: a file of prices has the times of each")
    elif kind == ".csv":
        zone, lanes = zone or "UTC", lanes or ("import",)
        prices, own = read_csv(_text(source), what, zone), None
    elif kind == ".json":
        prices, lanes, own = read_event(_text(source), what, lanes)
    else:
        raise UsageError(
            f"{source} is not a source of prices: it must end in .csv, .toml (a tariff) or .json (OpenADR)"
        )
    if own is not None and currency not in (None, own):
        raise UsageError(f"the prices in {source} are in {own}, not in {currency}: leave --currency out")
    if own is None and currency is None:
        raise UsageError(
            f"{source} does not say in which currency its prices are: use --currency, such as EUR"
        )
    return draft(SeriesTerms(name, lanes, own or currency or "", zone or "UTC"), prices)


def _text(source: Path) -> str:
    try:
        return source.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"the prices {source} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{source} is not text in UTF-8") from None


@price.command("publish", short_help="Sign prices, and put them into a store.", epilog=examples(_PUBLISH))
@_series_options
@key_option
@own_store_options
@click.option("--correct", is_flag=True, help="Replace earlier prices of the same name and time.")
def publish_(series: PriceSeries, folder: Path, location: Location, correct: bool) -> None:
    """Sign the prices in the file SOURCE, and put them into a store.

    They lie there under v1/prices/, below your kid, where whoever has your card finds them. Nothing is
    overwritten: a correction is another series with a higher serial.
    """
    identity = open_identity(folder)

    async def done() -> PriceSeries:
        async with _bucket(location) as bucket:
            return await publish(bucket, identity, series, _now_ms(), correct=correct)

    _say(asyncio.run(done()))


@price.command("sign", short_help="Sign prices into a file.", epilog=examples(_SIGN))
@_series_options
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@key_option
@click.option(
    "--serial", required=True, type=click.IntRange(1, 2**64 - 1), help="One more than your last series had."
)
def sign_(series: PriceSeries, target: Path, folder: Path, serial: int) -> None:
    """Sign the prices in the file SOURCE into a new FILE, which you send by yourself."""
    issued, data = sign(open_identity(folder), series, serial, _now_ms())
    try:
        with target.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(f"{target} exists, and a series is never overwritten: name a new file") from None
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    _say(issued)


_card_option = click.option(
    "--card",
    "card_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The provider's card.",
)


@price.command(
    short_help="Verify a series, and print its prices.", epilog=examples(_SHOW, f"{_SHOW} --openadr tariffs")
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@_card_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with times in UTC.")
@click.option(
    "--openadr", "program", metavar="PROGRAM", help="Print an OpenADR 3.1 event of the program with this id."
)
@json_option
def show(path: Path, card_file: Path, as_csv: bool, program: str | None, as_json: bool) -> None:
    """Verify the price series in FILE against the provider's card, and print its prices."""
    if as_csv + as_json + (program is not None) > 1:
        raise UsageError("--csv, --json and --openadr print the same prices: use one of them")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the price series {path} cannot be read: {error.strerror}") from None
    series = read_series(data, read_card(card_file), str(path))
    if as_csv:
        click.echo(write_csv(series), nl=False)
    elif program is not None:
        click.echo(write_event(series, program), nl=False)
    elif as_json:
        print_json(_document(series))
    else:
        _print(series)


@price.command("list", short_help="List the series in a store.", epilog=examples(_LIST))
@_card_option
@own_store_options
@click.option("--from", "from_ms", type=Moment(), help="Only series with prices after this.  [default: now]")
@click.option(
    "--until",
    "until_ms",
    type=Moment(),
    help="Only series with prices before this.  [default: 366 days later]",
)
@json_option
def list_(
    card_file: Path, location: Location, from_ms: int | None, until_ms: int | None, as_json: bool
) -> None:
    """Verify the series of the card's holder in a store, and list those with prices of a time.

    Of two series of one name and lane the one with the higher serial counts where they overlap.
    """
    card = read_card(card_file)
    begin = _now_ms() if from_ms is None else from_ms
    end = begin + 366 * DAY_MS if until_ms is None else until_ms

    async def found() -> list[PriceSeries]:
        async with _bucket(location) as bucket:
            return await published(bucket, card, begin, end)

    series = asyncio.run(found())
    if as_json:
        print_json({"series": [_document(one) for one in series]})
        return
    rows = [
        [
            str(one.serial),
            one.name,
            ", ".join(one.lanes),
            local_time(one.start_ms, one.zone),
            local_time(one.end_ms, one.zone),
            str(len(one.intervals)),
            one.currency,
        ]
        for one in series
    ]
    print_table(
        ["serial", "name", "for", "from", "until", "prices", "currency"], rows, numbers=["serial", "prices"]
    )
    if not series:
        click.echo("there is no series with prices of that time", err=True)


@asynccontextmanager
async def _bucket(location: Location) -> AsyncIterator[Bucket]:
    bucket = open_bucket(location)
    try:
        yield bucket
    finally:
        await bucket.aclose()


def _say(series: PriceSeries) -> None:
    begin, end = (local_time(ms, series.zone) for ms in (series.start_ms, series.end_ms))
    sentence = (
        f"series {series.serial}, {series.name!r}: {len(series.intervals)} prices of"
        f" {' and '.join(series.lanes)} in {series.currency} a kWh, {begin} to {end}"
    )
    click.echo(printable(sentence))


def _print(series: PriceSeries) -> None:
    _say(series)
    rows = [
        [
            local_time(one.start_ms, series.zone),
            local_time(one.end_ms, series.zone),
            spell_price(series, one),
        ]
        for one in series.intervals
    ]
    print_table(["from", "until", "price"], rows, numbers=["price"])


def _document(series: PriceSeries) -> dict[str, object]:
    return {
        "provider": series.provider.hex(),
        "serial": series.serial,
        "name": series.name,
        "lanes": list(series.lanes),
        "currency": series.currency,
        "zone": series.zone,
        "issued": spell(series.issued_ms, 1),
        "prices": [
            {
                "from": spell(one.start_ms, 1),
                "until": spell(one.end_ms, 1),
                "price": spell_price(series, one),
            }
            for one in series.intervals
        ],
    }


def _now_ms() -> int:
    return unix_ms(SystemClock("host"))
