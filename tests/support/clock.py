"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

NS = 1_000_000_000
START_S = 1_780_000_000  # 2026-05-28T20:26:40Z
_DEADLINE_S = 20.0  # of real time, far above what any condition takes on a loaded machine


class FakeClock:
    """See `gateway.host.clock.Clock`. `pass_s` lets time go by, `step_s` sets the wall clock alone."""

    def __init__(self, wall_s: float = START_S, *, trusted: bool = True) -> None:
        self._wall = round(wall_s * NS)
        self._monotonic = 1_000 * NS
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self.is_trusted = trusted

    def wall(self) -> int:
        return self._wall

    def monotonic(self) -> int:
        return self._monotonic

    def trusted(self) -> bool:
        return self.is_trusted

    @property
    def now_ms(self) -> int:
        return self._wall // 1_000_000

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        sleeper = (self._monotonic + round(seconds * NS), next(self._order), woken)
        heapq.heappush(self._sleepers, sleeper)
        self._changed.set()
        try:
            await woken
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def pass_s(self, seconds: float) -> None:
        """Let time go by, and wake who has slept enough."""
        self._wall += round(seconds * NS)
        self._monotonic += round(seconds * NS)
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)

    def step_s(self, seconds: float) -> None:
        """Set the wall clock, as a person or a time server does; nobody wakes."""
        self._wall += round(seconds * NS)

    async def asleep(self, tasks: int = 1) -> None:
        """Wait until at least so many tasks sleep: they have done what they had to do until then."""
        async with asyncio.timeout(_DEADLINE_S):
            while len(self._sleepers) < tasks:
                self._changed.clear()
                await self._changed.wait()
