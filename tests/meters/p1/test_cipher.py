"""Encrypted telegrams: opened with the right keys only, once, and out of any noise."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from dsmr_parser import telegram_specifications
from dsmr_parser.parsers import TelegramParser
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import KeyFault, MeterError
from gateway.meters.crc import x25
from gateway.meters.p1.cipher import SealedFrames, SealedHeads
from gateway.simulate.p1 import seal, seal_lines, telegram
from tests.meters.p1.public import SEALED, SEALED_KEY, public_telegram

LUXEMBOURG = bytes.fromhex("00112233445566778899aabbccddeeff")
EK, AK = bytes(range(16)), bytes(range(16, 32))
PLAIN = public_telegram("dsmr-5")


def frames(encryption_key: bytes = EK, authentication_key: bytes = AK) -> SealedFrames:
    return SealedFrames(encryption_key, authentication_key)


def whole(items: Iterable[bytes | MeterError]) -> list[bytes]:
    return [item for item in items if isinstance(item, bytes)]


def test_a_frame_that_others_sealed() -> None:
    (telegram,) = frames(SEALED_KEY, LUXEMBOURG).feed(SEALED)
    assert isinstance(telegram, bytes)
    assert telegram.startswith(b"/EST5\\253710000_A\r\n\r\n1-3:0.2.8(50)\r\n")
    assert telegram.endswith(b"!7EF9\r\n")


def test_others_open_the_frames_that_the_simulator_seals() -> None:
    parser = TelegramParser(telegram_specifications.MSN)
    telegram = parser.parse(seal(PLAIN, EK, LUXEMBOURG, 7).hex(), EK.hex())
    assert str(telegram.ELECTRICITY_USED_TARIFF_1.value) == "4.426"


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_what_was_sealed_is_what_comes_out(plain: bytes, counter: int) -> None:
    assert frames().feed(seal(plain, EK, AK, counter)) == [plain]


@pytest.mark.parametrize("length_form", ["short", "one byte", "two bytes"])
def test_each_form_of_a_length(length_form: str) -> None:
    sealed = seal(b"/short!", EK, AK, 1)
    head, length, content = sealed[:10], len(sealed) - 13, sealed[13:]
    encoded = {
        "short": bytes([length]),
        "one byte": bytes([0x81, length]),
        "two bytes": bytes([0x82, 0, length]),
    }[length_form]
    assert frames().feed(head + encoded + content) == [b"/short!"]


@pytest.mark.parametrize(("ek", "ak"), [(AK, AK), (EK, EK), (AK, EK)])
def test_other_keys(ek: bytes, ak: bytes) -> None:
    said = frames(ek, ak).feed(seal(PLAIN, EK, AK, 1) + seal(PLAIN, EK, AK, 2))
    assert whole(said) == []
    assert str(said[0]) == "a P1 frame cannot be decrypted: it is damaged, or the meter has other keys"


def test_a_counter_must_rise() -> None:
    some = frames()
    assert some.feed(seal(PLAIN, EK, AK, 41)) == [PLAIN]
    for counter in (41, 40, 0):
        (refused,) = some.feed(seal(b"/older!", EK, AK, counter))
        assert str(refused) == "a P1 frame's counter does not rise: the frame was sent before"
    assert some.feed(seal(PLAIN, EK, AK, 42)) == [PLAIN]
    assert some.feed(seal(PLAIN, EK, AK, 2**32 - 1)) == [PLAIN]


def test_a_frame_that_cannot_be_opened_does_not_move_the_counter() -> None:
    some = frames()
    assert some.feed(seal(PLAIN, EK, AK, 41)) == [PLAIN]
    assert whole(some.feed(seal(PLAIN, AK, AK, 2**32 - 1))) == []
    assert some.feed(seal(PLAIN, EK, AK, 42)) == [PLAIN]


def test_a_frame_cut_at_every_byte_and_a_good_one() -> None:
    cut = seal(PLAIN, EK, AK, 1)
    good = seal(PLAIN, EK, AK, 2)
    for end in range(len(cut)):
        some = frames()
        assert whole(some.feed(cut[:end])) == []
        assert whole(some.feed(good)) == [PLAIN], end


def test_a_frame_byte_by_byte() -> None:
    some, found = frames(), []
    stream = b"".join(seal(PLAIN, EK, AK, counter) for counter in (1, 2, 3))
    for at in range(len(stream)):
        found += some.feed(stream[at : at + 1])
    assert found == [PLAIN] * 3


HEAD = b"\xdb\x08abcdefgh\x82\x01\x000abcd"


@given(
    st.lists(
        st.sampled_from([b"\xdb", b"\xdb\x08", HEAD, HEAD[:9], b"\xdb\x08abcdefgh\x110", b"\x82"])
        | st.binary(max_size=9)
    )
)
def test_no_noise_hides_a_frame_or_keeps_it_waiting(noise: list[bytes]) -> None:
    assert whole(frames().feed(b"".join(noise) + seal(PLAIN, EK, AK, 1))) == [PLAIN]


@given(st.data())
def test_no_changed_frame_opens(data: st.DataObject) -> None:
    changed = bytearray(seal(PLAIN, EK, AK, 1))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    some = frames()
    assert whole(some.feed(bytes(changed))) == []
    assert whole(some.feed(seal(PLAIN, EK, AK, 2))) == [PLAIN]


def test_what_looks_like_a_head_inside_a_frame_is_no_fault() -> None:
    length = 120
    looks = HEAD[:10] + b"\x11" + HEAD[13:] + bytes(12)  # a frame of the least length, with a tag of zeros
    keystream = seal(bytes(length), EK, AK, 1)[18 : 18 + length]
    plain = bytes(a ^ b for a, b in zip(keystream, bytes(20) + looks.ljust(100, b"."), strict=True))
    sealed = seal(plain, EK, AK, 1)
    assert looks in sealed
    some = frames()
    assert some.feed(sealed[:-1]) == []
    assert some.feed(sealed[-1:]) == [plain]
    (problem,) = frames().feed(looks)
    assert isinstance(problem, MeterError)


def test_many_frames_at_once() -> None:
    many = b"".join(seal(PLAIN, EK, AK, counter) for counter in (1, 2, 3))
    assert frames().feed(b"..." + many + b"...") == [PLAIN] * 3


@pytest.mark.parametrize(
    "endless", [b"\xdb", b"\xdb\x08", b"\x00", b"\xdb\x08abcdefgh\x82\x3f\xff0abcd", HEAD + bytes(10)]
)
def test_what_is_kept_is_bounded(endless: bytes) -> None:
    some = frames()
    for _ in range(20):
        some.feed(endless * (10_000 // len(endless)))
    assert len(some._bytes) <= 16_384 + 18
    assert whole(some.feed(seal(PLAIN, EK, AK, 1))) == [PLAIN]


def test_a_break_ends_the_frame_but_not_the_counter() -> None:
    some, begun = frames(), seal(PLAIN, EK, AK, 42)
    assert some.feed(seal(PLAIN, EK, AK, 41) + begun[:40]) == [PLAIN]
    some.cut()
    assert some.feed(begun[40:]) == []
    some.cut()
    assert isinstance(some.feed(seal(PLAIN, EK, AK, 41))[0], MeterError)
    assert some.feed(begun) == [PLAIN]


LINES = telegram(["0-0:1.0.0(260410150553S)", "1-0:1.8.0(012345.035*kWh)"], None, "EGM5G15")
INNER = LINES.rstrip()


def untitled(encryption_key: bytes = EK, authentication_key: bytes = AK) -> SealedFrames:
    return SealedFrames(encryption_key, authentication_key, titled=False)


def test_lines_without_a_system_title() -> None:
    """Each has the same counter, 0."""
    sealed = seal_lines(LINES, EK, AK)
    assert sealed.startswith(b"/EGM5G15\r\n\r\n\x00\x82\x00")
    assert sealed[16:21] == b"0\0\0\0\0"
    text, sequence = sealed[:-6], sealed[-6:-2]
    assert sequence == x25(text).hex().upper().encode()
    assert untitled().feed(sealed + b"noise" + sealed) == [INNER] * 2


@pytest.mark.parametrize(("ek", "ak"), [(AK, AK), (EK, EK), (AK, EK)])
def test_other_keys_without_a_system_title(ek: bytes, ak: bytes) -> None:
    said = untitled(ek, ak).feed(seal_lines(LINES, EK, AK) * 2)
    assert [type(item) for item in said] == [KeyFault] * 2
    assert "the meter has other keys" in str(said[0])


def test_lines_cut_at_every_byte_and_good_ones() -> None:
    sealed = seal_lines(LINES, EK, AK)
    for end in range(sealed.rindex(b"!")):
        some = untitled()
        assert whole(some.feed(sealed[:end])) == []
        (telegram,) = whole(some.feed(sealed))
        assert telegram.endswith(INNER), end  # a broken head before it may stand in the same line


@given(st.data())
def test_no_changed_line_opens(data: st.DataObject) -> None:
    sealed = seal_lines(LINES, EK, AK)
    changed = bytearray(sealed)
    changed[data.draw(st.integers(16, sealed.rindex(b"!") - 1))] ^= data.draw(st.integers(1, 255))
    some = untitled()
    assert whole(some.feed(bytes(changed))) == []
    assert whole(some.feed(sealed)) == [INNER]


def test_each_form_is_opened_where_it_is_expected_only() -> None:
    assert whole(untitled().feed(seal(PLAIN, EK, AK, 1))) == []
    assert whole(frames().feed(seal_lines(LINES, EK, AK))) == []


# https://github.com/UtilitechAS/amsreader-firmware/blob/a88a0beb9c57b33bf9417522a894958f300e45e3/frames/EGM5G35.txt
GAMA = bytes.fromhex("2f45474d354733350d0a0d0a00820230300000000030107 3d6598596b02a8bcce7".replace(" ", ""))


@given(st.lists(st.integers(0, 24), max_size=4), st.sampled_from([GAMA, SEALED]), st.binary(max_size=100))
def test_heads_of_either_form_are_noticed_however_they_come(
    cuts: list[int], sealed: bytes, noise: bytes
) -> None:
    heads, noticed = SealedHeads(), []
    ends = [0, *sorted(cuts), len(sealed)]
    heads.feed(noise)
    for begin, end in pairwise(ends):
        noticed.append(heads.feed(sealed[begin:end]))
    assert noticed.count(True) == 1
    assert not heads.feed(PLAIN * 3)


def test_what_is_kept_to_notice_heads_is_bounded() -> None:
    heads = SealedHeads()
    for _ in range(100):
        heads.feed(b"/" * 1000)
    assert len(heads._bytes) < 80
