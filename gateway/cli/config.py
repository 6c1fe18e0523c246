"""`gateway config`: an example to start from, and a check; the `--config` option of other commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from gateway.cli.output import examples
from gateway.config import Config, MeterSection, example
from gateway.meters.modbus.model import MODBUS_PORT

Command = TypeVar("Command", bound=Callable[..., object])

DEFAULT_FILE = Path("/etc/gateway/gateway.toml")


def config_option(command: Command) -> Command:
    """`--config FILE` for a command that takes `config: Config`; the file is loaded and checked."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=DEFAULT_FILE,
        show_default=True,
        envvar="GATEWAY_CONFIG",
        show_envvar=True,
        callback=lambda _context, _option, path: Config.load(path),
        help="The configuration.",
    )(command)


@click.group(epilog=examples("gateway config example > gateway.toml", "gateway config check gateway.toml"))
def command() -> None:
    """Print an example configuration, or check one."""


@command.command("example", epilog=examples("gateway config example > gateway.toml"))
def print_example() -> None:
    """Print a commented configuration to start from."""
    click.echo(example(), nl=False)


@command.command(epilog=examples("gateway config check gateway.toml"))
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_FILE)
def check(file: Path) -> None:
    """Say what FILE configures, or everything that is wrong with it."""
    config = Config.load(file)
    click.echo(f"{file} is right.")
    for meter in config.meter:
        click.echo(
            f'  meter "{meter.name}": {meter.profile} at {_place(meter)}, every {meter.interval_s:g} s'
        )
        click.echo(f"    lanes {', '.join(meter.lanes)} in units of {config.stream.unit_ms} ms")
    click.echo(f"  state in {config.gateway.state}, keys in the {config.trust.root} root")
    click.echo(f"  store {config.store.url}")


def _place(meter: MeterSection) -> str:
    if meter.tcp is not None:
        return f"{meter.tcp.host} port {meter.tcp.port or MODBUS_PORT}"
    assert meter.serial is not None
    return meter.serial.device
