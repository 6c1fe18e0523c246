"""HDLC frames: as the standard lays them out, found again after anything that is not one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.crc import x25
from gateway.meters.dlms.link.hdlc import LONGEST, Address, Frame, FrameScanner, address

GOOD = Frame(address(16), address(1, 17), 0x32, b"\xe6\xe7\x00\xc4\x01\xc1\x00\x12\x34\x7e\xa0\x07" * 3)

addresses = st.one_of(
    st.builds(address, st.integers(0, 0x7F)),
    st.builds(address, st.integers(0, 0x7F), st.integers(0, 0x7F)),
    st.builds(lambda one, other: address(one, other, size=4), *[st.integers(0, 0x3FFF)] * 2),
)
frames = st.builds(
    Frame,
    addresses,
    addresses,
    st.integers(0, 255),
    st.one_of(
        st.binary(max_size=60),
        st.text("\x7e\xa0\x08\x03", max_size=40).map(lambda text: text.encode("latin-1")),
    ),
    st.booleans(),
)
noises = st.one_of(
    st.binary(max_size=80),
    st.text("\x7e\xa0\xa8\x07\x03\x21", max_size=40).map(lambda text: text.encode("latin-1")),
)


def scanned(*pieces: bytes) -> list[Frame]:
    scanner = FrameScanner()
    return [item for piece in pieces for item in scanner.feed(piece) if isinstance(item, Frame)]


def test_the_check_sequence_is_the_catalogue_s() -> None:
    assert x25(b"123456789") == bytes.fromhex("6e90")  # CRC-16/IBM-SDLC: 0x906e


def test_known_frames_are_read_and_written() -> None:
    assert scanned(bytes.fromhex("7ea0070321930f017e")) == [Frame(address(1), address(16), 0x93)]
    assert Frame(address(1), address(16), 0x93).encode() == bytes.fromhex("7ea0070321930f017e")


@pytest.mark.parametrize(
    ("one", "octets"),
    [
        (address(16), "21"),
        (address(1, 17), "0223"),
        (address(1, 17, size=4), "00020023"),
        (address(1, 0x3FFF), "0002fe ff"),
        (address(0x1234, 0x3FFF), "4868feff"),
    ],
)
def test_addresses_stand_as_the_standard_says(one: Address, octets: str) -> None:
    assert one == bytes.fromhex(octets)


@pytest.mark.parametrize(
    ("upper", "lower", "size"),
    [(128, None, None), (1, None, 2), (1, 128, 2), (0x4000, 1, 4), (1, 1, 3), (-1, 1, 4)],
)
def test_an_address_that_cannot_be_is_refused(upper: int, lower: int | None, size: int | None) -> None:
    with pytest.raises(ValueError, match="an address of"):
        address(upper, lower, size=size)


def test_a_frame_longer_than_its_length_can_say_is_refused() -> None:
    header = 2 + 1 + 1 + 1 + 2 + 2
    longest = Frame(b"\x03", b"\x21", 0x13, bytes(LONGEST - header))
    assert scanned(longest.encode()) == [longest]
    with pytest.raises(ValueError, match="at most 2047"):
        Frame(b"\x03", b"\x21", 0x13, bytes(LONGEST - header + 1)).encode()


@given(st.lists(frames, max_size=4), st.data())
def test_frames_come_out_however_they_come_in(sent: list[Frame], data: st.DataObject) -> None:
    line = b"".join(frame.encode() for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(line)), max_size=6)))
    pieces = [line[a:b] for a, b in zip([0, *cuts], [*cuts, len(line)], strict=True)]
    assert scanned(*pieces) == sent


@given(st.lists(frames, min_size=2, max_size=4))
def test_one_flag_between_two_frames_is_enough(sent: list[Frame]) -> None:
    line = b"\x7e" + b"".join(frame.encode()[1:] for frame in sent)
    assert scanned(line) == sent


@given(frames)
def test_a_frame_cut_at_any_byte_takes_no_good_one_with_it(frame: Frame) -> None:
    whole = frame.encode()
    for end in range(len(whole)):
        assert scanned(whole[:end], GOOD.encode())[-1:] == [GOOD]
        assert scanned(whole[end:], GOOD.encode())[-1:] == [GOOD]


@given(frames, st.data())
def test_a_frame_with_a_wrong_bit_is_no_frame(frame: Frame, data: st.DataObject) -> None:
    whole = bytearray(frame.encode())
    at = data.draw(st.integers(8, len(whole) * 8 - 9))
    whole[at // 8] ^= 1 << at % 8
    assert scanned(bytes(whole), GOOD.encode()) == [GOOD]


@given(noises, noises)
def test_noise_hides_no_frame(before: bytes, after: bytes) -> None:
    assert GOOD in scanned(before, GOOD.encode(), after)
    assert GOOD in scanned(before + GOOD.encode() + after)


def test_a_header_that_promises_more_than_comes_holds_nothing_up() -> None:
    """The next frame comes out with its last byte, not when the promised length is full."""
    promise = Frame(b"\x03", b"\x21", 0x13, bytes(1500)).encode()[:30]
    assert scanned(promise, GOOD.encode()) == [GOOD]


def test_a_frame_that_was_given_up_is_not_waited_for() -> None:
    scanner = FrameScanner()
    scanner.feed(Frame(b"\x03", b"\x21", 0x13, bytes(1500)).encode()[:30])
    assert scanner.feed(GOOD.encode()) == [GOOD]
    assert scanner.feed(bytes(2000)) == []


def test_a_frame_within_a_whole_one_is_only_what_it_holds() -> None:
    outer = Frame(b"\x03", b"\x21", 0x13, b"\xe6\xe7\x00" + GOOD.encode() + b"\x00")
    assert scanned(outer.encode()) == [outer]


def test_a_frame_without_its_last_flag_is_damaged() -> None:
    (error,) = FrameScanner().feed(GOOD.encode()[:-1] + b"\x00")
    assert isinstance(error, MeterError)


def test_a_damaged_frame_is_told() -> None:
    damaged = bytearray(GOOD.encode())
    damaged[-5] ^= 1
    (error,) = FrameScanner().feed(bytes(damaged))
    assert isinstance(error, MeterError)
    assert "check sequence" in str(error)


@given(st.sampled_from([b"\x7e", b"\x7e\xa0", b"\x00", b"\x7e\xa7\xff\x03\x03\x13", GOOD.encode()[:-9]]))
def test_what_is_kept_is_bounded(piece: bytes) -> None:
    scanner = FrameScanner()
    for _ in range(200):
        scanner.feed(piece * 100)
        assert len(scanner._buffer) <= LONGEST + 16
