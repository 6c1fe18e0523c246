"""The options and the opening of a set of homes, for both parties to a load."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import click

from gateway.cli.output import local_time
from gateway.cli.provider.place import age_option, key_option, opened_store, store_options
from gateway.cli.values import Lanes, Moment
from gateway.errors import UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.homes import Listed
from gateway.provider.load import Member, Windows
from gateway.store.location import Location
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen

Result = TypeVar("Result")

EXAMPLE_PLACE = "--store s3://meters --homes"
EXAMPLE_TIMES = "--granularity 15min --from 2026-11-01 --until 2026-11-02"


homes_file_option = click.option(
    "--homes",
    "homes_file",
    required=True,
    type=click.Path(allow_dash=True),
    help="CSV of the homes, headed stream,signer,grant; grant is the id of the centre's.  - is stdin.",
)


def homes_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """The options of a party's key, the store, and the list of homes."""
    return key_option(store_options(homes_file_option(age_option(command))))


def windows_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """The options of windows and lanes."""
    for option in reversed(
        (
            click.option("--from", "from_ms", type=Moment(), required=True, help="The first window's begin."),
            click.option("--until", "until_ms", type=Moment(), required=True, help="The last window's end."),
            click.option(
                "--granularity",
                help="The windows, as they were granted: 15min, 1h, day, month.  [default: one from --from to"
                " --until]",
            ),
            click.option(
                "--zone",
                default="UTC",
                show_default=True,
                is_eager=True,
                help="Time zone of days and months; where it is given, also of --from and --until, which are"
                " in this machine's otherwise.",
            ),
            click.option(
                "--lanes", type=Lanes(), default="import", show_default=True, help="What to add up."
            ),
        )
    ):
        command = option(command)
    return command


def read_text(file: str, what: str) -> str:
    """The text of a file, or of stdin for `-`; UsageError where it cannot be read."""
    try:
        with click.open_file(file, encoding="utf-8") as stream:
            text: str = stream.read()
            return text
    except OSError as error:
        raise UsageError(f"{what} {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        where = "on stdin" if file == "-" else file
        raise UsageError(f"{what} {where} is not text in UTF-8: expected CSV") from None


@asynccontextmanager
async def opening(
    location: Location, folder: Path, max_age_ms: int
) -> AsyncIterator[Callable[[Listed], Awaitable[Member]]]:
    """A function that opens a home's stream, as far as its head; each is Refused where it is not signed as
    the list says, or is too old."""
    now_ms = unix_ms(SystemClock("host"))
    async with opened_store(location, folder, keep=False) as bucket:

        async def member(home: Listed) -> Member:
            seen = Seen(folder, home.stream)
            reader = await StreamReader.open(bucket, home.stream, home.signer, seen)
            await reader.refresh(now_ms, max_age_ms)
            return Member(reader, home.grant)

        yield member


def in_words(windows: Windows) -> str:
    """Windows for a sentence: "96 windows of import from ... to ..."."""
    count = len(windows.times)
    spans = local_time(windows.times[0][0]), local_time(windows.times[-1][1])
    what = f"{count} window{'s' if count > 1 else ''} of {', '.join(windows.lanes)}"
    return f"{what} from {spans[0]} to {spans[1]}"
