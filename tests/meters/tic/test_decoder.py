"""TIC frames to the lanes, in both modes: contracts, check characters, and the message for each fault."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError, UsageError
from gateway.meters.profile import load_profile, parse_profile
from gateway.meters.reading import Telegram
from gateway.meters.tic.decoder import TicDecoder
from gateway.meters.tic.frames import Mode
from gateway.meters.tic.model import TicModel
from gateway.simulate.tic import frame
from tests.meters.iec62056.public import with_even_parity
from tests.meters.tic.frames import HISTORIQUE, HISTORIQUE_GROUPS, STANDARD, STANDARD_GROUPS, framed

MODES: list[tuple[Mode, bytes]] = [("historique", HISTORIQUE), ("standard", STANDARD)]
KWH = 10**6


def told(data: bytes, mode: Mode) -> list[Telegram | MeterError]:
    return list(TicDecoder(mode).feed(data))


def telegram(data: bytes, mode: Mode) -> Telegram:
    (found,) = told(data, mode)
    assert isinstance(found, Telegram), found
    return found


def fault(data: bytes, mode: Mode) -> str:
    (found,) = told(data, mode)
    assert isinstance(found, MeterError), found
    return str(found)


def test_what_meters_send() -> None:
    assert telegram(HISTORIQUE, "historique").registers == {"import": (10_956_910 + 16_779_643) * 1000}
    standard = telegram(STANDARD, "standard")
    assert standard.registers == {"import": 6_231_973_000}
    assert standard.meter_time == datetime(2019, 3, 23, 15, 10, 39, tzinfo=UTC).timestamp() * 10**9


@pytest.mark.parametrize(
    ("contract", "registers"),
    [
        ("BASE", {"BASE": 5}),
        ("HC..", {"HCHC": 7, "HCHP": 11}),
        ("EJP.", {"EJPHN": 13, "EJPHPM": 17}),
        ("BBR(", {"BBRHCJB": 1, "BBRHPJB": 2, "BBRHCJW": 4, "BBRHPJW": 8, "BBRHCJR": 16, "BBRHPJR": 32}),
    ],
)
def test_a_contract_is_the_sum_of_its_registers_and_never_less(
    contract: str, registers: dict[str, int]
) -> None:
    groups = [("ADCO", "041676000000"), ("OPTARIF", contract)]
    groups += [(label, f"{wh:09d}") for label, wh in registers.items()]
    found = telegram(frame(groups, "historique"), "historique")
    assert (found.registers, found.serial) == ({"import": sum(registers.values()) * 1000}, "041676000000")
    for label in registers:
        less = [group for group in groups if group[0] != label]
        said = fault(frame(less, "historique"), "historique")
        assert said == f"a TIC frame of contract {contract} lacks its register {label}"


def test_mode_standard_has_what_is_exported_too() -> None:
    found = telegram(
        frame([("ADSC", "041676000000"), ("EAST", "000000012"), ("EAIT", "000000034")], "standard"),
        "standard",
    )
    assert (found.registers, found.serial) == ({"import": 12_000, "export": 34_000}, "041676000000")
    assert found.meter_time is None


def test_a_total_is_held_against_its_tariffs() -> None:
    parts = [("EASF01", "000400000"), ("EASF02", "000600030"), ("EASD01", "000900000")]
    assert telegram(frame([("EAST", "001000001"), *parts], "standard"), "standard").registers == {
        "import": 1000 * KWH + 1000
    }
    said = fault(frame([("EAST", "000900000"), *parts], "standard"), "standard")
    assert "900.000 kWh in all, but 1000.030 kWh as the sum of its tariffs" in said


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        ("E200426181830", datetime(2020, 4, 26, 16, 18, 30, tzinfo=UTC)),
        ("H251026023000", datetime(2025, 10, 26, 1, 30, tzinfo=UTC)),
        ("E251026023000", datetime(2025, 10, 26, 0, 30, tzinfo=UTC)),
        ("h251026023000", None),  # the meter doubts its clock
        ("H251326023000", None),
        ("", None),
    ],
)
def test_the_meters_clock(stamp: str, moment: datetime | None) -> None:
    found = telegram(frame([("DATE", f"{stamp}\t"), ("EAST", "000000012")], "standard"), "standard")
    assert found.meter_time == (None if moment is None else moment.timestamp() * 10**9)


@pytest.mark.parametrize(("mode", "data"), MODES)
def test_no_changed_character_goes_unnoticed(mode: Mode, data: bytes) -> None:
    """One changed bit, in every place of the frame: no register is other than it was."""
    good = telegram(data, mode).registers
    for at in range(1, len(data) - 1):
        for bit in range(7):
            damaged = bytes(octet ^ (n == at) << bit for n, octet in enumerate(data))
            for found in told(damaged, mode):
                assert isinstance(found, MeterError) or found.registers == good, (at, bit)


@pytest.mark.parametrize(
    ("mode", "groups", "sentence"),
    [
        ("historique", [b"HCHC 010956910 &"], "a TIC group is damaged: its check character is wrong"),
        ("historique", [b"x"], "a TIC group is damaged"),
        ("standard", [b"EAST\t006231973\t/"], "a TIC group is damaged: its check character is wrong"),
        ("standard", STANDARD_GROUPS[:2], "a TIC frame has neither of the registers EAST and EAIT"),
        ("historique", HISTORIQUE_GROUPS[1:], "a TIC frame names no contract that is known (OPTARIF is '')"),
        (
            "historique",
            STANDARD_GROUPS,
            "TIC arrives in mode standard, and the profile is for mode historique: ",
        ),
        (
            "standard",
            HISTORIQUE_GROUPS,
            "TIC arrives in mode historique, and the profile is for mode standard: ",
        ),
        ("standard", [*STANDARD_GROUPS, b"EAST\t006231974\t/"], "a TIC frame has two different groups EAST"),
        ("standard", [b"EAST\t00623197\t;"], "a TIC frame's register EAST does not have nine digits"),
        ("standard", [], "a TIC frame is damaged: it must consist of lines"),
    ],
)
def test_each_fault_has_its_message(mode: Mode, groups: list[bytes], sentence: str) -> None:
    assert fault(framed(groups), mode).startswith(sentence)


@pytest.mark.parametrize(("mode", "data"), MODES)
def test_a_line_of_other_settings_is_named_and_nothing_is_read(mode: Mode, data: bytes) -> None:
    sentence = (
        "text arrives in characters of seven bits with even parity (7E1), but its line is set to eight bits"
    )
    assert fault(with_even_parity(data), mode).startswith(sentence)


@pytest.mark.parametrize(("mode", "data"), MODES)
def test_what_interrupts_a_frame_costs_no_other(mode: Mode, data: bytes) -> None:
    good = told(data, mode)
    for broken, sentence in [
        (data[:40], "a TIC frame breaks off"),
        (data[:40] + b"\x04", "the meter interrupts a TIC frame"),
        (data[:40] + b"\x82", "a TIC frame breaks off"),
        (b"\x02" + b"x" * 9_000, "a TIC frame does not end within 8192 bytes"),
    ]:
        error, *rest = told(broken + data, mode)
        assert str(error) == sentence
        assert rest == good
    decoder = TicDecoder(mode)
    decoder.feed(data[:40])
    decoder.cut()
    assert decoder.feed(data[40:]) == []
    assert list(decoder.feed(data)) == good


def test_the_warning_of_an_overload_is_no_fault() -> None:
    warning = frame([("ADIR1", "071"), ("ADCO", "041676000000")], "historique")
    assert told(warning, "historique") == []


@given(st.data())
def test_pieces_change_nothing(data: st.DataObject) -> None:
    text, decoder = data.draw(st.binary(max_size=30)) + HISTORIQUE * 2, TicDecoder("historique")
    said: list[object] = []
    while text:
        at = data.draw(st.integers(1, len(text)))
        said += decoder.feed(text[:at])
        text = text[at:]
    assert said[-1] == telegram(HISTORIQUE, "historique")


def test_the_profiles() -> None:
    for name, mode, lanes in [
        ("linky-historique", "historique", ("import",)),
        ("linky-standard", "standard", ("import", "export")),
    ]:
        model = load_profile(name).model
        assert model == TicModel(mode)  # type: ignore[arg-type]
        assert isinstance(model, TicModel)
        assert (model.lanes, set(model.rollover)) == (lanes, set(lanes))
        assert set(model.rollover.values()) == {10**12}
    text = 'id = "a"\nprotocol = "tic"\nproducts = ["A"]\nsource = ["https://a"]\nstatus = "community"\n'
    with pytest.raises(UsageError, match="mode is 'standart'; it must be one of historique, standard"):
        parse_profile(text + 'caveats = []\nmode = "standart"', "a.toml")
