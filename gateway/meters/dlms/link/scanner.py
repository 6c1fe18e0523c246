"""Finds frames in bytes that come in any pieces, with anything between and before them.

Every mark may begin a frame. A right frame within one that is not whole yet ends the wait for it: what was
lost of a frame never takes the next one, and holds it up for no byte.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from gateway.errors import MeterError

F = TypeVar("F")


class Scanner(ABC, Generic[F]):
    """What is kept between two calls is the longest frame at most."""

    mark: int  # the byte that begins a frame

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._starts: list[int] = []  # of frames that are not whole yet, and of marks not looked at
        self._searched = 0  # up to here marks were looked for

    def feed(self, data: bytes) -> list[F | MeterError]:
        """The frames that became whole with `data`, and a MeterError for each whose beginning was right and
        whose rest was not, in order."""
        self._buffer += data
        self._search()
        found: list[F | MeterError] = []
        waiting: list[int] = []
        taken = 0  # up to here bytes belong to a frame that was found
        for start in self._starts:
            size = self.size(self._buffer, start) if start >= taken else 0
            if size is None or start + size > len(self._buffer):
                waiting.append(start)
            elif size:
                item = self.frame(bytes(self._buffer[start : start + size]))
                found.append(item)
                if not isinstance(item, MeterError):
                    waiting.clear()
                    taken = start + size - 1  # its last byte may be the next one's mark
        self._starts = waiting
        self._forget()
        return found

    @abstractmethod
    def size(self, buffer: bytearray, start: int) -> int | None:
        """How long the frame that begins at `start` is; 0 where none does, None while that is open."""

    @abstractmethod
    def frame(self, data: bytes) -> F | MeterError:
        """The frame that `data` is, whole, or why it is none."""

    def _search(self) -> None:
        at = self._buffer.find(self.mark, self._searched)
        while at >= 0:
            self._starts.append(at)
            at = self._buffer.find(self.mark, at + 1)
        self._searched = len(self._buffer)

    def _forget(self) -> None:
        first = self._starts[0] if self._starts else len(self._buffer)
        del self._buffer[:first]
        self._starts = [start - first for start in self._starts]
        self._searched -= first
