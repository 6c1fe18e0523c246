"""Following streams: rows as their windows close and open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from gateway.errors import GatewayError, StoreUnavailable
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.provider.desk import Home
from gateway.provider.sums import Row, Sums
from gateway.stream.reader import StreamReader

_SHORTEST_S, _LONGEST_S = 2.0, 10.0
_WAITING = 1000  # rows of many homes that wait for whoever takes them


async def follow(
    reader: StreamReader,
    sums: Sums,
    clock: Clock,
    max_age_ms: int,
    notify: Callable[[str], None],
) -> AsyncGenerator[Row, None]:
    """The rows of `sums`, and then each further one as it opens, until no more can come.

    The store is read every 2 s, and less often, down to every 10 s, while nothing comes. One that does not
    answer is tried again for ever, and `notify` is given sentences about it. Refused is raised.
    """
    faults = FaultLog(clock, notify, notify)
    pause, renewed_at = _SHORTEST_S, reader.head
    while True:
        came = False
        try:
            await reader.refresh(unix_ms(clock), max_age_ms)
            if reader.head != renewed_at:
                await sums.renew()
                renewed_at = reader.head
            async with aclosing(sums.rows()) as rows:
                async for row in rows:
                    came = True
                    yield row
            faults.clear("the store answers again")
        except StoreUnavailable as error:
            faults.report(f"{error}; trying again")
        if sums.done:
            return
        pause = _SHORTEST_S if came else min(pause * 1.5, _LONGEST_S)
        await clock.sleep(pause)


@dataclass(frozen=True, slots=True)
class Followed:
    """A home to follow: its stream, and the sums that were asked of it."""

    home: Home
    reader: StreamReader
    sums: Sums


async def follow_many(
    homes: Sequence[Followed], clock: Clock, max_age_ms: int, notify: Callable[[str], None]
) -> AsyncGenerator[tuple[Home, Row | GatewayError], None]:
    """The rows of all `homes` as they open, each home's in order, until no more can come; see `follow`. A
    home's error is handed out, and ends that home alone. A sentence that several homes have is given once."""
    came: asyncio.Queue[tuple[Home, Row | Exception | None]] = asyncio.Queue(_WAITING)
    said: list[str] = []

    def notify_once(sentence: str) -> None:
        if said[-1:] != [sentence]:
            said[:] = [sentence]
            notify(sentence)

    async def take(one: Followed) -> None:
        try:
            rows = follow(one.reader, one.sums, clock, max_age_ms, notify_once)
            async with aclosing(rows):
                async for row in rows:
                    await came.put((one.home, row))
        except Exception as error:  # also a mistake in here must not be waited for
            await came.put((one.home, error))
        else:
            await came.put((one.home, None))

    tasks = [asyncio.create_task(take(one)) for one in homes]
    try:
        left = len(tasks)
        while left:
            home, item = await came.get()
            if isinstance(item, Row | GatewayError):
                yield home, item
            elif isinstance(item, Exception):
                raise item
            left -= not isinstance(item, Row)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
