"""Clocks: wall and monotonic time behind one small protocol, so that tests can drive it.

A clock is *trusted* once it has been synchronised since boot. Until then readings wait
(PROTOCOL.md, rule 5): a seal at a wrong time could never be undone.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from typing import Literal, Protocol

_STA_UNSYNC = 0x0040  # <sys/timex.h>: the kernel's clock is not synchronised


class Clock(Protocol):
    """Wall and monotonic time in nanoseconds, and a way to wait."""

    def wall(self) -> int:
        """Nanoseconds of Unix time, UTC."""

    def monotonic(self) -> int:
        """Nanoseconds since an arbitrary point; never steps."""

    def trusted(self) -> bool:
        """Whether the wall clock has been synchronised since boot."""

    async def sleep(self, seconds: float) -> None:
        """Wait on this clock."""


def unix_ms(clock: Clock) -> int:
    """Milliseconds of Unix time by `clock` now: the time that objects and documents carry."""
    return clock.wall() // 1_000_000


class SystemClock:
    """The machine's clocks. `source` "ntp" trusts the wall clock once the kernel says that it is
    synchronised; "host" trusts it as it is (a laptop, a container whose host keeps the time)."""

    def __init__(self, source: Literal["ntp", "host"] = "ntp") -> None:
        self._trusted = source == "host"

    def wall(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns()

    def trusted(self) -> bool:
        # Once is enough: without a server the kernel withdraws its word after hours, but the clock goes on.
        self._trusted = self._trusted or kernel_synchronised()
        return self._trusted

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def kernel_synchronised() -> bool:
    """Whether the clock is synchronised by adjtimex(2), as NTP daemons and systemd-timesyncd set it there."""
    # struct timex begins with `unsigned int modes`; zero modes means "only read". 256 bytes hold it
    # on every Linux ABI; its `status` follows modes and three longs (offset, freq, maxerror, esterror).
    buffer = (ctypes.c_char * 256)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(buffer) < 0:
        return False
    status_at = ctypes.sizeof(ctypes.c_long) * 5
    status = ctypes.c_int.from_buffer(buffer, status_at).value
    return not status & _STA_UNSYNC
