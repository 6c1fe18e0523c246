"""A register's 16-bit words to an exact number: no float arithmetic, one rounding at the end."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.modbus.model import Register
from gateway.meters.reading import sane


class NoValue(MeterError):
    """The register exists, and says that it has no value."""


def number(register: Register, words: Sequence[int]) -> Fraction:
    """The value in the register's own unit, exactly (a float32 is a fraction). NoValue where the words say
    that there is none."""
    ordered = words if register.word_order == "high-first" else words[::-1]
    data = struct.pack(f">{len(ordered)}H", *ordered)
    if int.from_bytes(data, "big") in register.nan:
        raise NoValue(f"register {register.name} says that it has no value")
    (raw,) = struct.unpack(register.format, data)
    if not math.isfinite(raw):
        raise NoValue(f"register {register.name} holds no number (NaN or infinite)")
    return Fraction(raw) * register.scale


def lane_value(words: Mapping[Register, Sequence[int]]) -> int:
    """The sum of one lane's registers in the lane's unit, mWh or W, rounded half to even. NoValue where one
    of them has none; MeterError where no meter can have measured that."""
    total = sum((number(register, shown) * register.factor for register, shown in words.items()), Fraction(0))
    value = round(total)
    sane({next(iter(words)).name: value})
    return value
