"""Bytes to frames: SML's transport protocol, version 1 (SML 1.04).

    1b1b1b1b 01010101   content, in which each 1b1b1b1b is doubled   1b1b1b1b 1a ff cccc

`ff` is the number of fill bytes at the end of the content, `cccc` the check sequence of everything before it.
After a frame whose end was lost, a run of 1b can be read in two ways: both are kept open, and the check
sequence decides. So a whole frame is always found, whatever noise came before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.errors import MeterError
from gateway.meters.sml.check import fits

_ESCAPE = b"\x1b" * 4
_RUN = re.compile(rb"\x1b{4,}")
_BEGIN = b"\x01" * 4
_END = 0x1A
_MOST = 8_192  # bytes of a frame; those of household meters have a few hundred
_MOST_BEGUN = 4


class Frames:
    """Cuts a stream of bytes into frames. It keeps no more than the longest frame between two calls."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._begun: list[int] = []  # where frames may have begun, the oldest first
        self._seen = 0  # no escape begins before this

    def feed(self, data: bytes) -> list[bytes | MeterError]:
        """The contents of the frames that `data` completes, without fill bytes and with single escapes, and
        an error for each broken frame."""
        self._bytes += data
        return list(self._cut())

    def _cut(self) -> Iterator[bytes | MeterError]:
        while run := _RUN.search(self._bytes, self._seen):
            behind = run.end()
            yield from self._give_up(behind)
            if behind + 4 > len(self._bytes):
                self._seen = run.start()
                break
            # k bytes 1b of content become k + 4 (k // 4) when escapes are doubled: 8, 9, 10, 11, 16...
            doubled = (behind - run.start()) % 8 < 4
            self._seen = behind + 1
            if self._bytes[behind : behind + 4] == _BEGIN:
                yield from self._begin(behind - 4, perhaps=doubled)
            elif self._bytes[behind] == _END and not doubled:
                yield from self._end(behind)
        else:
            self._seen = max(self._seen, len(self._bytes) - 3)
        yield from self._give_up(self._seen)
        self._forget()

    def _begin(self, at: int, *, perhaps: bool) -> Iterator[MeterError]:
        if perhaps:
            self._begun = [*self._begun[1 - _MOST_BEGUN :], at]
        else:
            if self._begun:
                yield MeterError("an SML frame breaks off")
            self._begun = [at]

    def _end(self, at: int) -> Iterator[bytes | MeterError]:
        """`at` is the position of 1a."""
        fill = self._bytes[at + 1]
        sequence = bytes(self._bytes[at + 2 : at + 4])
        for begin in self._begun:
            content = bytes(self._bytes[begin + 8 : at - 4])
            if fill <= 3 and fits(bytes(self._bytes[begin : at + 2]), sequence):
                yield content[: len(content) - fill].replace(_ESCAPE * 2, _ESCAPE)
                break
        else:
            if self._begun:
                yield MeterError("an SML frame's check sequence is wrong")
        self._begun = []

    def _give_up(self, reached: int) -> Iterator[MeterError]:
        """Give up frames that have become too long."""
        kept = [begin for begin in self._begun if reached - begin <= _MOST]
        if self._begun and not kept:
            yield MeterError(f"an SML frame does not end within {_MOST} bytes")
        self._begun = kept

    def _forget(self) -> None:
        """Drop the bytes before the oldest frame begun, and all but the end of an endless run of 1b."""
        needless = min([self._seen, *self._begun])
        if not self._begun:
            needless = max(needless, len(self._bytes) - _MOST)
        del self._bytes[:needless]
        self._begun = [begin - needless for begin in self._begun]
        self._seen = max(self._seen - needless, 0)
