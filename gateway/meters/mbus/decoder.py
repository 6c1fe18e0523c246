"""Records to the lanes. Every frame is confirmed, and so is the search for somebody who listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone

from gateway.errors import MeterError
from gateway.meters.mbus.frames import LongFrames, SealedFrame
from gateway.meters.mbus.records import read_records
from gateway.meters.reading import Telegram

SEARCH = bytes.fromhex("10 40 f0 30 16")  # SND_NKE to the primary address 240, once a minute
CONFIRMATION = b"\xe5"
# The heads of the records (specification, table 2): unsigned numbers of 32 bits, in Wh and W.
TIME, IMPORT, EXPORT = b"\x06\x6d", b"\x04\x03", b"\x04\x83\x3c"
DRAWN, GIVEN = b"\x04\x2b", b"\x04\xab\x3c"
_HAS = (TIME, IMPORT, EXPORT, DRAWN, GIVEN)
_MWH_PER_WH = 1_000
_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AUSTRIA = timedelta(hours=1)  # less the hour of summer time


class MbusDecoder:
    """Turns a meter's bytes into telegrams, decrypted with `key`."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.cut()

    def cut(self) -> None:
        """The next bytes come from another connection."""
        self._frames = LongFrames()
        self._tail = b""
        self._confirms = False

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken frame."""
        heard = self._tail + data
        self._confirms = self._confirms or SEARCH in heard
        self._tail = heard[-len(SEARCH) + 1 :]
        said: list[Telegram | MeterError] = []
        for one in self._frames.feed(data):
            try:
                if isinstance(one, MeterError):
                    raise one
                self._confirms = True
                said.append(self._telegram(one))
            except MeterError as error:
                said.append(error)
        return said

    def answer(self) -> bytes:
        """The confirmation of what was fed, once, where one is due: the meter sends on only if it comes
        within half a second."""
        due, self._confirms = self._confirms, False
        return CONFIRMATION if due else b""

    def _telegram(self, sealed: SealedFrame) -> Telegram:
        records = read_records(sealed.open(self._key))
        if missing := [head for head in _HAS if head not in records]:
            raise MeterError(
                f"an M-Bus frame lacks the record {missing[0].hex(' ')}: the meter's list has changed"
            )
        registers = {
            "import": _number(records, IMPORT) * _MWH_PER_WH,
            "export": _number(records, EXPORT) * _MWH_PER_WH,
            "power": _number(records, DRAWN) - _number(records, GIVEN),
        }
        return Telegram(registers, meter_time=meter_time(records[TIME]))


def _number(records: Mapping[bytes, bytes], head: bytes) -> int:
    return int.from_bytes(records[head], "little")


def meter_time(stamp: bytes) -> int | None:
    """Unix time (ns) of a time of type I (CP48; EN 13757-3, annex A), which has a bit for summer time. None
    where the meter marks it as invalid."""
    second, minute, hour, day, month = stamp[:5]
    if minute & 0x80:
        return None
    summer = timedelta(hours=1) if second & 0x40 else timedelta()
    year = 2000 + (month >> 4 << 3 | day >> 5)
    try:
        local = datetime(
            year,
            month & 0x0F,
            day & 0x1F,
            hour & 0x1F,
            minute & 0x3F,
            second & 0x3F,
            tzinfo=timezone(_AUSTRIA + summer),
        )
    except ValueError:
        return None
    return (local - _EPOCH) // timedelta(seconds=1) * _NS
