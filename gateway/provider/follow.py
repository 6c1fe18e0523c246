"""Following a stream: rows as their windows close and open."""

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
