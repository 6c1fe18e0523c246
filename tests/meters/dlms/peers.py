"""A client and a simulated meter that talk without a transport, and what they agree on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, TypeVar

from gateway.host.clock import Clock
from gateway.meters.dlms.application import association
from gateway.meters.dlms.application.cipher import CipherKeys
from gateway.meters.dlms.application.client import DlmsSession, Setup, Steps
from gateway.meters.dlms.cosem.objects import PUBLIC_CLIENT
from gateway.simulate.answer_server import Connection
from gateway.simulate.dlms import DlmsMeterSimulation, Framing, serve
from gateway.simulate.dlms_objects import MeterObjects
from gateway.simulate.dlms_server import Policy, Server
from gateway.simulate.home import Home
from tests.meters.bench import NS, DrivenClock

T = TypeVar("T")

KEYS = CipherKeys(
    bytes.fromhex("000102030405060708090A0B0C0D0E0F"), bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")
)
OTHER_KEY = bytes(range(100, 116))
PASSWORD = b"12345678"
TITLE = b"GATEWAY7"
METER_TITLE = b"GWS\0\0\0\0\1"
CLIENT = 1


def policy(mechanism: int = association.NONE, protection: int = 0, **others: Any) -> Policy:
    keys = KEYS if mechanism == association.HLS5 or protection else None
    password = PASSWORD if mechanism == association.LLS else None
    return Policy(mechanism, protection, keys, password, **others)


def meter(policy: Policy, clock: DrivenClock | None = None, history_s: int = 0) -> Server:
    """A simulated meter that has counted for `history_s` seconds."""
    clock = clock or DrivenClock()
    home = Home(seed=1, start_s=clock.wall() // 1_000_000_000 - history_s)
    objects = MeterObjects(home, clock, counter=lambda: server.received)
    server = Server(objects, {CLIENT: policy, PUBLIC_CLIENT: Policy(longest=policy.longest)}, METER_TITLE)
    return server


def session(policy: Policy, *, general: bool = False, first_counter: int = 1, **others: Any) -> DlmsSession:
    """The client that `policy` lets in."""
    setup: dict[str, Any] = {
        "mechanism": policy.mechanism,
        "protection": policy.protection,
        "general": general,
        "title": TITLE,
        "keys": policy.keys,
        "password": policy.password,
    } | others
    counters = count(first_counter)
    return DlmsSession(Setup(**setup), lambda: next(counters))


def talk(steps: Steps[T], answer: Callable[[bytes], bytes]) -> T:
    try:
        request = next(steps)
        while True:
            request = steps.send(answer(request))
    except StopIteration as end:
        result: T = end.value
        return result


def connection(server: Server, client: int = CLIENT) -> Callable[[bytes], bytes]:
    association = server.connection()
    return lambda message: association.answer(client, message)


@asynccontextmanager
async def simulated(
    policy: Policy, framing: Framing, clock: Clock, history_s: int = 0, port: int = 0
) -> AsyncIterator[tuple[DlmsMeterSimulation, int]]:
    """A meter on loopback, and its port."""
    home = Home(seed=1, start_s=clock.wall() // NS - history_s)
    simulation = DlmsMeterSimulation(home, policy, clock)
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(simulation, framing, "127.0.0.1", port, opened.set_result))
    try:
        yield simulation, await asyncio.wait_for(opened, 10)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def optical_head(connection: Connection) -> Callable[[bytes], list[bytes]]:
    """What a meter answers on its optical port: at 300 Bd it says what it is, then it goes into HDLC."""
    opening = {b"/?!\r\n": b"/ISK5\\2MT372-0001\r\n", b"\x06252\r\n": b"\x06252\r\n"}
    return lambda data: [opening[data] if data in opening else connection.receive(data)]
