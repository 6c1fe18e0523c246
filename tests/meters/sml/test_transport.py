"""Frames come out of any stream of bytes whole, whatever stood before them and however it is cut."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smllib.reader import SmlStreamReader

from gateway.errors import MeterError
from gateway.meters.crc import x25
from gateway.meters.sml.check import kermit
from gateway.meters.sml.transport import Frames
from tests.meters.sml.public import PublicFrame, public_frame, public_frames

ESCAPE, BEGIN = b"\x1b" * 4, b"\x1b" * 4 + b"\x01" * 4


def framed(content: bytes, check: object = x25) -> bytes:
    assert callable(check)
    fill = -len(content) % 4
    data = BEGIN + content.replace(ESCAPE, ESCAPE * 2) + bytes(fill) + ESCAPE + bytes([0x1A, fill])
    return data + bytes(check(data))


def whole(items: Iterable[bytes | MeterError]) -> list[bytes]:
    return [item for item in items if isinstance(item, bytes)]


GOOD = b"vitae" * 9
# What may stand in a frame, the escape's bytes above all; a message ends with 00.
contents = st.lists(
    st.sampled_from([b"\x1b", b"\x1b\x1b", ESCAPE, b"\x01", b"\x01" * 4, b"\x1a", b"\x00", b"\x1a\x00ab"])
    | st.binary(max_size=9)
).map(lambda parts: b"".join(parts) + b"\x00")


def test_check_sequences() -> None:
    assert x25(b"123456789") == bytes.fromhex("6e90")  # the catalogue's check value, low byte first
    assert kermit(b"123456789") == bytes.fromhex("2189")


@given(contents)
def test_content_comes_out_as_it_went_in(content: bytes) -> None:
    assert Frames().feed(framed(content)) == [content]
    assert Frames().feed(framed(content, kermit)) == [content]


@given(contents)
def test_the_oracle_reads_the_same_frames(content: bytes) -> None:
    reader = SmlStreamReader()
    reader.add(framed(content + b"\x02\x00"))
    frame = reader.get_frame()
    assert frame is not None
    assert Frames().feed(framed(content + b"\x02\x00")) == [bytes(frame.bytes)]


@given(st.lists(contents, min_size=1, max_size=4), st.data())
def test_it_does_not_matter_how_the_bytes_are_cut(many: list[bytes], data: st.DataObject) -> None:
    stream = b"\x1b\x1b" + b"".join(map(framed, many))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames, found = Frames(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[begin:end])
    assert found == many


@given(contents, st.data())
def test_a_frame_cut_anywhere_takes_no_good_one_with_it(content: bytes, data: st.DataObject) -> None:
    cut = framed(content)
    cut = cut[: data.draw(st.integers(0, len(cut) - 1))]
    frames = Frames()
    assert whole(frames.feed(cut)) == []
    assert whole(frames.feed(framed(GOOD))) == [GOOD]
    assert frames.feed(framed(GOOD)) == [GOOD]


@given(
    st.lists(st.sampled_from([ESCAPE, b"\x1b", b"\x01\x01\x01\x01", b"\x1a", BEGIN]) | st.binary(max_size=4)),
    contents,
)
def test_no_noise_hides_a_frame(noise: list[bytes], content: bytes) -> None:
    found = whole(Frames().feed(b"".join(noise) + framed(content)))
    assert found[-1:] == [content]


@pytest.mark.parametrize("frame", public_frames(), ids=str)
def test_a_real_frame_cut_at_every_byte_and_a_good_one(frame: PublicFrame) -> None:
    (content,) = Frames().feed(frame.data)
    for end in range(len(frame.data)):
        assert whole(Frames().feed(frame.data[:end] + frame.data)) == [content], end


@given(st.data())
def test_no_changed_frame_passes(data: st.DataObject) -> None:
    frame = bytearray(public_frame("iskra-mt175"))
    at = data.draw(st.integers(8, len(frame) - 9))
    frame[at] ^= data.draw(st.integers(1, 255))
    frames = Frames()
    said = frames.feed(bytes(frame))
    assert len(said) <= 1
    assert not whole(said)
    assert whole(frames.feed(framed(GOOD))) == [GOOD]


def test_what_is_said_of_broken_frames() -> None:
    def sentences(data: bytes) -> list[str]:
        return [str(item) for item in Frames().feed(data) if isinstance(item, MeterError)]

    good = framed(GOOD)
    assert sentences(good[:30] + good) == ["an SML frame breaks off"]
    assert sentences(good[:30] + b"?" + good[31:]) == ["an SML frame's check sequence is wrong"]
    assert sentences(good[:30] + bytes(9_000)) == ["an SML frame does not end within 8192 bytes"]
    five_fill = BEGIN + bytes(8) + ESCAPE + b"\x1a\x05"
    assert sentences(five_fill + x25(five_fill)) == ["an SML frame's check sequence is wrong"]
    assert sentences(b"noise" + good[20:] + good) == []


@pytest.mark.parametrize(
    "endless",
    [b"\x1b", b"\x00", ESCAPE * 2 + b"\x01" * 4, BEGIN, ESCAPE + b"\x1a\x00\x00\x00", BEGIN + bytes(500)],
    ids=["1b", "00", "perhaps begins", "begins", "ends", "half frames"],
)
def test_what_is_kept_is_bounded(endless: bytes) -> None:
    frames = Frames()
    for _ in range(40):
        frames.feed((BEGIN if endless == b"\x1b" else b"") + endless * (10_000 // len(endless)))
    kept = len(frames._bytes)
    assert kept <= 8_192 + len(endless) + 8
    assert whole(frames.feed(framed(GOOD))) == [GOOD]
