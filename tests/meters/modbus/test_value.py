"""Words to exact numbers: no float arithmetic, one rounding, nothing that cannot be a measurement."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.modbus.model import Register, WordOrder
from gateway.meters.modbus.value import lane_value, number

FORMATS = {
    "i16": ">h",
    "u16": ">H",
    "i32": ">i",
    "u32": ">I",
    "i64": ">q",
    "u64": ">Q",
    "f32": ">f",
    "f64": ">d",
}
orders = st.sampled_from(["high-first", "low-first"])


def register(
    kind: str = "f32",
    *,
    name: str = "import",
    unit: str = "kWh",
    order: WordOrder = "high-first",
    scale: Fraction = Fraction(1),
) -> Register:
    return Register(name, "1-0:1.8.0", "input", 0, kind, order, scale, unit)


def words(kind: str, value: float, order: WordOrder = "high-first") -> list[int]:
    data = struct.pack(FORMATS[kind], value)
    taken = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
    return taken if order == "high-first" else taken[::-1]


@given(st.sampled_from(["i16", "u16", "i32", "u32", "i64", "u64"]), orders, st.data())
def test_integers_of_every_size_and_word_order(kind: str, order: WordOrder, data: st.DataObject) -> None:
    bits = int(kind[1:])
    low, high = (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    value = data.draw(st.integers(low, high))
    one = register(kind, order=order, scale=Fraction(1, 10))
    assert one.words == bits // 16
    assert number(one, words(kind, value, order)) == Fraction(value, 10)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), orders)
def test_a_float32_is_exactly_the_fraction_it_stands_for(value: float, order: WordOrder) -> None:
    mantissa, denominator = value.as_integer_ratio()
    shown = words("f32", value, order)
    assert number(register(order=order, scale=Fraction(3, 7)), shown) == Fraction(
        3 * mantissa, 7 * denominator
    )


@given(st.floats(0, 2**20, width=32))
def test_a_float32_of_kwh_in_mwh_is_off_by_half_a_mwh_at_most(value: float) -> None:
    exact = Fraction(value) * 1_000_000
    mwh = lane_value({register(): words("f32", value)})
    assert abs(mwh - exact) <= Fraction(1, 2)
    if abs(mwh - exact) == Fraction(1, 2):
        assert mwh % 2 == 0


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("kWh", 1 / 128, 7_812),  # 7 812.5, to even
        ("kWh", 3 / 128, 23_438),  # 23 437.5, to even
        ("kWh", 0.1, 100_000),
        ("Wh", 1.5, 1_500),
        ("kWh", 1234.5, 1_234_500_000),
        ("MWh", 2.0, 2_000_000_000),
    ],
)
def test_units_of_energy(unit: str, value: float, expected: int) -> None:
    assert lane_value({register("f64", unit=unit): words("f64", value)}) == expected


@pytest.mark.parametrize(
    ("unit", "value", "expected"), [("W", -512.5, -512), ("W", 513.5, 514), ("kW", -1.25, -1250)]
)
def test_power_has_a_sign(unit: str, value: float, expected: int) -> None:
    assert lane_value({register("f32", name="power", unit=unit): words("f32", value)}) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_what_is_no_number_is_refused(kind: str, value: float) -> None:
    for one in (register(kind), register(kind, name="power", unit="W")):
        with pytest.raises(MeterError, match=r"register (import|power) holds no number"):
            lane_value({one: words(kind, value)})


def test_negative_energy_is_refused_unless_the_profile_turns_its_sign() -> None:
    with pytest.raises(MeterError, match="register import holds a negative energy"):
        lane_value({register(): words("f32", -0.001)})
    assert lane_value({register(scale=Fraction(-1)): words("f32", -2.0)}) == 2_000_000
    assert lane_value({register(): words("f32", -0.0)}) == 0


@pytest.mark.parametrize(
    ("name", "unit", "value"), [("import", "kWh", 1.1e9), ("power", "W", -1.1e9), ("power", "W", 3e38)]
)
def test_more_than_any_meter_measures_is_refused(name: str, unit: str, value: float) -> None:
    with pytest.raises(MeterError, match="more than any meter measures"):
        lane_value({register(name=name, unit=unit): words("f32", value)})
