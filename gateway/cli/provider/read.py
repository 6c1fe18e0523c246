"""`gateway provider read`: the sums that were granted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import click

from gateway.cli.output import examples, json_option, print_json, print_table
from gateway.cli.provider import rows as provider_rows
from gateway.cli.provider.columns import csv_lines
from gateway.cli.provider.examples import READ
from gateway.cli.provider.place import Place, age_option, key_option, place_options
from gateway.cli.values import Duration, Lanes, Moment
from gateway.errors import GatewayError, Refused, UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.follow import follow
from gateway.provider.identity import Identity, open_identity
from gateway.provider.query import Query
from gateway.provider.sums import Row, Rows, Sums
from gateway.store.bucket import Bucket
from gateway.store.kept import KeptBucket, kept_folder
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen
from gateway.wire import names


@click.command(
    "read",
    short_help="Open the sums that were granted to you.",
    epilog=examples(f"{READ} --last 2h", f"{READ} --granularity 15min --from 2026-03-01 --csv"),
)
@key_option
@place_options
@click.option(
    "--granularity", help="10s, 15min, 1h, day, month, month-15.  [default: the finest that is granted]"
)
@click.option("--lanes", type=Lanes(), help="Some of import,export,power,count.  [default: all granted]")
@click.option("--from", "from_ms", type=Moment(), help="The first window begins here or later.")
@click.option("--until", "until_ms", type=Moment(), help="The last window ends here or earlier.")
@click.option("--last", "last_ms", type=Duration(), help="Only windows of the last 2h, 1d, ...")
@age_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with times in UTC.")
@json_option
@click.option("--follow", "following", is_flag=True, help="Continue, and print windows as they open.")
def command(
    folder: Path,
    place: Place,
    granularity: str | None,
    lanes: tuple[str, ...] | None,
    from_ms: int | None,
    until_ms: int | None,
    last_ms: int | None,
    max_age_ms: int,
    as_csv: bool,
    as_json: bool,
    following: bool,
) -> None:
    """Verify a stream's objects and open the sums that were granted to you.

    Energy is exact to the mWh. The grants that the sums come from, and what is missing, go to stderr.
    S3 credentials come from where AWS's tools take them: environment, profile or the machine's role.
    What lasts of an S3 store is kept in ~/.cache/gateway/objects, and verified again when it is used.
    """
    if as_json and (as_csv or following):
        raise UsageError("--json prints one whole document: use it without --csv and --follow")
    if last_ms is not None:
        if from_ms is not None:
            raise UsageError("--last and --from both say where to begin: use one of them")
        from_ms = (_now_ms() if until_ms is None else until_ms) - last_ms
    query = Query(granularity, lanes, from_ms, until_ms)
    reading = _Reading(place, folder, open_identity(folder), query, max_age_ms)
    if following:
        asyncio.run(reading.follow(_csv_rows if as_csv else _table_rows))
    elif as_json:
        asyncio.run(reading.whole(_print_document, partly=False))
    else:
        asyncio.run(reading.whole(_print_csv if as_csv else _print_table, partly=True))


@dataclass(frozen=True, slots=True)
class _Answer:
    """The rows that opened; `error` is why no more did."""

    sums: Sums
    blocks: list[Rows]
    error: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    place: Place
    folder: Path
    identity: Identity
    query: Query
    max_age_ms: int

    async def whole(self, show: Callable[[Sums, list[Rows]], None], partly: bool) -> None:
        """Show all rows that open now; if `partly`, also those before an object that is refused."""
        async with self.place.bucket() as bucket:
            answer = await self._from(bucket)
        if answer.error is None or (partly and answer.blocks):
            show(answer.sums, answer.blocks)
        if answer.error is not None:
            raise answer.error

    async def _from(self, bucket: Bucket) -> _Answer:
        """All that opens now. What is kept on this machine serves where it is valid, and is cleared where
        anything is not: it is the store that an error is about."""
        if not self.place.location.url.startswith("s3://"):
            return await self._all(bucket)
        kept = KeptBucket(bucket, kept_folder(self.place.location), names.lasts)
        with suppress(Refused):
            answer = await self._all(kept)
            if not isinstance(answer.error, Refused):
                kept.trim()
                return answer
        kept.clear()
        return await self._all(bucket)

    async def _all(self, bucket: Bucket) -> _Answer:
        reader = await self._open(bucket)
        await reader.refresh(_now_ms(), self.max_age_ms)
        sums = await Sums.ask(reader, self.identity, self.query)
        answer = _Answer(sums, [])
        try:
            async for block in sums.blocks():
                answer.blocks.append(block)
        except GatewayError as error:
            return replace(answer, error=error)
        return answer

    async def follow(self, begin: Callable[[Sums], Callable[[Row], None]]) -> None:
        """Show each row as it opens."""
        async with self.place.bucket() as bucket:
            reader = await self._open(bucket)
            await reader.refresh(_now_ms(), self.max_age_ms)
            sums = await Sums.ask(reader, self.identity, self.query)
            _print_notes(sums.sources)
            show = begin(sums)
            clock = SystemClock("host")
            rows = follow(reader, sums, clock, self.max_age_ms, lambda sentence: _print_notes([sentence]))
            async with aclosing(rows):
                async for row in rows:
                    show(row)
        _print_notes(provider_rows.notes(sums)[len(sums.sources) :])

    async def _open(self, bucket: Bucket) -> StreamReader:
        seen = Seen(self.folder, self.place.stream)
        return await StreamReader.open(bucket, self.place.stream, self.place.signer, seen)


def _table_rows(sums: Sums) -> Callable[[Row], None]:
    return provider_rows.stream_table(sums.resolved.lanes, provider_rows.zone(sums))


def _csv_rows(sums: Sums) -> Callable[[Row], None]:
    return provider_rows.stream_csv(sums.resolved.lanes)


def _print_table(sums: Sums, blocks: list[Rows]) -> None:
    lanes = sums.resolved.lanes
    headings = provider_rows.columns(lanes)
    numbers = set(headings) - {provider_rows.FROM}
    zone = provider_rows.zone(sums)
    cells = [
        provider_rows.cells(row, lanes, lambda when: provider_rows.local(when, zone), "-")
        for block in blocks
        for row in block
    ]
    print_table(headings, cells, numbers=numbers)
    _print_notes(provider_rows.notes(sums) + provider_rows.nothing(sums, bool(blocks)))


def _print_csv(sums: Sums, blocks: list[Rows]) -> None:
    show = _csv_rows(sums)
    for block in blocks:
        lines = csv_lines(block, sums.resolved.lanes)
        if lines is not None:
            click.echo(lines, nl=False)
            continue
        for row in block:
            show(row)
    _print_notes(provider_rows.notes(sums) + provider_rows.nothing(sums, bool(blocks)))


def _print_document(sums: Sums, blocks: list[Rows]) -> None:
    print_json(provider_rows.document(sums, [row for block in blocks for row in block]))


def _print_notes(sentences: list[str]) -> None:
    for sentence in sentences:
        click.echo(sentence, err=True)


def _now_ms() -> int:
    return unix_ms(SystemClock("host"))
