"""Clocks: wall and monotonic time behind one small protocol, so that tests can drive it.

A clock is *trusted* once it has been synchronised since boot. Until then readings wait
(PROTOCOL.md, rule 5): a seal at a wrong time could never be undone.
"""

from __future__ import annotations

import asyncio
import ctypes
import struct
import time
from pathlib import Path
from typing import Literal, Protocol

# struct timex of <sys/timex.h> begins with modes, offset, freq and maxerror, the last three of them longs.
_TIMEX = struct.Struct("@Illl")
_TIMEX_SIZE = 256  # more than any Linux ABI's struct timex has
_LOST_US = 16_000_000  # NTP_PHASE_LIMIT: the kernel's maxerror until a clock is synchronised, and 9 h after


SYNCHRONISED = Path("/run/gateway-clock/synchronised")
"""Is there once the clock was synchronised: gateway-clock.service makes it, for services that may not ask the
kernel about the clock themselves."""


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
    synchronised, to this process or to gateway-clock.service; "host" trusts it as it is (a laptop, a
    container whose host keeps the time)."""

    def __init__(self, source: Literal["ntp", "host"] = "ntp") -> None:
        self._trusted = source == "host"

    def wall(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.monotonic_ns()

    def trusted(self) -> bool:
        # Once is enough: without a server the kernel withdraws its word after hours, but the clock goes on.
        self._trusted = self._trusted or SYNCHRONISED.exists() or kernel_synchronised()
        return self._trusted

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def kernel_synchronised() -> bool:
    """Whether the clock is synchronised by adjtimex(2), as NTP daemons and systemd-timesyncd set it there."""
    timex = ctypes.create_string_buffer(_TIMEX_SIZE)  # zero modes: only read
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return False
    return bounded(timex.raw)


def bounded(timex: bytes) -> bool:
    """Whether a struct timex bounds the clock's error, which takes an NTP daemon. That is how timedatectl
    tells, and not by the flag STA_UNSYNC: chrony keeps that set for ever unless its configuration has
    `rtcsync` (systemd, pull request 13245)."""
    most_us: int = _TIMEX.unpack_from(timex)[-1]
    return 0 <= most_us < _LOST_US
