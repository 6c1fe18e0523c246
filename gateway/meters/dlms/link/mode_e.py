"""The way into HDLC through an optical head: IEC 62056-21, mode E (6.3.2, 6.4.5, annex C of IEC 62056-46).

client at 300 Bd, 7E1   /?!                     a request to whoever hears it
meter                   /XXXZ\\2WIdentification  its maker, the speed Z that it offers, HDLC offered by \\2
client                  06 32 Z 32              HDLC, at speed Z
meter at the new speed  06 32 Z 32              some say nothing here
both                    HDLC, 8N1
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from gateway.errors import MeterError
from gateway.meters.endpoint import SerialSettings
from gateway.meters.transport import Connection

OPENING = SerialSettings(300, "even", 1, 7)
# A battery keeps a head asleep: zeros for 2.2 s, then a pause of 1.5 s (IEC 62056-21, annex B.2).
_WAKE, _WAKE_LASTS_S, _WAKE_PAUSE_S = bytes(66), 66 * 10 / 300, 1.6
_BAUDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
_IDENTIFICATION = re.compile(rb"/([A-Za-z]{3})([0-9A-I])((?:\\.)*)([^\r\n/!]{0,32})\r\n")
_LONGEST = 256  # bytes before the end of an identification, noise among them
_MOST_OPENINGS = 3
_REACTION_S = 1.5  # the longest time the meter may take to answer (IEC 62056-21, 6.3.14)


@dataclass(frozen=True, slots=True)
class Identification:
    """What the meter says it is: `maker` in three letters (FLAG), `speed` the letter it offers, `hdlc`
    whether it offers mode E with HDLC."""

    maker: str
    speed: str
    hdlc: bool

    @property
    def settings(self) -> SerialSettings:
        """How HDLC's characters look. MeterError for a speed that the standard does not know."""
        if self.speed not in _BAUDS:
            raise MeterError(
                f"the meter offers the speed {self.speed!r}; one of {', '.join(_BAUDS)} would be right"
            )
        return SerialSettings(_BAUDS[self.speed], "none", 1)

    @property
    def answer(self) -> bytes:
        """HDLC, at that speed."""
        return f"\x062{self.speed}2\r\n".encode("ascii")


def request(device: str = "") -> bytes:
    """The opening, to the meter of that device address or to any."""
    return f"/?{device}!\r\n".encode("ascii")


def find_identification(heard: bytes) -> Identification | None:
    """The first identification in what was heard, noise before it or not; None while there is none whole.
    MeterError where too much came without one."""
    match = _IDENTIFICATION.search(bytes(octet & 0x7F for octet in heard))
    if match:
        maker, speed, modes, _ = match.groups()
        return Identification(maker.decode(), speed.decode(), b"\\2" in modes)
    if len(heard) > _LONGEST:
        raise MeterError("what comes at 300 Bd is no identification: does the head sit well on the meter?")
    return None


async def open_hdlc(
    connection: Connection, timeout_s: float = 3.0, *, device: str = "", wake: bool = False
) -> None:
    """Bring the meter and the serial port from 300 Bd into HDLC. MeterError where the meter says nothing,
    or offers no HDLC."""
    await connection.change(OPENING)
    if wake:
        await connection.write(_WAKE)
        await asyncio.sleep(_WAKE_LASTS_S + _WAKE_PAUSE_S)
    identification = await _identification(connection, timeout_s, device)
    if not identification.hdlc:
        raise MeterError(
            f"the meter ({identification.maker}) offers no HDLC on its optical head; a meter of mode E does"
        )
    settings = identification.settings
    await connection.write(identification.answer)
    # A USB adapter calls bytes sent that it still holds.
    await asyncio.sleep(len(identification.answer) * 10 / OPENING.baud)
    await connection.change(settings)
    await _confirmation(connection, identification.answer)


async def _identification(connection: Connection, timeout_s: float, device: str) -> Identification:
    for _ in range(_MOST_OPENINGS):
        heard = b""
        await connection.write(request(device))
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    heard += await connection.read()
                    if identification := find_identification(heard):
                        return identification
        except TimeoutError:
            continue
    raise MeterError(
        f"the meter does not answer on its optical head, asked {_MOST_OPENINGS} times: does it sit well?"
    )


async def _confirmation(connection: Connection, expected: bytes) -> None:
    """Wait for the meter's word at the new speed, in characters of seven bits still; whether the meter has
    taken the speed without one, HDLC shows."""
    heard = b""
    try:
        async with asyncio.timeout(_REACTION_S):
            while expected not in heard and len(heard) < _LONGEST:
                heard += bytes(octet & 0x7F for octet in await connection.read())
    except TimeoutError:
        pass
