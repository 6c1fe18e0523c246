"""A simulated AMIS meter (Siemens TD-3511 of Netz Oberösterreich): it looks for somebody who listens, then
sends an encrypted M-Bus frame each second while each is confirmed.

Registers are in Wh, powers in W.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.mbus import decoder as heads
from gateway.meters.secrets import Secrets
from gateway.simulate.home import Home
from gateway.simulate.push_server import speak
from gateway.simulate.truth import LiveHome

_MWH_PER_WH = 1_000
_ADDRESS = bytes.fromhex("00000000 2d4c 01 0e")  # the listener's, not the meter's (specification, table 1)
_VIENNA = ZoneInfo("Europe/Vienna")
_SEARCH_S = 60
_MOST_UNCONFIRMED = 10


class AmisMeter:
    """A meter that shows `home`, with the key in `secrets`. UsageError where there is none."""

    def __init__(self, home: Home, clock: Clock, secrets: Secrets, truth: Path | None = None) -> None:
        if secrets.encryption_key is None:
            raise UsageError("this meter encrypts: give it a file of keys, the same as the gateway's")
        self._key = secrets.encryption_key
        self._confirmed = False
        self._unconfirmed = _MOST_UNCONFIRMED
        self._search_due = 0
        self._second = 0
        self._content = b""
        self.live = LiveHome(home, clock, self._show, truth)

    def telegram(self) -> bytes:
        """The frame of this second, or the search that is due, or nothing."""
        self._unconfirmed = 0 if self._confirmed else self._unconfirmed + 1
        self._confirmed = False
        if self._unconfirmed < _MOST_UNCONFIRMED:
            return seal(self._content, self._key, self._second % 256)
        if self._second < self._search_due:
            return b""
        self._search_due = self._second + _SEARCH_S
        return heads.SEARCH

    def hear(self, data: bytes) -> None:
        """What a listener sends: a confirmation, or nothing that matters. One that comes is searched for at
        once: it was there before the meter."""
        if not data:
            self._search_due = 0
        self._confirmed = self._confirmed or heads.CONFIRMATION in data

    def _show(self, home: Home) -> dict[str, int]:
        imported, exported = home.import_mwh // _MWH_PER_WH, home.export_mwh // _MWH_PER_WH
        self._second = home.second
        self._content = content(home.second, imported, exported, home.power)
        return {"import": imported * _MWH_PER_WH, "export": exported * _MWH_PER_WH, "power": home.power}


async def serve(
    home: Home,
    endpoint: Tcp | Line,
    clock: Clock,
    secrets: Secrets,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Send the frames of `home` until cancelled, as `push_server.speak` does. What the meter shows is
    appended to `truth`."""
    meter = AmisMeter(home, clock, secrets, truth)
    await speak(meter.live, meter.telegram, endpoint, listening, meter.hear)


def content(second: int, imported_wh: int, exported_wh: int, power_w: int) -> bytes:
    """The data records of a frame (specification, table 2), filled up to whole blocks."""
    local = datetime.fromtimestamp(second, UTC).astimezone(_VIENNA)
    year = local.year - 2000
    stamp = bytes(
        (
            local.second | (0x40 if local.dst() else 0),
            local.minute,
            local.hour | local.isoweekday() << 5,
            local.day | (year & 7) << 5,
            local.month | year >> 3 << 4,
            local.isocalendar().week,
        )
    )
    records = [
        (heads.TIME, stamp),
        (heads.IMPORT, _number(imported_wh)),
        (heads.EXPORT, _number(exported_wh)),
        (bytes.fromhex("84 10 fb 82 73"), _number(0)),
        (bytes.fromhex("84 10 fb 82 f3 3c"), _number(0)),
        (heads.DRAWN, _number(max(power_w, 0))),
        (heads.GIVEN, _number(max(-power_w, 0))),
        (bytes.fromhex("04 fb 14"), _number(0)),
        (bytes.fromhex("04 fb 94 3c"), _number(0)),
        (bytes.fromhex("04 83 ff 04"), _number(0)),
    ]
    said = b"\x2f\x2f" + b"".join(head + value for head, value in records)
    return said + b"\x2f" * (-len(said) % 16)


def seal(plain: bytes, key: bytes, access: int) -> bytes:
    """A long frame of data records, encrypted in mode 5 (OMS Volume 2)."""
    vector = _ADDRESS[4:6] + _ADDRESS[:4] + _ADDRESS[6:] + bytes([access]) * 8
    sealing = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    header = b"\x53\xf0\x5b" + _ADDRESS + bytes((access, 0, len(plain) // 16 << 4, 5))
    body = header + sealing.update(plain) + sealing.finalize()
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) & 0xFF, 0x16))


def _number(value: int) -> bytes:
    return (value % 2**32).to_bytes(4, "little")
