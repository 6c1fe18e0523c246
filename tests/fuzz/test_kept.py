"""What a decoder keeps of an endless stream is bounded, whatever comes."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable

import pytest

from gateway.meters.dlms.link.hdlc import Frame, FrameScanner
from gateway.meters.sml.decoder import SmlDecoder
from tests.fuzz import pushes
from tests.fuzz.streams import Decoder
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.slow

FED, KEPT = 1 << 17, 1 << 16  # bytes
DECODERS: dict[str, Callable[[], Decoder]] = {
    "hdlc": FrameScanner,
    "push-hdlc": lambda: pushes._hdlc(None),
    "push-hdlc-ciphered": lambda: pushes._hdlc(pushes._KEYS),
    "push-mbus": lambda: pushes._mbus(None),
    "p1": lambda: pushes._p1_plain("dsmr-5"),
    "p1-sealed": pushes._p1_sealed,
    "p1-sealed-lines": pushes._p1_sealed_lines,
    "sml": SmlDecoder,
}


def kept(make: Callable[[], Decoder], unit: bytes) -> int:
    """How many bytes of memory a decoder has taken once `unit` came over and over."""
    piece = (unit * (4096 // len(unit) + 1))[:4096]
    decoder = make()
    decoder.feed(piece)  # what is imported or compiled at the first use is not its own
    tracemalloc.start()
    try:
        for _ in range(FED // len(piece)):
            decoder.feed(piece)
        gc.collect()  # errors refer to the frames that they were raised in
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_kept_is_bounded(name: str) -> None:
    frame = min(TARGETS[name].seeds(), key=len)[2:]
    chance = random.Random(1)
    units = [
        frame,
        frame[: len(frame) // 2],
        frame[:18],
        frame[:1],
        chance.randbytes(4096),
        bytes(chance.choice(frame) for _ in range(4096)),
    ]
    for unit in units:
        assert kept(DECODERS[name], unit) < KEPT


def test_segments_without_end() -> None:
    """Frames that say for ever that more of their message follows, with and without content."""
    for information in (b"", b"\xe6\xe7\x00", bytes(1000)):
        frame = Frame(pushes._STATION, pushes._STATION, 0x13, information, True)
        assert kept(DECODERS["push-hdlc"], frame.encode()) < KEPT


def test_a_decoder_that_keeps_all_is_found() -> None:
    class Hoard:
        def __init__(self) -> None:
            self._all = bytearray()

        def feed(self, data: bytes) -> list[object]:
            self._all += data
            return []

    assert kept(Hoard, b"x") > KEPT
