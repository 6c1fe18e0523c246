"""Bytes to and from an endpoint, for every protocol but Modbus, which pymodbus carries.

Heads that listen to their own light send back what was written: an echo is taken out of what is read.
"""

from __future__ import annotations

import asyncio
import os
import termios
from contextlib import suppress
from typing import Self

import serial

from gateway.errors import MeterError
from gateway.meters.endpoint import Endpoint, Line, SerialSettings, Tcp, why

_MOST = 65_536  # bytes taken at once
_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


class Connection:
    """An open connection; `open` makes one. Any MeterError of it means that it is gone: close it and
    open another."""

    def __init__(self, endpoint: Endpoint, link: _TcpLink | _SerialLink) -> None:
        self._endpoint = endpoint
        self._link = link
        self._echo = Echo()

    @classmethod
    async def open(cls, endpoint: Endpoint, timeout_s: float = 5.0) -> Self:
        """Connect. MeterError says what is in the way."""
        try:
            async with asyncio.timeout(timeout_s):
                if isinstance(endpoint, Tcp):
                    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                    return cls(endpoint, _TcpLink(reader, writer))
                return cls(endpoint, _SerialLink(endpoint))
        except TimeoutError:
            raise MeterError(f"{endpoint} does not accept a connection within {timeout_s:g} s") from None
        except (OSError, ValueError, termios.error) as error:  # the last two: settings a port cannot have
            raise MeterError(f"cannot open {endpoint}: {why(error)}") from None

    async def read(self) -> bytes:
        """The next bytes, one at least, however long they take; what `write` wrote is not among them."""
        try:
            while True:
                data = await self._link.read()
                if not data:
                    raise MeterError(f"{self._endpoint} ended the connection")
                if fresh := self._echo.strip(data):
                    return fresh
        except (OSError, termios.error) as error:
            raise MeterError(f"{self._endpoint} is gone: {why(error)}") from None

    async def write(self, data: bytes) -> None:
        """Send bytes; returns once the system has taken them."""
        try:
            self._echo.sent(data)
            await self._link.write(data)
        except (OSError, termios.error) as error:
            raise MeterError(f"{self._endpoint} is gone: {why(error)}") from None

    async def change(self, settings: SerialSettings) -> None:
        """Send what is written still, then go on with other settings; a converter on the network keeps
        its own."""
        if isinstance(self._link, _SerialLink):
            try:
                await self._link.change(settings)
            except (OSError, ValueError, termios.error) as error:
                raise MeterError(f"{self._endpoint} cannot be set to {settings}: {why(error)}") from None

    def close(self) -> None:
        """Let go of it; closing twice is fine."""
        self._link.close()


class Echo:
    """Takes what was sent out of what comes back. Bytes that begin like the echo wait until they are the
    whole of it; once they differ it was none, and nothing is lost."""

    def __init__(self) -> None:
        self._expected = bytearray()
        self._matched = 0

    def sent(self, data: bytes) -> None:
        """`data` goes out: its echo may come next."""
        self._expected, self._matched = bytearray(data), 0

    def strip(self, data: bytes) -> bytes:
        """What of the bytes that came in is no echo."""
        expected = self._expected
        for at, byte in enumerate(data):
            if self._matched == len(expected):
                expected.clear()
                self._matched = 0
                return data[at:]
            if byte != expected[self._matched]:
                held = bytes(expected[: self._matched])
                expected.clear()
                self._matched = 0
                return held + data[at:]
            self._matched += 1
        return b""


class _TcpLink:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(_MOST)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


class _SerialLink:
    """A serial port on the event loop. pyserial sets it up; its bytes go through the file descriptor."""

    def __init__(self, line: Line) -> None:
        self._port = serial.Serial(line.device, timeout=0, exclusive=True)
        try:
            self._set(line.settings)
        except BaseException:
            self.close()
            raise
        os.set_blocking(self._port.fileno(), False)

    async def read(self) -> bytes:
        while True:
            await self._ready(reading=True)
            try:
                return os.read(self._port.fileno(), _MOST)
            except BlockingIOError:
                continue

    async def write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._port.fileno(), data) :]
            except BlockingIOError:
                await self._ready(reading=False)

    async def change(self, settings: SerialSettings) -> None:
        await asyncio.to_thread(termios.tcdrain, self._port.fileno())
        self._set(settings)

    def close(self) -> None:
        with suppress(OSError, termios.error):  # an adapter that was pulled out
            # Else a close waits, and the event loop with it, until a driver has sent what is left.
            self._port.reset_output_buffer()
        with suppress(OSError, termios.error):
            self._port.close()

    async def _ready(self, *, reading: bool) -> None:
        loop = asyncio.get_running_loop()
        handle = self._port.fileno()
        add = loop.add_reader if reading else loop.add_writer
        remove = loop.remove_reader if reading else loop.remove_writer
        ready = asyncio.Event()
        add(handle, ready.set)
        try:
            await ready.wait()
        finally:
            remove(handle)

    def _set(self, settings: SerialSettings) -> None:
        self._port.apply_settings(
            {
                "baudrate": settings.baud,
                "bytesize": settings.data_bits,
                "parity": _PARITY[settings.parity],
                "stopbits": settings.stop_bits,
            }
        )
