"""Questions and answers over real sockets and a real serial line of two ptys."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.errors import MeterError
from gateway.meters.dlms.link.channel import HdlcChannel, WrapperChannel
from gateway.meters.dlms.link.hdlc import address
from gateway.meters.dlms.link.hdlc_link import Limits, Primary, Secondary
from gateway.meters.dlms.link.wrapper import Message, Unwrapper
from gateway.meters.endpoint import Line, SerialSettings, Tcp
from gateway.meters.transport import Connection

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CLIENT, SERVER = address(16), address(1, 17)


@asynccontextmanager
async def connected(meter: Talk) -> AsyncIterator[Connection]:
    """A TCP connection to `meter`, which serves no other."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await meter(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        connection = await Connection.open(Tcp("127.0.0.1", server.sockets[0].getsockname()[1]))
        try:
            yield connection
        finally:
            connection.close()


def hdlc(connection: Connection, timeout_s: float = 5) -> HdlcChannel:
    return HdlcChannel(connection, Primary(CLIENT, SERVER), timeout_s)


async def hdlc_meter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each message with itself, the other way round."""
    link = Secondary(SERVER, Limits(2030, 2030))
    while data := await reader.read(100):
        for message in link.receive(data):
            link.send(message[::-1])
        writer.write(link.outgoing())


async def test_hdlc_over_tcp() -> None:
    async with connected(hdlc_meter) as connection:
        channel = hdlc(connection)
        await channel.connect()
        for question in (b"short", bytes(range(256)) * 40):
            assert await channel.exchange(question) == question[::-1]
        await channel.disconnect()
        await channel.disconnect()


async def test_hdlc_over_a_line_that_echoes() -> None:
    ours, theirs = os.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    link = Secondary(SERVER)
    loop = asyncio.get_running_loop()

    def answer() -> None:
        data = os.read(ours, 4096)
        for message in link.receive(data):
            link.send(message[::-1])
        os.write(ours, data + link.outgoing())

    loop.add_reader(ours, answer)
    connection = await Connection.open(Line(os.ttyname(theirs), SerialSettings(9600, "none", 1)))
    try:
        channel = hdlc(connection)
        await channel.connect()
        assert await channel.exchange(bytes(range(256))) == bytes(range(256))[::-1]
        await channel.disconnect()
    finally:
        connection.close()
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


async def test_a_lost_question_is_asked_again_where_both_have_the_same_address() -> None:
    """What the meter says to a poll is then the poll itself, as an adapter's echo would be."""
    link = Secondary(address(1))
    lost: list[bytes] = []

    async def forgetful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            if b"question" in data and not lost:
                lost.append(data)
                continue
            for message in link.receive(data):
                link.send(message[::-1])
            writer.write(link.outgoing())

    async with connected(forgetful) as connection:
        channel = HdlcChannel(connection, Primary(address(1), address(1)), 0.05)
        await channel.connect()
        assert await channel.exchange(b"question") == b"noitseuq"
    assert lost


async def test_a_deaf_meter_is_asked_again_and_then_left() -> None:
    heard = bytearray()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            heard.extend(data)

    async with connected(deaf) as connection:
        with pytest.raises(MeterError, match="does not answer on its HDLC link"):
            await hdlc(connection, 0.02).connect()
    assert heard.count(b"\x93") == 5


async def test_a_connection_that_ends_is_an_error() -> None:
    async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)

    for channel in (hdlc, lambda connection: WrapperChannel(connection, 16, 1, 5)):
        async with connected(gone) as connection:
            with pytest.raises(MeterError, match="ended the connection"):
                await ask(channel(connection))


async def ask(channel: HdlcChannel | WrapperChannel) -> bytes:
    await channel.connect()
    return await channel.exchange(b"question")


async def test_the_wrapper_takes_its_own_answer_only() -> None:
    async def meter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        unwrapper = Unwrapper()
        while data := await reader.read(3):
            for message in unwrapper.feed(data):
                assert (message.source, message.destination) == (16, 1)
                writer.write(Message(2, 16, b"of another device").encode())
                answer = Message(1, 16, message.content[::-1]).encode()
                writer.write(answer[:5])
                await writer.drain()
                writer.write(answer[5:])

    async with connected(meter) as connection:
        channel = WrapperChannel(connection, 16, 1, 5)
        await channel.connect()
        assert await channel.exchange(b"abc") == b"cba"
        assert await channel.exchange(bytes(5000) + b"x") == b"x" + bytes(5000)
        await channel.disconnect()


async def test_a_silent_meter_behind_the_wrapper_is_an_error() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        await reader.read(100)

    async with connected(deaf) as connection:
        with pytest.raises(MeterError, match=r"does not answer within 0\.02 s"):
            await WrapperChannel(connection, 16, 1, 0.02).exchange(b"question")
