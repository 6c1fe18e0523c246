"""A register's 16-bit words to an exact number: no float arithmetic, one rounding at the end."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.profile import Register

# Far above any meter's display, far below 2^63: a value beyond these was not measured.
_MOST_MWH = 10**15  # a billion kWh
_MOST_W = 10**9


def number(register: Register, words: Sequence[int]) -> Fraction:
    """The value in the register's own unit, exactly as its words say it (a float32 is a fraction)."""
    ordered = words if register.word_order == "high-first" else words[::-1]
    (raw,) = struct.unpack(register.format, struct.pack(f">{len(ordered)}H", *ordered))
    if not math.isfinite(raw):
        raise MeterError(f"register {register.name} holds no number (NaN or infinite)")
    return Fraction(raw) * register.scale


def lane_value(register: Register, words: Sequence[int]) -> int:
    """The value as its lane counts it, mWh or W, rounded half to even."""
    value = round(number(register, words) * register.factor)
    if register.quantity == "energy" and value < 0:
        raise MeterError(f"register {register.name} holds a negative energy: its total only ever rises")
    if abs(value) > (_MOST_MWH if register.quantity == "energy" else _MOST_W):
        raise MeterError(f"register {register.name} holds more than any meter measures")
    return value
