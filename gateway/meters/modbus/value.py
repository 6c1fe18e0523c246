"""A register's 16-bit words to an exact number: no float arithmetic, one rounding at the end."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.modbus.model import Register
from gateway.meters.reading import sane


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
    sane({register.name: value})
    return value
