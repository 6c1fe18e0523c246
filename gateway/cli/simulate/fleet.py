"""`gateway simulate fleet`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

import click
import numpy as np

from gateway.chain.grant import MAX_K_MIN
from gateway.cli.card import read_card
from gateway.cli.output import examples, json_option, print_json
from gateway.cli.provider.place import store_options
from gateway.cli.simulate.registrar import SETTINGS_FILE, Demonstration
from gateway.cli.simulate.store import make_folder
from gateway.cli.values import Duration, Finite
from gateway.errors import UsageError
from gateway.simulate.fleet.making import begun, put_fleet, write_fleet
from gateway.simulate.fleet.objects import Parties
from gateway.simulate.fleet.plan import Plan
from gateway.store.location import Location
from gateway.stream.times import spell
from gateway.wire.card import Card

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_HOMES_A_REGION = 1000
_QUIET_S = 10  # between lines where stderr is not a terminal
_REGISTRAR = "--chunk 15min --to ./store --state ./fleet --registrar ./registrar"
_CARDS = "--centre centre/card.cose --service service/card.cose"


class _Until(click.ParamType[date | Literal["now"]]):
    """2026-11-22, or now."""

    name = "date"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date | Literal["now"]:
        if value == "now":
            return "now"
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"{value!r} is not a day: use 2026-11-22, or now", param, ctx)


@click.command(
    short_help="Many homes' objects in a store, or their blinded sums.",
    epilog=examples(
        f"gateway simulate fleet --homes 200 --until now {_REGISTRAR}",
        f"gateway simulate fleet --homes 200 --days 1 --to ./store --state ./fleet {_CARDS}",
        "gateway simulate fleet --homes 1000 --days 7 --to s3://meters --endpoint http://127.0.0.1:9000"
        f" --state ./fleet {_CARDS} --unit 30s --granularity 30s --granularity 15min",
        "gateway simulate fleet --homes 1000000 --days 1 --parquet ./fleet",
    ),
)
@click.option("--homes", required=True, type=click.IntRange(1, 10**8), help="How many.")
@click.option("--days", default=1, show_default=True, type=click.IntRange(1, 3660), help="How many, UTC.")
@click.option(
    "--until",
    type=_Until(),
    help="The day after the last, or now: today as well, as far as it is over.  [default: today]",
)
@click.option(
    "--region-count",
    "regions",
    type=click.IntRange(1, 10_000),
    help=f"How many regions, each with its own weather.  [default: one for {_HOMES_A_REGION} homes]",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="Of all of it.")
@click.option("--parquet", type=_FOLDER, help="Write blinded sums and the service's words into this folder.")
@partial(store_options, registrar=False, option="--to", required=False)
@click.option("--state", type=_FOLDER, help="With --to: a folder for the list of homes and the truth.")
@click.option("--centre", type=_FILE, help="With --to: the load monitoring centre's card,")
@click.option("--service", type=_FILE, help="and the summing service's, to which loads are granted,")
@click.option(
    "--registrar",
    type=_FOLDER,
    help="In their place a folder, made with both, for a registrar in which these homes are enrolled.",
)
@click.option("--k-min", type=click.IntRange(2, MAX_K_MIN), help="over so many homes at least.")
@click.option(
    "--granularity",
    "windows_ms",
    multiple=True,
    default=("15min",),
    show_default=True,
    type=Duration(),
    help="Of the loads; of the finest the truth is stated.",
)
@click.option(
    "--unit", "unit_ms", default="15min", show_default=True, type=Duration(), help="The finest time step."
)
@click.option("--chunk", "chunk_ms", default="1h", show_default=True, type=Duration(), help="Of a chunk.")
@click.option(
    "--outages",
    type=Finite(0, 100),
    default=1.0,
    show_default=True,
    help="Per cent of the homes' days on which a gateway is off for hours.",
)
@click.option(
    "--late",
    type=Finite(0, 100),
    default=1.0,
    show_default=True,
    help="Per cent of the homes whose last hours have not come.",
)
@click.option(
    "--broken",
    type=Finite(0, 100),
    default=0.3,
    show_default=True,
    help="Per cent of the homes whose chain does not hold.",
)
@click.option("--processes", type=click.IntRange(1, 256), help="How many work.  [default: one a processor]")
@json_option
def command(
    homes: int,
    days: int,
    until: date | Literal["now"] | None,
    regions: int | None,
    seed: int,
    parquet: Path | None,
    location: Location | None,
    state: Path | None,
    centre: Path | None,
    service: Path | None,
    registrar: Path | None,
    k_min: int | None,
    windows_ms: tuple[int, ...],
    unit_ms: int,
    chunk_ms: int,
    outages: float,
    late: float,
    broken: float,
    processes: int | None,
    as_json: bool,
) -> None:
    """Simulate many homes under the weather of their regions, for a load monitoring centre: with --to as real
    objects in a store, with --parquet as a table of blinded sums, for fleets too large for that.

    Beside them are the homes (homes.parquet, which also says which are late or broken, and how), with --to
    also as the list for `centre ingest` (homes.csv), and the truth in mWh by region and window
    (truth.parquet). All follows from --seed, the homes' KEYS too. The same command continues what was
    interrupted.

    With --registrar the centre can go on as in production: `gateway registrar serve` with the folder's
    registrar.toml is its registrar, and the folder's centre its key. The store may be a folder.
    """
    if (location is None) == (parquet is None):
        raise UsageError("say where the fleet goes: --to a store, or --parquet a folder")
    folder = parquet or state
    if folder is None:
        raise UsageError("--to needs --state: a folder for the list of homes and the truth")
    first, until_ms = _times(folder, until, days)
    plan = Plan(
        homes=homes,
        days=days + (until_ms is not None),
        first=first,
        regions=regions or -(-homes // _HOMES_A_REGION),
        seed=seed,
        unit_ms=unit_ms,
        chunk_ms=chunk_ms,
        windows_ms=tuple(dict.fromkeys(windows_ms)),
        outages=outages,
        late=late,
        broken=broken,
        until_ms=until_ms,
    )
    # In Parquet each of a home's days counts.
    what = "homes" if location or days == 1 else "days of homes"
    workers, shown = processes or os.cpu_count() or 1, _Progress(what)
    if location is None:
        if state or centre or service or registrar or k_min:
            raise UsageError(
                "--state, --centre, --service, --registrar and --k-min go with --to, not with --parquet"
            )
        made = write_fleet(plan, folder, workers, shown.show)
    else:
        demonstration = None
        if registrar is None:
            parties = Parties(_card(centre, "--centre"), _card(service, "--service"), k_min)
        elif centre or service:
            raise UsageError("--registrar makes the centre and the service: leave --centre and --service out")
        else:
            demonstration = Demonstration.begin(registrar, location)
            parties = demonstration.parties(k_min)
        make_folder(location)
        made = put_fleet(plan, location, parties, folder, workers, shown.show)
        if demonstration is not None:
            demonstration.enrol(plan, parties)
    if as_json:
        print_json(_document(plan, folder, shown if made else None))
    elif made:
        fates = plan.fates(np.arange(homes))
        size = f"{_many(homes, 'home')} in {_many(plan.regions, 'region')}, {_many(days, 'day')}"
        trouble = f"{fates.late.sum()} late, {fates.broken.sum()} broken"
        to = "on" if until_ms is None else f"until {spell(plan.end * plan.unit_ms, 1)}"
        click.echo(f"{size} from {plan.first} {to}; {trouble}; {shown.rate()}")
        click.echo(f"the list of homes and the truth are in {folder}")
    else:
        end = spell(plan.end * plan.unit_ms, 1)
        click.echo(f"{folder} has this fleet already, until {end}, and nothing was made")
        if until == "now":
            given = {"--parquet": parquet, "--to": location, "--state": state, "--registrar": registrar}
            options = [option for option, value in given.items() if value is not None]
            click.echo(f"for one until now name other places: {', '.join(options)}")
    if registrar is not None and not as_json:
        click.echo(f"their registrar: gateway registrar serve --config {registrar / SETTINGS_FILE}")


def _times(folder: Path, until: date | Literal["now"] | None, days: int) -> tuple[date, int | None]:
    """The first day, and the time at which the last one is cut off: by --until, or as they were when the
    fleet was begun, or so that it ends today."""
    now = datetime.now(UTC)
    today = now.date()
    if isinstance(until, date) and until > today:
        raise UsageError(f"--until {until} lies in the future: a fleet's days end today, {today}, or earlier")
    known = None if isinstance(until, date) else begun(folder)
    if known is not None and (known[1] is None) == (until is None):
        return known
    try:
        first = (until if isinstance(until, date) else today) - timedelta(days=days)
    except OverflowError:
        raise UsageError(f"--days {days}: they would begin before the year 1") from None
    return first, int(now.timestamp() * 1000) if until == "now" else None


def _card(path: Path | None, option: str) -> Card:
    if path is None:
        raise UsageError(
            "--to needs --centre and --service, the cards to which loads are granted, or --registrar"
        )
    card = read_card(path)
    if card.xwing_key is None:
        raise UsageError(f"{option}: {path} is a {card.role}'s card, and loads are granted to providers")
    return card


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + "s" * (count != 1)


@dataclass(slots=True)
class _Progress:
    """How far it is, on stderr: a line that changes on a terminal, and one every 10 s elsewhere. `what` is
    counted."""

    what: str
    begun: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    made: int = 0

    def show(self, before: int, done: int, whole: int) -> None:
        """See `gateway.simulate.fleet.making.Progress`."""
        self.made, now = done - before, time.monotonic()
        terminal = sys.stderr.isatty()
        if not terminal and now < self.said + _QUIET_S:
            return
        self.said = now
        left = ""
        if self.made and done < whole:
            seconds = round((whole - done) * (now - self.begun) / self.made)
            left = f", {timedelta(seconds=seconds)} left"
        line = f"{done} of {whole} {self.what}, {self.rate()}{left}"
        if terminal:
            line = f"\r{line:<78}" + ("\n" if done == whole else "")
        click.echo(line, nl=not terminal, err=True)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self.begun

    def rate(self) -> str:
        """How fast it is."""
        rate = self.made / max(self.seconds, 0.001)
        return f"{rate:.{1 if rate < 10 else 0}f} {self.what} a second"


def _document(plan: Plan, folder: Path, shown: _Progress | None) -> dict[str, object]:
    return {
        "homes": plan.homes,
        "regions": plan.regions,
        "first": plan.first.isoformat(),
        "days": plan.days,
        "seed": plan.seed,
        "folder": str(folder),
        "made": 0 if shown is None else shown.made,
        "seconds": 0 if shown is None else round(shown.seconds, 3),
    }
