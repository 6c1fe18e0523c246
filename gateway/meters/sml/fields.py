"""A frame to values: the type-length fields of SML's binary encoding (SML 1.04, clause 6).

A field's first byte holds its type and four bits of its length; while bit 7 is set, another byte with the
next four bits follows. The length of a list is the number of its elements; that of anything else includes the
bytes of the type and the length. 01, an empty octet string, also stands for a value that is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gateway.errors import MeterError

_MOST_DEEP = 16  # a list of registers is six deep
_OCTETS, _BOOLEAN, _SIGNED, _UNSIGNED, _LIST = 0x00, 0x40, 0x50, 0x60, 0x70


@dataclass(frozen=True, slots=True)
class Number:
    """An integer, and the number of bytes that the meter sent it in."""

    value: int
    octets: int


Field: TypeAlias = "bytes | bool | Number | tuple[Field, ...] | None"


def take(data: bytes, at: int) -> tuple[Field, int]:
    """The field that begins at `at`, and where it ends. MeterError where it is malformed."""
    return _take(data, at, _MOST_DEEP)


def _take(data: bytes, at: int, deep: int) -> tuple[Field, int]:
    kind, length, body = _head(data, at)
    if kind == _LIST:
        if deep == 0:
            raise MeterError(f"an SML list is nested more than {_MOST_DEEP} deep")
        elements = []
        for _ in range(length):
            element, body = _take(data, body, deep - 1)
            elements.append(element)
        return tuple(elements), body
    end = at + length
    if end < body or end > len(data):
        raise MeterError(f"an SML field has an impossible length, {length} bytes")
    value = data[body:end]
    if kind == _OCTETS:
        return value or None, end
    if kind in (_SIGNED, _UNSIGNED) and 1 <= len(value) <= 8:
        return Number(int.from_bytes(value, "big", signed=kind == _SIGNED), len(value)), end
    if kind == _BOOLEAN and len(value) == 1:
        return value != b"\x00", end
    raise MeterError(f"an SML field has an impossible type and size: type {kind >> 4:x}, {len(value)} bytes")


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """A field's type, its length, and where its content begins."""
    length, body, more = 0, at, True
    while more:
        if body >= len(data) or length > len(data):
            raise MeterError("an SML field goes on beyond the end of its frame")
        length = length << 4 | data[body] & 0x0F
        more = bool(data[body] & 0x80)
        body += 1
    return data[at] & 0x70, length, body
