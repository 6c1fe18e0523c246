"""The sign-on that leads to HDLC on an optical port: IEC 62056-21, mode E (6.3.2, 6.4.5, annex C of
IEC 62056-46).

client and meter        the request and an identification that offers HDLC, at 300 Bd (iec62056/sign_on)
client                  06 32 Z 32              HDLC, at speed Z
meter at the new speed  06 32 Z 32              some meters send nothing here
both                    HDLC, 8N1
"""

from __future__ import annotations

import asyncio

from gateway.errors import MeterError
from gateway.meters.iec62056.sign_on import LONGEST, OPENING, acknowledge, sign_on
from gateway.meters.transport import Connection

# Wakes a battery-powered head: zeros for 2.2 s, then a pause of 1.5 s (IEC 62056-21, annex B.2).
_WAKE, _WAKE_LASTS_S, _WAKE_PAUSE_S = bytes(66), 66 * 10 / 300, 1.6
_REACTION_S = 1.5  # the longest time that the meter may take to answer (IEC 62056-21, 6.3.14)


async def open_hdlc(
    connection: Connection, timeout_s: float = 3.0, *, device: str = "", wake: bool = False
) -> None:
    """Bring the meter and the serial port from 300 Bd to HDLC. MeterError where the meter does not answer, or
    does not offer HDLC."""
    await connection.change(OPENING)
    if wake:
        await connection.write(_WAKE)
        await asyncio.sleep(_WAKE_LASTS_S + _WAKE_PAUSE_S)
    identification, _ = await sign_on(connection, timeout_s, device)
    if not identification.hdlc:
        raise MeterError(
            f"the meter ({identification.maker}) does not offer HDLC (mode E) on its optical port"
        )
    settings = identification.settings
    await acknowledge(connection, identification.answer, OPENING, settings)
    await _confirmation(connection, identification.answer)


async def _confirmation(connection: Connection, expected: bytes) -> None:
    """Wait for the meter's confirmation at the new speed, still in characters of seven bits. Where none
    comes, HDLC will show whether the meter has changed its speed."""
    heard = b""
    try:
        async with asyncio.timeout(_REACTION_S):
            while expected not in heard and len(heard) < LONGEST:
                heard += bytes(octet & 0x7F for octet in await connection.read())
    except TimeoutError:
        pass
