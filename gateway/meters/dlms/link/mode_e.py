"""The sign-on that leads to HDLC on an optical port: IEC 62056-21, mode E (6.3.2, 6.4.5, annex C of
IEC 62056-46).

client at 300 Bd, 7E1   /?!                     a request to any meter
meter                   /XXXZ\\2WIdentification  its maker, the speed Z that it offers; \\2 offers HDLC
client                  06 32 Z 32              HDLC, at speed Z
meter at the new speed  06 32 Z 32              some meters send nothing here
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
# Wakes a battery-powered head: zeros for 2.2 s, then a pause of 1.5 s (IEC 62056-21, annex B.2).
_WAKE, _WAKE_LASTS_S, _WAKE_PAUSE_S = bytes(66), 66 * 10 / 300, 1.6
_BAUDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
_IDENTIFICATION = re.compile(rb"/([A-Za-z]{3})([0-9A-I])((?:\\.)*)([^\r\n/!]{0,32})\r\n")
_LONGEST = 256  # bytes up to the end of an identification, noise included
_MOST_OPENINGS = 3
_REACTION_S = 1.5  # the longest time that the meter may take to answer (IEC 62056-21, 6.3.14)


@dataclass(frozen=True, slots=True)
class Identification:
    """A meter's answer to the request: `maker` in three letters (FLAG), `speed` the character that it offers,
    `hdlc` whether it offers mode E with HDLC."""

    maker: str
    speed: str
    hdlc: bool

    @property
    def settings(self) -> SerialSettings:
        """The serial settings for HDLC. MeterError for a speed that is not in the standard."""
        if self.speed not in _BAUDS:
            raise MeterError(
                f"the meter offers the speed {self.speed!r}; it must be one of {', '.join(_BAUDS)}"
            )
        return SerialSettings(_BAUDS[self.speed], "none", 1)

    @property
    def answer(self) -> bytes:
        """The choice of HDLC at that speed."""
        return f"\x062{self.speed}2\r\n".encode("ascii")


def request(device: str = "") -> bytes:
    """The request for an identification, from the meter with that device address or from any."""
    return f"/?{device}!\r\n".encode("ascii")


def find_identification(heard: bytes) -> Identification | None:
    """The first whole identification in what was heard, which may begin with noise; None while there is none.
    MeterError where too much came without one."""
    match = _IDENTIFICATION.search(bytes(octet & 0x7F for octet in heard))
    if match:
        maker, speed, modes, _ = match.groups()
        return Identification(maker.decode(), speed.decode(), b"\\2" in modes)
    if len(heard) > _LONGEST:
        raise MeterError("the meter's answer at 300 Bd is not an identification: is the head in place?")
    return None


async def open_hdlc(
    connection: Connection, timeout_s: float = 3.0, *, device: str = "", wake: bool = False
) -> None:
    """Bring the meter and the serial port from 300 Bd to HDLC. MeterError where the meter does not answer, or
    does not offer HDLC."""
    await connection.change(OPENING)
    if wake:
        await connection.write(_WAKE)
        await asyncio.sleep(_WAKE_LASTS_S + _WAKE_PAUSE_S)
    identification = await _identification(connection, timeout_s, device)
    if not identification.hdlc:
        raise MeterError(
            f"the meter ({identification.maker}) does not offer HDLC (mode E) on its optical port"
        )
    settings = identification.settings
    await connection.write(identification.answer)
    # A USB adapter reports bytes as sent while it still holds them.
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
        f"the meter does not answer on its optical port, asked {_MOST_OPENINGS} times: is the head in place?"
    )


async def _confirmation(connection: Connection, expected: bytes) -> None:
    """Wait for the meter's confirmation at the new speed, still in characters of seven bits. Where none
    comes, HDLC will show whether the meter has changed its speed."""
    heard = b""
    try:
        async with asyncio.timeout(_REACTION_S):
            while expected not in heard and len(heard) < _LONGEST:
                heard += bytes(octet & 0x7F for octet in await connection.read())
    except TimeoutError:
        pass
