"""RTU frames through a converter on the network: they do not say which request they answer, so an answer that
comes late, or was meant for another program, must never be taken for a register's.

Reported: github.com/kellerza/sunsynk, issue 271 (a converter with buffers that are not flushed), and
github.com/0xAHA/Growatt_ModbusTCP, issue 351 (two clients of one converter)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from gateway.errors import MeterError
from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.bus import Bus, NotReached
from tests.meters.bench import server_of, until

IMPORT, EXPORT = 0x48, 0x4A
SHOWN = {IMPORT: [0x44, 1], EXPORT: [0x44, 2]}
TIMEOUT_S, TURNAROUND_S = 0.05, 0.005


class Converter:
    """Passes requests to a meter, and keeps the answers to the requests whose numbers are in `late` until it
    may pass them on: with the next connection, or in front of the next answer."""

    def __init__(self, late: Sequence[int], *, at_connect: bool = False) -> None:
        self.late = late
        self.at_connect = at_connect
        self.requests = 0
        self.kept: list[bytes] = []
        self.clients: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(writer)
        if self.at_connect:
            self.pass_on(writer)
        while request := await reader.read(8):
            answer = answer_to(request)
            self.requests += 1
            if self.requests in self.late:
                self.kept.append(answer)
                continue
            if self.kept:  # then the meter's own answer comes shortly after
                self.pass_on(writer)
                asyncio.get_running_loop().call_later(TURNAROUND_S, writer.write, answer)
            else:
                writer.write(answer)

    def pass_on(self, writer: asyncio.StreamWriter) -> None:
        for answer in self.kept:
            writer.write(answer)
        self.kept.clear()


def answer_to(request: bytes) -> bytes:
    device_id, function, address, count = struct.unpack(">BBHH", request[:6])
    frame = bytes([device_id, function, 2 * count]) + struct.pack(f">{count}H", *SHOWN[address])
    return frame + FramerRTU.compute_CRC(frame).to_bytes(2, "big")


@settings(max_examples=30)
@given(
    st.sets(st.integers(1, 12), max_size=4),
    st.booleans(),
    st.lists(st.sampled_from([IMPORT, EXPORT]), min_size=12, max_size=12),
)
def test_no_late_answer_is_taken_for_another(late: set[int], at_connect: bool, asked: list[int]) -> None:
    async def ask() -> None:
        async with server_of(Converter(sorted(late), at_connect=at_connect).serve) as port:
            bus = Bus(Tcp("127.0.0.1", port), "rtu", TIMEOUT_S)
            answered = 0
            for address in asked:
                try:
                    assert await bus.registers(1, "input", address, 2) == SHOWN[address]
                    answered += 1
                except NotReached:
                    pass
            await bus.aclose()
            assert answered >= len(asked) - 3 * len(late)

    asyncio.run(ask())


@pytest.mark.parametrize("at_once", [True, False])
async def test_answers_for_another_program_are_named(at_once: bool) -> None:
    """They come in place of the answer, or later, while nothing is asked."""
    converter = Converter(())
    async with server_of(converter.serve) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu", 5)
        assert await bus.registers(1, "input", IMPORT, 2) == SHOWN[IMPORT]
        meant_for_another = answer_to(struct.pack(">BBHH", 1, 4, EXPORT, 2))
        if at_once:
            converter.kept.append(meant_for_another)
            assert await bus.registers(1, "input", EXPORT, 2) == SHOWN[EXPORT]
        else:
            converter.clients[-1].write(meant_for_another)
        await until(lambda: bus._link is not None and bus._link.surplus)
        with pytest.raises(MeterError, match=r"not asked for.* or another program polls through it too"):
            await bus.registers(1, "input", IMPORT, 2)
        await bus.aclose()


async def test_other_devices_may_be_polled_by_other_programs() -> None:
    converter = Converter(())
    async with server_of(converter.serve) as port:
        bus = Bus(Tcp("127.0.0.1", port), "rtu", 5)
        for _ in range(3):
            converter.kept.append(answer_to(struct.pack(">BBHH", 2, 4, EXPORT, 2)))
            assert await bus.registers(1, "input", IMPORT, 2) == SHOWN[IMPORT]
        await bus.aclose()
