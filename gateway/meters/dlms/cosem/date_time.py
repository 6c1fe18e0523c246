"""COSEM's date-time: 12 octets to Unix time and back (IEC 62056-6-2, date and time formats).

    year (2), month, day, day of week, hour, minute, second, hundredths, deviation (2), clock status

Any field may be "not specified": 0xFF, and 0x8000 for the deviation, which is the minutes from local time
to UTC: -60 in a European winter.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from gateway.errors import MeterError

_LAYOUT = struct.Struct(">HBBBBBBBhB")
_NO_DEVIATION = -0x8000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INVALID_VALUE, _DOUBTFUL, _INVALID_STATUS, _DAYLIGHT_SAVING = 0x01, 0x02, 0x08, 0x80
_NO_STATUS = 0xFF


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment as a meter's clock has it: `unix_ns` is exact to the clock's hundredths of a second,
    `deviation` the minutes from its local time to UTC, and `sure` false where the meter doubts its own
    clock (after a power cut, say)."""

    unix_ns: int
    deviation: int
    sure: bool = True


def decode(octets: bytes, zone: tzinfo | None = None) -> Moment:
    """The moment that 12 octets stand for. Where they have no deviation they are local time in `zone`; an
    hour that comes twice is told apart by the clock status. MeterError for what is no single moment."""
    if len(octets) != _LAYOUT.size:
        raise MeterError(f"the meter's time has {len(octets)} bytes; a date-time has {_LAYOUT.size}")
    year, month, day, _, hour, minute, second, hundredths, deviation, status = _LAYOUT.unpack(octets)
    try:
        local = datetime(year, month, day, hour, minute, 0 if second == 0xFF else second)
    except ValueError:
        raise MeterError("the meter's time names no moment: a field is out of range, or not set") from None
    if deviation != _NO_DEVIATION:
        if abs(deviation) > 840:  # the standard allows 720; some islands are 14 h from Greenwich
            raise MeterError("the meter's time is more than 14 hours from UTC")
        moment = local.replace(tzinfo=timezone(timedelta(minutes=-deviation)))
    elif zone is None:
        raise MeterError("the meter's time does not say how far it is from UTC: its time zone must be set")
    else:
        winter = status != _NO_STATUS and not status & _DAYLIGHT_SAVING
        moment = local.replace(tzinfo=zone, fold=int(winter))
    try:
        ns = (moment - _EPOCH) // timedelta(microseconds=1) * 1000
        offset = moment.utcoffset()
    except OverflowError:
        raise MeterError("the meter's time names no moment: its year is out of range") from None
    assert offset is not None
    if hundredths < 100:
        ns += hundredths * 10_000_000
    return Moment(ns, -(offset // timedelta(minutes=1)), is_sure(octets))


def is_sure(octets: bytes) -> bool:
    """Whether the meter does not doubt the clock that gave a date-time."""
    status = octets[-1]
    return status == _NO_STATUS or not status & (_INVALID_VALUE | _DOUBTFUL | _INVALID_STATUS)


def tells_utc(octets: bytes) -> bool:
    """Whether a date-time tells how far it is from UTC."""
    return octets[9:11] != _NO_DEVIATION.to_bytes(2, "big", signed=True)


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a meter's clock that shows the date-time `shown`: Unix time; or, where the clock does not
    tell how far it is from UTC (no `standard`, the minutes from its standard time to UTC), its standard time
    as though that were UTC. The difference of two moments on it is right across a change of clocks, and where
    only the clock or only a row of its load profile tells UTC. What tells neither its deviation nor its
    status is taken to be in summer time if the clock is."""

    shown: bytes
    standard: int | None

    @classmethod
    def of(cls, shown: bytes) -> Scale:
        """MeterError where `shown` is no date-time of a clock that is set."""
        deviation = decode(shown, UTC).deviation
        return cls(shown, deviation - _summer(shown) if tells_utc(shown) else None)

    def ns(self, octets: bytes) -> int:
        """What a date-time of this meter's stands for. MeterError as `decode`."""
        if self.standard is None or not tells_utc(octets):
            deviation = (self.standard or 0) + _summer(octets if _has_status(octets) else self.shown)
            octets = octets[:9] + deviation.to_bytes(2, "big", signed=True) + octets[11:]
        return decode(octets).unix_ns

    def octets(self, moment: int) -> bytes:
        """The date-time of `moment` as the meter's clock would write it now."""
        deviation = (self.standard or 0) + _summer(self.shown)
        return encode(moment, deviation)[:9] + self.shown[9:]


def _summer(octets: bytes) -> int:
    """By how many minutes a date-time's deviation differs from that of its standard time."""
    return -60 if _has_status(octets) and octets[-1] & _DAYLIGHT_SAVING else 0


def _has_status(octets: bytes) -> bool:
    return bool(octets) and octets[-1] != _NO_STATUS


def encode(unix_ns: int, deviation: int, *, daylight_saving: bool = False) -> bytes:
    """The 12 octets for a moment, in the local time that is `deviation` minutes from UTC; hundredths cut.
    MeterError for a moment that has no date."""
    try:
        local = _EPOCH + timedelta(microseconds=unix_ns // 1000) - timedelta(minutes=deviation)
    except OverflowError:
        raise MeterError(
            "a moment lies before the year 1 or behind the year 9999: is the clock right?"
        ) from None
    return _LAYOUT.pack(
        *(local.year, local.month, local.day, local.isoweekday(), local.hour, local.minute, local.second),
        *(local.microsecond // 10_000, deviation, _DAYLIGHT_SAVING if daylight_saving else 0),
    )
