"""A figure: ours beside a rival, both medians taken in one run; and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """Our value and the rival's in `unit`; `limit` says what bound `ratio` must keep."""

    name: str
    ours: float
    rival: float
    unit: str
    against: str
    limit: str

    @property
    def ratio(self) -> float:
        """Ours over the rival's."""
        return self.ours / self.rival


def machine() -> dict[str, str]:
    """The machine and the libraries that the figures were taken on."""
    return {
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "cryptography": version("cryptography"),
    }


def median_s(work: Callable[[], object], repeat: int = 7) -> float:
    """The median time of one call, in seconds, after a first one that does not count."""
    work()
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def children_s() -> float:
    """The processor time that this process's children have taken so far, in seconds."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in children]
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in stats)  # proc_pid_stat(5): utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")
