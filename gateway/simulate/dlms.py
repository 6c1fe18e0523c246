"""A simulated DLMS meter on the network: its objects over the TCP wrapper, or over HDLC and TCP, as with a
converter that passes a serial line through.

Client address 1 must authenticate as the meter's policy says. Client address 16, the public client, needs
nothing and reads only the meter's name, its clock and the invocation counter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from gateway.host.clock import Clock
from gateway.meters.dlms.cosem.objects import PUBLIC_CLIENT
from gateway.meters.dlms.link.hdlc import address
from gateway.meters.dlms.link.hdlc_link import Limits, Secondary
from gateway.meters.dlms.link.wrapper import Message, Unwrapper
from gateway.simulate.answer_server import Connection, answer
from gateway.simulate.dlms_objects import MeterObjects
from gateway.simulate.dlms_server import LOGICAL_DEVICE, Association, Policy, Server
from gateway.simulate.home import Home

Framing = Literal["wrapper", "hdlc"]

CLIENT = 1
SYSTEM_TITLE = b"GWS\0\0\0\0\1"
_LIMITS = Limits(transmit=512, receive=512, transmit_window=3, receive_window=3)


class WrapperConnection:
    def __init__(self, association: Association) -> None:
        self._association = association
        self._unwrapper = Unwrapper()

    def receive(self, data: bytes) -> bytes:
        return b"".join(map(self._answer, self._unwrapper.feed(data)))

    def _answer(self, message: Message) -> bytes:
        if message.destination != LOGICAL_DEVICE:
            return b""
        answer = self._association.answer(message.source, message.content)
        return Message(message.destination, message.source, answer).encode()


class HdlcConnection:
    def __init__(self, association: Association) -> None:
        self._association = association
        self._link = Secondary(address(LOGICAL_DEVICE), _LIMITS)

    def receive(self, data: bytes) -> bytes:
        for message in self._link.receive(data):
            client = self._link.client
            assert client is not None  # it sent the message
            self._link.send(self._association.answer(client[0] >> 1, message))
        return self._link.outgoing()


_CONNECTIONS: dict[Framing, Callable[[Association], Connection]] = {
    "wrapper": WrapperConnection,
    "hdlc": HdlcConnection,
}


class DlmsMeterSimulation:
    """The meter of `home`: its objects, which only clients that satisfy `policy` may read."""

    def __init__(self, home: Home, policy: Policy, clock: Clock, truth: Path | None = None) -> None:
        self.objects = MeterObjects(home, clock, truth, counter=lambda: self.server.received)
        policies = {CLIENT: policy, PUBLIC_CLIENT: Policy(longest=policy.longest)}
        self.server = Server(self.objects, policies, SYSTEM_TITLE)

    def connection(self, framing: Framing) -> Connection:
        return _CONNECTIONS[framing](self.server.connection())


async def serve(
    simulation: DlmsMeterSimulation,
    framing: Framing,
    host: str,
    port: int,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve the meter until cancelled, as `answer_server.answer` does."""
    await answer(simulation.objects.live, lambda: simulation.connection(framing), host, port, listening)
