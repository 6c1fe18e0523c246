"""The server of a simulated meter that is polled: each connection answers what it receives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.errors import MeterError, UsageError
from gateway.meters.endpoint import why
from gateway.simulate.truth import LiveHome


class Connection(Protocol):
    """The meter's side of one connection: bytes in, bytes out."""

    def receive(self, data: bytes) -> bytes:
        """The bytes to write in answer to `data`. MeterError where the connection cannot go on."""


async def answer(
    live: LiveHome,
    connection: Callable[[], Connection],
    host: str,
    port: int,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Keep `live` up to date and answer on a new `connection` for each client, until cancelled. `listening`
    is called with the port once it is open (for `port` 0 the system chooses one). UsageError where it cannot
    listen, or cannot write the truth."""
    talks: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(talk := asyncio.create_task(_talk(connection(), reader, writer)))
        talk.add_done_callback(talks.discard)

    try:
        server = await asyncio.start_server(begin, host, port)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {why(error)}") from None
    async with server:
        listening(server.sockets[0].getsockname()[1])
        try:
            await live.keep()
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
        pass  # the client is gone, or does not speak the meter's protocol
    finally:
        writer.transport.abort()
