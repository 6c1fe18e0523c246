"""Pushed text as profiles read it: real forms, whatever breaks them, and the message for each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.iec62056.model import TextPushModel
from gateway.meters.profile import load_profile
from gateway.meters.reading import Telegram
from gateway.meters.secrets import Secrets
from gateway.simulate.sml import frame as sml_frame
from tests.meters.iec62056.public import EBZ, EBZ_WITHOUT_PIN, LOGAREX, Q3D, with_even_parity


def told(data: bytes, profile_id: str = "logarex-lk13be") -> list[Telegram | MeterError]:
    model = load_profile(profile_id).model
    assert isinstance(model, TextPushModel)
    return list(model.decoder(Secrets()).feed(data))


def registers(data: bytes, profile_id: str = "logarex-lk13be") -> dict[str, int]:
    (telegram,) = told(data, profile_id)
    assert isinstance(telegram, Telegram), telegram
    return dict(telegram.registers)


def fault(data: bytes, profile_id: str = "logarex-lk13be") -> str:
    (error,) = told(data, profile_id)
    assert isinstance(error, MeterError), error
    return str(error)


@pytest.mark.parametrize(
    ("profile_id", "data", "expected", "serial"),
    [
        (
            "logarex-lk13be",
            LOGAREX,
            {"import": 123_456_700, "export": 1_000_000, "power": -350},
            "001LOG0060000000",
        ),
        (
            "ebz-dd3-opz",
            EBZ,
            {"import": 2_714_128_302, "export": 1_206_000, "power": 211},
            "1EBZ0100000123",
        ),
        ("ebz-dd3-opz", EBZ_WITHOUT_PIN, {"import": 10_001_000_000}, "1EBZ0100000123"),
        (
            "easymeter-q3d",
            Q3D,
            {"import": 1_013_036_809, "export": 376_012_851, "power": 3},
            "1ESY1233000000",
        ),
        (
            "iec62056-pushed",
            LOGAREX,
            {"import": 123_456_700, "export": 1_000_000, "power": -350},
            "001LOG0060000000",
        ),
        # Register 1.7 is signed in a Q3D, and drawn power elsewhere: the generic profile wants 2.7 too.
        ("iec62056-pushed", Q3D, {"import": 1_013_036_809, "export": 376_012_851}, "1ESY1233000000"),
    ],
)
def test_what_meters_send(profile_id: str, data: bytes, expected: dict[str, int], serial: str) -> None:
    (telegram,) = told(data, profile_id)
    assert isinstance(telegram, Telegram)
    assert (dict(telegram.registers), telegram.serial) == (expected, serial)


def test_a_q3d_whose_total_is_not_listed_adds_its_phases() -> None:
    without = Q3D.replace(b"1-0:1.7.255*255(000002.77*W)\r\n", b"")
    assert registers(without, "easymeter-q3d")["power"] == 3


def test_codes_of_every_length_mean_the_same() -> None:
    expected = {"import": 123_456_700, "power": 1_500}
    for energy, power in [
        (b"1-0:1.8.0*255", b"1-0:16.7.0*255"),
        (b"1-1:1.8.0", b"1-1:16.7.0"),
        (b"1.8.0", b"16.7.0"),
        (b"1.8.0*255", b"16.7"),
        (b"1.8.0&255", b" 16.7 "),
    ]:
        lines = energy + b"(000123.4567*kWh)\r\n" + power + b"(1.5*kW)\r\n"
        assert registers(b"/LOG5X\r\n\r\n" + lines + b"!\r\n") == expected
        assert registers(b"/LOG5X\r\n\r\n" + lines.replace(b"\r\n", b"\n") + b"!\n") == expected


@pytest.mark.parametrize("code", [b"1.8.0*01", b"1.8.0&12", b"1-0:1.8.0*96", b"1-0:1.8.0*0", b"7-0:1.8.0"])
def test_what_a_register_held_earlier_or_of_another_medium_is_left_out(code: bytes) -> None:
    line = code + b"(999999.9999*kWh)\r\n"
    for data in (
        LOGAREX.replace(b"1-0:2", line + b"1-0:2"),
        LOGAREX.replace(b"1-0:96.1", line + b"1-0:96.1"),
    ):
        assert registers(data) == registers(LOGAREX)


@pytest.mark.parametrize(("unit", "factor"), [(b"Wh", 1_000), (b"kWh", 10**6), (b"MWh", 10**9)])
def test_units(unit: bytes, factor: int) -> None:
    data = b"/LOG5X\r\n\r\n1.8.0(12.5*" + unit + b")\r\n!\r\n"
    assert registers(data) == {"import": factor * 25 // 2}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"*kWh)", b")", "register 1.8.0 comes without a unit, and the profile does not name one"),
        (b"123.4567*kWh", b"123.4567*kvarh", "register 1.8.0 is in 'kvarh', which is not a unit of energy"),
        (b"-00350*W", b"-00350*VA", "register 16.7.0 is in 'VA', which is not a unit of power such as kW"),
        (b"000123.4567", b"000123.45.67", "register 1.8.0 does not hold a number"),
        (b"-00350*W", b"--0350*W", "register 16.7.0 does not hold a number"),
        (
            b"000023.4567",
            b"000033.4567",
            "the meter shows import twice, and the two differ: 123.457 kWh in all",
        ),
        (
            b"1-0:2.8.0",
            b"1.8.0(5*kWh)\r\n1-0:2.8.0",
            "the meter shows register 1.8.0 twice, and the two differ: 000123.4567 kWh and 5 kWh",
        ),
        (
            b"1-0:32.7.0*255(230.1*V)",
            b"1-0:32.7.0*255(230.1*V",
            "a text telegram is malformed: it must consist",
        ),
        (b"\r\n!\r\n", b"\r\n!x\r\n", "a text telegram is damaged"),
        (b"230.1", b"230\xff1", "a text telegram is damaged"),
        (
            b"\r\n!\r\n",
            b"\r\n!8F2A\r\n",
            "a telegram ends in a check sequence, as those of P1 do: choose a P1",
        ),
        (
            b"/LOG5",
            b"/EBZ5",
            "another meter sends: it identifies itself as 'EBZ5LK13BE803049', and the profile",
        ),
    ],
)
def test_each_fault_has_its_message(old: bytes, new: bytes, sentence: str) -> None:
    assert old in LOGAREX
    assert fault(LOGAREX.replace(old, new, -1 if old == b"*kWh)" else 1)).startswith(sentence)


def test_an_unknown_layout_is_named_with_what_it_has() -> None:
    sentence = fault(b"/LOG5X\r\n\r\n0.0.0(1)\r\n1.6.0(1.5*kW)\r\nC.7.0(2)\r\n!\r\n")
    assert sentence == (
        "a text telegram has none of the registers of its profile (1.8.0, 2.8.0, 16.7.0); it has "
        "0.0.0, 1.6.0, C.7.0"
    )


def test_tariffs_do_not_stand_for_a_total_that_was_lost() -> None:
    """A pushed telegram has no check: the lines of other tariffs may be lost as well."""
    without = LOGAREX.replace(b"1-0:1.8.0*255(000123.4567*kWh)\r\n", b"")
    assert "import" not in registers(without)


def test_a_line_of_other_settings_is_named_and_nothing_is_read() -> None:
    sentence = fault(with_even_parity(LOGAREX))
    assert sentence.startswith(
        "text arrives in characters of seven bits with even parity (7E1), but its line"
    )


def test_sml_is_named() -> None:
    said = [str(error) for error in told(sml_frame(b"\x01", 1, 1, []) + b"\n" + LOGAREX)[:-1]]
    assert "SML arrives, not text: choose an SML profile, whose line is 8N1" in said


@pytest.mark.parametrize("keep", range(1, len(LOGAREX), 7))
def test_a_telegram_that_breaks_off_costs_no_other(keep: int) -> None:
    assert [one for one in told(LOGAREX[:keep] + b"\r\n" + LOGAREX) if isinstance(one, Telegram)] == told(
        LOGAREX
    )


def test_a_cut_connection_does_not_join_two_telegrams() -> None:
    model = load_profile("logarex-lk13be").model
    assert isinstance(model, TextPushModel)
    decoder = model.decoder(Secrets())
    half = LOGAREX.index(b"1-0:2.8.0")
    assert decoder.feed(LOGAREX[:half]) == []
    decoder.cut()
    assert decoder.feed(LOGAREX[half:]) == []
    assert list(decoder.feed(LOGAREX)) == told(LOGAREX)


def test_an_endless_line_and_an_endless_telegram_end() -> None:
    for filling in (b"x" * 20_000, b"0.0.0(1)\r\n" * 2_000):
        said = told(b"/LOG5X\r\n" + filling + b"\r\n" + LOGAREX)
        assert str(said[0]).startswith("a text telegram does not end within 16384 bytes")
        assert said[1:] == told(LOGAREX)


@given(st.data())
def test_pieces_change_nothing(data: st.DataObject) -> None:
    text = LOGAREX + EBZ_WITHOUT_PIN + data.draw(st.binary(max_size=40)) + b"\n" + LOGAREX
    model = load_profile("iec62056-pushed").model
    assert isinstance(model, TextPushModel)
    decoder = model.decoder(Secrets())
    said: list[Telegram | MeterError] = []
    while text:
        at = data.draw(st.integers(1, len(text)))
        said += decoder.feed(text[:at])
        text = text[at:]
    good = [one for one in said if isinstance(one, Telegram)]
    assert [dict(one.registers) for one in good[:2]] == [
        registers(LOGAREX),
        registers(EBZ_WITHOUT_PIN, "ebz-dd3-opz"),
    ]
    assert good[-1] == told(LOGAREX)[0]
