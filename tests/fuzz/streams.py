"""What every decoder of a stream must keep to, whatever comes.

The first two bytes of an input choose where the pieces end in which the rest is fed. In pieces the rest must
give what it gives at once; and of two good frames behind it, the decoder must give at least the second, or
the only one where the connection was cut before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol


class Decoder(Protocol):
    def feed(self, data: bytes) -> Sequence[object]: ...


def as_input(data: bytes, first: int = 255, second: int = 255) -> bytes:
    """An input that is `data`, fed in pieces of `first` + 1 and `second` + 1 bytes in turn."""
    return bytes((first, second)) + data


def pieces(data: bytes) -> Iterator[bytes]:
    """The input's pieces."""
    at, turn = 2, 0
    while at < len(data):
        size = data[turn] + 1
        yield data[at : at + size]
        at, turn = at + size, 1 - turn


class Laws:
    """A decoder that `make` makes, and two good frames; the second says the same wherever it comes."""

    def __init__(self, make: Callable[[], Decoder], first: bytes, second: bytes) -> None:
        self._make = make
        self._first = first
        self._second = second
        self._wanted: list[object] = []

    def check(self, data: bytes) -> list[object]:
        """Feed the input to a decoder, and good frames behind it. What was good of the input is returned.
        What is wrong with broken ones may be said otherwise for other pieces. The first byte's lowest bit
        chooses whether the connection is cut before the good frames: then there is one."""
        wanted = self._wanted = self._wanted or _good(self._make().feed(self._second))
        assert wanted
        at_once = _good(self._make().feed(data[2:]))
        decoder = self._make()
        in_pieces = [item for piece in pieces(data) for item in _good(decoder.feed(piece))]
        assert in_pieces == at_once, f"in pieces {len(in_pieces)} come, at once {len(at_once)}, or others"
        cut = getattr(decoder, "cut", None)
        if cut is not None and data[:1] and data[0] & 1:
            cut()
        else:
            decoder.feed(self._first)
        last = _good(decoder.feed(self._second))
        assert last[-len(wanted) :] == wanted, "behind the input a good frame does not come"
        return at_once


def _good(items: Sequence[object]) -> list[object]:
    return [item for item in items if not isinstance(item, Exception)]
