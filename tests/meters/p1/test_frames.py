"""Telegrams come out of any stream of bytes whole, whatever stood before them and however it is cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.crc import x25
from gateway.meters.p1.frames import CHECKS, Check, Frames, crc16
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import load_profile
from gateway.simulate.p1 import telegram
from tests.meters.p1.public import PublicTelegram, public_telegram, public_telegrams

ARC: tuple[Check, ...] = ("arc",)
GOOD = telegram(["1-0:1.8.1(000001.000*kWh)"])
FORMED = telegram(["1-0:1.8.1(000001.000*kWh)"], None)

line_texts = st.text("0123456789ABCDEFkWh*.()-:SW", max_size=30)


def whole(items: Iterable[bytes | MeterError]) -> list[bytes]:
    return [item for item in items if isinstance(item, bytes)]


def up_to_mark(data: bytes) -> bytes:
    return data[: data.index(b"!") + 1]


def test_check_sequence() -> None:
    assert crc16(b"123456789") == 0xBB3D  # CRC-16/ARC


@given(st.lists(line_texts, max_size=5))
def test_what_was_said_is_what_comes_out(lines: list[str]) -> None:
    data = telegram(lines)
    assert Frames(ARC).feed(data) == [up_to_mark(data)]


@given(st.lists(st.lists(line_texts, max_size=3), min_size=1, max_size=4), st.data())
def test_it_does_not_matter_how_the_bytes_are_cut(many: list[list[str]], data: st.DataObject) -> None:
    said = [telegram(lines) for lines in many]
    stream = b"\r\n!" + b"".join(said)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames, found = Frames(ARC), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[begin:end])
    assert found == list(map(up_to_mark, said))


@pytest.mark.parametrize("public", public_telegrams(), ids=str)
def test_a_telegram_cut_at_every_byte_and_a_good_one(public: PublicTelegram) -> None:
    model = load_profile(public.profile).model
    assert isinstance(model, P1Model)
    checked = model.checked
    expected = up_to_mark(public.data)
    for end in range(len(public.data)):
        frames = Frames(ARC if checked else ())
        found = whole(frames.feed(public.data[:end])) + whole(frames.feed(public.data))
        complete = end > public.data.index(b"!") + (4 if checked else 0)
        assert found == [expected] * (2 if complete else 1), end


@given(st.lists(st.sampled_from([b"/", b"!", b"/!", b"\r\n", b"!12"]) | st.binary(max_size=9)), st.booleans())
def test_no_noise_hides_a_telegram(noise: list[bytes], checked: bool) -> None:
    data = GOOD if checked else FORMED
    assert whole(Frames(ARC if checked else ()).feed(b"".join(noise) + data))[-1:] == [up_to_mark(data)]


@given(st.data())
def test_no_changed_telegram_passes(data: st.DataObject) -> None:
    changed = bytearray(public_telegram("dsmr-5"))
    at = data.draw(st.integers(0, changed.index(b"!") + 4))
    changed[at] ^= data.draw(st.integers(1, 255))
    if bytes(changed).lower() == public_telegram("dsmr-5").lower() and at > changed.index(b"!"):
        return  # hex digits may be of either case
    frames = Frames(ARC)
    assert whole(frames.feed(bytes(changed))) == []
    assert whole(frames.feed(GOOD)) == [up_to_mark(GOOD)]


def test_without_a_check_sequence_the_form_counts() -> None:
    good = public_telegram("dsmr-2.2")
    for old, new in (
        (b"\r\n\r\n", b"\r\n"),
        (b"kWh)\r\n", b"kWh\r\n"),
        (b"kWh)\r\n", b"kWh)"),
        (b"1-0:1.8.2(", b"1-0:1.8.2"),
        (b"1-0:1.8.2", b"1-0:\xb1.8.2"),
        (b"/ISk5\\2MT382-1004", b"/"),
    ):
        assert old in good
        (problem,) = Frames(()).feed(good.replace(old, new, 1))
        assert str(problem) == "a P1 telegram is malformed"
    assert whole(Frames(()).feed(good.replace(b"\r\n", b"\n"))) != []


def test_what_is_said_of_broken_telegrams() -> None:
    def sentences(data: bytes) -> list[str]:
        return [str(item) for item in Frames(ARC).feed(data) if isinstance(item, MeterError)]

    assert sentences(GOOD[:30] + GOOD) == ["a P1 telegram breaks off"]
    for wrong in (GOOD.replace(b"1.000", b"1.001"), up_to_mark(GOOD) + b"12\r\n"):
        assert sentences(wrong) == ["a P1 telegram's check sequence is wrong"]
    assert sentences(up_to_mark(GOOD) + b"\r\n") == [
        "a P1 telegram ends without a check sequence, and its profile expects one (CRC-16/ARC)"
    ]
    assert sentences(b"/" + bytes(20_000)) == ["a P1 telegram does not end within 16384 bytes"]
    assert sentences(b"noise!" + GOOD[20:] + GOOD) == []


@pytest.mark.parametrize("longer", [0, 1])
@pytest.mark.parametrize("step", [1, 100_000])
def test_the_longest_telegram(longer: int, step: int) -> None:
    line = "0-0:96.13.0()"
    room = 16_384 - telegram([line]).index(b"!") - 1 + longer
    data = telegram([f"0-0:96.13.0({'3' * room})"])
    frames, found = Frames(ARC), []
    for at in range(0, len(data), step):
        found += whole(frames.feed(data[at : at + step]))
    assert found == ([] if longer else [up_to_mark(data)])


def test_a_check_sequence_without_its_zeros() -> None:
    # https://github.com/ndokter/dsmr_parser/blob/fa20ee45a3103b8262b153e7b0037047abfaa6c7/test/example_telegrams.py
    lines = [
        "/NWA-WARMTELINK",
        "",
        "1-3:0.2.8(50)",
        "0-0:1.0.0(260215200523W)",
        "0-0:96.1.1(ADC3100000158491)",
        "0-0:96.13.1()",
        "0-0:96.13.0()",
        "0-1:24.1.0(004)",
        "0-1:96.1.0(621848012D2C0B0C)",
        "0-1:24.2.1(260215200523W)(240.860*GJ)",
        "!B9F",
        "",
    ]
    assert len(whole(Frames(ARC).feed("\r\n".join(lines).encode("ascii")))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("endless", [b"/", b"!", b"x", b"/x", b"/!", b"1-0:1.8.1(0)\r\n", b"\xff"])
@pytest.mark.parametrize("checked", [True, False])
def test_what_is_kept_is_bounded(endless: bytes, checked: bool) -> None:
    frames = Frames(ARC if checked else ())
    for _ in range(20):
        frames.feed(b"/abc5x\r\n\r\n" + endless * (10_000 // len(endless)))
    assert len(frames._bytes) <= 16_384 + 5
    assert whole(frames.feed(GOOD if checked else FORMED)) != []


def test_a_break_ends_a_telegram_without_a_check_sequence() -> None:
    frames = Frames(())
    half = len(FORMED) - 8
    assert frames.feed(FORMED[:half]) == []
    frames.cut()
    assert whole(frames.feed(FORMED[half:] + FORMED)) == [up_to_mark(FORMED)]


def sentence(checks: tuple[Check, ...], data: bytes) -> str:
    (problem,) = Frames(checks).feed(data)
    assert isinstance(problem, MeterError)
    return str(problem)


LINES = ["1-0:1.8.1(000001.000*kWh)"]


@pytest.mark.parametrize("check", CHECKS)
@given(lines=st.lists(line_texts, max_size=5))
def test_each_check_passes_where_it_is_expected(check: Check, lines: list[str]) -> None:
    data = telegram(lines, check)
    assert Frames((check,)).feed(data) == Frames(tuple(CHECKS)).feed(data) == [up_to_mark(data)]


@pytest.mark.parametrize("order", [1, -1])
def test_the_bytes_of_an_x25_in_either_order(order: int) -> None:
    text = up_to_mark(GOOD)
    data = text + x25(text)[::order].hex().upper().encode() + b"\r\n"
    assert Frames(("x25",)).feed(data) == [text]


def test_another_check_sequence_is_named() -> None:
    assert sentence(ARC, telegram(LINES, "x25")) == (
        "a P1 telegram's check sequence is a CRC-16/X-25, and its profile expects CRC-16/ARC"
    )
    assert sentence(("x25",), telegram(LINES)) == (
        "a P1 telegram's check sequence is a CRC-16/ARC, and its profile expects CRC-16/X-25"
    )
    assert "expects one (CRC-16/ARC or CRC-16/X-25)" in sentence(("arc", "x25"), FORMED)
    assert sentence((), telegram(LINES)) == (
        "a P1 telegram ends in a check sequence, and its profile is of a meter that sends none"
    )
    assert sentence((), telegram(LINES, "x25")).startswith("a P1 telegram ends in a check sequence")
    assert sentence((), up_to_mark(GOOD) + b"0000\r\n").startswith("a P1 telegram ends in a check sequence")


HEADS = ["HLY5/D545-METER", "ABC5/a/b/c", "ABC5//", "ISK9\\2M551T-200"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("check", [*CHECKS, None])
@given(data=st.data())
def test_a_head_may_have_slashes(head: str, check: Check | None, data: st.DataObject) -> None:
    checks: tuple[Check, ...] = () if check is None else (check,)
    one = telegram(LINES, check, head)
    cut = data.draw(st.integers(0, len(one)))
    broken = data.draw(st.integers(0, len(one) - 8))
    frames = Frames(checks)
    found = whole([*frames.feed(one[:cut]), *frames.feed(one[cut:] + one[:broken] + one + one)])
    assert len(found) == 3
    assert all(up_to_mark(one).endswith(telegram) and b"1-0:1.8.1" in telegram for telegram in found)
    if check is not None:
        assert found == [up_to_mark(one)] * 3


@pytest.mark.parametrize("checks", [ARC, ()])
def test_slashes_without_end_cost_two_telegrams_at_most(checks: tuple[Check, ...]) -> None:
    good = telegram(LINES, "arc" if checks else None)
    for count in (63, 64, 65, 16_384, 100_000):
        assert whole(Frames(checks).feed(b"/" * count + good * 3))[-1:] == [up_to_mark(good)], count


def test_a_long_line_after_a_slash_does_not_take_a_telegram_with_it() -> None:
    for count in (63, 64, 16_000, 16_370):
        assert whole(Frames(ARC).feed(b"/" + b"x" * count + GOOD)) == [up_to_mark(GOOD)], count
