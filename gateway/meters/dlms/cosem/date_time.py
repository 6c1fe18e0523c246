"""COSEM's date-time: 12 octets to Unix time and back (IEC 62056-6-2, date and time formats).

    year (2), month, day, day of week, hour, minute, second, hundredths, deviation (2), clock status

Any field may be "not specified": 0xFF, or 0x8000 for the deviation. The deviation is in minutes from local
time to UTC: -60 in a Central European winter.
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
    """A moment on a meter's clock: `unix_ns` is exact to the clock's hundredths of a second, `deviation` is
    in minutes from its local time to UTC, and `sure` is false where the meter itself marks its clock as
    doubtful (after a power cut, say)."""

    unix_ns: int
    deviation: int
    sure: bool = True


def decode(octets: bytes, zone: tzinfo | None = None) -> Moment:
    """The moment that 12 octets stand for. Without a deviation they are local time in `zone`; the clock
    status then says which of two equal hours is meant. MeterError for octets that do not name one moment."""
    if len(octets) != _LAYOUT.size:
        raise MeterError(f"the meter's time has {len(octets)} bytes; a date-time has {_LAYOUT.size}")
    year, month, day, _, hour, minute, second, hundredths, deviation, status = _LAYOUT.unpack(octets)
    try:
        local = datetime(year, month, day, hour, minute, 0 if second == 0xFF else second)
    except ValueError:
        raise MeterError("the meter's time is not a moment: a field is out of range, or not set") from None
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
        raise MeterError("the meter's time is not a moment: its year is out of range") from None
    assert offset is not None
    if hundredths < 100:
        ns += hundredths * 10_000_000
    return Moment(ns, -(offset // timedelta(minutes=1)), is_sure(octets))


def is_sure(octets: bytes) -> bool:
    """Whether the clock status of a date-time does not mark the clock as doubtful."""
    status = octets[-1]
    return status == _NO_STATUS or not status & (_INVALID_VALUE | _DOUBTFUL | _INVALID_STATUS)


def tells_utc(octets: bytes) -> bool:
    """Whether a date-time says how far it is from UTC."""
    return octets[9:11] != _NO_DEVIATION.to_bytes(2, "big", signed=True)


@dataclass(frozen=True, slots=True)
class Scale:
    """The time scale of a meter whose clock shows the date-time `shown`. It is Unix time; or, where the clock
    does not say how far it is from UTC, the meter's standard time treated as UTC. `standard` has the minutes
    from the meter's standard time to UTC, None in the second case. The difference of two moments on the scale
    is right across a change to or from summer time, and where only the clock, or only a row of its load
    profile, gives its deviation. A date-time with neither deviation nor status is taken to be in summer time
    if the clock is."""

    shown: bytes
    standard: int | None

    @classmethod
    def of(cls, shown: bytes) -> Scale:
        """MeterError where `shown` is not the date-time of a clock that is set."""
        deviation = decode(shown, UTC).deviation
        return cls(shown, deviation - _summer(shown) if tells_utc(shown) else None)

    def ns(self, octets: bytes) -> int:
        """The moment that a date-time of this meter stands for. MeterError as for `decode`."""
        if self.standard is None or not tells_utc(octets):
            deviation = (self.standard or 0) + _summer(octets if _has_status(octets) else self.shown)
            octets = octets[:9] + deviation.to_bytes(2, "big", signed=True) + octets[11:]
        return decode(octets).unix_ns

    def octets(self, moment: int) -> bytes:
        """The date-time of `moment` as the meter would write it now."""
        deviation = (self.standard or 0) + _summer(self.shown)
        return encode(moment, deviation)[:9] + self.shown[9:]


def _summer(octets: bytes) -> int:
    """The minutes by which a date-time's deviation differs from that of standard time."""
    return -60 if _has_status(octets) and octets[-1] & _DAYLIGHT_SAVING else 0


def _has_status(octets: bytes) -> bool:
    return bool(octets) and octets[-1] != _NO_STATUS


def encode(unix_ns: int, deviation: int, *, daylight_saving: bool = False) -> bytes:
    """The 12 octets for a moment, in the local time that is `deviation` minutes from UTC, cut to hundredths.
    MeterError for a moment outside the years 1 to 9999."""
    try:
        local = _EPOCH + timedelta(microseconds=unix_ns // 1000) - timedelta(minutes=deviation)
    except OverflowError:
        raise MeterError(
            "a moment lies before the year 1 or after the year 9999: is the clock right?"
        ) from None
    return _LAYOUT.pack(
        *(local.year, local.month, local.day, local.isoweekday(), local.hour, local.minute, local.second),
        *(local.microsecond // 10_000, deviation, _DAYLIGHT_SAVING if daylight_saving else 0),
    )
