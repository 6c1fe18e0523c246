"""Bytes to and from an endpoint, for every protocol except Modbus, whose transport is pymodbus.

Optical heads that see their own light return what was written: such an echo is removed from what is read.
"""

from __future__ import annotations

import asyncio
import os
import termios
from contextlib import suppress
from typing import Self

import serial

from gateway.errors import MeterError
from gateway.meters.endpoint import Endpoint, Line, SerialSettings, Tcp, Udp, why

_MOST = 65_536  # bytes read at once
_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


class Connection:
    """An open connection, made by `open`. After any MeterError it is unusable: close it and open another."""

    def __init__(self, endpoint: Endpoint, link: _TcpLink | _SerialLink) -> None:
        self._endpoint = endpoint
        self._link = link
        self._echo = Echo()

    @classmethod
    async def open(cls, endpoint: Endpoint, timeout_s: float = 5.0) -> Self:
        """Connect. MeterError says what prevents it."""
        try:
            async with asyncio.timeout(timeout_s):
                if isinstance(endpoint, Tcp):
                    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
                    return cls(endpoint, _TcpLink(reader, writer))
                if isinstance(endpoint, Udp):
                    raise MeterError(f"{endpoint} answers in datagrams, which only Modbus asks for")
                return cls(endpoint, _SerialLink(endpoint))
        except TimeoutError:
            raise MeterError(f"{endpoint} does not accept a connection within {timeout_s:g} s") from None
        except (OSError, ValueError, termios.error) as error:  # the last two: settings a port cannot have
            raise MeterError(f"cannot open {endpoint}: {why(error)}") from None

    async def read(self) -> bytes:
        """The next bytes, at least one, however long that takes; the echo of `write` is not among them."""
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
        """Send bytes; returns once the operating system has taken them."""
        try:
            self._echo.sent(data)
            await self._link.write(data)
        except (OSError, termios.error) as error:
            raise MeterError(f"{self._endpoint} is gone: {why(error)}") from None

    async def change(self, settings: SerialSettings) -> None:
        """Send what is still buffered, then go on with other settings; a converter on the network keeps its
        own."""
        if isinstance(self._link, _SerialLink):
            try:
                await self._link.change(settings)
            except (OSError, ValueError, termios.error) as error:
                raise MeterError(f"{self._endpoint} cannot be set to {settings}: {why(error)}") from None

    def close(self) -> None:
        """Close it. Closing twice is fine."""
        self._link.close()


class Echo:
    """Removes an echo: what was sent, coming back. Bytes that begin like the echo are held until it is
    complete; if they then differ they were not an echo, and none of them is lost."""

    def __init__(self) -> None:
        self._expected = bytearray()
        self._matched = 0

    def sent(self, data: bytes) -> None:
        """`data` was sent: its echo may come next."""
        self._expected, self._matched = bytearray(data), 0

    def strip(self, data: bytes) -> bytes:
        """The bytes of `data` that are not an echo."""
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
        with suppress(OSError, termios.error):  # an adapter that was unplugged
            # Otherwise close() waits, and the event loop with it, until the driver has sent what is left.
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
        # pyserial leaves parity unchecked; with INPCK a character of the wrong parity is read as 0.
        attributes = termios.tcgetattr(self._port.fileno())
        attributes[0] |= termios.INPCK
        termios.tcsetattr(self._port.fileno(), termios.TCSANOW, attributes)
