"""The demo's processes: each logs to a file of its own, and none outlives this one.

Each runs in a session of its own, so that a Ctrl-C on the terminal reaches only this process, which then
stops them in order. If this process is killed, the kernel kills them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from gateway.cli.output import printable
from gateway.errors import Unavailable

# The prefix of a command. The kernel's signal at its parent's death (PR_SET_PDEATHSIG) outlives exec; $PPID
# shows whether the parent was gone already.
_PART = ("setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ $PPID = "$0" ] && exec "$@"')
# A command that starts processes of its own is ended together with them.
_COMMAND = (
    *("setpriv", "--pdeathsig", "TERM", "sh", "-c"),
    'trap "kill -9 0" TERM; [ $PPID = "$0" ] || exit; "$@" & wait $!',
)
_STOPPED_S = 10.0  # far above what any part takes to stop in order
_LINES = 12  # of a log, where one is shown
_READY_S = 60.0  # far above what any part takes to start on a slow machine


class PartFailed(Unavailable):
    """A part ended on its own, or is not ready in time; the text ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended: its exit code and what it printed."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Part:
    """A process that should run as long as the demo does."""

    name: str
    log: Path
    process: asyncio.subprocess.Process

    def log_end(self) -> str:
        """The end of its log, indented."""
        return end_of(self.log.read_text(errors="replace"))


class Parts:
    """The demo's processes, with their logs in `folder`. They are stopped in reverse order of their start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Part] = []
        self._waiters: list[asyncio.Task[None]] = []
        self._died: asyncio.Future[Part] = asyncio.get_running_loop().create_future()

    async def start(self, name: str, *command: str | Path) -> Part:
        """Start a part; `watch` raises when it ends."""
        log = self._folder / f"{name}.log"
        with log.open("ab") as file:
            process = await self._spawn(_PART, command, {}, file.fileno(), subprocess.STDOUT)
        part = Part(name, log, process)
        self._running.append(part)
        self._waiters.append(asyncio.create_task(self._wait(part)))
        return part

    async def run(self, *command: str | Path, environment: Mapping[str, str] | None = None) -> Done:
        """Run a command to its end; cancelling this ends it early."""
        pipe = subprocess.PIPE
        process = await self._spawn(_COMMAND, command, environment or {}, pipe, pipe)
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        assert process.returncode is not None
        return Done(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    async def watch(self) -> NoReturn:
        """Raise PartFailed as soon as a part has ended."""
        part = await asyncio.shield(self._died)
        code = part.process.returncode
        how = f"with exit code {code}" if code is not None and code >= 0 else f"by signal {-(code or 0)}"
        raise PartFailed(f"The {part.name} ended {how}. Its log ends:\n{part.log_end()}")

    async def stop(self) -> None:
        """Stop all parts in order: SIGTERM, and SIGKILL for one that does not end."""
        for waiter in self._waiters:
            waiter.cancel()
        await asyncio.gather(*self._waiters, return_exceptions=True)
        while self._running:
            process = self._running.pop().process
            if process.returncode is not None:
                continue
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOPPED_S)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _spawn(
        self,
        bound: tuple[str, ...],
        command: tuple[str | Path, ...],
        environment: Mapping[str, str],
        out: int,
        err: int,
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(*bound, str(os.getpid()), *command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, "TMPDIR": str(self._folder), **environment},
            start_new_session=True,
        )

    async def _wait(self, part: Part) -> None:
        await part.process.wait()
        if not self._died.done():
            self._died.set_result(part)


def program(name: str) -> Path:
    """A program of the virtual environment that this one runs in."""
    return Path(sys.executable).with_name(name)


async def until(part: Part, does: str, ready: Callable[[], Awaitable[bool]]) -> None:
    """Poll until `ready`; PartFailed if the part does not get there in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READY_S
    while not await ready():
        if loop.time() > deadline:
            raise PartFailed(
                f"The {part.name} did not {does} within {_READY_S:.0f} s. Its log ends:\n{part.log_end()}"
            )
        await asyncio.sleep(0.1)


def must(done: Done, what: str) -> Done:
    """A command that had to succeed; PartFailed with the end of its output if it did not."""
    if done.code != 0:
        raise PartFailed(f"{what} failed. Its output ends:\n{end_of(done.err or done.out)}")
    return done


def end_of(text: str) -> str:
    """The last lines of a process's output, indented."""
    lines = text.splitlines()[-_LINES:] or ["(nothing)"]
    return "\n".join(f"    {printable(line)}" for line in lines)
