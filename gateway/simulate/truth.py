"""A home that keeps up with a clock, and the truth file: a record of what its meter showed.

Every simulated meter shows the same values for a whole second, and never goes back. The truth file has a JSON
line for each second from the first one shown: {"unit": second, "import_mwh": .., "export_mwh": .., "power_w":
..}, the registers as the gateway reads them, in the display's resolution.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.simulate.home import Home

_NS = 1_000_000_000
_KEYS = {"import": "import_mwh", "export": "export_mwh", "power": "power_w"}


class LiveHome:
    """`home` at the current second of `clock`. `show` is called for each second that the meter shows: it sets
    the registers from the home, and returns them as the gateway reads them: lane names to mWh and W. With
    `truth`, every second is shown, and `keep` writes each to that file; without, only the seconds in which
    somebody asks. If the clock steps back, the last second is shown until the clock has passed it."""

    def __init__(
        self, home: Home, clock: Clock, show: Callable[[Home], Mapping[str, int]], truth: Path | None = None
    ) -> None:
        self._home = home
        self._clock = clock
        self._show = show
        self._truth = truth
        self._unwritten: list[str] = []
        home.advance_to(self._now())
        self._show_second()

    def catch_up(self) -> None:
        """Advance the home to the current second."""
        now = self._now()
        while self._home.second < now:
            self._home.advance_to(now if self._truth is None else self._home.second + 1)
            self._show_second()

    async def keep(self, each_second: Callable[[], None] = lambda: None) -> None:
        """Catch up each second and write the truth, until cancelled; `each_second` is called for the first
        second and whenever a later one has begun. UsageError where the truth cannot be written."""
        loop = asyncio.get_running_loop()
        said: int | None = None
        try:
            with ThreadPoolExecutor(1) as pen:  # one thread, so that all lines keep their order
                while True:
                    self.catch_up()
                    if said != self._home.second:
                        said = self._home.second
                        each_second()
                    if self._truth is not None and self._unwritten:
                        # It takes the lines itself, so that none is lost if this is cancelled before it
                        # begins.
                        await loop.run_in_executor(pen, self._write, self._truth)
                    else:
                        await self._clock.sleep((_NS - self._clock.wall() % _NS) / _NS)
        finally:
            if self._truth is not None and self._unwritten:
                self._write(self._truth)

    def _now(self) -> int:
        return self._clock.wall() // _NS

    def _show_second(self) -> None:
        shown = self._show(self._home)
        if self._truth is not None:
            line = {"unit": self._home.second} | {_KEYS[lane]: value for lane, value in shown.items()}
            self._unwritten.append(json.dumps(line) + "\n")

    def _write(self, truth: Path) -> None:
        lines, self._unwritten = self._unwritten, []
        _append(truth, lines)


def _append(truth: Path, lines: Sequence[str]) -> None:
    try:
        with truth.open("a", encoding="ascii") as file:
            file.writelines(lines)
    except OSError as error:
        raise UsageError(f"cannot write the truth to {truth}: {error.strerror}") from None
