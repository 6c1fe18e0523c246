"""`gateway provider read` of several homes: a list of them, or all of a store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import click

from gateway.chain.layout import LANES
from gateway.cli.output import print_json
from gateway.cli.provider import rows as provider_rows
from gateway.cli.provider.forms import Form, destination, drawing, print_sections
from gateway.cli.provider.place import opened_store
from gateway.cli.provider.progress import progress_bar
from gateway.cli.provider.sources import (
    failure_documents,
    home_document,
    print_failures,
    print_notes,
    print_verification,
)
from gateway.errors import GatewayError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.desk import (
    AT_ONCE,
    MANY,
    Failure,
    Home,
    Homes,
    HomeSums,
    Progress,
    Said,
    Source,
    open_home,
    read_by_processes,
    read_many,
    side_by_side,
)
from gateway.provider.follow import Followed, follow_many
from gateway.provider.formats import sections
from gateway.provider.identity import Identity
from gateway.provider.library import nothing_granted
from gateway.provider.many import Terms
from gateway.provider.query import Query
from gateway.provider.sums import Row, Sums
from gateway.provider.table import Table
from gateway.store.bucket import Bucket
from gateway.store.location import Location


@dataclass(frozen=True, slots=True)
class Several:
    """The homes of a source, and what is asked of each."""

    location: Location
    source: Source
    folder: Path
    identity: Identity
    query: Query
    max_age_ms: int

    async def whole(self, form: Form) -> int:
        """Show all that opens now; the exit code of the worst failure."""
        async with opened_store(self.location, self.folder) as bucket:
            chosen = await self._chosen(bucket)
            with progress_bar("homes") as progress:
                async with aclosing(self._reading(bucket, chosen.homes, progress)) as found:
                    answers = [one async for one in found]
        table = Table.of_homes(answers, chosen.failures)
        if table.homes or form.format == "json":
            with drawing(form, table), destination(form.output):
                if form.format == "json":
                    print_json(_document(answers, table, form.total))
                else:
                    parts = sections(table, total=form.total, several=True)
                    print_sections(parts, form, several=True)
        print_notes(_notes(answers, form.zone))
        print_verification(chosen.homes)
        return print_failures(table.failures)

    def _reading(
        self, bucket: Bucket, homes: Sequence[Home], progress: Progress | None
    ) -> AsyncGenerator[HomeSums, None]:
        """The sums of the homes: of very many in an S3 store by several processes, which keep nothing of them
        on this machine."""
        now_ms = unix_ms(SystemClock("host"))
        if self.location.url.startswith("s3://") and len(homes) >= MANY:
            terms = Terms(self.query, now_ms, self.max_age_ms, self.folder)
            return read_by_processes(self.location, homes, self.folder, terms, progress)
        return read_many(
            bucket,
            homes,
            self.identity,
            self.query,
            now_ms=now_ms,
            max_age_ms=self.max_age_ms,
            memory=self.folder,
            progress=progress,
        )

    async def follow(self, form: Form) -> int:
        """Show the rows of all homes as they open; the exit code of the worst failure."""
        async with opened_store(self.location, self.folder, keep=False) as bucket:
            chosen = await self._chosen(bucket)
            homes: list[Followed] = []
            failures = list(chosen.failures)
            opening = side_by_side((self._open(bucket, home) for home in chosen.homes), AT_ONCE)
            async with aclosing(opening) as found:
                async for one in found:
                    if isinstance(one, Followed):
                        homes.append(one)
                    else:
                        failures.append(one)
            worst = print_failures(failures)
            print_verification(chosen.homes)
            if not homes:
                return worst
            asked = {lane for one in homes for lane in one.sums.resolved.lanes}
            show = provider_rows.stream_many(form.format, [lane for lane in LANES if lane in asked])
            zones = {one.home: form.zone or provider_rows.zone(one.sums) for one in homes}
            clock = SystemClock("host")
            coming = follow_many(homes, clock, self.max_age_ms, lambda text: click.echo(text, err=True))
            async with aclosing(coming) as items:
                async for home, item in items:
                    if isinstance(item, Row):
                        show(home.stream.hex(), item, zones[home])
                    else:
                        worst = max(worst, print_failures([home.failed(item)]))
            print_notes(
                (one.home.stream.hex(), text) for one in homes for text in _left_out(one.sums, form.zone)
            )
            return worst

    async def _chosen(self, bucket: Bucket) -> Homes:
        with progress_bar("streams") as progress:
            chosen = await self.source(bucket, self.identity, progress)
        if not chosen.homes and not chosen.failures:
            raise nothing_granted(self.identity.kid)
        return chosen

    async def _open(self, bucket: Bucket, home: Home) -> Followed | Failure:
        now_ms = unix_ms(SystemClock("host"))
        try:
            reader = await open_home(
                bucket, home, now_ms=now_ms, max_age_ms=self.max_age_ms, memory=self.folder
            )
            return Followed(home, reader, await Sums.ask(reader, self.identity, self.query))
        except GatewayError as error:
            return home.failed(error)


def _left_out(sums: Sums | Said, zone: str | None) -> list[str]:
    return provider_rows.notes(sums, zone)[len(sums.sources) :]


def _notes(answers: list[HomeSums], zone: str | None) -> list[tuple[str, str]]:
    """What a person should know of each home that was read, beside the grants."""
    return [
        (one.home.stream.hex(), text)
        for one in answers
        if one.error is None and one.said is not None
        for text in _left_out(one.said, zone) + provider_rows.nothing(one.said, bool(one.blocks), zone)
    ]


def _document(answers: list[HomeSums], table: Table, total: bool) -> dict[str, object]:
    totals = table.over_time() if total else None
    homes: list[dict[str, object]] = []
    for one in answers:
        if one.error is not None or one.said is None:
            continue
        rows = [row for block in one.blocks for row in block]
        document = home_document(one.home) | provider_rows.document(one.said, rows)
        if totals is not None:
            document["total"] = [provider_rows.row_document(row) for row in totals.home(len(homes)).rows]
        homes.append(document)
    document = {"homes": homes, "failures": failure_documents(table.failures)}
    if totals is not None and table.homes:
        over_homes = table.over_homes()
        document["total"] = {
            "rows": [provider_rows.row_document(row) for row in over_homes.rows],
            "total": [provider_rows.row_document(row) for row in over_homes.over_time().rows],
        }
    return document
