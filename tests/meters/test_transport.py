"""Bytes over real ports and sockets, and the echo that some heads send back."""

from __future__ import annotations

import asyncio
import os
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.endpoint import Line, SerialSettings, Tcp, why
from gateway.meters.transport import Connection, Echo
from tests.meters.bench import raw_server, serial_line

SETTINGS = SerialSettings(9600, "none", 1)


async def gathered(connection: Connection, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        while len(data) < size:
            data += await connection.read()
    return data


@pytest.mark.parametrize("settings", [SETTINGS, SerialSettings(300, "none", 1)])
async def test_a_serial_port_both_ways(settings: SerialSettings) -> None:
    async with serial_line() as (near, far):
        ours, theirs = await Connection.open(Line(near, settings)), await Connection.open(Line(far, settings))
        sent = bytes(range(256)) * 16  # ends of transmission, XON and what else a terminal would swallow
        await theirs.write(sent)
        assert await gathered(ours, len(sent)) == sent
        await ours.write(b"back")
        assert await gathered(theirs, 4) == b"back"
        ours.close()
        ours.close()
        theirs.close()


async def test_a_port_changes_its_settings() -> None:
    async with serial_line() as (near, far):
        ours, theirs = await Connection.open(Line(near, SETTINGS)), await Connection.open(Line(far, SETTINGS))
        await ours.change(SerialSettings(19_200, "none", 1))
        await ours.write(b"faster")
        assert await gathered(theirs, 6) == b"faster"
        ours.close()
        theirs.close()


async def test_characters_of_the_wrong_parity_are_not_passed_on_as_they_are() -> None:
    """A pty has no parity, but shows whether it would be checked."""
    async with serial_line() as (near, _):
        connection = await Connection.open(Line(near, SETTINGS))
        await connection.change(SerialSettings(300, "none", 1))
        handle = os.open(near, os.O_RDWR | os.O_NOCTTY)
        try:
            flags = termios.tcgetattr(handle)[0]
        finally:
            os.close(handle)
            connection.close()
    assert flags & termios.INPCK
    assert not flags & (termios.IGNPAR | termios.PARMRK)


async def test_a_port_has_one_user() -> None:
    async with serial_line() as (near, _):
        connection = await Connection.open(Line(near, SETTINGS))
        with pytest.raises(MeterError, match=f"cannot open {near}: another program uses it"):
            await Connection.open(Line(near, SETTINGS))
        connection.close()
        (await Connection.open(Line(near, SETTINGS))).close()


async def test_a_port_that_vanishes_while_it_is_read() -> None:
    async with serial_line() as (near, _):
        connection = await Connection.open(Line(near, SETTINGS))
        reading = asyncio.create_task(connection.read())
        await asyncio.sleep(0)
    with pytest.raises(MeterError, match=f"{near} (is gone|ended the connection)"):
        await asyncio.wait_for(reading, 10)
    connection.close()


async def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    file = tmp_path / "no-port"
    file.write_bytes(b"")
    for endpoint, sentence in (
        (Line("/dev/nowhere", SETTINGS), "cannot open /dev/nowhere: No such file or directory"),
        (Line(str(file), SETTINGS), f"cannot open {file}: it is not a serial port"),
        (Tcp("no such name", 1), "cannot open no such name:1: "),
        (Tcp("127.0.0.1", 1), "cannot open 127.0.0.1:1: Connection refused"),
    ):
        with pytest.raises(MeterError) as caught:
            await Connection.open(endpoint)
        assert str(caught.value).startswith(sentence)


def test_what_several_addresses_of_a_name_have_in_common_is_said() -> None:
    both = "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] Connect call"
    assert why(OSError(both)) == "Connection refused"
    assert why(OSError("no number")) == "no number"


async def test_settings_that_a_port_cannot_have() -> None:
    """A pty has neither parity nor characters of seven bits."""
    seven = SerialSettings(300, "even", 1, data_bits=7)
    async with serial_line() as (near, _):
        sentence = f"cannot open {near}: Invalid argument, so it cannot have these settings"
        with pytest.raises(MeterError, match=sentence):
            await Connection.open(Line(near, seven))
        connection = await Connection.open(Line(near, SETTINGS))
        with pytest.raises(MeterError, match=f"{near} cannot be set to 300 Bd, 7E1: Invalid argument"):
            await connection.change(seven)
        connection.close()


async def test_a_connection_that_its_server_ends() -> None:
    async with raw_server(lambda request: [b"one", b"two"] if request == b"go" else None) as port:
        connection = await Connection.open(Tcp("127.0.0.1", port))
        await connection.write(b"go")
        assert await gathered(connection, 6) == b"onetwo"
        await connection.write(b"end")
        with pytest.raises(MeterError, match=f"127.0.0.1:{port} ended the connection"):
            await connection.read()
        connection.close()


async def test_an_echo_is_not_read() -> None:
    async with raw_server(lambda request: [request, b"\x06answer"]) as port:
        connection = await Connection.open(Tcp("127.0.0.1", port))
        for _ in range(2):
            await connection.write(b"/?!\r\n")
            assert await gathered(connection, 7) == b"\x06answer"
        connection.close()


@given(st.binary(max_size=20), st.binary(max_size=40), st.lists(st.integers(1, 7), min_size=1))
def test_an_echo_is_stripped_in_whatever_pieces(sent: bytes, answer: bytes, sizes: list[int]) -> None:
    echo, heard, coming, n = Echo(), b"", sent + answer, 0
    echo.sent(sent)
    while coming:
        size = sizes[n % len(sizes)]
        heard, coming, n = heard + echo.strip(coming[:size]), coming[size:], n + 1
    assert heard == answer


@given(st.binary(min_size=1, max_size=8), st.binary(max_size=40))
def test_without_an_echo_nothing_is_lost(sent: bytes, answer: bytes) -> None:
    """Unless the answer begins with the question, byte for byte."""
    echo = Echo()
    echo.sent(sent)
    heard = b"".join(echo.strip(answer[at : at + 1]) for at in range(len(answer)))
    if sent.startswith(answer):
        assert heard == b""  # it may be the echo's beginning still
    elif not answer.startswith(sent):
        assert heard == answer


def test_what_is_neither_echo_nor_answer_is_passed_on() -> None:
    echo = Echo()
    assert echo.strip(b"noise") == b"noise"
    echo.sent(b"\x7e\xa0\x07")
    assert echo.strip(b"\x7e\xa0") == b""
    assert echo.strip(b"\x1f\x02") == b"\x7e\xa0\x1f\x02"
    assert echo.strip(b"\x7e\xa0\x07") == b"\x7e\xa0\x07"
