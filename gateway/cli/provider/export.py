"""`gateway provider export`: opened sums in the formats of markets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TypeVar

import click

from gateway.cli.output import examples
from gateway.cli.provider import rows as provider_rows
from gateway.cli.provider.place import Place, age_option, key_option, place_options
from gateway.cli.values import Lanes, Moment
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.exports.greenbutton import write_greenbutton
from gateway.provider.exports.mscons import Parties, write_mscons
from gateway.provider.exports.nem12 import Participants, write_nem12
from gateway.provider.exports.readings import Quality, Reading, readings
from gateway.provider.identity import open_identity
from gateway.provider.query import Query
from gateway.provider.sums import Rows, Sums
from gateway.stream.reader import StreamReader
from gateway.stream.seen import Seen

Result = TypeVar("Result")

_PLACE = "--key acme --store s3://home --stream 5f0c... --signer 91ab..."
_GREEN = f"gateway provider export greenbutton {_PLACE} --granularity 15min --zone Europe/Berlin > usage.xml"
_NEM12 = (
    f"gateway provider export nem12 {_PLACE} --nmi 6305123456 --sender ACME --receiver RETAIL > nem12.csv"
)
_MSCONS = (
    f"gateway provider export mscons {_PLACE} --location 51580175011 --sender 9904545000007"
    " --receiver 9911694000002 > mscons.txt"
)


@click.group(epilog=examples(_GREEN, _NEM12, _MSCONS))
def export() -> None:
    """Write opened sums in a format that markets exchange.

    The file goes to stdout, whole or not at all. What is missing is a gap in it, never a zero, and is named
    on stderr. Where the lane count is granted, values that were filled in are marked as such.
    """


@dataclass(frozen=True, slots=True)
class _Opened:
    """A query's rows, and what goes with them."""

    stream: bytes
    sums: Sums
    blocks: list[Rows]

    def lanes(self, names: Sequence[str]) -> dict[str, list[Reading]]:
        """The intervals of those of the lanes that are open. Says on stderr what they leave out, and what
        their quality is made of."""
        open_lanes = self.sums.resolved.lanes
        present = [lane for lane in names if lane in open_lanes]
        if "power" in present and "count" not in open_lanes:
            present.remove("power")
            _say(
                ["power is left out: its mean is the sum by the number of readings, and needs the lane count"]
            )
        found = {lane: readings(self.blocks, lane) for lane in present}
        _say(provider_rows.notes(self.sums) + provider_rows.nothing(self.sums, bool(self.blocks)))
        if any(one.quality is Quality.UNKNOWN for some in found.values() for one in some):
            _say(["the lane count is not open in all of this: values there may have been filled in"])
        return found


def _options(granularity: str | None) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """The options that say which rows to open, for a command that takes `opened`; `granularity` is the
    default."""

    def decorate(command: Callable[..., Result]) -> Callable[..., Result]:
        shown = granularity or "the finest that is granted"

        @key_option
        @place_options
        @click.option(
            "--granularity", default=granularity, help=f"15min, 1h, day, month.  [default: {shown}]"
        )
        @click.option(
            "--lanes",
            type=Lanes(),
            help="Some of import,export,power,count, or a series' own.  [default: all granted]",
        )
        @click.option("--from", "from_ms", type=Moment(), help="The first window begins here or later.")
        @click.option("--until", "until_ms", type=Moment(), help="The last window ends here or earlier.")
        @age_option
        @wraps(command)
        def with_rows(
            folder: Path,
            place: Place,
            granularity: str | None,
            lanes: tuple[str, ...] | None,
            from_ms: int | None,
            until_ms: int | None,
            max_age_ms: int,
            **others: str | None,
        ) -> Result:
            query = Query(granularity, lanes, from_ms, until_ms, zone=others.get("zone"))
            return command(opened=lambda: asyncio.run(_open(folder, place, query, max_age_ms)), **others)

        return with_rows

    return decorate


async def _open(folder: Path, place: Place, query: Query, max_age_ms: int) -> _Opened:
    identity = open_identity(folder)
    async with place.bucket(folder) as bucket:
        reader = await StreamReader.open(bucket, place.stream, place.signer, Seen(folder, place.stream))
        await reader.refresh(_now_ms(), max_age_ms)
        sums = await Sums.ask(reader, identity, query)
        return _Opened(place.stream, sums, [block async for block in sums.blocks()])


@export.command(short_help="Green Button (ESPI) XML.", epilog=examples(_GREEN))
@_options(None)
@click.option(
    "--zone",
    is_eager=True,
    help="The customer's IANA time zone, also of days and months.  [default: that of the grant's days, or"
    " UTC]",
)
def greenbutton(opened: Callable[[], _Opened], zone: str | None) -> None:
    """Write a Green Button feed: import as forward flow, export as reverse flow, and mean power."""
    found = opened()
    zone = zone or provider_rows.zone(found.sums) or "UTC"
    size, unit_ms = found.sums.resolved.granularity.size, found.sums.resolved.granularity.unit_ms
    interval_s = size * unit_ms // 1000 if isinstance(size, int) else None
    lanes = found.lanes(("import", "export", "power"))
    click.echo(write_greenbutton(lanes, found.stream, zone, interval_s, _now_ms()), nl=False)


@export.command(short_help="NEM12 CSV, of Australia's market.", epilog=examples(_NEM12))
@_options("15min")
@click.option(
    "--nmi", required=True, help="The National Metering Identifier: 10 characters, without checksum."
)
@click.option("--sender", required=True, help="Your participant id.")
@click.option("--receiver", required=True, help="The participant id of whoever gets the file.")
@click.option("--serial", default="", help="The meter's serial number.")
def nem12(opened: Callable[[], _Opened], nmi: str, sender: str, receiver: str, serial: str) -> None:
    """Write whole days of intervals of 5, 15 or 30 min: import as E1, export as B1, in kWh.

    Days are those of Eastern Standard Time, UTC+10, all year. A day that is not complete is left out.
    """
    who = Participants(nmi, sender, receiver, serial)
    found = opened()
    made = write_nem12(found.lanes(("import", "export")), who, _now_ms())
    click.echo(made.text, nl=False)
    _say(
        [
            f"{day}, no {lane}: only {there} of its {all_} intervals are there"
            for lane, day, there, all_ in made.incomplete
        ]
    )


@export.command(short_help="MSCONS (EDIFACT), of Germany's market.", epilog=examples(_MSCONS))
@_options("15min")
@click.option(
    "--location",
    "place_id",
    required=True,
    help="The market location (11 digits) or metering location (DE...).",
)
@click.option("--sender", required=True, help="Your code as a market partner: 13 digits.")
@click.option("--receiver", required=True, help="The code of whoever gets the message.")
def mscons(opened: Callable[[], _Opened], place_id: str, sender: str, receiver: str) -> None:
    """Write quarter hours in kWh: import as 1-1:1.29.0, export as 1-1:2.29.0."""
    parties = Parties(place_id, sender, receiver)
    click.echo(write_mscons(opened().lanes(("import", "export")), parties, _now_ms()), nl=False)


def _say(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        click.echo(sentence, err=True)


def _now_ms() -> int:
    return unix_ms(SystemClock("host"))
