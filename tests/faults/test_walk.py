"""The whole walk from a meter of each kind to a provider's sums: a gateway reads them all at once, its store
and its TPM are real, and what the provider opens is what each meter showed, to the mWh."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from gateway.meters.endpoint import Tcp
from gateway.simulate import sml
from gateway.simulate.household import Home
from tests.faults.household import MODBUS, Simulated, household
from tests.faults.scaled import ScaledClock

ANYWHERE = Tcp("127.0.0.1", 0)
AT = 'tcp = { host = "127.0.0.1", port = PORT }'


def _sml(
    home: Home, clock: ScaledClock, truth: Path, listening: Callable[[int], None]
) -> Coroutine[Any, Any, None]:
    return sml.serve(home, ANYWHERE, clock, truth, listening)


METERS = (
    MODBUS,
    Simulated("sml", f'profile = "sml-generic"\n{AT}', _sml, late_s=20),
)


async def test_each_kind_of_meter_to_a_providers_sums(tmp_path: Path) -> None:
    async with household(tmp_path, METERS) as home:
        await home.begin()
        await home.live(60)
        await home.end(signal.SIGKILL)
        await home.live(10)
        await home.start()
        await home.settle()
        await home.check()
