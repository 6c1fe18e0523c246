"""Frames of a real meter: what an SDM630 answered, and what its display's owner saw.

Source: github.com/arendst/Tasmota, issue 17671 (10 January 2023), currents and powers of phases as logged.
"""

from __future__ import annotations

from fractions import Fraction

import pytest

from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.model import Register
from gateway.meters.modbus.value import number
from tests.meters.bench import raw_server


@pytest.mark.parametrize(
    ("frame", "seen"),
    [
        ("010404413579865D84", 11.3422),
        ("01040442B2583475CC", 89.1723),
        ("010404C2886ACC68E3", -68.2086),
        ("010404C13C78CAA423", -11.7795),
        ("010404C1F6D5A078A2", -30.8543),
    ],
)
async def test_a_real_answer(frame: str, seen: float) -> None:
    async with raw_server(lambda request: [bytes.fromhex(frame)]) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu")
        words = await bus.registers(1, "input", 0x0C, 2)
        await bus.aclose()
    register = Register("power", "1-0:36.7.0", "input", 0x0C, "f32", "high-first", Fraction(1), "W")
    assert round(float(number(register, words)), 4) == seen
