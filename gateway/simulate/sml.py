"""A simulated SML meter, as German households have it: a list each second.

It is a "moderne Messeinrichtung" whose PIN was entered (FNN Lastenheft Basiszähler): energies in steps of 0.1
Wh, power in W, a server id after DIN 43863-5, and a clock that counts seconds from the meter's start.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.host.clock import Clock
from gateway.meters.crc import x25
from gateway.meters.endpoint import Line, Tcp
from gateway.simulate.home import Home
from gateway.simulate.push_server import speak
from gateway.simulate.truth import LiveHome

_ESCAPE = b"\x1b" * 4
_MAKER = b"SIM"
_SERVER_ID = b"\x0a\x01SIM" + bytes([0]) + (12_345_678).to_bytes(4, "big")
_OPEN, _LIST, _CLOSE = 0x0101, 0x0701, 0x0201
_STATUS = 0x1C_0104  # a load, and voltage on three phases
_STEP_MWH = 100
NONE = b"\x01"  # a value that is left out
_WH, _W = 30, 27  # IEC 62056-6-2, table 4


class SmlMeter:
    """A meter that shows `home`."""

    def __init__(self, home: Home, clock: Clock, truth: Path | None = None) -> None:
        self._began = clock.wall() // 1_000_000_000
        self._frame = b""
        self.live = LiveHome(home, clock, self._show, truth)

    def frame(self) -> bytes:
        """The list for the second that is shown."""
        return self._frame

    def _show(self, home: Home) -> dict[str, int]:
        imported, exported = home.import_mwh // _STEP_MWH, home.export_mwh // _STEP_MWH
        registers = [
            entry("1-0:96.50.1*1", octets(_MAKER)),
            entry("1-0:96.1.0*255", octets(_SERVER_ID)),
            entry("1-0:1.8.0*255", unsigned(imported, 8), _WH, -1, unsigned(_STATUS, 4)),
            entry("1-0:2.8.0*255", unsigned(exported, 8), _WH, -1),
            entry("1-0:16.7.0*255", signed(home.power, 4), _W, 0),
        ]
        self._frame = frame(_SERVER_ID, home.second, max(home.second - self._began, 0), registers)
        return {"import": imported * _STEP_MWH, "export": exported * _STEP_MWH, "power": home.power}


async def serve(
    home: Home,
    endpoint: Tcp | Line,
    clock: Clock,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Send the list of `home` each second until cancelled, as `push_server.speak` does. What the meter shows
    is appended to `truth`."""
    meter = SmlMeter(home, clock, truth)
    await speak(meter.live, meter.frame, endpoint, listening)


def frame(server_id: bytes, file: int, second: int, entries: list[bytes]) -> bytes:
    """A list of `entries` between an open and a close message, in SML's transport protocol 1. `file` is its
    number; `second` is the meter's secIndex."""
    sec_index = list_of(unsigned(1, 1), unsigned(second % 2**32, 4))
    name = b"\x01\x00\x62\x0a\xff\xff"
    said = [
        (_OPEN, list_of(NONE, NONE, octets(file.to_bytes(8, "big")), octets(server_id), sec_index, NONE)),
        (_LIST, list_of(NONE, octets(server_id), octets(name), sec_index, list_of(*entries), NONE, NONE)),
        (_CLOSE, list_of(NONE)),
    ]
    content = b"".join(
        _message(octets((3 * file + part).to_bytes(8, "big")), kind, body)
        for part, (kind, body) in enumerate(said)
    )
    fill = -len(content) % 4
    content = content.replace(_ESCAPE, _ESCAPE * 2) + bytes(fill)
    checked = _ESCAPE + b"\x01" * 4 + content + _ESCAPE + bytes([0x1A, fill])
    return checked + x25(checked)


def entry(
    obis: str, value: bytes, unit: int | None = None, scaler: int | None = None, status: bytes = NONE
) -> bytes:
    """A register by its code, such as `1-0:1.8.0*255`; arguments of type bytes are already encoded."""
    a, rest = obis.split("-")
    b, rest = rest.split(":")
    code = bytes(map(int, (a, b, *rest.replace("*", ".").split("."))))
    return list_of(
        octets(code),
        status,
        NONE,
        NONE if unit is None else unsigned(unit, 1),
        NONE if scaler is None else signed(scaler, 1),
        value,
        NONE,
    )


def octets(value: bytes) -> bytes:
    """An octet string; its length counts its own length field."""
    length = len(value) + 1
    if length <= 0x0F:
        return bytes([length]) + value
    length += 1  # two fields of four bits reach 255
    return bytes([0x80 | length >> 4, length & 0x0F]) + value


def unsigned(value: int, size: int) -> bytes:
    return bytes([0x61 + size]) + value.to_bytes(size, "big")


def signed(value: int, size: int) -> bytes:
    return bytes([0x51 + size]) + value.to_bytes(size, "big", signed=True)


def list_of(*elements: bytes) -> bytes:
    count = len(elements)
    head = [0x70 | count] if count <= 0x0F else [0xF0 | count >> 4, count & 0x0F]
    return bytes(head) + b"".join(elements)


def _message(transaction: bytes, kind: int, body: bytes) -> bytes:
    choice = list_of(unsigned(kind, 2), body)
    checked = bytes([0x76]) + transaction + unsigned(0, 1) + unsigned(0, 1) + choice
    return checked + b"\x63" + x25(checked) + b"\x00"
