from __future__ import annotations

import pytest

from gateway.errors import MeterError
from gateway.meters.dlms.application import apdu
from gateway.meters.dlms.application.client import DlmsSession, Setup
from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import (
    Array,
    DoubleLongUnsigned,
    LongUnsigned,
    Unsigned,
    Value,
    decode,
    encode,
)
from gateway.meters.dlms.cosem.date_time import Scale
from gateway.meters.dlms.cosem.objects import CLOCK, REGISTER, capture_object, obis
from gateway.meters.dlms.polled.load_profile import Columns, Row, read_columns, rows
from tests.meters.bench import NS
from tests.meters.dlms.peers import talk

NOON = 1_780_315_200 * NS
PERIOD = 900 * NS
COLUMNS = Columns(clock=0, clock_object=None, lanes={"import": 2, "export": 3}, period_s=900)
SCALE = Scale.of(date_time.encode(NOON, 0))
CLOCK_OBJECT = capture_object(CLOCK, obis("0-0:1.0.0"), 2)
QUARTER = DoubleLongUnsigned(900)
PROFILE = obis("1-0:99.1.0")
LANES = {"import": obis("1-0:1.8.0"), "export": obis("1-0:2.8.0")}


def at(moment: int) -> bytes:
    return date_time.encode(moment, 0)


def test_a_null_stands_for_what_follows_from_the_row_before() -> None:
    buffer: list[Value] = [
        (at(NOON), Unsigned(8), DoubleLongUnsigned(5), DoubleLongUnsigned(7)),
        (None, Unsigned(0), DoubleLongUnsigned(6), None),
        (None, None, None, DoubleLongUnsigned(9)),
        (at(NOON + 10 * PERIOD), Unsigned(0), DoubleLongUnsigned(8), None),
        (None, Unsigned(0), None, None),
    ]
    assert rows(buffer, COLUMNS, SCALE) == [
        Row(NOON, {"import": 5, "export": 7}),
        Row(NOON + PERIOD, {"import": 6, "export": 7}),
        Row(NOON + 2 * PERIOD, {"import": 6, "export": 9}),
        Row(NOON + 10 * PERIOD, {"import": 8, "export": 9}),
        Row(NOON + 11 * PERIOD, {"import": 8, "export": 9}),
    ]


def test_a_real_meters_profile() -> None:
    """Hourly rows, their clock told once; from u9n/dlms-cosem, tests/test_parsers.py at 25919254 (MIT)."""
    first = "02 04 09 0C 07E3 0C 1F 02 17 00 00 00 FFC4 00 11 06 06 000005ED 06 00000654"
    other = "02 04 00 11 06 06 000005ED 06 00000654"
    buffer = decode(bytes.fromhex("01 04" + first + 3 * other))
    captured = ((8, "0-0:1.0.0"), (1, "0-0:96.10.1"), (3, "1-0:1.8.0"), (3, "1-0:2.8.0"))
    found = columns(Array(capture_object(kind, obis(code), 2) for kind, code in captured), LongUnsigned(3600))
    assert isinstance(buffer, Array)
    start = 1_577_829_600 * NS  # 31 December 2019, 22:00 UTC
    expected = {"import": 0x5ED, "export": 0x654}
    assert rows(buffer, found, SCALE) == [Row(start + hour * 3600 * NS, expected) for hour in range(4)]


def test_rows_that_follow_from_none_are_left_out() -> None:
    buffer: list[Value] = [
        (None, None, DoubleLongUnsigned(5), DoubleLongUnsigned(7)),
        (at(NOON), None, None, DoubleLongUnsigned(8)),
    ]
    assert rows(buffer, COLUMNS, SCALE) == [Row(NOON, {"import": 5, "export": 8})]
    assert rows([(at(NOON), None, None, None)], COLUMNS, SCALE) == []


def test_rows_whose_clock_the_meter_doubts_are_left_out() -> None:
    doubted, value = at(NOON)[:-1] + b"\x02", DoubleLongUnsigned(5)
    buffer: list[Value] = [
        (doubted, None, value, value),
        (None, None, value, value),
        (at(NOON), None, value, value),
    ]
    assert rows(buffer, COLUMNS, SCALE) == [Row(NOON, {"import": 5, "export": 5})]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ((at(NOON), Unsigned(0), DoubleLongUnsigned(5)), "lacks columns"),
        (DoubleLongUnsigned(5), "lacks columns"),
        ((Unsigned(1), None, None, None), "no time"),
        ((b"short", None, None, None), "has 5 bytes"),
    ],
)
def test_what_is_no_row_is_refused(row: Value, sentence: str) -> None:
    with pytest.raises(MeterError, match=sentence):
        rows([row], COLUMNS, SCALE)


def columns(captured: Value, period: Value = QUARTER) -> Columns:
    def answer(message: bytes) -> bytes:
        request = apdu.parse_request(message)
        assert isinstance(request, apdu.Get)
        return apdu.GetAnswer(
            request.invoke, encode(captured if request.target.index == 3 else period)
        ).encode()

    session = DlmsSession(Setup(), lambda: 0)
    return talk(read_columns(session, PROFILE, obis("0-0:1.0.0"), LANES), answer)


def test_columns_are_found_wherever_they_are() -> None:
    status = capture_object(1, obis("0-0:96.10.1"), 2)
    stamped = capture_object(4, LANES["import"], 5)
    energies = [capture_object(REGISTER, code, 2) for code in LANES.values()]
    found = columns(Array((status, stamped, energies[1], CLOCK_OBJECT, energies[0])))
    assert found == Columns(3, CLOCK_OBJECT, {"import": 4, "export": 2}, 900)
    assert columns(Array((CLOCK_OBJECT, energies[0]))).lanes == {"import": 1}


@pytest.mark.parametrize(
    ("captured", "period", "sentence"),
    [
        (Array((CLOCK_OBJECT,)), QUARTER, "captures no clock, or none of the registers"),
        (
            Array((capture_object(REGISTER, LANES["import"], 2),)),
            DoubleLongUnsigned(900),
            "captures no clock",
        ),
        (Array((Unsigned(1),)), QUARTER, "without a name"),
        (None, QUARTER, "does not say what it captures"),
        (Array((CLOCK_OBJECT,)), DoubleLongUnsigned(0), "does not have a period"),
        (Array((CLOCK_OBJECT,)), None, "does not have a period"),
    ],
)
def test_a_profile_that_cannot_be_read_is_refused(captured: Value, period: Value, sentence: str) -> None:
    with pytest.raises(MeterError, match=sentence):
        columns(captured, period)


@pytest.mark.parametrize("stamp", ["07E8 07 1E 02 0C 2D 00 00 FF88 80", "07E8 01 1E 02 0C 2D 00 00 8000 00"])
def test_a_moment_is_asked_for_as_the_meter_writes_it(stamp: str) -> None:
    octets = bytes.fromhex(stamp)
    scale = Scale.of(octets)
    moment = scale.ns(octets)
    assert scale.octets(moment)[:4] == octets[:4]
    assert scale.octets(moment)[5:] == octets[5:]
    assert scale.ns(scale.octets(moment - PERIOD)) == moment - PERIOD


def test_a_change_of_clocks_makes_no_hour() -> None:
    """A meter that does not tell how far it is from UTC: 2:45 in summer time, then 2:00 in winter time."""
    summer, winter = (
        bytes.fromhex(f"07E8 0A 1B 07 {time} 00 00 8000 {dst}")
        for time, dst in (("022D", "80"), ("0200", "00"))
    )
    for scale in (Scale.of(summer), Scale.of(winter)):
        assert scale.ns(winter) - scale.ns(summer) == PERIOD


@pytest.mark.parametrize("told", ["FF88 80", "8000 80"])
@pytest.mark.parametrize("tells", ["FFC4", "8000"])
def test_rows_stand_on_the_scale_of_the_clock(told: str, tells: str) -> None:
    """Whichever of the clock and its rows tells how far from UTC it is: half past eleven in winter time is
    half an hour after noon in summer time."""
    noon, row = bytes.fromhex(f"07E8 06 1E 07 0C 00 00 00 {told}"), f"07E8 06 1E 07 0B 1E 00 00 {tells} 00"
    scale = Scale.of(noon)
    (found,) = rows([(bytes.fromhex(row), None, 5, 7)], COLUMNS, scale)
    assert scale.ns(noon) - found.stamp == -2 * PERIOD
    assert (scale.standard is None) == (told == "8000 80")


@pytest.mark.parametrize("told", ["FF88 80", "8000 80", "FFC4 00", "8000 00", "FF88 FF", "8000 FF"])
def test_rows_that_tell_nothing_of_summer_time_are_of_the_clocks(told: str) -> None:
    noon, row = (
        bytes.fromhex(f"07E8 06 1E 07 {time} 00 00 {told}")
        for time, told in (("0C00", told), ("0B1E", "8000 FF"))
    )
    scale = Scale.of(noon)
    (found,) = rows([(row, None, 5, 7)], COLUMNS, scale)
    assert scale.ns(noon) - found.stamp == 2 * PERIOD


@pytest.mark.parametrize("octets", [b"", bytes(11), b"\xff" * 12])
def test_what_is_no_time_has_no_scale(octets: bytes) -> None:
    with pytest.raises(MeterError):
        Scale.of(octets)
    for scale in (SCALE, Scale.of(bytes.fromhex("07E8 01 1E 02 0C 2D 00 00 8000 00"))):
        with pytest.raises(MeterError):
            scale.ns(octets)
