from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from gurux_dlms.GXByteBuffer import GXByteBuffer
from gurux_dlms.GXDLMSSettings import GXDLMSSettings
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.dlms.cosem import data, date_time, quantity
from gateway.meters.dlms.cosem.data import Array, BitString, Float32, Float64, Value, decode, encode
from gateway.meters.dlms.cosem.quantity import ScalerUnit

NUMBERS = (
    *(data.Integer, data.Long, data.DoubleLong, data.Long64),
    *(data.Unsigned, data.LongUnsigned, data.DoubleLongUnsigned, data.Long64Unsigned),
    *(data.Enum, data.Bcd, data.DeltaInteger, data.DeltaLong, data.DeltaDoubleLong),
    *(data.DeltaUnsigned, data.DeltaLongUnsigned, data.DeltaDoubleLongUnsigned),
)


def numbers(kind: type[data.Number]) -> st.SearchStrategy[Value]:
    bits = 8 * kind.width
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind.signed else (0, (1 << bits) - 1)
    return st.integers(low, high).map(kind)


def octets(kind: type[data.DateTime | data.Date | data.Time]) -> st.SearchStrategy[Value]:
    return st.binary(min_size=kind.width, max_size=kind.width).map(kind)


PLAIN: st.SearchStrategy[Value] = st.one_of(
    st.none(),
    st.booleans(),
    *(numbers(kind) for kind in NUMBERS),
    st.floats(width=32, allow_nan=False).map(Float32),
    st.floats(allow_nan=False).map(Float64),
    st.binary(max_size=200),
    st.text(st.characters(max_codepoint=255), max_size=200),
    st.text(max_size=20).map(data.Utf8),
    st.text("01", max_size=40).map(BitString),
    *(octets(kind) for kind in (data.DateTime, data.Date, data.Time)),
)
VALUES: st.SearchStrategy[Value] = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=5).map(tuple) | st.lists(inner, max_size=5).map(Array),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_comes_back_with_its_type(value: Value) -> None:
    back = decode(encode(value))
    assert back == value
    assert repr(back) == repr(value)
    assert encode(back) == encode(value)


@given(VALUES)
def test_a_value_cut_short_or_followed_by_more_is_refused(value: Value) -> None:
    whole = encode(value)
    for cut in range(len(whole)):
        with pytest.raises(MeterError, match="ends too early"):
            decode(whole[:cut])
    with pytest.raises(MeterError, match="1 bytes too long"):
        decode(whole + b"\x00")


@given(st.binary(max_size=300))
def test_any_bytes_give_a_value_or_a_meter_error(noise: bytes) -> None:
    with suppress(MeterError):
        decode(noise)


@given(VALUES)
def test_another_implementation_reads_the_same(value: Value) -> None:
    plain = _comparable(value)
    info = _GXDataInfo()
    theirs = _GXCommon.getData(GXDLMSSettings(False, None), GXByteBuffer(encode(plain)), info)
    assert info.complete
    assert _as_lists(plain) == _as_lists(theirs)


def _comparable(value: Value) -> Value:
    """The value without what the other implementation reads as something else, or not when it is empty."""
    if isinstance(value, tuple):
        return type(value)(part for part in map(_comparable, value) if part is not None) or None
    return value if type(value) in (*NUMBERS[:9], bool, bytes) and value != b"" else None


def _as_lists(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_as_lists(part) for part in value]
    return bytes(value) if isinstance(value, bytearray) else value


def test_a_plain_number_has_no_type_to_send() -> None:
    with pytest.raises(TypeError):
        encode(5)


def test_a_compact_array_of_structures() -> None:
    # structure of (double-long-unsigned, octet-string, array of 2 enums); two elements
    described = bytes.fromhex("13 02 03 06 09 01 0002 16")
    contents = bytes.fromhex("00000001 02AABB 0102FFFFFFFF 00 0304")
    value = decode(described + bytes((len(contents),)) + contents)
    assert value == ((1, b"\xaa\xbb", (1, 2)), (0xFFFFFFFF, b"", (3, 4)))
    assert isinstance(value, Array)


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        ("13 00 01 00", "no bytes"),
        ("13 01 FFFF 01 FFFF 01 FFFF 00 01 00", "more values than"),
        ("13 " + "01 FFFF " * 20 + "11 01 00", "nested more than 16 deep"),
        ("13 12 03 000102", "ends too early"),
        ("01 01 " * 17 + "00", "nested more than 16 deep"),
        ("01 84 FFFFFFFF 00", "ends too early"),
        ("09 85 0000000001 00", "length octet 0x85"),
        ("08", "type 8"),
        ("", "ends too early"),
    ],
)
def test_what_cannot_be_a_value_is_refused(octets: str, sentence: str) -> None:
    with pytest.raises(MeterError, match=sentence):
        decode(bytes.fromhex(octets))


def test_a_megabyte_is_enough() -> None:
    with pytest.raises(MeterError, match="more than a meter sends"):
        decode(b"\x09\x83\x10\x00\x00" + bytes(1 << 20))


BERLIN = ZoneInfo("Europe/Berlin")


def ns(*fields: int) -> int:
    return round(datetime(*fields, tzinfo=UTC).timestamp()) * 1_000_000_000  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        ("07E8 07 1E 02 0C 2D 00 00 FF88 80", ns(2024, 7, 30, 10, 45)),
        ("07E8 01 1E 02 0C 2D 1E 32 FFC4 00", ns(2024, 1, 30, 11, 45, 30) + 500_000_000),
        ("07E8 07 1E FF 0C 2D FF FF 8000 FF", ns(2024, 7, 30, 10, 45)),  # naive, of Berlin
        ("07E8 0A 1B 07 02 1E 00 00 8000 80", ns(2024, 10, 27, 0, 30)),  # 2:30 in summer time
        ("07E8 0A 1B 07 02 1E 00 00 8000 00", ns(2024, 10, 27, 1, 30)),  # 2:30, an hour later
    ],
)
def test_a_date_time_is_one_moment(octets: str, expected: int) -> None:
    assert date_time.decode(bytes.fromhex(octets), BERLIN).unix_ns == expected


@pytest.mark.parametrize(
    ("octets", "sentence"),
    [
        ("FFFF FF FF FF FF FF FF FF 8000 FF", "not a moment"),
        ("07E8 0D 01 FF 00 00 00 00 0000 00", "not a moment"),
        ("07E8 02 1E FF 00 00 00 00 0000 00", "not a moment"),
        ("07E8 02 FE FF 00 00 00 00 0000 00", "not a moment"),
        ("07E8 01 1E 02 18 00 00 00 0000 00", "not a moment"),
        ("0001 01 01 02 00 00 00 00 FFC4 00", "Unix"),
        ("07E8 01 1E 02 0C 2D 00 00 7000 00", "14 hours"),
        ("07E8 01 1E 02 0C 2D 00 00 8000 00", "time zone"),
        ("07E8 01 1E", "has 4 bytes"),
    ],
)
def test_what_is_no_moment_is_refused(octets: str, sentence: str) -> None:
    if sentence == "Unix":  # a year that nobody lives in, but a moment
        assert date_time.decode(bytes.fromhex(octets)).unix_ns < 0
        return
    with pytest.raises(MeterError, match=sentence):
        date_time.decode(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("status", "sure"), [("00", True), ("80", True), ("FF", True), ("01", False), ("02", False)]
)
def test_a_clock_that_doubts_itself_says_so(status: str, sure: bool) -> None:
    assert date_time.decode(bytes.fromhex("07E8 01 1E 02 0C 2D 00 00 FFC4" + status)).sure is sure


@given(st.integers(0, 4_000_000_000_00), st.integers(-840, 840), st.booleans())
def test_a_moment_comes_back(hundredths: int, deviation: int, daylight_saving: bool) -> None:
    unix_ns = hundredths * 10_000_000
    octets = date_time.encode(unix_ns, deviation, daylight_saving=daylight_saving)
    assert date_time.decode(octets) == date_time.Moment(unix_ns, deviation)


@pytest.mark.parametrize("moment", [-(10**20), 10**21])
def test_a_moment_without_a_date_is_refused(moment: int) -> None:
    with pytest.raises(MeterError, match="year 9999"):
        date_time.encode(moment, 0)


@given(st.binary(min_size=12, max_size=12))
def test_any_twelve_bytes_give_a_moment_or_a_meter_error(octets: bytes) -> None:
    for zone in (None, BERLIN):
        try:
            moment = date_time.decode(octets, zone)
        except MeterError:
            continue
        assert moment.unix_ns % 10_000_000 == 0


def test_registers_become_milliwatt_hours_and_watts_exactly() -> None:
    scale = ScalerUnit.of(decode(bytes.fromhex("02 02 0F FF 16 1E")))  # tenths of Wh
    assert scale == ScalerUnit(-1, 30)
    assert quantity.milliwatt_hours(data.DoubleLongUnsigned(12345), scale) == 1_234_500
    assert quantity.milliwatt_hours(5, ScalerUnit(-4, 30)) == 0  # half to even
    assert quantity.milliwatt_hours(15, ScalerUnit(-4, 30)) == 2
    assert quantity.watts(-1234, ScalerUnit(-1, 27)) == -123
    assert quantity.watts(Float32(1.5), ScalerUnit(3, 27)) == 1500


@pytest.mark.parametrize(
    ("value", "scale", "sentence"),
    [
        (1, ScalerUnit(0, 27), "unit 27"),
        (None, ScalerUnit(0, 30), "no number"),
        (True, ScalerUnit(0, 30), "no number"),
        (Float64(math.nan), ScalerUnit(0, 30), "NaN"),
        (b"\x01", ScalerUnit(0, 30), "no number"),
    ],
)
def test_what_is_no_energy_is_refused(value: Value, scale: ScalerUnit, sentence: str) -> None:
    with pytest.raises(MeterError, match=sentence):
        quantity.milliwatt_hours(value, scale)


@pytest.mark.parametrize("scaler", [128, -129, 4_000_000_000])
def test_a_scaler_is_of_one_byte(scaler: int) -> None:
    """A power of ten of more would be worked out for hours."""
    with pytest.raises(MeterError, match="small number and a unit"):
        ScalerUnit.of((data.Long64(scaler), data.Enum(30)))


def test_numbers_are_written_as_numbers() -> None:
    with pytest.raises(MeterError, match="is in unit 31, not in"):
        quantity.milliwatt_hours(7, ScalerUnit.of((data.Integer(0), data.Enum(31))))
    assert f"{data.DoubleLongUnsigned(7)}" == "7"


def test_what_is_no_scaler_is_refused() -> None:
    with pytest.raises(MeterError, match="scaler_unit"):
        ScalerUnit.of(None)
