"""Bytes to telegrams: `/XXX5identification`, a blank line, data lines, `!` and a check sequence of four hex
digits (DSMR P1 5.0.2, 6.2), which DSMR 2.2 and 3 do not have yet.

A telegram without a check sequence is recognised by its form: a head, a blank line, and lines that end in
values. A telegram has `/` and `!` only as its first and last characters, so one that breaks off never costs
the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.errors import MeterError

_MOST = 16_384  # bytes; the standards allow at most five texts of 2048 characters in hex
_LONGEST_SEQUENCE = 5  # with the character that shows its end
_MARK = re.compile(rb"[/!]")
_SEQUENCE = re.compile(rb"([0-9A-Fa-f]{4})|([0-9A-Fa-f]{0,3})(?=[^0-9A-Fa-f])")  # some omit leading zeros
_FORM = re.compile(rb"/[^\r\n]{4,}\r?\n\r?\n(?:(?:[0-9:.*-]*(?:\([^()\r\n]*\))+)?\r?\n)+!")


class Frames:
    """Cuts a stream of bytes into telegrams, each from `/` to `!`."""

    def __init__(self, *, checked: bool) -> None:
        self._checked = checked
        self._bytes = bytearray()
        self._seen = 0  # there is no mark before this

    def cut(self) -> None:
        """Forget the telegram that has begun."""
        self._forget(len(self._bytes))

    def feed(self, data: bytes) -> list[bytes | MeterError]:
        """The telegrams that `data` completes, and an error for each broken one."""
        self._bytes += data
        return list(self._cut())

    def _cut(self) -> Iterator[bytes | MeterError]:
        while mark := _MARK.search(self._bytes, self._seen):
            begun = self._bytes.startswith(b"/")
            at = mark.start()
            if mark[0] == b"/":
                if begun and at:
                    yield MeterError("a P1 telegram breaks off")
                self._forget(at)
                self._seen = 1
            elif not begun:
                self._forget(at + 1)
            elif at >= _MOST:
                yield self._too_long()
                self._forget(at + 1)
            elif self._checked:
                sequence = _SEQUENCE.match(self._bytes, at + 1)
                if sequence is None:
                    break
                yield self._check(bytes(self._bytes[: at + 1]), sequence[0])
                self._forget(sequence.end())
            else:
                telegram = bytes(self._bytes[: at + 1])
                formed = _FORM.fullmatch(telegram)
                yield telegram if formed else MeterError("a P1 telegram is malformed")
                self._forget(at + 1)
        else:
            self._seen = len(self._bytes)
            if not self._bytes.startswith(b"/"):
                self._forget(self._seen)
        if len(self._bytes) > _MOST + _LONGEST_SEQUENCE:
            yield self._too_long()
            self._forget(len(self._bytes))

    def _too_long(self) -> MeterError:
        return MeterError(f"a P1 telegram does not end within {_MOST} bytes")

    def _check(self, telegram: bytes, sequence: bytes) -> bytes | MeterError:
        if sequence and int(sequence, 16) == crc16(telegram):
            return telegram
        return MeterError("a P1 telegram's check sequence is wrong")

    def _forget(self, count: int) -> None:
        del self._bytes[:count]
        self._seen = 0


def crc16(data: bytes) -> int:
    """CRC-16/ARC: x16 + x15 + x2 + 1, least significant bit first, initial value 0 (DSMR P1 5.0.2, 6.2)."""
    crc = 0
    for octet in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ octet) & 0xFF]
    return crc


def _shifted(octet: int) -> int:
    for _ in range(8):
        octet = octet >> 1 ^ (0xA001 if octet & 1 else 0)
    return octet


_TABLE = tuple(_shifted(octet) for octet in range(256))
