"""`gateway config`: an example to start from, and a check; the `--config` option of other commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.cli.output import examples
from gateway.config import Config, example
from gateway.errors import UsageError
from gateway.meters.endpoint import Endpoint, Multicast, Tcp, Udp

Command = TypeVar("Command", bound=Callable[..., object])

DEFAULT_FILE = Path("/etc/gateway/gateway.toml")


def config_option(command: Command) -> Command:
    """`--config FILE` for a command that takes `config: Config`; the file is loaded and checked."""
    return _option(
        "config", "The configuration.", callback=lambda _context, _option, path: Config.load(path)
    )(command)


def config_path(about: str = "The configuration.") -> Callable[[Command], Command]:
    """`--config FILE` for a command that takes `path: Path` and loads the file; `about` is its help."""
    return _option("path", about)


def _option(name: str, about: str, **more: Any) -> Callable[[Command], Command]:
    return click.option(
        "--config",
        name,
        type=click.Path(readable=False, path_type=Path),
        default=DEFAULT_FILE,
        show_default=True,
        envvar="GATEWAY_CONFIG",
        show_envvar=True,
        help=about,
        **more,
    )


@click.group(epilog=examples("gateway config example > gateway.toml", "gateway config check gateway.toml"))
def command() -> None:
    """Print an example configuration, or check one."""


@command.command("example", epilog=examples("gateway config example > gateway.toml"))
def print_example() -> None:
    """Print a commented configuration to start from."""
    click.echo(example(), nl=False)


@command.command(epilog=examples("gateway config check gateway.toml"))
@click.argument(
    "file", type=click.Path(readable=False, path_type=Path), default=DEFAULT_FILE, envvar="GATEWAY_CONFIG"
)
def check(file: Path) -> None:
    """Say what FILE configures, or everything that is wrong with it."""
    # Imported here: every meter protocol comes with it, and all commands would wait for that.
    from gateway.config.wiring import endpoints  # noqa: PLC0415

    config = Config.load(file)
    try:
        places = endpoints(config.meter)
    except UsageError as error:
        raise UsageError("\n".join(f"{file}: {line}" for line in str(error).splitlines())) from None
    click.echo(f"{file} is valid.")
    for meter in config.meter:
        place = _place(places[meter.name])
        click.echo(f'  meter "{meter.name}": {meter.profile} at {place}, every {meter.interval_s:g} s')
        click.echo(f"    lanes {', '.join(meter.lanes)} in units of {config.stream.unit_ms} ms")
    for series in config.series:
        lanes = ", ".join(series.sealed)
        click.echo(f'  series "{series.name}": lanes {lanes} in units of {config.stream.unit_ms} ms')
    click.echo(f"  state in {config.gateway.state}, keys in the {config.trust.root} root")
    click.echo(f"  store {config.store.url}")


def _place(endpoint: Endpoint) -> str:
    if isinstance(endpoint, Udp):
        return f"{endpoint.host} UDP port {endpoint.port}"
    if isinstance(endpoint, Multicast):
        return str(endpoint)
    if isinstance(endpoint, Tcp):
        return f"{endpoint.host} port {endpoint.port}"
    return f"{endpoint.device}, {endpoint.settings}"
