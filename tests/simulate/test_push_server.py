"""Speaking to everyone: who does not listen is left, and no one else notices."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest

from gateway.errors import UsageError
from gateway.meters.endpoint import Tcp
from gateway.simulate.home import Home
from gateway.simulate.push_server import speak
from gateway.simulate.truth import LiveHome
from tests.meters.bench import NOON_S, StillClock
from tests.simulate.hearing import running


def live(clock: StillClock) -> LiveHome:
    return LiveHome(Home(3, NOON_S), clock, lambda home: {})


async def test_who_does_not_listen_is_cut_off() -> None:
    clock, word = StillClock(), bytes(500_000)
    async with running(lambda told: speak(live(clock), lambda: word, Tcp("127.0.0.1", 0), told)) as port:
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            deaf.settimeout(0)
            for _ in range(100):
                clock.pass_s(1)
                await asyncio.wait_for(reader.readexactly(len(word)), 20)
            assert received(deaf) < 100 * len(word)
            writer.close()
            await writer.wait_closed()


def received(deaf: socket.socket) -> int:
    """How much is there until the connection ends."""
    count = 0
    with suppress(ConnectionResetError):
        while chunk := deaf.recv(1_000_000):
            count += len(chunk)
    return count


async def test_who_leaves_and_who_talks_is_no_matter() -> None:
    clock = StillClock()
    async with running(lambda told: speak(live(clock), lambda: b"word", Tcp("127.0.0.1", 0), told)) as port:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello?")
            while not (heard := await said_by(reader, clock)):
                pass
            assert heard == b"word"[: len(heard)]
            writer.close()
            await writer.wait_closed()


async def said_by(reader: asyncio.StreamReader, clock: StillClock) -> bytes:
    """What comes within a moment after a second has passed."""
    clock.pass_s(1)
    try:
        return await asyncio.wait_for(reader.read(4), 0.05)
    except TimeoutError:
        return b""


async def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            await speak(live(StillClock()), lambda: b"", Tcp("127.0.0.1", port))
