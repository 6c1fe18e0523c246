"""A run of the demo: a new folder, its processes, its screen, and the end of all of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from gateway.cli.codes import exit_code
from gateway.errors import GatewayError, Unavailable
from provisioning.demo.home import LONGEST_FOLDER
from provisioning.demo.process import Parts
from provisioning.demo.screen import LiveScreen, Screen
from provisioning.demo.story import Story
from provisioning.demo.tpm import need_tpm

_NEEDED_MB = 200  # a run writes some 10 MB; SeaweedFS takes no objects where a disk is nearly full


def run(*, once: bool, software: bool) -> int:
    """Run to the end, and return the exit code. What went wrong is printed to stderr."""
    _clear_settings()
    try:
        if not software:
            need_tpm()
        return asyncio.run(_run(once, software))
    except GatewayError as error:
        print(error, file=sys.stderr)
        return exit_code(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        print(f"The demo cannot continue: {error.strerror}{where}.", file=sys.stderr)
        return exit_code(Unavailable)


async def _run(once: bool, software: bool) -> int:
    console = Console(highlight=False)
    live = sys.stdout.isatty() and not console.is_dumb_terminal
    with _fresh_folder() as folder:
        async with (LiveScreen if live else Screen)(console, software) as screen:
            parts = Parts(folder)
            story = Story(parts, folder, screen, software)
            running = asyncio.create_task(_unless_a_part_ends(story.run(once), parts))
            ended = _cancel_at_signals(running)
            try:
                await running
            except asyncio.CancelledError:
                pass
            finally:
                screen.stopping()
                await parts.stop()
            if not screen.minutes:
                return 128 + ended[0]
            code, *words = story.ending()
            screen.end(*words)
    return code


async def _unless_a_part_ends(work: Coroutine[Any, Any, None], parts: Parts) -> None:
    """Do `work`; raise the first failure, its own or a part's, unwrapped."""
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(parts.watch())
            await work
            watching.cancel()
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def _cancel_at_signals(task: asyncio.Task[None]) -> list[int]:
    """Cancel the task at the first signal that asks to end; the list to which all such signals are added."""
    loop = asyncio.get_running_loop()
    came: list[int] = []

    def cancel(number: int) -> None:
        if not came:
            task.cancel()
        came.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, cancel, number)
    return came


@contextlib.contextmanager
def _fresh_folder() -> Iterator[Path]:
    """A folder that is removed at the end."""
    place = Path(tempfile.gettempdir())
    free_mb = shutil.disk_usage(place).free // 1_000_000
    if free_mb < _NEEDED_MB:
        raise Unavailable(
            f"The disk of {place} has {free_mb} MB left, and the demo needs {_NEEDED_MB}: free some, or name"
            " a folder on another disk in TMPDIR."
        )
    with tempfile.TemporaryDirectory(prefix="gateway-try-", ignore_cleanup_errors=True) as name:
        if len(name) > LONGEST_FOLDER:
            raise Unavailable(f"{name} is too long a path for a socket in it: name a shorter one in TMPDIR.")
        yield Path(name)


def _clear_settings() -> None:
    """Remove a person's settings for other S3 servers and networks from the environment."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "GATEWAY_", "WEED_", "S3_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
