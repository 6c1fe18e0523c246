"""`gateway provider bill` and `provider raw`: what grants other than those of sums open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from pathlib import Path

import click

from gateway.chain.tariff import Tariff
from gateway.cli.card import read_card
from gateway.cli.output import JSON_KEYS, examples, json_option, kwh, print_json, print_table
from gateway.cli.provider.examples import BILL, FOLLOWED, RAW
from gateway.cli.provider.place import Place, age_option, key_option, place_options, source_options
from gateway.cli.provider.rows import local, stream_csv, stream_table, utc
from gateway.cli.tariff import load_terms
from gateway.config.tariff import load_tariff
from gateway.errors import NotGranted, Refused, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.bill import Bill, Step, bill_grants, bills
from gateway.provider.followed import priced_grants
from gateway.provider.grants import OwnGrant, own_grants
from gateway.provider.identity import CARD_FILE, Identity, open_identity
from gateway.provider.invoice import Line, Terms
from gateway.provider.period import Source
from gateway.provider.raw import RawUnits, raw_grants, units
from gateway.provider.sums import Row
from gateway.provider.windows import WindowBills
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.stream.times import moment

_Show = Callable[[Sequence[OwnGrant], Sequence[Bill], Terms | None], None]


@click.command("bill", short_help="Make the bills that were granted to you.", epilog=examples(BILL, FOLLOWED))
@key_option
@place_options
@click.option(
    "--tariff",
    "tariff_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The tariff file, the same as the household's.",
)
@click.option("--series", help="The name of your price series, where the household follows it.")
@source_options
@age_option
@json_option
def bill(
    folder: Path,
    place: Place,
    tariff_file: Path | None,
    series: str | None,
    source: Source | None,
    period: str,
    max_age_ms: int,
    as_json: bool,
) -> None:
    """Compute each billing period's amount, from a grant of bills or of windows.

    From a grant of bills you learn nothing finer: each amount is rounded to the quantum that the household
    chose, so it is exact to half of that. From windows it is exact, and the energy at each price follows;
    each price step must be a whole number of granted windows.

    A household that follows your price series grants the bill of each period by itself: --series finds these
    grants, and the prices that each is under.

    Where the tariff file has a table [bill], each period's other lines and its total follow, rounded:

    \b
      [bill]
      round = "0.01"                # each line; halves go away from zero
      [[bill.line]]
      name = "Standing charge"
      amount = "0.5012"
      per = "day"                   # or month, or period
      [[bill.line]]
      name = "VAT"
      percent = "20"                # of all lines above
    """
    show = _print_document if as_json else _print_table
    if series is not None:
        if tariff_file is not None or source is not None:
            raise UsageError("--series finds the grants and their prices: use it without --tariff and --from")
        asyncio.run(_of_series(folder, place, max_age_ms, series, show))
        return
    if tariff_file is None:
        raise UsageError("a bill needs --tariff, the file of its prices, or --series, the name of yours")
    tariff, terms = load_tariff(tariff_file), load_terms(tariff_file)

    async def found() -> None:
        async with _reader(folder, place, max_age_ms) as (reader, identity):
            held = await _bill_grants(reader, identity, tariff, source)
            if held is None:
                await _show_windows(await WindowBills.ask(reader, identity, tariff, period), show, terms)
                return
            await _show_bills(reader, held, tariff, show, terms)

    asyncio.run(found())


async def _of_series(folder: Path, place: Place, max_age_ms: int, name: str, show: _Show) -> None:
    """The bills under the prices of an own series, from all grants that follow it."""
    async with _reader(folder, place, max_age_ms) as (reader, identity):
        card = read_card(folder / CARD_FILE)
        priced = await priced_grants(reader, identity, reader.bucket, card, name)
        held, tariffs = [one.held for one in priced], {one.held.grant.id: one.tariff for one in priced}
        await _show_bills(reader, held, tariffs, show, None)
    for note in filter(None, (one.note for one in priced)):
        click.echo(note, err=True)


async def _show_bills(
    reader: StreamReader,
    held: Sequence[OwnGrant],
    tariff: Tariff | Mapping[bytes, Tariff],
    show: _Show,
    terms: Terms | None,
) -> None:
    made: list[Bill] = []
    try:
        async for one in bills(reader, held, tariff):
            made.append(one)
    except Refused:  # what came before stands: each bill has its own token
        if made:
            show(held, made, terms)
        raise
    show(held, made, terms)


async def _bill_grants(
    reader: StreamReader, identity: Identity, tariff: Tariff, source: Source | None
) -> list[OwnGrant] | None:
    """The grants of bills; None where windows are to be used."""
    if source == "windows":
        return None
    try:
        return await bill_grants(reader, identity, tariff)
    except NotGranted:
        if source == "bills" or not await own_grants(reader, identity):
            raise
        return None


async def _show_windows(asked: WindowBills, show: _Show, terms: Terms | None) -> None:
    made = [one async for one in asked.bills()]
    if made or not asked.missing:
        show(asked.held, made, terms)
    if asked.missing:
        raise NotGranted("; ".join(asked.missing))
    if asked.waiting is not None and made:
        click.echo(asked.waiting, err=True)


def _print_document(held: Sequence[OwnGrant], made: Sequence[Bill], terms: Terms | None) -> None:
    print_json(
        {
            "grants": [str(one) for one in held],
            "notes": [note for one in held for note in one.notes],
            "bills": [_document(bill, _lines(bill, terms)) for bill in made],
        }
    )


def _print_table(held: Sequence[OwnGrant], made: Sequence[Bill], terms: Terms | None) -> None:
    rows = [
        [
            local(b.start, b.zone),
            local(b.end, b.zone),
            _amount(b),
            _quantum(b),
            b.tariff.currency,
            ", ".join(b.lanes),
        ]
        for b in made
    ]
    papers = [_lines(bill, terms) for bill in made]
    names = ["from", "until", "amount", "quantum", "currency", "for"]
    print_table(names, rows, numbers=["amount", "quantum"])
    if any(b.steps for b in made):
        _print_steps(made)
    if terms is not None and made:
        _print_papers(made, papers)
    for one in held:
        for sentence in (str(one), *one.notes):
            click.echo(sentence, err=True)
    if not made:
        click.echo("no billing period is over yet, or its token is not in the store", err=True)


def _amount(bill: Bill) -> str:
    return f"{bill.amount.quantize(bill.rounding.normalize()):f}"  # exact: it is a multiple


def _quantum(bill: Bill) -> str:
    return f"{bill.rounding.normalize():f}"


def _lines(bill: Bill, terms: Terms | None) -> Sequence[Line]:
    """The lines of the bill's paper, the total last; none without terms."""
    return () if terms is None else terms.invoice(bill.amount, bill.start, bill.end, bill.tariff.zone)


def _print_papers(made: Sequence[Bill], papers: Sequence[Sequence[Line]]) -> None:
    click.echo()
    rows = [
        [
            local(bill.start, bill.zone),
            local(bill.end, bill.zone),
            line.name,
            f"{line.amount:f}",
            bill.tariff.currency,
        ]
        for bill, lines in zip(made, papers, strict=True)
        for line in lines
    ]
    print_table(["from", "until", "line", "amount", "currency"], rows, numbers=["amount"])


def _print_steps(made: Sequence[Bill]) -> None:
    click.echo()
    rows = [
        [
            local(b.start, b.zone),
            local(b.end, b.zone),
            step.lane,
            b.tariff.spell(step.price),
            kwh(step.energy),
        ]
        for b in made
        for step in b.steps or ()
    ]
    print_table(["from", "until", "for", "price", "kWh"], rows, numbers=["price", "kWh"])


def _document(bill: Bill, lines: Sequence[Line]) -> dict[str, object]:
    paper = [{"name": line.name, "amount": f"{line.amount:f}"} for line in lines]
    return {
        "from": utc(bill.start),
        "until": utc(bill.end),
        "lanes": list(bill.lanes),
        "amount": _amount(bill),
        "quantum": _quantum(bill),
        "currency": bill.tariff.currency,
        **({} if bill.steps is None else {"steps": [_step(bill, step) for step in bill.steps]}),
        **({"lines": paper[:-1], "total": paper[-1]["amount"]} if paper else {}),
    }


def _step(bill: Bill, step: Step) -> dict[str, object]:
    price = f"{Decimal(step.price).scaleb(-bill.tariff.scale):f}"
    return {"lane": step.lane, "price": price, "energy_mwh": step.energy}


@click.command("raw", short_help="Open every unit that was granted to you.", epilog=examples(RAW))
@key_option
@place_options
@age_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with times in UTC.")
@json_option
def raw(folder: Path, place: Place, max_age_ms: int, as_csv: bool, as_json: bool) -> None:
    """Open every unit of the links that were granted to you."""
    if as_csv and as_json:
        raise UsageError("--json prints one whole document: use it without --csv")
    asyncio.run(_raw(folder, place, max_age_ms, as_csv, as_json))


async def _raw(folder: Path, place: Place, max_age_ms: int, as_csv: bool, as_json: bool) -> None:
    async with _reader(folder, place, max_age_ms) as (reader, identity):
        held = await raw_grants(reader, identity)
        unit_ms = reader.descriptor.layout.unit_ms
        granted = {lane for one in held for lane in one.grant.lanes}
        lanes = tuple(lane.name for lane in reader.descriptor.lanes if lane.name in granted)
        if as_json:
            runs = [_run(one, unit_ms) async for one in units(reader, held)]
            grants = [str(one) for one in held]
            print_json({"unit_ms": unit_ms, "lanes": list(lanes), "grants": grants, "runs": runs})
            return
        show = stream_csv(lanes) if as_csv else stream_table(lanes)
        async with aclosing(_rows(units(reader, held), unit_ms)) as rows:
            async for row in rows:
                show(row)
    for one in held:
        click.echo(str(one), err=True)


def _run(opened: RawUnits, unit_ms: int) -> dict[str, object]:
    return {
        "from": utc(moment(opened.first, unit_ms)),
        "until": utc(moment(opened.first + opened.count, unit_ms)),
        **{JSON_KEYS[lane]: values.tolist() for lane, values in opened.lanes.items()},
    }


async def _rows(found: AsyncGenerator[RawUnits, None], unit_ms: int) -> AsyncGenerator[Row, None]:
    async with aclosing(found):
        async for opened in found:
            for i in range(opened.count):
                values = {lane: int(column[i]) for lane, column in opened.lanes.items()}
                begin, end = (moment(opened.first + i + x, unit_ms) for x in (0, 1))
                yield Row(begin, end, values)


@asynccontextmanager
async def _reader(
    folder: Path, place: Place, max_age_ms: int
) -> AsyncIterator[tuple[StreamReader, Identity]]:
    """The stream, its head read and found recent enough, and the identity that reads it."""
    identity = open_identity(folder)
    async with place.bucket(folder) as bucket:
        reader = await StreamReader.open(bucket, place.stream, place.signer, Seen(folder, place.stream))
        await reader.refresh(unix_ms(SystemClock("host")), max_age_ms)
        yield reader, identity
