"""The output of a simulated meter that pushes: to every connected client, or on a serial port."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import serial

from gateway.errors import UsageError
from gateway.meters.endpoint import Line, Tcp, why
from gateway.simulate.truth import LiveHome

_MOST_UNREAD = 65_536  # bytes that a client may leave unread before it is disconnected
_PARITY = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}


async def speak(
    live: LiveHome,
    telegram: Callable[[], bytes],
    endpoint: Tcp | Line,
    listening: Callable[[int], None] = lambda port: None,
    heard: Callable[[bytes], None] = lambda data: None,
) -> None:
    """Keep `live` up to date and send `telegram()` each second, until cancelled; an empty one is not sent.
    `heard` is called with what listeners send, which most meters ignore, and with nothing when one comes.
    `listening` is called with the port once it is open: for port 0 the system chooses one, for a serial port
    it is 0. UsageError where it cannot listen, cannot use the serial port, or cannot write the truth."""
    opened = _on_line(endpoint, heard) if isinstance(endpoint, Line) else _on_network(endpoint, heard)
    async with opened as (send, port):
        listening(port)
        await live.keep(lambda: send(telegram()))


_Send = Callable[[bytes], None]


@asynccontextmanager
async def _on_network(endpoint: Tcp, heard: Callable[[bytes], None]) -> AsyncIterator[tuple[_Send, int]]:
    listeners: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                heard(data)
        except OSError:
            pass
        finally:
            del listeners[writer]
            writer.transport.abort()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listeners[writer] = asyncio.create_task(hold(reader, writer))
        heard(b"")

    def send(data: bytes) -> None:
        for writer in listeners:
            if writer.transport.get_write_buffer_size() > _MOST_UNREAD:
                writer.transport.abort()
            else:
                writer.write(data)

    try:
        server = await asyncio.start_server(begin, endpoint.host, endpoint.port)
    except OSError as error:
        raise UsageError(f"cannot listen on {endpoint}: {why(error)}") from None
    async with server:
        try:
            yield send, server.sockets[0].getsockname()[1]
        finally:
            server.close()
            holding = list(listeners.values())
            for task in holding:
                task.cancel()
            await asyncio.gather(*holding, return_exceptions=True)


@asynccontextmanager
async def _on_line(line: Line, heard: Callable[[bytes], None]) -> AsyncIterator[tuple[_Send, int]]:
    settings = line.settings
    try:
        port = serial.Serial(
            line.device,
            baudrate=settings.baud,
            bytesize=settings.data_bits,
            parity=_PARITY[settings.parity],
            stopbits=settings.stop_bits,
            exclusive=True,
        )
    except (OSError, ValueError, termios.error) as error:
        raise UsageError(f"cannot open {line}: {why(error)}") from None

    def send(data: bytes) -> None:
        try:
            os.write(port.fileno(), data)
        except BlockingIOError:
            pass  # bytes that the line does not take are lost
        except OSError as error:
            raise UsageError(f"cannot write to {line}: {why(error)}") from None

    def hear() -> None:
        with suppress(OSError):
            heard(os.read(port.fileno(), 4096))

    loop = asyncio.get_running_loop()
    with port:
        loop.add_reader(port.fileno(), hear)
        try:
            yield send, 0
        finally:
            loop.remove_reader(port.fileno())
