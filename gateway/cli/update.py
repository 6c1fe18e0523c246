"""`gateway update`: newer releases of the appliance's image."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.appliance.health import check_trial
from gateway.appliance.journal import Journal, ReleaseNote
from gateway.appliance.rauc import Rauc
from gateway.appliance.update import Place, Updater, what_works
from gateway.cli.codes import exit_code
from gateway.cli.config import config_path
from gateway.cli.output import echo, examples, json_option, local_time, print_json, printable
from gateway.config import Config
from gateway.config.model import GatewaySection
from gateway.config.updates import UpdatesSection
from gateway.control.client import ControlClient
from gateway.errors import GatewayError, NewerLedger, UsageError
from gateway.host.clock import SystemClock

Command = TypeVar("Command", bound=Callable[..., object])

_STEP = 10  # per cent between two lines of progress

_config_option = config_path("The configuration, whose [updates] name the feed.")
_feed_option = click.option(
    "--feed", metavar="URL|FOLDER", help="Another feed than that of the configuration."
)


@click.group(
    epilog=examples(
        "sudo gateway update check",
        "sudo gateway update install --reboot",
        "gateway update status",
    )
)
def command() -> None:
    """Update the appliance's image: find a newer release, install it into the other slot, and try it.

    A release on trial is kept once its gateway seals a reading and reaches the store, within ten minutes of
    its start. Otherwise the machine goes back to the release before by itself.
    """


@command.command(
    epilog=examples("sudo gateway update check", "sudo gateway update check --feed /media/stick --json")
)
@_config_option
@_feed_option
@json_option
def check(path: Path, feed: str | None, as_json: bool) -> None:
    """Ask the feed for a newer release. Exit 4 if the feed cannot be read, 5 if its release must not be
    installed on this machine."""
    updater = _updater()
    latest = asyncio.run(updater.check(feed or _feed(path)))
    if as_json:
        release = None if latest is None else ReleaseNote.of(latest.release).model_dump()
        print_json({"available": release})
    elif latest is None:
        echo(f"{updater.running().name} is the newest release.")
    else:
        echo(f"{latest.release.name} is available: `sudo gateway update install --reboot` installs it.")


@command.command(
    short_help="Install it into the slot that does not run.",
    epilog=examples(
        "sudo gateway update install",
        "sudo gateway update install --reboot",
        "sudo gateway update install --feed /media/stick --reboot",
    ),
)
@_config_option
@_feed_option
@click.option("--reboot", is_flag=True, help="Restart into the release at once, for its trial.")
@click.option(
    "--scheduled",
    is_flag=True,
    help="As the timer asks: only at the configured hour, with --reboot if updates are automatic.",
)
def install(path: Path, feed: str | None, reboot: bool, scheduled: bool) -> None:
    """Install the feed's release, if it is newer, into the slot that does not run. What runs goes on; if the
    download breaks off, the next one goes on there."""
    updater, config = _updater(), _load(path)
    feed = feed or config.updates.feed
    if scheduled:
        if feed is None or not _is_due(config.updates):
            return
        asyncio.run(_scheduled(updater, config, feed))
    else:
        asyncio.run(_install(updater, config, feed or _feed(path), reboot))


async def _scheduled(updater: Updater, config: _Settings, feed: str) -> None:
    latest = await updater.check(feed)
    if latest is None:
        return
    note, last = ReleaseNote.of(latest.release), updater.known().last
    if not config.updates.automatic:
        echo(f"{note.name} is available, and updates are not automatic")
    elif last is not None and last.release == note and not last.kept:
        echo(f"{note.name} was tried before, and is not tried again by itself: {last.sentence}")
    else:
        await _install(updater, config, feed, True)


async def _install(updater: Updater, config: _Settings, feed: str, reboot: bool) -> None:
    release = await updater.install(feed, _downloading(), _installing())
    if release is None:
        echo(f"{updater.running().name} is the newest release: nothing is installed.")
        return
    echo(f"{release.name} is installed in the other slot.")
    if not reboot:
        echo("`sudo gateway update install --reboot` restarts into it.")
        return
    await updater.restart(await what_works(ControlClient(config.socket), SystemClock("host")))
    echo("The machine restarts into it, on trial.")


@command.command(
    short_help="Show which release runs, and what became of others.",
    epilog=examples("gateway update status", "gateway update status --json"),
)
@json_option
def status(as_json: bool) -> None:
    """Show which release runs, what is available or installed, and how the last trial ended."""
    updater = _updater()
    known, running = updater.known(), ReleaseNote.of(updater.running())
    if as_json:
        document: dict[str, Any] = {"running": running.model_dump(), **known.model_dump()}
        print_json(document)
        return
    trial = known.trying is not None and known.trying.release == running
    echo(f"{running.name} runs{', on trial' if trial else ''} (epoch {running.epoch}).")
    if known.available is not None and known.available != known.installed:
        echo(f"{known.available.name} is available: `sudo gateway update install --reboot` installs it.")
    if known.installed is not None:
        echo(f"{known.installed.name} is installed: `sudo gateway update install --reboot` restarts into it.")
    if known.last is not None and not (trial and known.last.release == running):  # not yet decided
        kept = "was kept" if known.last.kept else "was not kept"
        moment = local_time(known.last.ended_ms // 1000 * 1000)
        echo(printable(f"{known.last.release.name} {kept}, {moment}: {known.last.sentence}."))
    if known.checked_ms is not None:
        echo(f"The feed was last asked at {local_time(known.checked_ms // 1000 * 1000)}.")
    if known.error is not None:
        echo(printable(f"That failed: {known.error}."))


@command.command(
    short_help="Keep the release on trial, or leave it.",
    epilog=examples("sudo gateway update health", "sudo gateway update health --json"),
)
@_config_option
@json_option
def health(path: Path, as_json: bool) -> int:
    """Check the release on trial, as the service gateway-health does after an update. Exit 1 if the machine
    has to restart, because it is not kept."""
    try:
        socket = _load(path).socket
    except UsageError:
        # What is wrong with it, by this release, keeps the gateway from running, and is said at its socket.
        socket = GatewaySection().socket
    client = ControlClient(socket)
    journal, clock = Journal(Place().folder), SystemClock("host")
    checked = asyncio.run(check_trial(journal, Rauc(), client, clock, _found_newer))
    outcome = None if checked is None else checked.outcome
    if as_json:
        print_json(None if outcome is None else outcome.model_dump())
    elif outcome is None:
        echo("No release is on trial.")
    else:
        kept = "is kept" if outcome.kept else "is not kept"
        echo(printable(f"{outcome.release.name} {kept}: {outcome.sentence}."))
    return exit_code(GatewayError) if checked is not None and checked.restart else 0


async def _found_newer() -> bool:
    """Whether the service's last run ended with the exit code of a ledger that a newer gateway wrote."""
    words = ["systemctl", "show", "--property=ExecMainStatus", "--value", "gateway.service"]
    try:
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.strip() == str(exit_code(NewerLedger))


@dataclass(frozen=True, slots=True)
class _Settings:
    """What updates need of the configuration."""

    socket: Path
    updates: UpdatesSection


def _load(path: Path) -> _Settings:
    """From the configuration; the defaults of a machine that is not set up yet."""
    if not path.exists():
        return _Settings(GatewaySection().socket, UpdatesSection())
    config = Config.load(path)
    return _Settings(config.gateway.socket, config.updates)


def _feed(path: Path) -> str:
    feed = _load(path).updates.feed
    if feed is None:
        raise UsageError(
            f'{path} names no release feed: add [updates] with feed = "https://...", or give --feed'
        )
    return feed


def _is_due(updates: UpdatesSection) -> bool:
    """Whether it is the owner's hour, by a clock that is right."""
    return SystemClock().trusted() and time.localtime().tm_hour == updates.hour


def _updater() -> Updater:
    return Updater(Place(), Rauc(), SystemClock("host"))


def _downloading() -> Callable[[int, int], None]:
    """Prints a line for each _STEP per cent of a download."""
    shown = -1

    def show(here: int, size: int) -> None:
        nonlocal shown
        percent = 100 * here // size // _STEP * _STEP
        if percent > shown:
            shown = percent
            click.echo(f"downloading: {percent} % of {size / 1e6:.0f} MB")

    return show


def _installing() -> Callable[[int, str], None]:
    """Prints a line for each of RAUC's steps."""
    shown = ""

    def show(percent: int, step: str) -> None:
        nonlocal shown
        if step != shown:
            shown = step
            click.echo(f"installing: {percent} %, {printable(step)}")

    return show
