"""`gateway centre ingest`: the homes' new windows, into the centre's folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import click

from gateway.centre.hints import Hints
from gateway.centre.homes import Home, in_catalogue, read_list
from gateway.centre.ingest import Pass, ingest
from gateway.centre.kept import Kept
from gateway.centre.state import State
from gateway.cli.centre.examples import INGEST
from gateway.cli.centre.notices import Notices, notices_options
from gateway.cli.centre.options import folder_argument, packages
from gateway.cli.output import examples, print_json
from gateway.cli.provider.homes import read_text
from gateway.cli.provider.place import REGISTRAR, key_option, opened_store, own_store_options
from gateway.cli.provider.progress import progress_bar
from gateway.cli.provider.sources import print_failures
from gateway.cli.values import Duration
from gateway.errors import Refused, Unavailable, UsageError
from gateway.host.clock import Clock, SystemClock, unix_ms
from gateway.host.collector import collect_seldom
from gateway.provider.desk import Failure
from gateway.provider.identity import Identity, open_identity
from gateway.provider.membership import open_membership
from gateway.provider.through import Through
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.stream.times import spell


@click.command(epilog=examples(INGEST))
@folder_argument
@key_option
@own_store_options
@click.option(
    "--homes",
    "homes_file",
    required=True,
    type=click.Path(allow_dash=True),
    help=f"CSV headed stream,signer,grant,region, or {REGISTRAR} for the registrar's catalogue.  - is stdin.",
)
@click.option(
    "--once/--follow",
    default=True,
    help="End when all is taken in, or look again and again.  [default: once]",
)
@click.option(
    "--every", "every_ms", type=Duration(), default="60s", show_default=True, help="How often to look again."
)
@notices_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document; with --follow one a line.")
def command(
    data: Path,
    folder: Path,
    location: Location,
    homes_file: str,
    once: bool,
    every_ms: int,
    notices: Notices,
    as_json: bool,
) -> int:
    """Take in all new windows of the homes of a list, verified, into the folder DIR.

    A home that is refused, since its chain does not hold or it has not granted a load, is named and passed
    over; the others go on. Each window is taken in once, wherever an earlier run was cut off. With --follow
    the list is read again before each look at all homes, and the one before stays while it is wrong. A home
    stays in the region in which it was listed first.

    Notices may be lost, late or forged: they make a look come sooner, at the homes that they name, and all
    homes are looked at each --every as well.
    """
    if homes_file == "-" and not once:
        raise UsageError("--follow reads the list of homes again and again: name a file instead of stdin")
    if once and notices.urls:
        raise UsageError("--notices makes looks come sooner, and this looks once: add --follow")
    collect_seldom()
    identity, clock, kept = open_identity(folder), SystemClock("host"), Kept()
    hints, listing, away = Hints(), _List(homes_file, folder, identity, clock), _Away()

    async def passes(state: State) -> int:
        async with opened_store(location, None, keep=False) as bucket, notices.heeding(hints):
            while True:
                code = await one_pass(state, bucket)
                if once:
                    return code or 0
                due = asyncio.get_running_loop().time() + every_ms / 1000
                async with aclosing(hints.looks(every_ms / 1000)) as looks:
                    async for streams in looks:
                        if await one_pass(state, bucket, streams) is None:
                            break
                await asyncio.sleep(due - asyncio.get_running_loop().time())

    async def one_pass(state: State, bucket: Bucket, streams: list[bytes] | None = None) -> int | None:
        """The exit code; None where the store or the registrar does not answer. Of all homes, or of those
        with these streams alone."""
        try:
            refused: list[Failure] = []
            if streams is None:
                homes, refused = await listing.read(state)
                hints.expect(one.listed.stream for one in homes)
            with progress_bar("homes") as progress:
                done = await ingest(state, bucket, identity, unix_ms(clock), progress, kept, streams)
        except Unavailable as error:
            if once:
                raise
            away.say(error)
            return None
        away.over()
        done = replace(done, passed_over=(*refused, *done.passed_over))
        if streams is None:
            count = len({one.listed.stream for one in homes} | {one.stream for one in refused})
            _show(done, count, as_json, one_line=not once)
        elif done.windows or done.passed_over:
            _show(replace(done, until_ms=None), len(streams), as_json, one_line=True, notified=True)
        code = print_failures(done.passed_over)
        _advise(done.passed_over)
        return code

    with packages():
        state = State.open(data, make=True)
        try:
            with state.alone():
                return asyncio.run(passes(state))
        finally:
            state.close()


class _Away:
    """Says once that the store or the registrar does not answer, and once that it does again."""

    def __init__(self) -> None:
        self._said: str | None = None

    def say(self, error: Unavailable) -> None:
        """Say it, where it was not said or another reason was."""
        if str(error) != self._said:
            click.echo(f"gateway: {error}; trying again", err=True)
        self._said = str(error)

    def over(self) -> None:
        """Say that it is over, where it was said."""
        if self._said is not None:
            click.echo("gateway: the homes are looked at again", err=True)
        self._said = None


class _List:
    """The list of homes: a file, or the registrar's catalogue."""

    def __init__(self, source: str, folder: Path, identity: Identity, clock: Clock) -> None:
        self._source = source
        self._folder = folder
        self._identity = identity
        self._clock = clock
        self._read_before = False

    async def read(self, state: State) -> tuple[list[Home], list[Failure]]:
        """The homes of the list, which are `state`'s from now on, and those that cannot be listed. Once it
        was read, the list of before stays while it is wrong, as it is while it is being saved."""
        try:
            homes, refused = await self._find(state)
            state.list_homes(homes)
        except UsageError as error:
            if not self._read_before:
                raise
            click.echo(f"gateway: {error}; the list of before stays", err=True)
            return [one.home for one in state.homes()], []
        self._read_before = True
        return homes, refused

    async def _find(self, state: State) -> tuple[list[Home], list[Failure]]:
        if self._source != REGISTRAR:
            return read_list(read_text(self._source, "the list of homes"), self._source), []
        found = await Through(open_membership(self._folder), self._identity, self._clock).loads()
        return in_catalogue(*found, [one.home for one in state.homes()])


def _advise(passed_over: Sequence[Failure]) -> None:
    """Say what to do about the homes that are refused."""
    count = len({one.stream for one in passed_over if isinstance(one.error, Refused)})
    if count:
        homes = "1 home is" if count == 1 else f"{count} homes are"
        click.echo(
            f"gateway: {homes} refused, and in no new sum until the store has again what the gateway wrote:"
            " its owner can put that back",
            err=True,
        )


def _show(done: Pass, homes: int, as_json: bool, *, one_line: bool, notified: bool = False) -> None:
    if as_json:
        document = {
            "notified": notified,
            "windows": done.windows,
            "files": done.files,
            "homes": homes,
            "homes_with_new_windows": done.homes,
            "complete_until": None if done.until_ms is None else spell(done.until_ms, 1),
            "passed_over": [
                {"stream": one.stream.hex(), "kind": one.error.kind, "error": str(one.error)}
                for one in done.passed_over
            ],
        }
        if one_line:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            print_json(document)
        return
    text = f"{done.windows} windows of {done.homes} homes taken in"
    if done.until_ms is not None:
        whole = homes - len({one.stream for one in done.passed_over})
        text += f"; {whole} of {homes} homes have all until {spell(done.until_ms, 1)}"
    click.echo(text)
