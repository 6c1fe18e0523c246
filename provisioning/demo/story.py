"""The course of the demo: the parts start, a grant is made, minutes close, are opened and compared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway.cli.codes import exit_code
from gateway.errors import NotGranted
from provisioning.demo.home import Gateway, Provider, Stream
from provisioning.demo.meter import MODEL, SimulatedMeter, start_meter
from provisioning.demo.minutes import LINK_UNITS, MINUTE_S, Minute, opened_sums, sealed_sums, shown_sums
from provisioning.demo.process import Done, PartFailed, Parts, end_of, program
from provisioning.demo.screen import Screen
from provisioning.demo.store import Store, start_store
from provisioning.demo.tpm import start_tpm
from provisioning.demo.views import clock_time

_READING_S = 5  # until the gateway reads the meter, roughly: only to estimate how long it all takes
_SENT_S = 1.0  # a minute's last unit is sealed with the next commit, within a second
_OPENED_S = 60.0  # far above what its way through the store takes

_DIFFERS = (
    "A sum is not what the meter showed. If this machine was too busy to read the meter at a minute's border,"
    " a second's energy can be in the minute before or after. Otherwise please report it."
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Home:
    """The parts in which a minute is looked up."""

    meter: SimulatedMeter
    store: Store
    gateway: Gateway
    stream: Stream


class Story:
    """The course of one run, shown on `screen`. The root is in a TPM, with `software` in a file."""

    def __init__(self, parts: Parts, folder: Path, screen: Screen, software: bool) -> None:
        self._parts = parts
        self._folder = folder
        self._screen = screen
        self._software = software
        self._provider = Provider(parts, folder)
        self._finer = exit_code(NotGranted)

    def ending(self) -> tuple[int, str, str]:
        """The exit code, the last words and their style, once there is a first minute."""
        minutes = self._screen.minutes
        if self._finer != exit_code(NotGranted):
            return (
                1,
                "A request for finer sums must be refused, and was not. Please report it.",
                "bold red",
            )
        if not all(minute.agrees for minute in minutes):
            return 1, _DIFFERS, "bold red"
        count = (
            "The minute's sums are" if len(minutes) == 1 else f"The sums of all {len(minutes)} minutes are"
        )
        return 0, f"{count} what the meter showed, to the last mWh.", "bold green"

    async def run(self, once: bool) -> None:
        """Run up to the first minute, or until cancelled."""
        screen = self._screen
        start = _next(time.time() + _READING_S, LINK_UNITS)
        screen.wait("the first minute should close", _next(start - 1, MINUTE_S) + MINUTE_S)
        with ExitStack() as ports:
            home = await self._start_parts(ports)
            begin = await self._grant(home)
            screen.wait("the first minute closes", begin + MINUTE_S)
            minutes = await self._opened(home, begin)
            finer = await self._provider.read(home.store, home.stream, begin, "10s")
            self._finer = finer.code
            screen.first(minutes.pop(0), finer.err.strip() or "The provider received them.", finer.code)
            if once:
                return
            screen.hint(
                "Ctrl-C ends it. Until then, query the gateway from another terminal:\n"
                f"  {_typed(program('gateway'))} status --config {home.gateway.config}"
            )
            while True:
                for minute in minutes:
                    screen.more(minute)
                begin = screen.minutes[-1].begin + MINUTE_S
                screen.wait("the next minute closes", begin + MINUTE_S)
                minutes = await self._opened(home, begin)

    async def _start_parts(self, ports: ExitStack) -> _Home:
        """Start all parts, and wait until the stream begins."""
        parts, folder = self._parts, self._folder
        async with asyncio.TaskGroup() as starting:
            tpm = None
            if not self._software:
                tpm = starting.create_task(
                    self._step(
                        "TPM", "is made", start_tpm(parts, folder), lambda _: "swtpm, fresh from the factory"
                    )
                )
            store = starting.create_task(
                self._step(
                    "store",
                    "starts",
                    start_store(parts, folder, ports),
                    lambda store: f"SeaweedFS, an S3 server at {store.endpoint}",
                )
            )
            meter = starting.create_task(
                self._step(
                    "meter",
                    "starts",
                    start_meter(parts, folder),
                    lambda meter: f"{MODEL} of a simulated home, Modbus on port {meter.port}",
                )
            )
            starting.create_task(
                self._step(
                    "provider", "makes its keys", self._provider.new(), lambda _: "has its keys and its card"
                )
            )
        gateway = Gateway(
            parts, folder, store.result(), meter.result(), None if tpm is None else tpm.result()
        )
        await self._step("gateway", "starts", gateway.start(), lambda _: "reads the meter once a second")
        stream = await self._step(
            "stream",
            f"begins with the next {LINK_UNITS} seconds",
            gateway.stream(),
            lambda stream: f"{stream.id[:8]}... is sealed from {clock_time(stream.start)} on",
        )
        return _Home(meter.result(), store.result(), gateway, stream)

    async def _grant(self, home: _Home) -> int:
        """Make the grant; the first second that it opens."""
        return await self._step(
            "grant",
            "is made",
            home.gateway.grant(self._provider.card, home.stream.start),
            lambda begin: f"1-minute sums of import and export, from {clock_time(begin)} on",
        )

    async def _step(
        self, name: str, doing: str, work: Coroutine[Any, Any, T], result: Callable[[T], str]
    ) -> T:
        step = self._screen.begin(name, doing)
        value = await work
        self._screen.done(step, result(value))
        return value

    async def _opened(self, home: _Home, begin: int) -> list[Minute]:
        """Wait until the minute from `begin` on has closed and opens; that minute, and those after it that
        opened too (a laptop may have slept)."""
        while (left := begin + MINUTE_S + _SENT_S - time.time()) > 0:  # noqa: ASYNC110 - a clock may be set
            await asyncio.sleep(min(left, 1))
        deadline = time.monotonic() + _OPENED_S
        while True:
            done = await self._provider.read(home.store, home.stream, begin, "1min")
            minutes = await self._compared(home, done) if done.code == 0 else []
            if minutes:
                return minutes
            if time.monotonic() > deadline:
                raise PartFailed(
                    f"The minute from {clock_time(begin)} on did not open within {_OPENED_S:.0f} s after its"
                    f" end. The provider's output:\n{end_of(done.err or done.out)}\n"
                    f"The end of the gateway's log:\n{home.gateway.log_end()}"
                )
            await asyncio.sleep(0.2)

    async def _compared(self, home: _Home, done: Done) -> list[Minute]:
        """The minutes that the provider opened, up to the first that the meter has not recorded yet."""
        bucket = home.store.bucket()
        minutes = []
        try:
            for begin, opened in sorted(opened_sums(done.out).items()):
                shown = await asyncio.to_thread(shown_sums, home.meter.truth, begin)
                if shown is None:
                    break
                sealed = await sealed_sums(bucket, bytes.fromhex(home.stream.id), begin)
                minutes.append(Minute(begin, opened, shown, sealed))
        finally:
            await bucket.aclose()
        return minutes


def _next(second: float, step: int) -> int:
    """The first multiple of `step` after `second`."""
    return (int(second) // step + 1) * step


def _typed(path: Path) -> Path:
    """A path as a person in this folder would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
