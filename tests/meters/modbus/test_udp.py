"""Modbus over UDP: one datagram for a request, one for its answer, and some of them lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import MeterError
from gateway.meters.endpoint import Udp
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.transport import Connection
from tests.meters.bench import DrivenClock
from tests.meters.modbus.test_faults import EXPECTED, SDM630, mbap
from tests.meters.modbus.test_other_id import under


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], Iterable[bytes]]) -> None:
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for part in self._answer(data):
            self._transport.sendto(part, addr)


@asynccontextmanager
async def udp_server(answer: Callable[[bytes], Iterable[bytes]]) -> AsyncIterator[int]:
    """The port of a server that answers each datagram with those that `answer` makes of it."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(answer), ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def meter(port: int, timeout_s: float = 2.0) -> ModbusMeter:
    bus = Bus(Udp("127.0.0.1", port), timeout_s=timeout_s)
    return ModbusMeter("main", SDM630, bus, lanes=SDM630.lanes, device_id=1, clock=DrivenClock())


async def test_a_reading() -> None:
    async with udp_server(lambda request: [mbap(request)]) as port:
        main = meter(port)
        for _ in range(3):
            assert (await main.read()).registers == EXPECTED
        await main.aclose()


async def test_a_datagram_sent_twice_and_one_of_another_request_are_passed_over() -> None:
    def answer(request: bytes) -> list[bytes]:
        return [under(1, request, bytes([4, 48]) + bytes(48), transaction=7), mbap(request), mbap(request)]

    async with udp_server(answer) as port:
        main = meter(port)
        for _ in range(3):
            assert (await main.read()).registers == EXPECTED
        await main.aclose()


async def test_a_lost_answer_is_a_fault_and_not_the_next_ones() -> None:
    lost: list[bytes] = []

    def answer(request: bytes) -> list[bytes]:
        if not lost:
            lost.append(under(1, request, bytes([4, 48]) + bytes(48)))
            return []
        return [lost[0], mbap(request)] if len(request) == 12 else []

    async with udp_server(answer) as port:
        main = meter(port, 0.1)
        with pytest.raises(MeterError, match=rf"127\.0\.0\.1:{port} \(UDP\) does not answer within 0\.1 s"):
            await main.read()
        await main.aclose()


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_datagram_cut_short_is_never_a_reading(cut: int) -> None:
    async with udp_server(lambda request: [mbap(request)[:-cut]]) as port:
        main = meter(port, 0.05)
        with pytest.raises(MeterError, match="does not answer"):
            await main.read()
        await main.aclose()


async def test_the_host_says_that_nothing_listens_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    main = meter(port, 60)
    with pytest.raises(MeterError, match="cannot be reached: Connection refused"):
        await main.read()
    await main.aclose()


async def test_other_protocols_have_no_datagrams() -> None:
    with pytest.raises(MeterError, match="answers in datagrams, which only Modbus asks for"):
        await Connection.open(Udp("127.0.0.1", 502))
