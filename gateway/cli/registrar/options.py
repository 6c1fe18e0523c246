"""What the registrar's commands share: `--config`, and work on an open registrar."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from gateway.host.clock import SystemClock
from gateway.registrar.service import Registrar, open_registrar
from gateway.registrar.settings import Settings

Command = TypeVar("Command", bound=Callable[..., object])
T = TypeVar("T")

DEFAULT_FILE = Path("/etc/gateway-registrar/registrar.toml")
CLOCK = SystemClock("host")


def settings_option(command: Command) -> Command:
    """`--config FILE` for a command that takes `settings: Settings`; the file is loaded and checked."""
    return click.option(
        "--config",
        "settings",
        type=click.Path(readable=False, path_type=Path),
        default=DEFAULT_FILE,
        show_default=True,
        envvar="GATEWAY_REGISTRAR_CONFIG",
        show_envvar=True,
        callback=lambda _context, _option, path: Settings.load(path),
        help="The configuration.",
    )(command)


def working(settings: Settings, work: Callable[[Registrar], Awaitable[T]]) -> T:
    """What `work` gives for the open registrar. A server may run beside it."""

    async def run() -> T:
        async with open_registrar(settings, CLOCK) as registrar:
            return await work(registrar)

    return asyncio.run(run())
