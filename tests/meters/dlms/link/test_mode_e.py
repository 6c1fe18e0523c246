"""Mode E: from an opening at 300 Bd into HDLC, over a serial line of two ptys that a meter answers on."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.dlms.link import mode_e
from gateway.meters.dlms.link.channel import HdlcChannel
from gateway.meters.dlms.link.hdlc import address
from gateway.meters.dlms.link.hdlc_link import Primary, Secondary
from gateway.meters.dlms.link.mode_e import open_hdlc
from gateway.meters.endpoint import Line
from gateway.meters.iec62056.sign_on import OPENING, Identification, find_identification, request
from gateway.meters.transport import Connection

CLIENT, SERVER = address(16), address(1, 17)
# A pty has no characters of seven bits.
PTY_OPENING = replace(OPENING, parity="none", data_bits=8)
LANDIS = b"/LGZ5\\2ZMF100AC.M26\r\n"


@pytest.fixture(autouse=True)
def _as_a_pty_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode_e, "OPENING", PTY_OPENING)


def seven_bits(data: bytes) -> bytes:
    """Characters of seven bits and even parity, as a port set to eight bits hears them."""
    return bytes(octet | (octet.bit_count() & 1) << 7 for octet in data)


class OpticalMeter:
    """A meter on the other end of a line: at 300 Bd until it is told a speed, then HDLC."""

    def __init__(self, ours: int, theirs: int, identification: bytes = LANDIS) -> None:
        self._ours, self._theirs = ours, theirs
        self._identification = identification
        self._link: Secondary | None = None
        self.heard = bytearray()
        self.deaf_for = 0  # openings that it sleeps through
        self.confirms = self.echoes = True
        self.speed_at_opening = self.speed_in_hdlc = 0

    def answer(self) -> None:
        data = os.read(self._ours, 4096)
        if self.echoes:
            os.write(self._ours, data)
        if self._link is not None:
            self.speed_in_hdlc = self._speed()
            for message in self._link.receive(data):
                self._link.send(message[::-1])
            os.write(self._ours, self._link.outgoing())
            return
        self.heard += data
        if self.heard.endswith(b"!\r\n"):
            self.speed_at_opening = self._speed()
            self.deaf_for -= 1
            if self.deaf_for < 0:
                os.write(self._ours, self._identification)
            self.heard += b"|"
        elif self.heard.endswith(b"\x06252\r\n"):
            self._link = Secondary(SERVER)
            if self.confirms:
                os.write(self._ours, seven_bits(b"\x06252\r\n"))

    def _speed(self) -> int:
        speed: int = termios.tcgetattr(self._theirs)[4]
        return speed


@asynccontextmanager
async def optical(
    prepare: Callable[[OpticalMeter], None] = lambda meter: None, identification: bytes = LANDIS
) -> AsyncIterator[tuple[Connection, OpticalMeter]]:
    ours, theirs = os.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    meter = OpticalMeter(ours, theirs, identification)
    prepare(meter)
    asyncio.get_running_loop().add_reader(ours, meter.answer)
    connection = await Connection.open(Line(os.ttyname(theirs), PTY_OPENING))
    try:
        yield connection, meter
    finally:
        connection.close()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
        os.close(theirs)


async def ask(connection: Connection) -> bytes:
    channel = HdlcChannel(connection, Primary(CLIENT, SERVER), 5)
    await channel.connect()
    return await channel.exchange(b"question")


async def test_the_meter_is_brought_into_hdlc() -> None:
    async with optical() as (connection, meter):
        await open_hdlc(connection)
        assert await ask(connection) == b"noitseuq"
        assert meter.heard == b"/?!\r\n|\x06252\r\n"
        assert (meter.speed_at_opening, meter.speed_in_hdlc) == (termios.B300, termios.B9600)


async def test_a_head_without_echo_and_a_meter_that_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode_e, "_REACTION_S", 0.02)

    def prepare(meter: OpticalMeter) -> None:
        meter.echoes = meter.confirms = False

    async with optical(prepare) as (connection, _):
        await open_hdlc(connection)
        assert await ask(connection) == b"noitseuq"


async def test_a_meter_that_sleeps_is_asked_again() -> None:
    def prepare(meter: OpticalMeter) -> None:
        meter.deaf_for = 2

    async with optical(prepare) as (connection, meter):
        await open_hdlc(connection, 0.05, device="12345678")
        assert meter.heard.count(b"/?12345678!\r\n|") == 3


async def test_a_meter_on_battery_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode_e, "_WAKE_LASTS_S", 0.0)
    monkeypatch.setattr(mode_e, "_WAKE_PAUSE_S", 0.0)

    async with optical() as (connection, meter):
        await open_hdlc(connection, wake=True)
        assert meter.heard.startswith(bytes(66) + b"/?!\r\n")


async def test_a_silent_meter_is_an_error() -> None:
    def prepare(meter: OpticalMeter) -> None:
        meter.deaf_for = 9

    async with optical(prepare) as (connection, _):
        with pytest.raises(MeterError, match="does not answer on its optical port, asked 3 times"):
            await open_hdlc(connection, 0.02)


async def test_a_meter_without_mode_e_is_an_error() -> None:
    async with optical(identification=b"/EMH4\\@01LZQJL0013E\r\n") as (connection, _):
        with pytest.raises(MeterError, match=r"the meter \(EMH\) does not offer HDLC"):
            await open_hdlc(connection)


def test_openings() -> None:
    assert str(OPENING) == "300 Bd, 7E1"
    assert request() == b"/?!\r\n"
    assert request("0123") == b"/?0123!\r\n"


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (LANDIS, Identification("LGZ", "5", True)),
        (b"\x00\xff/?!\r\n" + LANDIS, Identification("LGZ", "5", True)),
        (seven_bits(LANDIS), Identification("LGZ", "5", True)),
        (b"/ISk5\\2MT174-0001\r\n", Identification("ISk", "5", True)),
        (b"/KAM6ABC\r\n", Identification("KAM", "6", False)),
        (b"/LGZ5\\B\\2E450\r\n", Identification("LGZ", "5", True)),
        (b"/LGZ5\\2ZMF", None),
        (b"", None),
    ],
)
def test_identifications(heard: bytes, expected: Identification | None) -> None:
    assert find_identification(heard) == expected


def test_a_speed_that_nobody_knows_is_refused() -> None:
    with pytest.raises(MeterError, match="offers the speed 'A'"):
        _ = Identification("XXX", "A", True).settings


def test_noise_without_end_is_refused() -> None:
    with pytest.raises(MeterError, match="not an identification"):
        find_identification(bytes(300))


@given(st.binary(max_size=300))
def test_whatever_is_heard_only_declared_errors_come(heard: bytes) -> None:
    try:
        find_identification(heard)
    except MeterError:
        assert len(heard) > 256
