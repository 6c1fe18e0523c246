"""`gateway simulate fleet`."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import click
import numpy as np

from gateway.chain.grant import MAX_K_MIN
from gateway.cli.card import read_card
from gateway.cli.output import examples, json_option, print_json
from gateway.cli.provider.place import store_options
from gateway.cli.simulate.store import make_folder
from gateway.cli.values import Duration
from gateway.errors import UsageError
from gateway.simulate.fleet.making import first_day, put_fleet, write_fleet
from gateway.simulate.fleet.objects import Parties
from gateway.simulate.fleet.plan import Plan
from gateway.store.location import Location
from gateway.wire.card import Card

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_HOMES_A_REGION = 1000
_QUIET_S = 10  # between lines where stderr is not a terminal
_CARDS = "--centre centre/card.cose --service service/card.cose"


@click.command(
    short_help="Many homes' objects in a store, or their blinded sums.",
    epilog=examples(
        f"gateway simulate fleet --homes 200 --days 1 --to ./store --state ./fleet {_CARDS}",
        "gateway simulate fleet --homes 1000 --days 7 --to s3://meters --endpoint http://127.0.0.1:9000"
        f" --state ./fleet {_CARDS} --unit 30s --granularity 30s --granularity 15min",
        "gateway simulate fleet --homes 1000000 --days 1 --parquet ./fleet",
    ),
)
@click.option("--homes", required=True, type=click.IntRange(1, 10**8), help="How many.")
@click.option("--days", default=1, show_default=True, type=click.IntRange(1, 3660), help="How many, UTC.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The day after the last.  [default: today]")
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
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="Per cent of the homes' days on which a gateway is off for hours.",
)
@click.option(
    "--late",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="Per cent of the homes whose last hours have not come.",
)
@click.option(
    "--broken",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="Per cent of the homes whose chain does not hold.",
)
@click.option("--processes", type=click.IntRange(1, 256), help="How many work.  [default: one a processor]")
@json_option
def command(
    homes: int,
    days: int,
    until: datetime | None,
    regions: int | None,
    seed: int,
    parquet: Path | None,
    location: Location | None,
    state: Path | None,
    centre: Path | None,
    service: Path | None,
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

    Beside them are the list of homes (homes.parquet, which also says which are late or broken, and how) and
    the truth in mWh by region and window (truth.parquet). All follows from --seed, the homes' KEYS too. The
    same command continues what was interrupted.
    """
    if (location is None) == (parquet is None):
        raise UsageError("say where the fleet goes: --to a store, or --parquet a folder")
    folder = parquet or state
    if folder is None:
        raise UsageError("--to needs --state: a folder for the list of homes and the truth")
    plan = Plan(
        homes=homes,
        days=days,
        first=_first(folder, until, days),
        regions=regions or -(-homes // _HOMES_A_REGION),
        seed=seed,
        unit_ms=unit_ms,
        chunk_ms=chunk_ms,
        windows_ms=tuple(dict.fromkeys(windows_ms)),
        outages=outages,
        late=late,
        broken=broken,
    )
    # In Parquet each of a home's days counts.
    what = "homes" if location or days == 1 else "days of homes"
    workers, shown = processes or os.cpu_count() or 1, _Progress(what)
    if location is None:
        if state or centre or service or k_min:
            raise UsageError("--state, --centre, --service and --k-min go with --to, not with --parquet")
        made = write_fleet(plan, folder, workers, shown.show)
    else:
        parties = Parties(_card(centre, "--centre"), _card(service, "--service"), k_min)
        make_folder(location)
        made = put_fleet(plan, location, parties, folder, workers, shown.show)
    if as_json:
        print_json(_document(plan, folder, shown if made else None))
    elif made:
        fates = plan.fates(np.arange(homes))
        size = f"{_many(homes, 'home')} in {_many(plan.regions, 'region')}, {_many(days, 'day')}"
        trouble = f"{fates.late.sum()} late, {fates.broken.sum()} broken"
        click.echo(f"{size} from {plan.first} on; {trouble}; {shown.rate()}")
        click.echo(f"the list of homes and the truth are in {folder}")
    else:
        click.echo(f"{folder} has this fleet already")


def _first(folder: Path, until: datetime | None, days: int) -> date:
    """The first day: by --until, or as it was when the fleet was begun, or so that it ends today."""
    today = datetime.now(UTC).date()
    if until is not None and until.date() > today:
        raise UsageError(
            f"--until {until.date()} lies in the future: a fleet's days end today, {today}, or earlier"
        )
    begun = first_day(folder) if until is None else None
    try:
        return begun or (until.date() if until else today) - timedelta(days=days)
    except OverflowError:
        raise UsageError(f"--days {days}: they would begin before the year 1") from None


def _card(path: Path | None, option: str) -> Card:
    if path is None:
        raise UsageError("--to needs --centre and --service: the cards to which loads are granted")
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
        return f"{self.made / max(self.seconds, 0.001):.0f} {self.what} a second"


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
