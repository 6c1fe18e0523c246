"""What lists hold, in each of the layouts, and what is no list."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.dlms.application.apdu import DataNotification
from gateway.meters.dlms.cosem.data import (
    Array,
    DoubleLong,
    DoubleLongUnsigned,
    Enum,
    Float32,
    Integer,
    Long64,
    LongUnsigned,
    Value,
)
from gateway.meters.dlms.cosem.objects import obis
from gateway.meters.dlms.push.layouts import Layout, parse_item
from gateway.meters.dlms.push.lists import Entry, ListForm
from gateway.meters.reading import Telegram

W, WH, VARH = 27, 30, 32
OSLO = ZoneInfo("Europe/Oslo")


def telegrams(body: Value, form: ListForm | None = None, sent: bytes | None = None) -> list[Telegram]:
    return (form or ListForm()).telegrams(DataNotification(0, sent, body), None)


def registers(body: Value, form: ListForm | None = None) -> dict[str, int]:
    (telegram,) = telegrams(body, form)
    return dict(telegram.registers)


def u32(value: int) -> Value:
    return DoubleLongUnsigned(value)


def by_place(*layouts: Sequence[str]) -> ListForm:
    """The meter's number is that of 0-0:96.1.0."""
    return ListForm(
        serial=obis("0-0:96.1.0"),
        layouts=tuple(Layout(tuple(map(parse_item, items))) for items in layouts),
    )


def scale(scaler: int, unit: int) -> Value:
    return (Integer(scaler), Enum(unit))


def local(text: str, *, deviation: str = "8000", status: str = "00") -> bytes:
    moment = datetime.fromisoformat(text)
    head = moment.year.to_bytes(2, "big") + bytes((moment.month, moment.day, moment.isoweekday()))
    return head + bytes((moment.hour, moment.minute, moment.second, 0xFF)) + bytes.fromhex(deviation + status)


def unix_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


@pytest.mark.parametrize(
    "body",
    [
        (obis("1-0:1.8.0"), u32(5), obis("1-0:1.7.0"), u32(7), obis("1-0:2.7.0"), u32(0)),
        (
            "V1",
            None,
            obis("1-1:1.8.0"),
            u32(5),
            None,
            obis("1-1:1.7.0"),
            u32(7),
            None,
            obis("1-1:2.7.0"),
            u32(0),
        ),
        (
            obis("1-0:1.8.0"),
            u32(5),
            scale(0, WH),
            obis("1-0:1.7.0"),
            u32(7),
            scale(0, W),
            obis("1-0:2.7.0"),
            u32(0),
        ),
        Array([(obis("1-0:1.8.0"), u32(5), scale(0, WH)), (obis("1-0:16.7.0"), DoubleLong(7), scale(0, W))]),
        ((obis("1-0:1.8.0"), u32(5)), ((obis("1-0:1.7.0"), u32(7)), (obis("1-0:2.7.0"), u32(0)))),
    ],
)
def test_codes_are_found_in_every_layout(body: Value) -> None:
    assert registers(body) == {"import": 5000, "power": 7}


def described(*entries: tuple[str, int, Value]) -> Value:
    objects = Array(
        (LongUnsigned(3), obis(code), Integer(attribute), LongUnsigned(0)) for code, attribute, _ in entries
    )
    return (objects, *(value for _, _, value in entries[1:]))


def test_a_list_that_names_its_objects() -> None:
    """Only their values count, attribute 2: not the push setup's name, nor a register's scaler."""
    body = described(
        ("0-8:25.9.0", 2, None),
        ("0-8:25.9.0", 1, b"\x00" * 6),
        ("1-1:1.8.0", 2, u32(5)),
        ("1-1:1.8.0", 3, scale(0, WH)),
        ("1-0:2.8.0", 2, u32(6)),
    )
    assert registers(body) == {"import": 5000, "export": 6000}


def test_a_list_that_names_its_objects_with_their_restrictions() -> None:
    """As later versions of the push setup do; the attributes' numbers are no values."""
    objects = Array(
        (LongUnsigned(class_id), obis(code), Integer(2), LongUnsigned(0), (Enum(0), None), Array())
        for class_id, code in ((40, "0-8:25.9.0"), (3, "1-0:1.8.0"), (3, "1-0:2.8.0"))
    )
    assert registers((objects, Long64(1000), Long64(2000))) == {"import": 1_000_000, "export": 2_000_000}


def test_a_list_that_names_more_objects_than_it_has_values() -> None:
    body = described(("0-8:25.9.0", 2, None), ("1-1:1.8.0", 2, u32(5)))
    assert isinstance(body, tuple)
    with pytest.raises(MeterError, match="names 2 objects but has 3 values"):
        telegrams((*body, u32(7)))


def test_a_list_by_place() -> None:
    form = by_place(("octets 0-0:96.1.0", "u32 1-0:1.7.0", "u32 1-0:2.7.0"), ("u32 1-0:1.7.0",))
    (telegram,) = telegrams((b"4711", u32(5), u32(12)), form)
    assert telegram == Telegram({"power": -7}, "4711")
    assert registers((u32(5),), form) == {"power": 5}
    with pytest.raises(MeterError, match=r"an unknown list of 2 values \(2 u32\): "):
        telegrams((u32(5), u32(6)), form)


def test_what_is_drawn_alone_is_no_power_when_it_is_nothing() -> None:
    assert registers((obis("1-0:1.7.0"), u32(0))) == {}
    assert registers((obis("1-0:1.7.0"), u32(9))) == {"power": 9}
    assert registers((obis("1-0:2.7.0"), u32(9))) == {"power": -9}


@given(st.integers(0, 2**32 - 1), st.integers(-3, 3))
def test_scalers_are_exact(value: int, scaler: int) -> None:
    expected = round(Fraction(value) * Fraction(10) ** scaler * 1000)
    assert registers((obis("1-0:1.8.0"), u32(value), scale(scaler, WH))) == {"import": expected}
    assert registers((obis("1-0:1.8.0"), u32(value)), ListForm(energy_scaler=scaler)) == {"import": expected}


def test_values_of_any_numeric_type() -> None:
    assert registers((obis("1-0:1.8.0"), Float32(2.5))) == {"import": 2500}
    assert registers((obis("1-0:16.7.0"), Long64(-20))) == {"power": -20}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (u32(5), "a single value instead of a list"),
        ((), "an unknown list of 0 values: this profile has no layout"),
        ((obis("1-0:1.8.1"), u32(5)), "no known register, only 1-0:1.8.1.255: is it"),
        ((b"\x01\x00\x01\x08\x00\x00", u32(5)), "no known register"),
        ((obis("1-0:1.8.0"), None), "no known register"),
        ((obis("1-0:1.8.0"), b"12"), "holds no number"),
        ((obis("1-0:1.8.0"), Float32("nan")), "holds no number"),
        ((obis("1-0:1.8.0"), u32(5), scale(0, VARH)), r"is in unit 32, not in 30 \(watt-hours\)"),
        ((obis("1-0:1.8.0"), u32(5), obis("1-1:1.8.0"), u32(6)), "two different registers for import"),
    ],
)
def test_what_is_no_list_is_told(body: Value, sentence: str) -> None:
    with pytest.raises(MeterError, match=sentence):
        telegrams(body)


def test_a_total_is_held_against_its_tariffs() -> None:
    """How many there are, a list does not say: they may be less, but never more."""

    def list_of(total: int, *tariffs: int) -> Value:
        parts = [(obis(f"1-1:1.8.{at}"), u32(wh)) for at, wh in enumerate(tariffs, 1)]
        return ((obis("1-0:1.8.0"), u32(total)), *parts)

    assert registers(list_of(317_695, 162_246, 155_449)) == {"import": 317_695_000}
    assert registers(list_of(3_176_950, 162_246, 155_449)) == {"import": 3_176_950_000}
    with pytest.raises(MeterError, match=r"31\.769 kWh in all, but 317\.695 kWh as the sum of its tariffs"):
        registers(list_of(31_769, 162_246, 155_449))
    twice = (*list_of(317_695, 162_246, 155_449), *list_of(317_695, 162_246, 155_449))  # type: ignore[misc]
    assert registers(twice) == {"import": 317_695_000}
    assert registers((*list_of(5), (obis("1-0:1.8.1"), b"12"))) == {"import": 5_000}  # type: ignore[misc]


def test_one_register_under_two_codes() -> None:
    coarse = (obis("1-0:1.8.0"), u32(123), scale(3, WH))
    fine = (obis("1-1:1.8.0"), u32(123_456), scale(0, WH))
    assert registers((coarse, fine)) == registers((fine, coarse)) == {"import": 123_456_000}
    with pytest.raises(
        MeterError, match=r"two different registers for import: 123\.000 kWh and 124\.456 kWh"
    ):
        registers((coarse, (obis("1-1:1.8.0"), u32(124_456), scale(0, WH))))


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (local("2026-01-15T12:00:00"), "2026-01-15T11:00:00"),
        (local("2026-07-15T12:00:00", status="80"), "2026-07-15T10:00:00"),
        (local("2026-07-15T12:00:00"), "2026-07-15T10:00:00"),
        (local("2026-07-15T12:00:00", deviation="0000"), "2026-07-15T10:00:00"),
        (local("2026-07-15T12:00:00", deviation="ffc4"), "2026-07-15T11:00:00"),
        (local("2026-10-25T02:30:00", status="80"), "2026-10-25T00:30:00"),
        (local("2026-10-25T02:30:00"), "2026-10-25T01:30:00"),
        (local("2026-07-15T12:00:00", status="01"), None),
        (b"\xff" * 12, None),
        (b"123456789012", None),
        (b"", None),
    ],
)
def test_the_clock(clock: bytes, expected: str | None) -> None:
    form = ListForm(zone=OSLO)
    (of_list,) = telegrams(
        (obis("0-0:1.0.0"), clock, obis("1-0:2.7.0"), u32(1)), form, sent=local("2020-01-01T00:00:00")
    )
    assert of_list.meter_time == (None if expected is None else unix_ns(expected))
    if len(clock) == 12:
        (of_notification,) = telegrams((obis("1-0:2.7.0"), u32(1)), form, sent=clock)
        assert of_notification.meter_time == of_list.meter_time


@pytest.mark.parametrize(
    ("clock", "age_s"),
    [
        (local("2026-01-15T12:00:00"), 10),
        (local("2026-01-15T12:00:05"), 5),
        (local("2026-01-15T12:00:59"), 59),
        (local("2026-01-15T12:02:00"), 120),
        (local("2026-01-15T12:00:00", status="01"), 10),
    ],
)
def test_an_hourly_list_is_of_the_full_hour(clock: bytes, age_s: int) -> None:
    body = (obis("0-0:1.0.0"), clock, obis("1-0:1.8.0"), u32(5), obis("1-0:16.7.0"), DoubleLong(7))
    hourly, now = telegrams(body, ListForm(zone=OSLO, hourly_s=10))
    hour = unix_ns("2026-01-15T11:00:00") if clock[-1] == 0 else None
    assert hourly == Telegram({"import": 5000}, None, hour, float(age_s))
    assert now == Telegram({"power": 7})


def test_a_list_that_is_not_hourly_has_no_age() -> None:
    form = ListForm(zone=OSLO, hourly_s=10)
    body = (obis("0-0:1.0.0"), local("2026-01-15T12:34:56"), obis("1-0:1.8.0"), u32(5))
    assert telegrams(body, form) == [Telegram({"import": 5000}, None, unix_ns("2026-01-15T11:34:56"))]
    assert telegrams((obis("1-0:16.7.0"), DoubleLong(7)), form) == [Telegram({"power": 7})]


def test_codes_count_where_a_list_has_them_whatever_layout_it_fits() -> None:
    """In whatever order, and among other things."""
    form = by_place(("obis", "u32 1-0:2.8.0", "obis", "u32 1-0:1.8.0"))
    for body in (
        (obis("1-0:1.8.0"), u32(5), obis("1-0:2.8.0"), u32(6)),
        (obis("1-0:2.8.0"), u32(6), obis("1-0:1.8.0"), u32(5)),
    ):
        assert registers(body, form) == {"import": 5000, "export": 6000}
    assert registers((obis("0-0:96.1.0"), u32(6), obis("0-0:96.1.1"), u32(5)), form) == {
        "import": 5000,
        "export": 6000,
    }


@pytest.mark.parametrize(
    ("parts", "expected"),
    [((5, 6), {"import": 11_000}), ((5,), None), ((5, 6, 7), None), ((5, None), None)],
)
def test_all_tariffs_make_the_energy(parts: tuple[int | None, ...], expected: dict[str, int] | None) -> None:
    """Where the profile knows how many there are, and the list has all of them and no total."""
    body = tuple(
        value
        for tariff, part in enumerate(parts, 1)
        for value in (obis(f"1-0:1.8.{tariff}"), None if part is None else u32(part))
    )
    if expected is None:
        with pytest.raises(MeterError, match=r"no known register, only 1-0:1.8.1"):
            registers(body, ListForm(tariffs=2))
    else:
        assert registers(body, ListForm(tariffs=2)) == expected
    with pytest.raises(MeterError, match="no known register"):
        registers(body)


def test_a_total_is_held_against_all_its_tariffs() -> None:
    def body(total: int) -> Value:
        codes = ("1-0:1.8.0", "1-0:1.8.1", "1-0:1.8.2")
        numbers = (total, 5_000_000, 6_000_000)
        return tuple(v for code, n in zip(codes, numbers, strict=True) for v in (obis(code), u32(n)))

    assert registers(body(11_000_000), ListForm(tariffs=2)) == {"import": 11_000_000_000}
    assert registers(body(12_000_000)) == {"import": 12_000_000_000}  # there may be more tariffs
    for total, form in ((12_000_000, ListForm(tariffs=2)), (10_000_000, ListForm())):
        with pytest.raises(MeterError, match=rf"{total // 1000}\.000 kWh in all, but 11000\.000 kWh"):
            registers(body(total), form)


def test_the_serial_comes_from_one_place_only() -> None:
    """Another serial is another meter: a list that lacks it tells none."""
    title = b"SIM\x00\x00\x00\x00\x01"
    with_serial: Value = (obis("0-0:96.1.0"), b"4711", obis("1-0:16.7.0"), u32(1))
    without: Value = (obis("1-0:16.7.0"), u32(1))
    for form, serials in (
        (ListForm(serial=obis("0-0:96.1.0")), ["4711", None]),
        (by_place(("octets 0-0:96.1.0", "u32 1-0:1.7.0", "u32 1-0:2.7.0")), ["4711", None]),
        (ListForm(), ["53494D0000000001"] * 2),
    ):
        told = [
            form.telegrams(DataNotification(0, None, body), title)[0].serial
            for body in (with_serial, without)
        ]
        assert told == serials


def test_a_serial_that_is_no_text_is_told_in_hex() -> None:
    body: Value = (obis("0-0:96.1.0"), b"\x00\xff", obis("1-0:16.7.0"), u32(1))
    (telegram,) = telegrams(body, ListForm(serial=obis("0-0:96.1.0")))
    assert telegram.serial == "00ff"


def test_an_entry_shows_no_value() -> None:
    assert "4711" not in repr(Entry(obis("1-0:1.8.0"), DoubleLongUnsigned(4711)))
