"""Waiting for what a stream will hold: rows as their windows close and open."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from gateway.errors import StoreUnavailable
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.provider.sums import Row, Sums
from gateway.stream.reader import StreamReader

_SHORTEST_S, _LONGEST_S = 2.0, 10.0


async def follow(
    reader: StreamReader,
    sums: Sums,
    clock: Clock,
    max_age_ms: int,
    tell: Callable[[str], None],
) -> AsyncGenerator[Row, None]:
    """The rows of `sums`, and then each further one as it opens, until none can come any more.

    Looks every 2 s, and while nothing comes up to every 10 s. A store that does not answer is asked
    again for ever, and `tell` is given sentences about it. What is Refused is raised.
    """
    faults = FaultLog(clock, tell, tell)
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
