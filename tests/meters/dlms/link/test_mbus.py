"""M-Bus frames that carry DLMS: found again after anything that is none, and put together in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MeterError
from gateway.meters.dlms.link.mbus import Part, PartScanner, Reassembly, split

GOOD = Part(0, True, b"\x0f\x68\x16\x68\x09\x09\x68" * 5)

parts = st.builds(
    Part,
    st.integers(0, 15),
    st.booleans(),
    st.one_of(
        st.binary(max_size=250),
        st.text("\x68\x16\x09\x53", max_size=60).map(lambda text: text.encode("latin-1")),
    ),
    st.integers(0, 255),
    st.integers(0, 255),
)
noises = st.one_of(
    st.binary(max_size=80), st.text("\x68\x16\x05\x06", max_size=60).map(lambda text: text.encode("latin-1"))
)


def scanned(*pieces: bytes) -> list[Part]:
    scanner = PartScanner()
    return [item for piece in pieces for item in scanner.feed(piece) if isinstance(item, Part)]


def test_a_frame_stands_as_the_standard_says() -> None:
    assert Part(1, True, b"\xaa\xbb").encode() == bytes.fromhex("68070768 53ff11 0167 aabb 30 16")


@given(st.lists(parts, max_size=4), st.data())
def test_frames_come_out_however_they_come_in(sent: list[Part], data: st.DataObject) -> None:
    line = b"".join(part.encode() for part in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(line)), max_size=6)))
    pieces = [line[a:b] for a, b in zip([0, *cuts], [*cuts, len(line)], strict=True)]
    assert scanned(*pieces) == sent


@given(parts)
def test_a_frame_cut_at_any_byte_takes_no_good_one_with_it(part: Part) -> None:
    whole = part.encode()
    for end in range(len(whole)):
        for rest in (whole[:end], whole[end:]):
            assert scanned(rest, GOOD.encode())[-1:] == [GOOD] or by_chance(rest, GOOD.encode())


def by_chance(rest: bytes, good: bytes) -> bool:
    """Whether what is left of a frame makes one of another's bytes: one time in 256 its sum fits."""
    joined = rest + good
    heads = [at for at in range(len(rest)) if joined[at] == joined[at + 3] == 0x68]
    frames = [joined[at : at + joined[at + 1] + 6] for at in heads]
    return any(frame[-2:] == bytes((sum(frame[4:-2]) & 0xFF, 0x16)) for frame in frames)


@given(noises, noises)
def test_noise_hides_no_frame(before: bytes, after: bytes) -> None:
    assert GOOD in scanned(before, GOOD.encode(), after)
    assert GOOD in scanned(before + GOOD.encode() + after)


def test_a_damaged_frame_is_told() -> None:
    damaged = bytearray(Part(0, True, bytes(40)).encode())
    damaged[20] ^= 1
    (error,) = PartScanner().feed(bytes(damaged))
    assert isinstance(error, MeterError)
    assert "checksum" in str(error)


def test_a_frame_of_another_kind_is_told() -> None:
    """A water meter's answer on the same bus: its CI field is 0x72."""
    body = bytes.fromhex("0801720102030405")
    (error,) = PartScanner().feed(b"\x68\x08\x08\x68" + body + bytes((sum(body) & 0xFF, 0x16)))
    assert isinstance(error, MeterError)
    assert "CI field 0x72" in str(error)


@given(st.binary(min_size=1, max_size=4000))
def test_a_message_is_put_together_again(message: bytes) -> None:
    reassembly = Reassembly()
    *before, last = [
        reassembly.feed(part) for part in scanned(b"".join(part.encode() for part in split(message)))
    ]
    assert before == [None] * len(before)
    assert last == message


def test_a_message_that_ci_cannot_count_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 4000"):
        split(bytes(4001))


def test_a_missing_part_costs_its_message_and_no_other() -> None:
    first, second, third = split(bytes(700))
    reassembly = Reassembly()
    assert reassembly.feed(first) is None
    with pytest.raises(MeterError, match="part 2 of an M-Bus message came instead of part 1"):
        reassembly.feed(third)
    with pytest.raises(MeterError, match="instead of part 0"):
        reassembly.feed(second)
    assert [reassembly.feed(part) for part in split(bytes(700))] == [None, None, bytes(700)]
    assert reassembly.feed(first) is None
    assert reassembly.feed(GOOD) == GOOD.content


@given(st.binary(max_size=600))
def test_what_is_kept_is_bounded(data: bytes) -> None:
    scanner = PartScanner()
    for _ in range(20):
        scanner.feed(data)
        assert len(scanner._buffer) <= 261
