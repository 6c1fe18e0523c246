"""A watch over a neighbourhood, at a time that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

from gateway.centre.alarms import Alarms
from gateway.centre.engine import DuckDB
from gateway.centre.query import Ask, Certified
from gateway.centre.state import State
from gateway.centre.watch import Point, Watch
from gateway.errors import GatewayError, Unavailable
from gateway.provider.load import Answer, Windows
from tests.centre.neighbourhood import Neighbourhood
from tests.stream.stream import START
from tests.support.clock import FakeClock

WAIT_S = 120
MINUTE_MS = 60_000


class Watched:
    """The watch of a neighbourhood's windows of a minute. `error` is what the summing service
    answers instead, and of an Unavailable one the catalogue too."""

    def __init__(self, street: Neighbourhood, **limits: str) -> None:
        self.street = street
        self.clock = FakeClock(START)
        self.state = State.open(street.folder / "data", make=True)
        self.limits = {name: Decimal(one) for name, one in limits.items()}
        self.error: GatewayError | None = None
        self.sessions = self.catalogues = 0
        self.lines: list[str] = []
        self.log: list[str] = []
        self.watch = self.new()

    def new(self) -> Watch:
        """A watch as it is after a restart."""
        return Watch(
            self.state,
            DuckDB(),
            self.service,
            self.clock,
            Alarms(self.clock, self.lines.append),
            window_ms=MINUTE_MS,
            wait_ms=WAIT_S * 1000,
            limits=self.limits,
            notify=self.log.append,
        )

    @asynccontextmanager
    async def service(self) -> AsyncIterator[tuple[Ask, Certified]]:
        self.sessions += 1

        async def ask(homes: str, windows: Windows) -> Answer:
            if self.error is not None:
                raise self.error
            return await self.street.ask(homes, windows)

        async def certified() -> set[bytes]:
            self.catalogues += 1
            if isinstance(self.error, Unavailable):
                raise self.error
            return {home.id for home in self.street.homes}

        yield ask, certified

    async def looks_at(self, second: float) -> None:
        """A look so many seconds after the neighbourhood's start."""
        self.clock.pass_s(START + second - self.clock.now_ms / 1000)
        await self.watch.look()

    def points(self, region: str = "North") -> list[Point]:
        """The region's windows from the neighbourhood's start on."""
        found = self.watch.regions.get(region)
        return [] if found is None else [one for one in found.curve if one.start_ms >= START * 1000]
