"""A simulated DLMS meter on the network: its objects over the TCP wrapper, or over HDLC and TCP, as with a
converter that passes a serial line through.

Client address 1 must authenticate as the meter's policy says. Client address 16, the public client, needs
nothing and reads only the meter's name, its clock and the invocation counter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from gateway.errors import MeterError, UsageError
from gateway.host.clock import Clock
from gateway.meters.dlms.cosem.objects import PUBLIC_CLIENT
from gateway.meters.dlms.link.hdlc import address
from gateway.meters.dlms.link.hdlc_link import Limits, Secondary
from gateway.meters.dlms.link.wrapper import Message, Unwrapper
from gateway.meters.endpoint import why
from gateway.simulate.dlms_objects import MeterObjects
from gateway.simulate.dlms_server import LOGICAL_DEVICE, Association, Policy, Server
from gateway.simulate.home import Home

Framing = Literal["wrapper", "hdlc"]

CLIENT = 1
SYSTEM_TITLE = b"GWS\0\0\0\0\1"
_LIMITS = Limits(transmit=512, receive=512, transmit_window=3, receive_window=3)


class Connection(Protocol):
    """The meter's side of one connection: bytes in, bytes out."""

    def receive(self, data: bytes) -> bytes:
        """The bytes to write in answer to `data`. MeterError where the connection cannot go on."""


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
    """Serve the meter until cancelled. `listening` is called with the port once it is open (for `port` 0 the
    system chooses one). UsageError where it cannot listen, or cannot write the truth."""
    talks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(talk := asyncio.create_task(_talk(simulation.connection(framing), reader, writer)))
        talk.add_done_callback(talks.discard)

    try:
        server = await asyncio.start_server(begin, host, port)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {why(error)}") from None
    async with server:
        listening(server.sockets[0].getsockname()[1])
        try:
            await simulation.objects.live.keep()
        finally:
            server.close()
            ending = list(talks)
            for talk in ending:
                talk.cancel()
            await asyncio.gather(*ending, return_exceptions=True)


async def _talk(connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(connection.receive(data))
            await writer.drain()
    except (OSError, MeterError):
        pass  # the client is gone, or does not speak DLMS
    finally:
        writer.transport.abort()
