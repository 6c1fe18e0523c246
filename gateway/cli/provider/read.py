"""`gateway provider read`: the sums that were granted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import click

from gateway.chain.window import zone_of
from gateway.cli.output import examples, print_json, print_table
from gateway.cli.provider import rows as provider_rows
from gateway.cli.provider.examples import ALL, READ
from gateway.cli.provider.forms import BINARY, Form, destination, drawing, form_options, print_sections
from gateway.cli.provider.place import (
    THROUGH_REGISTRAR,
    age_option,
    key_option,
    opened_store,
    store_options,
    where_options,
)
from gateway.cli.provider.several import Several
from gateway.cli.provider.sources import homes_of, homes_option
from gateway.cli.values import Duration, HexId, Lanes, Moment
from gateway.errors import UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.desk import Home, HomeSums, Said, Source, listed, open_home, read_home
from gateway.provider.discovery import in_store
from gateway.provider.follow import follow
from gateway.provider.formats import sections
from gateway.provider.identity import Identity, open_identity
from gateway.provider.query import Query
from gateway.provider.sums import Row, Rows, Sums
from gateway.provider.table import Table
from gateway.provider.through import Where, in_catalogue
from gateway.store.location import Location


@click.command(
    "read",
    short_help="Open the sums that were granted to you.",
    epilog=examples(
        f"{READ} --last 2h",
        f"{READ} --granularity 15min --from 2026-03-01 --csv",
        f"{ALL} --homes homes.csv --last 1d --total --plot load.png",
        f"{ALL} --all --format parquet --output sums.parquet",
        "gateway provider read --key acme --store registrar: --all --where region=north --last 1d",
    ),
)
@key_option
@store_options
@click.option("--stream", type=HexId(), help="The stream's id, of one home.")
@click.option("--signer", type=HexId(), help="The kid of the gateway's signing key, of one home.")
@homes_option
@click.option("--all", "every", is_flag=True, help="Read every stream of the store that granted you sums.")
@where_options
@click.option(
    "--granularity", help="10s, 15min, 1h, day, month, month-15.  [default: the finest that is granted]"
)
@click.option(
    "--lanes",
    type=Lanes(),
    help="Some of import,export,power,count, or a series' own.  [default: all granted]",
)
@click.option("--from", "from_ms", type=Moment(), help="The first window begins here or later.")
@click.option("--until", "until_ms", type=Moment(), help="The last window ends here or earlier.")
@click.option("--last", "last_ms", type=Duration(), help="Only windows of the last 2h, 1d, ...")
@age_option
@form_options
@click.option(
    "--zone",
    help="Time zone of days and months, in which all times are shown.  [default: the grant's days and months,"
    " or UTC's; other times are the machine's]",
)
@click.option("--follow", "following", is_flag=True, help="Continue, and print windows as they open.")
def command(
    folder: Path,
    location: Location,
    stream: bytes | None,
    signer: bytes | None,
    homes_file: str | None,
    every: bool,
    where: Where,
    granularity: str | None,
    lanes: tuple[str, ...] | None,
    from_ms: int | None,
    until_ms: int | None,
    last_ms: int | None,
    max_age_ms: int,
    form: Form,
    zone: str | None,
    following: bool,
) -> int:
    """Verify a stream's objects and open the sums that were granted to you.

    Energy is exact to the mWh. The grants that the sums come from, and what is missing, go to stderr.
    S3 credentials come from where AWS's tools take them: environment, profile or the machine's role.
    What lasts of an S3 store is kept in ~/.cache/gateway/objects, and verified again when it is used.

    Of several homes each row begins with its stream. A home that cannot be read is named on stderr and stops
    no other; the exit code is that of the worst. A total is left out where one of its sums is missing.
    """
    if zone is not None:
        zone_of(zone)
        form = replace(form, zone=zone)
    if following:
        _check_following(form)
    if last_ms is not None:
        if from_ms is not None:
            raise UsageError("--last and --from both say where to begin: use one of them")
        from_ms = (_now_ms() if until_ms is None else until_ms) - last_ms
    query = Query(granularity, lanes, from_ms, until_ms, zone=zone)
    one = _one(stream, signer, homes_file, every)
    if where != Where() and not (every and location == THROUGH_REGISTRAR):
        raise UsageError("--where asks the registrar's catalogue: use it with --all and --store registrar:")
    identity = open_identity(folder)
    if one is None:
        source: Source = listed(homes_of(homes_file)) if homes_file is not None else in_store
        if every and location == THROUGH_REGISTRAR:
            source = in_catalogue(where)
        several = Several(location, source, folder, identity, query, max_age_ms)
        return asyncio.run(several.follow(form) if following else several.whole(form))
    reading = _Reading(location, one, folder, identity, query, max_age_ms)
    asyncio.run(reading.follow(form) if following else reading.whole(form))
    return 0


def _one(stream: bytes | None, signer: bytes | None, homes_file: str | None, every: bool) -> Home | None:
    """The home, where one is named; UsageError unless there is exactly one answer to which homes to read."""
    ways = [stream is not None or signer is not None, homes_file is not None, every]
    if sum(ways) != 1 or (stream is None) != (signer is None):
        raise UsageError(
            "name one home by --stream and --signer, or several by --homes FILE, or all of the store by --all"
        )
    return None if stream is None or signer is None else Home(stream, signer)


def _check_following(form: Form) -> None:
    if form.format == "json":
        raise UsageError("--json prints one whole document: use it without --follow")
    if form.format in BINARY or form.total or form.output or form.plot:
        raise UsageError(
            "--follow prints rows as they open: use it without --total, --output and --plot, as table, csv or"
            " jsonl"
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """One home, and what is asked of it."""

    location: Location
    home: Home
    folder: Path
    identity: Identity
    query: Query
    max_age_ms: int

    async def whole(self, form: Form) -> None:
        """Show all rows that open now; as far as the form allows, also those before an object that is
        refused."""
        async with opened_store(self.location, self.folder) as bucket:
            answer = await read_home(
                bucket,
                self.home,
                self.identity,
                self.query,
                now_ms=_now_ms(),
                max_age_ms=self.max_age_ms,
                memory=self.folder,
            )
        if answer.said is not None and (answer.error is None or (answer.blocks and not form.whole)):
            with drawing(form, Table.of_homes([answer])), destination(form.output):
                _show(answer, answer.said, form)
            if form.format != "json":
                _print_notes(
                    provider_rows.notes(answer.said, form.zone)
                    + provider_rows.nothing(answer.said, bool(answer.blocks), form.zone)
                )
        if answer.error is not None:
            raise answer.error

    async def follow(self, form: Form) -> None:
        """Show each row as it opens."""
        async with opened_store(self.location, self.folder, keep=False) as bucket:
            reader = await open_home(
                bucket, self.home, now_ms=_now_ms(), max_age_ms=self.max_age_ms, memory=self.folder
            )
            sums = await Sums.ask(reader, self.identity, self.query)
            _print_notes(sums.sources)
            show = self._show_row(form, sums)
            clock = SystemClock("host")
            rows = follow(reader, sums, clock, self.max_age_ms, lambda sentence: _print_notes([sentence]))
            async with aclosing(rows):
                async for row in rows:
                    show(row)
        _print_notes(provider_rows.notes(sums, form.zone)[len(sums.sources) :])

    def _show_row(self, form: Form, sums: Sums) -> Callable[[Row], None]:
        lanes, zone = sums.resolved.lanes, form.zone or provider_rows.zone(sums)
        if form.format == "table":
            return provider_rows.stream_table(lanes, zone)
        if form.format == "csv":
            return provider_rows.stream_csv(lanes)
        show, stream = provider_rows.stream_many(form.format, lanes), self.home.stream.hex()
        return lambda row: show(stream, row, zone)


def _show(answer: HomeSums, said: Said, form: Form) -> None:
    if form.format == "json":
        _print_document(answer, said, form.total)
    elif form.format == "table" and not form.total:
        _print_table(said, answer.blocks, form.zone)
    elif form.format == "csv" and not form.total:
        _print_csv(said, answer.blocks)
    else:
        parts = sections(Table.of_homes([answer]), total=form.total, several=False)
        print_sections(parts, form, several=False)


def _print_table(said: Said, blocks: Sequence[Rows], chosen: str | None) -> None:
    lanes = said.resolved.lanes
    headings = provider_rows.columns(lanes)
    numbers = set(headings) - {provider_rows.FROM}
    zone = chosen or provider_rows.zone(said)
    cells = [
        provider_rows.cells(row, lanes, lambda when: provider_rows.local(when, zone), "-")
        for block in blocks
        for row in block
    ]
    print_table(headings, cells, numbers=numbers)


def _print_csv(said: Said, blocks: Sequence[Rows]) -> None:
    lanes = said.resolved.lanes
    provider_rows.stream_csv(lanes)
    for block in blocks:
        click.echo("".join(f"{line}\n" for line in provider_rows.csv_text(block, lanes)), nl=False)


def _print_document(answer: HomeSums, said: Said, total: bool) -> None:
    document = provider_rows.document(said, [row for block in answer.blocks for row in block])
    if total:
        totals = Table.of_homes([answer]).over_time()
        document["total"] = [provider_rows.row_document(row) for row in totals.rows]
    print_json(document)


def _print_notes(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        click.echo(sentence, err=True)


def _now_ms() -> int:
    return unix_ms(SystemClock("host"))
