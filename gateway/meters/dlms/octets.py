"""Reads octets in order. Where they end too early, the error is a MeterError, whatever is being read."""

from __future__ import annotations

from gateway.errors import MeterError


class Octets:
    """`data`, taken from its beginning; `what` names it in errors, such as "the answer to a GET"."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self.what = what

    def __len__(self) -> int:
        """How many octets are left."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > len(self):
            raise MeterError(f"{self.what} ends too early: {count} more bytes should follow, {len(self)} do")
        self._at += count
        return self._data[self._at - count : self._at]

    def rest(self) -> bytes:
        return self.take(len(self))

    def peek(self) -> int:
        """The next octet, without taking it; -1 where there is none."""
        return self._data[self._at] if self else -1

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "big", signed=signed)

    def length(self) -> int:
        """A length in A-XDR or BER: up to 127 in one octet, else 0x80 + the number of octets that follow
        (IEC 61334-6; here at most four)."""
        first = self.number(1)
        if first < 0x80:
            return first
        if first not in (0x81, 0x82, 0x83, 0x84):
            raise MeterError(
                f"{self.what} has the length octet {first:#04x}; a length may have at most four octets"
            )
        return self.number(first - 0x80)

    def string(self) -> bytes:
        """An octet-string, preceded by its length."""
        return self.take(self.length())

    def end(self) -> None:
        if len(self):
            raise MeterError(f"{self.what} is {len(self)} bytes too long")


def length(count: int) -> bytes:
    """A length in A-XDR or BER."""
    if count < 0x80:
        return bytes((count,))
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes((0x80 + len(octets),)) + octets


def string(data: bytes) -> bytes:
    return length(len(data)) + data
