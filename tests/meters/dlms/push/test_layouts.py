"""Lists of values alone, as grid operators lay them out: read by the one profile that knows them, and by no
other. The types and lengths are those of real lists (the profiles' sources); the numbers are made up."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.dlms.application.apdu import DataNotification, parse_notification
from gateway.meters.dlms.cosem.data import (
    Array,
    BitString,
    DateTime,
    DoubleLong,
    DoubleLongUnsigned,
    Enum,
    Float32,
    Long64Unsigned,
    LongUnsigned,
    Unsigned,
    Utf8,
    Value,
)
from gateway.meters.dlms.cosem.objects import obis
from gateway.meters.dlms.push.layouts import TYPES, Item, Layout, described, parse_item
from gateway.meters.dlms.push.lists import ListForm
from gateway.meters.dlms.push.model import DlmsPushModel
from gateway.meters.profile import load_profile, profile_ids

ISK = b"ISK1030000000001"
CLOCK = bytes.fromhex("07e9010f03173b1e00ffc400")
TIME, DATE = CLOCK[5:9], CLOCK[:5]


def u32(*values: int) -> tuple[Value, ...]:
    return tuple(map(DoubleLongUnsigned, values))


def u16(*values: int) -> tuple[Value, ...]:
    return tuple(map(LongUnsigned, values))


@dataclass(frozen=True, slots=True)
class Real:
    """A list, the one profile that reads it, the registers in mWh and W, and the meter's number."""

    name: str
    profile: str
    body: tuple[Value, ...]
    registers: dict[str, int] = field(hash=False)
    serial: str | None = None

    def __str__(self) -> str:
        return self.name


SI, KAERNTEN, HR = "iskraemeco-am550-si", "iskraemeco-am550-kaernten", "iskraemeco-ie5-hr"
AT, KAIFA = "landisgyr-e450-at", "kaifa-han"
ENERGY = {"import": 52_837_000, "export": 177_927_000}
BY_TARIFF = u32(52_837, 13_593, 39_244, 177_927, 78_615, 99_312)
LIMITS = (*u32(17_250), *[Array(u16(9400))] * 3, True)
VOLTS, AMPERES = u16(2379, 2371, 2296), u16(103, 125, 597)
TOTALS = {"import": 14_370_048_000, "export": 420_837_000}

REAL = [
    Real(
        "ljubljana-power",
        SI,
        (ISK, b"16820005", *u32(968, 60, 0, 738), *VOLTS, *AMPERES, *u32(0, 0, 968, 21, 39, 0)),
        {"power": 908},
        "ISK1030000000001",
    ),
    Real(
        "ljubljana-energy",
        SI,
        (ISK, b"16820006", Enum(1), b"\0\1", *BY_TARIFF, *u32(107_882, 43_253)),
        ENERGY,
        "ISK1030000000001",
    ),
    Real(
        "ljubljana-one-phase",
        SI,
        (ISK, b"ISK80000001", *u32(373, 0, 0, 5), *u16(2301), *u32(0, 0)),
        {"power": 373},
        "ISK1030000000001",
    ),
    Real(
        "ljubljana-one-phase-with-current",
        SI,
        (ISK, b"ISK80000001", *u32(0, 540, 0, 282), *u16(2336, 278), *u32(0, 540)),
        {"power": -540},
        "ISK1030000000001",
    ),
    Real("ljubljana-both", SI, (ISK, *u32(625, 0), *BY_TARIFF), ENERGY | {"power": 625}, "ISK1030000000001"),
    Real(
        "ljubljana-tariffs",
        SI,
        (ISK, b"16820006", *u32(13_593, 39_244, 78_615, 99_312, 5, 6, 7, 8)),
        ENERGY,
        "ISK1030000000001",
    ),
    Real("ljubljana-short", SI, (b"80000001", Unsigned(0), *u32(52_837, 177_927)), ENERGY),
    Real(
        "celje-three-phases",
        SI,
        (ISK, b"UP_3f", *VOLTS, *AMPERES, *u32(2399, 0, 4, 264)),
        {"power": 2399},
        "ISK1030000000001",
    ),
    Real(
        "celje-one-phase",
        SI,
        (ISK, b"UP_1f", *u16(2314, 451), *u32(0, 77, 4, 264)),
        {"power": -77},
        "ISK1030000000001",
    ),
    Real(
        "kaernten",
        KAERNTEN,
        (
            *(obis("0-6:25.9.0"), b"1100000000001", TIME, DATE),
            *u32(14_370_048, 420_837, 1_455_864, 2_293_936, 0, 24),
            *(b"", b""),
        ),
        TOTALS | {"power": -24},
        "1100000000001",
    ),
    Real(
        "croatia",
        HR,
        (
            *(b"90000001", TIME, DATE),
            *(*BY_TARIFF, *u32(1, 2, 3, 4), *u32(499, 0), *u16(746)),
            *(*u32(27, 295, 177, 0, 0, 0), *VOLTS, *AMPERES, *LIMITS),
        ),
        ENERGY | {"power": 499},
        "90000001",
    ),
    Real(
        "croatia-without-reactive-energy",
        HR,
        (
            *(b"90000001", TIME, DATE),
            *(*BY_TARIFF, *u32(0, 3), *u32(0, 0, 0, 1, 1, 1), *VOLTS, *AMPERES, *LIMITS),
        ),
        ENERGY | {"power": -3},
        "90000001",
    ),
    Real(
        "vienna", AT, (CLOCK, *u32(14_370_048, 420_837, 1, 2, 230, 0, 88, 21)), TOTALS | {"power": 230}, "T"
    ),
    Real(
        "e450-eleven",
        AT,
        (*u16(228, 226, 230), *u16(781, 1482, 643), *u32(5432, 0, 14_370_048, 420_837), b"30000001"),
        TOTALS | {"power": 5432},
        "T",
    ),
    Real(
        "burgenland",
        AT,
        (
            *(*u16(236, 236, 236), *u16(0, 46, 26), *u32(0, 125, 14_370_048, 420_837)),
            *(*u16(400, 3, 288), b"30000001"),
        ),
        TOTALS | {"power": -125},
        "T",
    ),
    Real("kaifa-1", KAIFA, u32(4117), {"power": 4117}),
    Real(
        "kaifa-transformer",
        KAIFA,
        (
            *(b"KFM_001", b"7340000000000001", b"MA304T4", *u32(1, 2, 3, 4), *u32(0, 0, 0, 2435, 0, 0)),
            *(CLOCK[:11] + b"\0", *map(Long64Unsigned, (14_370_048, 420_837, 0, 0))),
        ),
        TOTALS | {"power": -1},
        "7340000000000001",
    ),
]
FORMS = {
    name: model.form for name in profile_ids() if isinstance(model := load_profile(name).model, DlmsPushModel)
}


def read(form: ListForm, body: tuple[Value, ...]) -> tuple[dict[str, int], str | None]:
    """As it comes over the wire: what COSEM does not tell apart is not told apart here."""
    sent = parse_notification(DataNotification(0, CLOCK, body).encode())
    found: dict[str, int] = {}
    serial = None
    for telegram in form.telegrams(sent, b"T"):
        found |= telegram.registers
        serial = telegram.serial
    return found, serial


@pytest.mark.parametrize("real", REAL, ids=str)
def test_a_real_list_is_read_by_the_profile_that_knows_it_and_by_no_other(real: Real) -> None:
    found, serial = read(FORMS[real.profile], real.body)
    assert found == real.registers
    assert serial == ("54" if real.serial == "T" else real.serial)
    for name in FORMS.keys() - {real.profile}:
        with pytest.raises(MeterError, match=f"an unknown list of {len(real.body)} value"):
            read(FORMS[name], real.body)


@pytest.mark.parametrize("real", REAL, ids=str)
def test_a_list_that_differs_in_one_type_or_in_length_is_not_read(real: Real) -> None:
    form = FORMS[real.profile]
    others = [(*real.body, *u32(0)), real.body[:-1]]
    for at in range(len(real.body)):
        others.append((*real.body[:at], Float32(1.5), *real.body[at + 1 :]))
    for body in others:
        with pytest.raises(MeterError, match=r"an unknown list|no known register"):
            read(form, body)


def test_a_list_of_another_maker_with_the_same_types_is_not_read() -> None:
    """A text that never changes tells them apart."""
    with pytest.raises(MeterError, match="an unknown list of 9 values"):
        read(FORMS[SI], (b"KFM1030000000001", *u32(625, 0), *BY_TARIFF))
    with pytest.raises(MeterError, match="an unknown list of 9 values"):
        read(FORMS[AT], (ISK, *u32(625, 0), *BY_TARIFF))


def test_a_register_that_the_meter_lacks_is_left_out() -> None:
    body = (CLOCK, *u32(14_370_048), None, None, None, *u32(230, 0), None, None)
    assert read(FORMS[AT], body)[0] == {"import": 14_370_048_000, "power": 230}


def test_a_list_that_null_data_lets_fit_two_layouts_is_not_read() -> None:
    layouts = tuple(Layout((parse_item(text), parse_item("u32 1-0:1.8.0"))) for text in ("u8", "u16"))
    form = ListForm(layouts=layouts)
    assert read(form, (Unsigned(1), *u32(5)))[0] == {"import": 5000}
    with pytest.raises(MeterError, match=r"an unknown list of 2 values \(null, u32\)"):
        read(form, (None, *u32(5)))


VALUES: dict[str, Value] = {
    "u8": Unsigned(1),
    "i32": DoubleLong(-1),
    "f32": Float32(1),
    "octets": b"abc",
    "time": b"abcd",
    "date": b"abcde",
    "obis": b"abcdef",
    "date-time": b"abcdefghijkl",
    "text": "abc",
    "bits": BitString("01"),
    "bool": True,
    "array": Array((Unsigned(1),)),
    "structure": (Unsigned(1),),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("other", VALUES)
def test_a_type_fits_its_own_values(kind: str, other: str) -> None:
    is_octets = kind == "octets" and other in {"octets", "time", "date", "obis", "date-time"}
    assert parse_item(kind).fits(VALUES[other]) is (kind == other or is_octets)


def test_tagged_moments_and_texts() -> None:
    assert parse_item("date-time").fits(DateTime(CLOCK))
    assert parse_item("text = ab*").fits("abc")
    assert parse_item("text = ab*").fits(Utf8("abc"))
    assert parse_item("octets = abc").fits(b"abc")
    assert not parse_item("octets = abc").fits(b"abcd")
    assert not parse_item("octets = abc*").fits(b"ab")


ITEMS = st.builds(
    Item,
    st.frozensets(st.sampled_from([*VALUES]), min_size=1, max_size=2),
    st.none(),
    st.sampled_from([None, None, "abc", "ab*", "abcd", "x"]),
)


@given(ITEMS, ITEMS)
def test_items_that_exclude_each_other_never_fit_one_value(one: Item, other: Item) -> None:
    assert one.excludes(other) is other.excludes(one)
    if one.excludes(other):
        assert not any(one.fits(value) and other.fits(value) for value in VALUES.values())


def test_a_list_is_described_by_its_types_alone() -> None:
    body = (ISK, "4711", *u32(4711, 4712), *u16(4711), (b"4711", None), Array(u16(4711)), True, None)
    shown = "9 values (octets[16], text, 2 u32, u16, structure[2], array[1], bool, null)"
    assert described(body) == shown
    assert described(()) == "0 values"
    assert described(u32(1)) == "1 value (u32)"
    assert described(u32(1) + u16(1) * 2) == "3 values (u32, 2 u16)"
    assert described((u32(1) + u16(1)) * 50).endswith("u32, u16, ...)")
    assert set(VALUES) <= set(TYPES)
