"""Time that runs faster, alike in every process: a gateway that lives through minutes in seconds.

`python -m tests.faults.scaled CONFIG BASE_NS REAL_NS SCALE` is `gateway run` on such a clock.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Config
from gateway.daemon.service import Daemon


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """Simulated wall time is `base_ns` at the real time `real_ns`, and runs `scale` times as fast."""

    base_ns: int
    real_ns: int
    scale: int

    def wall(self) -> int:
        return self.base_ns + (time.time_ns() - self.real_ns) * self.scale

    def monotonic(self) -> int:
        return self.wall()

    def trusted(self) -> bool:
        return True

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.scale)


async def _run(config: Config, clock: ScaledClock) -> None:
    daemon = Daemon(config, clock)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, daemon.stop)
    await daemon.run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    base, real, scale = map(int, sys.argv[2:5])
    asyncio.run(_run(Config.load(Path(sys.argv[1])), ScaledClock(base, real, scale)))
