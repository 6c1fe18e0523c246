"""Bytes of a meter that pushes text to telegrams (IEC 62056-21, mode D, 6.4.4):

    /XXX5identification
    (an empty line)
    1-0:1.8.0*255(000123.4567*kWh)
    !

There is no check sequence: a telegram is recognised by its form. Bytes of another protocol, and text through
a line with other settings, each have a message of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.parity import OTHER_PARITY, is_even, seven_bits

_MOST = 16_384  # bytes of a telegram; the longest known ones have 1 kB
_LONGEST_LINE = 256
_HEAD = re.compile(rb"/([A-Za-z]{3}(?:[ -~](?<![/!()])){1,64})$")
_P1_END = re.compile(rb"![0-9A-Fa-f]{1,4}")
# An SML file begins so; through a line of seven bits and even parity, its 01 arrive as 00.
_SML = re.compile(rb"\x1b{4}(?:\x01{4}|\x00{4})")


@dataclass(frozen=True, slots=True)
class TextTelegram:
    """A telegram: the meter's identification, which begins with its maker's three letters, and its data
    block."""

    identification: str
    block: str = field(repr=False)


class TextTelegrams:
    """Cuts a stream of bytes into telegrams, line by line."""

    def __init__(self) -> None:
        self.cut()

    def cut(self) -> None:
        """Forget the telegram that has begun."""
        self._line = b""
        self._identification: str | None = None
        self._block: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[TextTelegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken one."""
        said: list[TextTelegram | MeterError] = []
        *ended, rest = (self._line + data).split(b"\n")
        for line in ended:
            said += self._take(line.rstrip(b"\r\x8d"))
        # One byte more than is allowed shows that a line is too long; a head at its end is still found.
        self._line = rest[-_LONGEST_LINE - 1 :]
        return said

    def _take(self, line: bytes) -> Iterator[TextTelegram | MeterError]:
        if head := _HEAD.search(line[-_LONGEST_LINE:]):
            if self._identification is not None:
                yield MeterError("a text telegram breaks off")
            self._identification = head[1].decode("latin-1")
            self._block, self._size = [], 0
        elif _SML.search(line):
            self._identification = None
            yield MeterError("SML arrives, not text: choose an SML profile, whose line is 8N1")
        elif _HEAD.search(seven_bits(line[-_LONGEST_LINE:])):
            self._identification = None
            if is_even(line):
                yield MeterError(OTHER_PARITY)
        elif self._identification is None:
            pass
        elif line.startswith(b"!"):
            yield self._ended(self._identification, line)
            self._identification = None
        elif len(line) > _LONGEST_LINE or self._size + len(line) > _MOST:
            self._identification = None
            yield MeterError(f"a text telegram does not end within {_MOST} bytes, or has an endless line")
        else:
            self._block.append(line + b"\n")
            self._size += len(line) + 1

    def _ended(self, identification: str, line: bytes) -> TextTelegram | MeterError:
        if _P1_END.fullmatch(line):
            return MeterError("a telegram ends in a check sequence, as those of P1 do: choose a P1 profile")
        block = b"".join(self._block)
        if line != b"!" or not block.isascii():
            return MeterError("a text telegram is damaged")
        return TextTelegram(identification, block.decode("ascii"))
