"""RAUC, which writes the slots: its command, over whose service it runs without root."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.errors import GatewayError, Unavailable

_PERCENT = re.compile(r"\s*(\d{1,3})% (.*)")
_LAST_ERROR = "LastError: "


@dataclass(frozen=True, slots=True)
class Slots:
    """The bootname, "A" or "B", of the slot that runs, and of the one that is to run after a restart."""

    running: str
    primary: str


class Rauc:
    """`command` is RAUC's, with options where it needs any."""

    def __init__(self, command: Sequence[str] = ("rauc",)) -> None:
        self._command = tuple(command)

    async def install(self, bundle: Path, progress: Callable[[int, str], object]) -> None:
        """Write a bundle to the slot that does not run, and arm that; `progress` is told the per cent and the
        step. GatewayError says why RAUC refused or failed."""
        process = await self._start("install", str(bundle))
        assert process.stdout is not None
        said = []
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            said.append(line)
            if (step := _PERCENT.fullmatch(line)) is not None:
                progress(int(step[1]), step[2])
        if await process.wait():
            raise GatewayError(f"RAUC did not install {bundle.name}: {_reason(said)}")

    async def slots(self) -> Slots:
        """The state of both slots. GatewayError where RAUC does not say it."""
        answer = await self._run("status", "--output-format=json")
        try:
            document = json.loads(answer)
            slots = {name: slot for entry in document["slots"] for name, slot in entry.items()}
            (running,) = (slot["bootname"] for slot in slots.values() if slot["state"] == "booted")
            return Slots(str(running), str(slots[document["boot_primary"]]["bootname"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise GatewayError("RAUC does not say which slot runs: see `rauc status`") from None

    async def mark(self, state: Literal["good", "bad"], which: Literal["booted", "other"]) -> None:
        """Mark the running slot or the other one: good commits the running slot, bad disarms an armed one."""
        await self._run("status", f"mark-{state}", which)

    async def _run(self, *words: str) -> str:
        process = await self._start(*words)
        out, _ = await process.communicate()
        text = out.decode(errors="replace")
        if process.returncode:
            raise GatewayError(f"`rauc {' '.join(words)}` failed: {_reason(text.splitlines())}")
        return text

    async def _start(self, *words: str) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as error:
            raise Unavailable(
                f"RAUC cannot be started ({error.strerror}): only the appliance's image, which has it, is "
                "updated by this command"
            ) from None


def _reason(lines: Sequence[str]) -> str:
    """The last error among a command's lines, else the last line."""
    told = [line for line in lines if line.strip()]
    errors = [line.partition(_LAST_ERROR)[2] for line in told if _LAST_ERROR in line]
    return (errors or told or ["it said nothing"])[-1].strip(" .")
