"""`gateway household`: the daemon of the household's pages, in the foreground; its setup code."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.codes import exit_code
from gateway.cli.output import examples, json_option, print_json, printable
from gateway.errors import Unavailable, UsageError
from gateway.host.clock import SystemClock
from gateway.host.systemd import Notifier

if TYPE_CHECKING:
    from gateway.household.configuration import HouseholdConfig
    from gateway.household.security.password import Password

DEFAULT_FILE = Path("/etc/gateway/household.toml")
_CLOCK = SystemClock("host")


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "gateway household",
        "gateway household --config ./household.toml",
        "sudo gateway household setup-code",
    ),
)
@click.option(
    "--config",
    "path",
    type=click.Path(readable=False, path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    envvar="GATEWAY_HOUSEHOLD_CONFIG",
    show_envvar=True,
    help="The configuration; the default one may be missing.",
)
@click.pass_context
def command(context: click.Context, path: Path) -> None:
    """Serve the pages of this home, until stopped.

    They ask the gateway over its control socket, and have neither its keys nor the store's credentials. The
    commands below are for whoever has this machine.
    """
    context.obj = path
    if context.invoked_subcommand is None:
        # systemd stamps each line itself.
        stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{stamp}%(levelname)s %(message)s")
        asyncio.run(_serve(_load(path)))


@command.command("setup-code", epilog=examples("sudo gateway household setup-code"))
@click.pass_obj
def setup_code(path: Path) -> None:
    """Print the code with which the first password is chosen."""
    click.echo(_password(path).setup_code())


@command.command("forget-password", epilog=examples("sudo gateway household forget-password"))
@click.pass_obj
def forget_password(path: Path) -> None:
    """Forget the password, and print a new setup code.

    Who is logged in stays so until the next password is chosen.
    """
    click.echo(_password(path).forget())


@command.command(
    "metrics-token",
    epilog=examples("sudo gateway household metrics-token", "sudo gateway household metrics-token --forget"),
)
@click.option("--forget", is_flag=True, help="End the token that was made, and make none.")
@click.pass_obj
def metrics_token(path: Path, forget: bool) -> None:
    """Make a token for /metrics, and print it.

    It is shown this once, and ends the one made before. A monitoring system sends it along: Authorization:
    Bearer TOKEN.
    """
    state = _state(path)
    try:
        from gateway.household.security.metrics_token import MetricsToken  # noqa: PLC0415
    except ImportError as error:
        raise _missing(error) from None
    _become_owner(state)
    token = MetricsToken(state, None)
    if forget:
        token.forget()
    else:
        click.echo(token.make())


@command.group("mqtt", epilog=examples("sudo gateway household mqtt test"))
def mqtt() -> None:
    """The brokers of [mqtt.home] and [mqtt.utility]."""


@mqtt.command("test", epilog=examples("sudo gateway household mqtt test"))
@json_option
@click.pass_obj
def mqtt_test(path: Path, as_json: bool) -> int:
    """Connect to each broker, and try what the gateway does there. Exit 0 if all is well, 4 if not.

    The connection of the running pages to the utility's broker is interrupted for a moment.
    """
    return asyncio.run(_test_mqtt(_load(path), as_json))


async def _test_mqtt(config: HouseholdConfig, as_json: bool) -> int:
    from gateway.control.client import ControlClient  # noqa: PLC0415
    from gateway.household.mqtt.check import check  # noqa: PLC0415

    found = []
    async for one in check(config.mqtt, ControlClient(config.household.socket).status, _CLOCK):
        found.append(one)
        if not as_json:
            mark = click.style("ok  ", fg="green") if one.ok else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {one.part}: {printable(one.sentence)}")
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
    return 0 if all(one.ok for one in found) else exit_code(Unavailable)


def _load(path: Path) -> HouseholdConfig:
    try:
        from gateway.household.configuration import HouseholdConfig  # noqa: PLC0415
    except ImportError as error:
        raise _missing(error) from None
    return HouseholdConfig.load(path, required=path != DEFAULT_FILE)


def _state(path: Path) -> Path:
    state = _load(path).household.state
    if not state.is_dir():
        raise UsageError(
            f"{state} is not there yet: start the pages first (systemctl start gateway-household)"
        )
    return state


def _become_owner(state: Path) -> None:
    """Root writes from now on as the pages' user, whose own everything there is to be."""
    if os.geteuid() == 0:
        owner = state.stat()
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def _password(path: Path) -> Password:
    state = _state(path)
    try:
        from gateway.household.security.password import Password  # noqa: PLC0415
    except ImportError as error:
        raise _missing(error) from None
    _become_owner(state)
    return Password(state, _CLOCK)


def _missing(error: ImportError) -> UsageError:
    return UsageError(
        f"the pages need {error.name}, which is not installed: install gateway[household], "
        "or run provisioning/venv.sh household"
    )


async def _serve(config: HouseholdConfig) -> None:
    try:
        from gateway.household.home import open_household  # noqa: PLC0415
        from gateway.household.server import serving  # noqa: PLC0415
    except ImportError as error:
        raise _missing(error) from None
    stopped = asyncio.Event()
    for ending in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(ending, stopped.set)
    notifier, log = Notifier(), logging.getLogger(__name__)
    async with (
        open_household(config, _CLOCK) as home,
        serving(home) as url,
        home.working(),
    ):
        log.info("the pages of this home are at %s", url)
        if not home.password.chosen:
            home.password.setup_code()
            log.info("nobody has chosen a password yet: sudo gateway household setup-code")
        notifier.notify("READY=1")
        await stopped.wait()
        notifier.notify("STOPPING=1")
