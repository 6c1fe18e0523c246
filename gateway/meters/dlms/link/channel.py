"""An exchange of APDUs with a meter over HDLC or the TCP wrapper: joins a link, which has no I/O, and a
connection."""

from __future__ import annotations

import asyncio
from typing import Protocol

from gateway.errors import MeterError
from gateway.meters.dlms.link.hdlc_link import Primary
from gateway.meters.dlms.link.wrapper import Message, Unwrapper
from gateway.meters.transport import Connection


class Channel(Protocol):
    """One request at a time. After a MeterError, or when a request was cancelled, the channel is unusable:
    the answer to that request may still come. Whoever opened the connection closes it."""

    async def connect(self) -> None:
        """Called before the first request."""

    async def exchange(self, apdu: bytes) -> bytes:
        """The answer to `apdu`. MeterError where none comes."""

    async def disconnect(self) -> None:
        """Called after the last answer. MeterError where the meter does not confirm."""


class HdlcChannel:
    """Over HDLC. After `timeout_s` of silence a request is repeated, up to four times."""

    def __init__(self, connection: Connection, link: Primary, timeout_s: float) -> None:
        self._connection, self._link, self._timeout_s = connection, link, timeout_s

    async def connect(self) -> None:
        self._link.connect()
        await self._settle()

    async def exchange(self, apdu: bytes) -> bytes:
        self._link.send(apdu)
        (answer,) = await self._settle()
        return answer

    async def disconnect(self) -> None:
        if self._link.connected:
            self._link.disconnect()
            await self._settle()

    async def _settle(self) -> list[bytes]:
        answers: list[bytes] = []
        while True:
            if outgoing := self._link.outgoing():
                await self._connection.write(outgoing)
            if not self._link.busy:
                return answers
            try:
                async with asyncio.timeout(self._timeout_s):
                    data = await self._connection.read()
            except TimeoutError:
                self._link.lost()
            else:
                answers += self._link.receive(data)


class WrapperChannel:
    """Over the TCP wrapper, from port `client` to port `server`. Each answer must come within `timeout_s`."""

    def __init__(self, connection: Connection, client: int, server: int, timeout_s: float) -> None:
        self._connection, self._client, self._server, self._timeout_s = connection, client, server, timeout_s
        self._unwrapper = Unwrapper()

    async def connect(self) -> None:
        """TCP has already connected."""

    async def exchange(self, apdu: bytes) -> bytes:
        await self._connection.write(Message(self._client, self._server, apdu).encode())
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    for message in self._unwrapper.feed(await self._connection.read()):
                        if (message.source, message.destination) == (self._server, self._client):
                            return message.content
        except TimeoutError:
            raise MeterError(f"the meter does not answer within {self._timeout_s:g} s") from None

    async def disconnect(self) -> None:
        """Closing the connection disconnects."""
