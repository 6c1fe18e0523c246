"""A reading that is cancelled ends cancelled, at whatever moment: the gateway could never stop otherwise."""

from __future__ import annotations

import asyncio

import pytest

from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.bus import Bus
from tests.meters.bench import device, sdm630, tcp_server


async def test_cancelled_when_the_answer_is_just_in() -> None:
    async with tcp_server(device(sdm630())) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        try:
            for _ in range(3):
                reading = asyncio.create_task(bus.registers(1, "input", 0x34, 2))
                for _ in range(100_000):
                    if bus._link is not None and bus._link.response_future.done():
                        break
                    await asyncio.sleep(0)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                assert await bus.registers(1, "input", 0x34, 2)
                await bus.aclose()
        finally:
            await bus.aclose()


async def test_cancelled_after_any_number_of_turns() -> None:
    async with tcp_server(device(sdm630())) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        try:
            for turns in range(60):
                reading = asyncio.create_task(bus.registers(1, "input", 0x34, 2))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if reading.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await reading
                if turns % 2:
                    await bus.aclose()
        finally:
            await bus.aclose()
