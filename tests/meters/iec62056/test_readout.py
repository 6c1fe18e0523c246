"""The answer of a meter that is asked: its block check character, its registers, and each fault's message."""

from __future__ import annotations

from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.iec62056.datasets import read_datasets
from gateway.meters.iec62056.model import TextModel
from gateway.meters.iec62056.readout import Readout
from gateway.meters.profile import load_profile
from tests.meters.iec62056.public import E350, MT174, MT382, with_even_parity


def registers(block: str | None, profile_id: str) -> dict[str, int]:
    model = load_profile(profile_id).model
    assert isinstance(model, TextModel)
    assert block is not None
    return dict(model.registers.telegram(read_datasets(block)).registers)


@pytest.mark.parametrize(
    ("profile_id", "answer", "expected"),
    [
        ("iskra-mt174", MT174, {"import": 502_853_000, "export": 98_697_318_000}),
        ("landisgyr-zmd", E350, {"import": 61_561_289_000, "export": 10_490_000}),
        ("iec62056-polled", E350, {"import": 61_561_289_000, "export": 10_490_000}),
        ("logarex-lk11bl", E350, {"import": 61_571_780_000}),
    ],
)
def test_what_meters_answer(profile_id: str, answer: bytes, expected: dict[str, int]) -> None:
    assert registers(Readout().feed(answer), profile_id) == expected
    in_pieces, block = Readout(), None
    for octet in answer:
        assert block is None
        block = in_pieces.feed(bytes([octet]))
    assert registers(block, profile_id) == expected


def test_tariffs_that_are_each_cut_agree_with_the_total() -> None:
    expected = {"import": 10_192_570_000, "power": 1_322}
    assert registers(MT382, "iskra-mt382") == expected
    with pytest.raises(
        MeterError, match=r"shows import twice, and the two differ: 10192\.570 kWh in all, but 10"
    ):
        registers(MT382.replace("001410.19", "001510.19"), "iskra-mt382")


def test_without_a_total_the_tariffs_of_a_checked_answer_are_added_up() -> None:
    without = MT382.replace("1-0:1.8.0(010192.57*kWh)\r\n", "")
    assert registers(without, "iskra-mt382")["import"] == 10_192_560_000


def test_an_answer_with_noise_before_it() -> None:
    assert Readout().feed(b"\x7f\x7f\r\n" + MT174) == MT174[1:-5].decode()


@given(at=st.integers(1, len(E350) - 2), bit=st.integers(0, 6))
def test_no_damaged_character_goes_unnoticed(at: int, bit: int) -> None:
    damaged = bytes(octet ^ (n == at) << bit for n, octet in enumerate(E350))
    try:
        block = Readout().feed(damaged)
    except MeterError:
        return
    assert block is None or damaged.index(3) < len(E350) - 2


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            MT174[:-1] + b"\x18",
            "the block check character is wrong: the meter's answer was damaged on its way",
        ),
        (MT174.replace(b"502", b"503"), "the block check character is wrong"),
        (b"1.8.0(1*kWh)\r\n!\r\n", "the meter's answer has no block check character"),
        (b"\x15", "the meter refuses to send its registers (NAK)"),
        (with_even_parity(MT174), "text arrives in characters of seven bits with even parity (7E1), but its"),
        (with_even_parity(b"1.8.0(1*kWh)\r\n!\r\n"), "text arrives in characters of seven bits with even"),
        (MT174.replace(b"502", b"5\xb02"), "the meter's answer has characters of eight bits: it was damaged"),
        (
            b"\x02(0)\x03" + bytes([reduce(xor, b"(0)\x03")]),
            "the meter's answer does not end in an exclamation",
        ),
        (b"\x02" + bytes(70_000), "the meter's answer does not end within 65536 bytes"),
    ],
)
def test_each_fault_has_its_message(answer: bytes, sentence: str) -> None:
    with pytest.raises(MeterError) as caught:
        Readout().feed(answer)
    assert str(caught.value).startswith(sentence)


def test_an_answer_that_is_not_whole() -> None:
    readout = Readout()
    assert not readout.begun
    assert readout.feed(MT174[:-1]) is None
    assert readout.begun
