"""Bytes to telegrams: `/XXX5identification`, a blank line, data lines, `!` and a check sequence of four hex
digits (DSMR P1 5.0.2, 6.2). The sequence is a CRC-16/ARC by the standard, a CRC-16/X-25 from some meters;
DSMR 2.2 and 3, and some meters of later versions, send none.

A telegram without a check sequence is recognised by its form: a head, a blank line, and lines that end in
values. A telegram has `!` only as its last character, and `/` only in its head, so one that breaks off never
costs the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from gateway.errors import MeterError
from gateway.meters.crc import x25

Check = Literal["arc", "x25"]
CHECKS: dict[Check, str] = {"arc": "CRC-16/ARC", "x25": "CRC-16/X-25"}

_MOST = 16_384  # bytes; the standards allow at most five texts of 2048 characters in hex
_LONGEST_SEQUENCE = 5  # with the character that shows its end
_LONGEST_HEAD = 64  # from a `/` to the next one of the same head; IEC 62056-21 allows 16 characters
_MOST_BEGINNINGS = 4  # of a telegram: `/` in one head, and those of heads that broke off before it
_MARK = re.compile(rb"[/!]")
_SEQUENCE = re.compile(rb"([0-9A-Fa-f]{4})|([0-9A-Fa-f]{0,3})(?=[^0-9A-Fa-f])")  # some omit leading zeros
_END_OF_LINE = re.compile(rb"[\r\n]")
_FORM = re.compile(rb"/[^\r\n]{4,}\r?\n\r?\n(?:(?:[0-9:.*-]*(?:\([^()\r\n]*\))+)?\r?\n)+!")


class Frames:
    """Cuts a stream of bytes into telegrams, each from `/` to `!`. Their check sequence must be one of
    `checks`; with none of them, they must end without one."""

    def __init__(self, checks: Iterable[Check]) -> None:
        self._checks = tuple(checks)
        self._bytes = bytearray()
        self._seen = 0  # there is no mark before this that matters

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
                if begun and at and self._in_head(at):
                    self._seen = at + 1
                    continue
                if begun and at:
                    yield MeterError("a P1 telegram breaks off")
                self._forget(at)
                self._seen = 1
            elif not begun:
                self._forget(at + 1)
            elif at >= _MOST:
                yield self._too_long()
                self._forget(at + 1)
            else:
                sequence = _SEQUENCE.match(self._bytes, at + 1)
                if sequence is None:
                    break
                yield self._judged(bytes(self._bytes[: at + 1]), sequence[0])
                self._forget(sequence.end())
        else:
            self._seen = len(self._bytes)
            if not self._bytes.startswith(b"/"):
                self._forget(self._seen)
        if len(self._bytes) > _MOST + _LONGEST_SEQUENCE:
            yield self._too_long()
            self._forget(len(self._bytes))

    def _in_head(self, at: int) -> bool:
        """Whether the `/` there may belong to the head of the telegram that has begun."""
        before = self._bytes.rfind(b"/", 0, at)
        return at - before < _LONGEST_HEAD and _END_OF_LINE.search(self._bytes, before, at) is None

    def _too_long(self) -> MeterError:
        return MeterError(f"a P1 telegram does not end within {_MOST} bytes")

    def _judged(self, text: bytes, sequence: bytes) -> bytes | MeterError:
        """The telegram that `text` ends with, from whichever `/` of its head it begins."""
        candidates = [text[begin:] for begin in _beginnings(text)]
        if not self._checks:
            if sequence:
                return MeterError(
                    "a P1 telegram ends in a check sequence, and its profile is of a meter that sends none"
                )
            formed = next((one for one in candidates if _FORM.fullmatch(one)), None)
            return formed or MeterError("a P1 telegram is malformed")
        expected = " or ".join(CHECKS[check] for check in self._checks)
        if not sequence:
            return MeterError(
                f"a P1 telegram ends without a check sequence, and its profile expects one ({expected})"
            )
        for check in dict.fromkeys((*self._checks, *CHECKS)):
            for one in candidates:
                if not _fits(check, one, int(sequence, 16)):
                    continue
                if check in self._checks:
                    return one
                return MeterError(
                    f"a P1 telegram's check sequence is a {CHECKS[check]}, and its profile expects {expected}"
                )
        return MeterError("a P1 telegram's check sequence is wrong")

    def _forget(self, count: int) -> None:
        del self._bytes[:count]
        self._seen = 0


def _beginnings(text: bytes) -> list[int]:
    """Where a `/` stands in the first line, the last one first."""
    end = _END_OF_LINE.search(text)
    begins = [mark.start() for mark in re.finditer(rb"/", text[: end.start() if end else len(text)])]
    return begins[: -_MOST_BEGINNINGS - 1 : -1]


def _fits(check: Check, telegram: bytes, sequence: int) -> bool:
    """Whether the check of `telegram` is `sequence`; the bytes of an X-25 are sent in either order."""
    if check == "arc":
        return crc16(telegram) == sequence
    octets = x25(telegram)
    return sequence in (int.from_bytes(octets, "big"), int.from_bytes(octets, "little"))


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
