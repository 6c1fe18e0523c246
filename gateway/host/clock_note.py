"""`python -m gateway.host.clock_note`: waits until the clock is synchronised, and notes it in a file.

It runs as gateway-clock.service, so that no other service needs the system call that can set clocks: seccomp
cannot tell adjtimex(2) that reads from one that sets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gateway.host.clock import SYNCHRONISED, kernel_synchronised


def note(
    file: Path,
    synchronised: Callable[[], bool] = kernel_synchronised,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Make the empty `file` once the clock is synchronised, which is asked every second."""
    while not synchronised():
        sleep(1)
    file.touch()


if __name__ == "__main__":
    note(SYNCHRONISED)
