"""The sign-on of an optical port (IEC 62056-21, 6.3): a request, the meter's identification, and the speed at
which they go on.

client at 300 Bd, 7E1   /?!                     a request to any meter, or /?12345678! to one of them
meter                   /XXXZ\\2WIdentification  its maker, the speed Z that it offers; \\2 offers HDLC
client                  06 0 Z 0                text at speed Z (mode C), or 06 2 Z 2: HDLC (mode E)
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.endpoint import SerialSettings
from gateway.meters.transport import Connection

OPENING = SerialSettings(300, "even", 1, 7)
BAUDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
_IDENTIFICATION = re.compile(rb"/([A-Za-z]{3})([^\r\n/!?])((?:\\.)*)([^\r\n/!]{0,32})\r\n")
LONGEST = 256  # bytes up to the end of an identification, noise included
_MOST_OPENINGS = 3


@dataclass(frozen=True, slots=True)
class Identification:
    """A meter's answer to the request: `maker` in three letters (FLAG), `speed` the character that it offers,
    `hdlc` whether it offers mode E with HDLC, `text` the whole of it, without the stroke, and `end` where it
    ended in what was heard."""

    maker: str
    speed: str
    hdlc: bool
    text: str = field(default="", compare=False)
    end: int = field(default=0, compare=False)

    @property
    def settings(self) -> SerialSettings:
        """The serial settings for HDLC. MeterError for a speed that is not in the standard."""
        if self.speed not in BAUDS:
            raise MeterError(
                f"the meter offers the speed {self.speed!r}; it must be one of {', '.join(BAUDS)}"
            )
        return SerialSettings(BAUDS[self.speed], "none", 1)

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
        text = match[0].decode()[1:].rstrip()
        return Identification(maker.decode(), speed.decode(), b"\\2" in modes, text, match.end())
    if len(heard) > LONGEST:
        raise MeterError("the meter's answer at 300 Bd is not an identification: is the head in place?")
    return None


async def sign_on(connection: Connection, timeout_s: float, device: str = "") -> tuple[Identification, bytes]:
    """Ask for an identification, three times at most; what was heard behind it already comes with it.
    MeterError where there is none."""
    for _ in range(_MOST_OPENINGS):
        heard = b""
        await connection.write(request(device))
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    heard += await connection.read()
                    if identification := find_identification(heard):
                        return identification, heard[identification.end :]
        except TimeoutError:
            continue
    raise MeterError(
        f"the meter does not answer on its optical port, asked {_MOST_OPENINGS} times: is the head in place?"
    )


async def acknowledge(
    connection: Connection, answer: bytes, opening: SerialSettings, settings: SerialSettings
) -> None:
    """Send `answer` at the speed of the opening, and go on with `settings`."""
    await connection.write(answer)
    # A USB adapter reports bytes as sent while it still holds them.
    await asyncio.sleep(len(answer) * 10 / opening.baud)
    await connection.change(settings)
