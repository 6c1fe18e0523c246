"""`gateway provider invoice`: the documents that are made of bills, of one home or of a whole portfolio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import click

from gateway.chain.tariff import Tariff
from gateway.chain.window import zone_of
from gateway.cli.output import Command, examples, print_table
from gateway.cli.provider.examples import INVOICE, INVOICES
from gateway.cli.provider.homes import read_text
from gateway.cli.provider.place import age_option, key_option, opened_store, source_options, store_options
from gateway.cli.tariff import load_terms
from gateway.cli.values import HexId
from gateway.config.tariff import load_tariff, read_toml
from gateway.errors import GatewayError, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.bill import Bill
from gateway.provider.identity import Identity, open_identity
from gateway.provider.invoice import Terms
from gateway.provider.invoices.correction import Way, correct
from gateway.provider.invoices.document import Invoice, read_json
from gateway.provider.invoices.folder import WRITERS, InvoiceFolder
from gateway.provider.invoices.making import Billed, make
from gateway.provider.invoices.portfolio import Invoiced, bill_all, read_portfolio
from gateway.provider.invoices.terms import Buyer, InvoiceTerms, example
from gateway.provider.period import Source, period_bills
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen


def _print_example(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(example(), nl=False)
        context.exit()


def _file(name: str, variable: str, text: str, *, required: bool = False) -> Callable[[Command], Command]:
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(name, variable, type=kind, required=required, help=text)


@dataclass(frozen=True, slots=True)
class _Order:
    """What a run makes invoices by."""

    folder: Path
    location: Location
    max_age_ms: int
    tariff: Tariff
    terms: InvoiceTerms
    table: Terms | None
    source: Source | None
    period: str
    day: date | None
    issued: date
    feed_in: bool

    async def bills(
        self, bucket: Bucket, identity: Identity, stream: bytes, signer: bytes
    ) -> tuple[Bill, ...]:
        """A home's bills of the period."""
        reader = await StreamReader.open(bucket, stream, signer, Seen(self.folder, stream))
        await reader.refresh(unix_ms(SystemClock("host")), self.max_age_ms)
        return await period_bills(reader, identity, self.tariff, self.source, self.day, self.period)

    def draft(self, billed: Billed, buyer: Buyer, number: str) -> Invoice:
        """A home's invoice."""
        return make(billed, self.terms, self.table, buyer, number, self.issued, feed_in=self.feed_in)


@click.command("invoice", short_help="Make invoices of bills.", epilog=examples(INVOICE, INVOICES))
@click.option(
    "--example",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_example,
    help="Print an invoice.toml with every key, and end.",
)
@key_option
@store_options
@click.option("--stream", type=HexId(), help="One home: the stream's id.")
@click.option("--signer", type=HexId(), help="One home: the kid of the gateway's signing key.")
@click.option(
    "--homes",
    "homes_file",
    type=click.Path(allow_dash=True),
    help="Many homes: CSV headed stream, signer, and the keys of [buyer] in invoice.toml.",
)
@_file("--tariff", "tariff_file", "The tariff file, the same as the household's.", required=True)
@_file("--terms", "terms_file", "invoice.toml: the seller, VAT, numbers; see --example.", required=True)
@source_options
@click.option(
    "--date",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="A day of the period.  [default: the last one over]",
)
@click.option("--issued", type=click.DateTime(["%Y-%m-%d"]), help="The date of issue.  [default: today]")
@click.option("--number", help="The invoice's number.  [default: the folder's next]")
@click.option("--feed-in", is_flag=True, help="Make the self-billed invoice of what was fed in.")
@_file("--corrects", "corrects", "Correct the invoice in this JSON file, by --reversal or --difference.")
@click.option("--reversal", "way", flag_value="reversal", help="Credit all of it.")
@click.option("--difference", "way", flag_value="difference", help="Invoice what differs alone.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(list(WRITERS)),
    help="text, json, pdf or xml (UBL); may be repeated.  [default: text; with --out, json]",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="A folder to write to.")
@click.option("--replace", "replacing", is_flag=True, help="Write again what says otherwise in the folder.")
@age_option
def invoice(
    folder: Path,
    location: Location,
    stream: bytes | None,
    signer: bytes | None,
    homes_file: str | None,
    tariff_file: Path,
    terms_file: Path,
    source: Source | None,
    period: str,
    day: datetime | None,
    issued: datetime | None,
    number: str | None,
    feed_in: bool,
    corrects: Path | None,
    way: Way | None,
    formats: tuple[str, ...],
    out: Path | None,
    replacing: bool,
    max_age_ms: int,
) -> None:
    """Make the invoice of a billing period, for one home or for each of a list.

    Seller, VAT and numbers come from invoice.toml (--example prints one), standing charges and other lines
    from the tariff file's [bill]. Windows give a line for each price; a bill grant gives its amount as one
    line.

    With --out the documents go to a folder, always as JSON too, each under a number of its own; what is there
    and the same is left. XML is UBL 2.1, valid by the rules of EN 16931 (release 1.3.16).
    """
    if (homes_file is None) == (stream is None or signer is None):
        raise UsageError("name one home by --stream and --signer, or a list of homes by --homes")
    if (corrects is None) != (way is None):
        raise UsageError("a correction takes --corrects, and one of --reversal and --difference")
    if homes_file is not None and (number or corrects or out is None):
        raise UsageError(
            "--homes makes invoices in a folder: use it with --out, without --number and --corrects"
        )
    tariff = load_tariff(tariff_file)
    order = _Order(
        folder,
        location,
        max_age_ms,
        tariff,
        load_invoice_terms(terms_file),
        load_terms(tariff_file),
        source,
        period,
        None if day is None else day.date(),
        (datetime.now(zone_of(tariff.zone)) if issued is None else issued).date(),
        feed_in,
    )
    if homes_file is not None:
        assert out is not None
        homes = read_portfolio(read_text(homes_file, "the list of homes"), homes_file)
        asyncio.run(_portfolio(order, homes, InvoiceFolder(out, order.terms.series), formats, replacing))
        return
    assert stream is not None
    assert signer is not None
    if order.terms.buyer is None:
        raise UsageError(f"{terms_file}: there is no table [buyer], and one home's invoice needs it")
    if out is None and (number is None or len(formats) > 1 or "pdf" in formats):
        raise UsageError("without --out an invoice takes --number, and one --format of text, json and xml")
    invoices = None if out is None else InvoiceFolder(out, order.terms.series)
    bills = asyncio.run(_one(order, stream, signer))
    draft = order.draft(
        Billed(stream, signer, bills),
        order.terms.buyer,
        number or order.terms.series.number(order.terms.series.first),
    )
    if corrects is not None:
        assert way is not None
        earlier = load_invoice(corrects)
        draft = correct(earlier, draft, way, number or (invoices.next_number() if invoices else ""))
    if invoices is None:
        click.echo(WRITERS[formats[0] if formats else "text"](draft).decode(), nl=False)
        return
    made, state = invoices.put(draft, formats, replacing=replacing, numbered=number is not None)
    click.echo(f"{made.title} {made.number} of {made.total:f} {made.currency}: {state}")


async def _one(order: _Order, stream: bytes, signer: bytes) -> tuple[Bill, ...]:
    identity = open_identity(order.folder)
    async with opened_store(order.location, order.folder, keep=False) as bucket:
        return await order.bills(bucket, identity, stream, signer)


async def _portfolio(
    order: _Order, homes: Sequence[Invoiced], folder: InvoiceFolder, formats: Sequence[str], replacing: bool
) -> None:
    identity = open_identity(order.folder)
    rows: list[list[str]] = []
    made: list[Invoice] = []
    failed = 0

    async with opened_store(order.location, order.folder, keep=False) as bucket:

        async def bills_of(home: Invoiced) -> tuple[Bill, ...]:
            return await order.bills(bucket, identity, home.stream, home.signer)

        async with aclosing(bill_all(homes, bills_of)) as billed:
            async for home, bills in billed:
                try:
                    one, state = _put(order, home, bills, folder, formats, replacing)
                except GatewayError as error:
                    failed += 1
                    rows.append([home.stream.hex(), "", "", "", "", f"failed: {error}"])
                    continue
                made.append(one)
                rows.append([home.stream.hex(), one.number, *_amounts([one]), state])
    total = ["total", str(len(made)), *_amounts(made), f"{failed} failed"]
    names = ["stream", "number", "net", "VAT", "total", "state"]
    print_table(names, [*rows, total], numbers=["net", "VAT", "total"])
    if failed:
        raise GatewayError(
            f"{failed} of {len(homes)} homes have no invoice; the same command makes theirs once what it "
            "says is put right"
        )


def _put(
    order: _Order,
    home: Invoiced,
    bills: tuple[Bill, ...] | GatewayError,
    folder: InvoiceFolder,
    formats: Sequence[str],
    replacing: bool,
) -> tuple[Invoice, str]:
    if isinstance(bills, GatewayError):
        raise bills
    if isinstance(home.buyer, UsageError):
        raise home.buyer
    series = order.terms.series
    draft = order.draft(Billed(home.stream, home.signer, bills), home.buyer, series.number(series.first))
    return folder.put(draft, formats, replacing=replacing)


def _amounts(invoices: Sequence[Invoice]) -> list[str]:
    """The sums of net, VAT and total."""
    sums = [
        sum(column, Decimal()) for column in zip(*((x.net, x.tax, x.total) for x in invoices), strict=True)
    ]
    return [f"{amount:f}" for amount in sums] or ["", "", ""]


def load_invoice_terms(path: Path) -> InvoiceTerms:
    """The file invoice.toml; UsageError names it."""
    raw = read_toml(path)
    try:
        return InvoiceTerms.read(raw)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def load_invoice(path: Path) -> Invoice:
    """An invoice's JSON file; UsageError where it cannot be read."""
    try:
        return read_json(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
