"""Which register is what: real meters' frames, and the rules one by one."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.reading import Telegram
from gateway.meters.sml.decoder import SmlDecoder, serial_number, telegram
from gateway.meters.sml.fields import Number
from gateway.meters.sml.message import Entry, RegisterList, Time
from gateway.simulate.sml import NONE, entry, frame, octets, signed, unsigned
from tests.meters.sml.public import PublicFrame, public_frame, public_frames

WH, W, VAR = 30, 27, 29
SERVER = b"\x0a\x01SIM" + bytes(5)


def said(entries: list[bytes], server_id: bytes = SERVER) -> Telegram | MeterError:
    (item,) = SmlDecoder().feed(frame(server_id, 7, 77, entries))
    return item


def registers(entries: list[bytes], server_id: bytes = SERVER) -> dict[str, int]:
    item = said(entries, server_id)
    assert isinstance(item, Telegram), item
    return dict(item.registers)


def wh(code: str, value: int, scaler: int = -1, status: bytes = NONE) -> bytes:
    return entry(f"1-0:{code}*255", unsigned(value, 8), WH, scaler, status)


def watts(code: str, value: int, scaler: int = 0) -> bytes:
    return entry(f"1-0:{code}*255", signed(value, 4), W, scaler)


@pytest.mark.parametrize("public", public_frames(), ids=str)
def test_what_real_meters_say(public: PublicFrame) -> None:
    (item,) = SmlDecoder(tariffs=2).feed(public.data)
    assert isinstance(item, Telegram)
    assert item.registers == public.registers
    assert item.serial == public.serial
    assert item.meter_time is None


def test_what_the_meter_said_is_in_no_repr() -> None:
    (item,) = SmlDecoder().feed(public_frame("iskra-mt175"))
    assert repr(item) == "Telegram(meter_time=None, age_s=0.0)"


@given(st.integers(0, 2**63), st.integers(-20, 20), st.integers(-(2**31), 2**31 - 1), st.integers(-9, 3))
def test_scaling_is_exact_and_rounds_once(energy: int, scaler: int, power: int, finer: int) -> None:
    found = registers([wh("1.8.0", energy, scaler), watts("16.7.0", power, finer)])
    assert found == {
        "import": round(energy * 1000 * Fraction(10) ** scaler),
        "power": round(power * Fraction(10) ** finer),
    }


def test_energy() -> None:
    assert registers([wh("1.8.0", 30), wh("1.8.1", 10), wh("1.8.2", 5)]) == {"import": 3_000}
    assert registers([wh("1.8.1", 10), wh("1.8.2", 5), wh("2.8.2", 7)]) == {"import": 1_500, "export": 700}
    others = [
        entry("1-0:1.8.0*96", unsigned(1, 8), WH, 0),  # of a past period
        entry("1-1:1.8.0*255", unsigned(2, 8), WH, 0),
        entry("0-0:1.8.0*255", unsigned(3, 8), WH, 0),
        entry("1-0:1.8.0*255", unsigned(4, 8), VAR, 0),
    ]
    assert registers([*others, wh("2.8.0", 10)]) == {"export": 1_000}


@pytest.mark.parametrize("direction", ["1", "2"])
def test_a_total_is_held_against_its_tariffs(direction: str) -> None:
    def both(total: int, *tariffs: int) -> list[bytes]:
        parts = [wh(f"{direction}.8.{at}", value) for at, value in enumerate(tariffs, 1)]
        return [wh(f"{direction}.8.0", total), *parts]

    def read(entries: list[bytes], tariffs: int | None) -> str:
        (item,) = SmlDecoder(tariffs).feed(frame(SERVER, 7, 77, entries))
        return str(item)

    lane = {"1": "import", "2": "export"}[direction]
    refused = (
        f"the meter shows {lane} twice, and the two differ: 1000.000 kWh in all, but 1500.100 kWh as the"
    )
    assert read(both(10_000_000, 15_000_000, 1_000), None).startswith(refused)
    assert read(both(100_000_007, 5_000_000, 1_000), None).startswith("Telegram")
    refused = f"the meter shows {lane} twice, and the two differ: 10000.001 kWh in all, but 500.100 kWh"
    assert read(both(100_000_007, 5_000_000, 1_000), 2).startswith(refused)
    assert read(both(100_000_007, 5_000_000, 1_000), 3).startswith("Telegram")
    assert read(both(5_001_003, 5_000_000, 1_000), 2).startswith("Telegram")


def test_power() -> None:
    phases = [watts("36.7.0", -1000), watts("56.7.0", 300), watts("76.7.0", 25, 1)]
    assert registers([watts("16.7.0", -5), *phases]) == {"power": -5}
    assert registers(phases) == {"power": -450}
    assert registers([*phases[:2], wh("1.8.0", 0)]) == {"import": 0}
    assert registers([watts("1.7.0", 70), watts("2.7.0", 0)]) == {"power": 70}
    assert registers([watts("1.7.0", 0), watts("2.7.0", 70)]) == {"power": -70}
    assert registers([watts("2.7.0", 70), wh("1.8.0", 0)]) == {"import": 0}
    assert registers([watts("1.7.0", 70)]) == {"power": 70}
    assert registers([watts("1.7.0", 0), wh("1.8.0", 0)]) == {"import": 0}  # the home may be giving


@pytest.mark.parametrize("code", ["1.8.0", "1.8.1"])
def test_power_without_a_sign(code: str) -> None:
    for status, sign in ((0x182, 1), (0x1A2, -1), (0x1B0, -1), (0x180, 1)):
        found = registers([wh(code, 10, status=unsigned(status, 4)), watts("15.7.0", 1266, -1)])
        assert found == {"import": 1_000, "power": sign * 127}
    assert registers([wh(code, 10), watts("15.7.0", 1266, -1)]) == {"import": 1_000}
    assert registers([wh("2.8.0", 10), watts("15.7.0", 1266, -1)]) == {"export": 1_000}


@pytest.mark.parametrize(
    ("maker", "number", "unsigned_meant"),
    [
        ("DZG", 42_000_000, True),
        ("DZG", 48_999_999, True),
        ("DZG", 55_000_000, True),
        ("DZG", 58_999_999, True),
        ("DZG", 41_999_999, False),
        ("DZG", 49_000_000, False),
        ("DZG", 54_999_999, False),
        ("DZG", 59_000_000, False),
        ("DZX", 42_000_000, False),
    ],
)
def test_short_powers_of_dzg(maker: str, number: int, unsigned_meant: bool) -> None:
    server_id = b"\x0a\x01" + maker.encode("ascii") + number.to_bytes(5, "big")

    def power(value: int, size: int, code: str = "16.7.0") -> int:
        return registers([entry(f"1-0:{code}*255", signed(value, size), W, -2)], server_id)["power"]

    for code in ("16.7.0", "1.7.0"):  # 1.7.0 as in github.com/spacemanspiff2007/SmlLib, issue 3
        assert power(-20_738, 2, code) == (448 if unsigned_meant else -207)
    assert power(-29_912, 2) == (356 if unsigned_meant else -299)
    assert power(-100_000, 3) == (round((2**24 - 100_000) / 100) if unsigned_meant else -1000)
    assert power(-29_912, 4) == -299
    assert power(29_912, 2) == 299


def test_short_powers_of_dzg_phase_by_phase() -> None:
    server_id = b"\x0a\x01DZG" + (42_123_440).to_bytes(5, "big")
    phases = [
        entry(f"1-0:{phase}.7.0*255", signed(value, size), W, -2)
        for phase, value, size in ((36, -20_738, 2), (56, 100, 2), (76, -10_000, 4))
    ]
    assert registers(phases, server_id) == {"power": 349}  # 447.98, 1 and -100 W


def test_numbers_on_the_meters_face() -> None:
    assert serial_number(bytes.fromhex("0a01454d480000a1bd34")) == "1EMH0010599732"
    assert serial_number(bytes.fromhex("09014553591103b599a5")) == "1ESY1162232997"
    assert serial_number(bytes.fromhex("06454d4801027156cd45")) == "06454d4801027156cd45"
    assert serial_number(bytes.fromhex("0a010a0a0a0000a1bd34")) == "0a010a0a0a0000a1bd34"
    assert serial_number(b"\x0a\x01EMH\n\n\n\n\n") == "1EMH0a168430090"


def test_a_meter_that_knows_what_time_it_is() -> None:
    energy = Entry(bytes((1, 0, 1, 8, 0, 255)), None, None, WH, -1, Number(5, 1))
    for time, expected in (
        (None, None),
        (Time(77, absolute=False), None),
        (Time(1_800_000_000, absolute=True), 1_800_000_000 * 10**9),
    ):
        said = telegram(RegisterList(SERVER, time, (energy,)))
        assert (said.registers, said.meter_time) == ({"import": 500}, expected)


def test_lists_that_say_nothing_of_the_lanes() -> None:
    nothing = said([entry("1-0:96.1.0*255", octets(b"x")), entry("1-0:1.8.0*255", NONE, WH, 0)])
    assert isinstance(nothing, MeterError)
    assert "holds neither an energy" in str(nothing)
    scaled = entry("1-0:1.8.0*255", unsigned(1, 1), WH, None).replace(
        b"\x62\x1e\x01", b"\x62\x1e\x53\x7f\xff"
    )
    assert "scaler does not fit in one byte" in str(said([scaled]))


def test_broken_and_whole_ones_come_in_order() -> None:
    good, other = public_frame("iskra-mt175"), public_frame("emh-mme40")
    nothing = frame(SERVER, 1, 1, [])
    items = SmlDecoder().feed(good[:50] + good + nothing + other[:-1] + b"?" + other)
    assert [isinstance(item, Telegram) for item in items] == [False, True, False, False, True]
