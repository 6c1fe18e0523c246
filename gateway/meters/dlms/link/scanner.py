"""Finds frames in bytes that arrive in any pieces, with anything before and between them.

Every mark may begin a frame. A valid frame within one that is not complete yet ends the wait for the latter:
so a damaged frame never costs the next one, nor delays it by a byte.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from gateway.errors import MeterError

F = TypeVar("F")


class Scanner(ABC, Generic[F]):
    """It keeps at most the longest frame between two calls."""

    mark: int  # the byte that begins a frame

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._starts: list[int] = []  # of frames that are not complete yet, and of marks not looked at
        self._searched = 0  # marks were searched for up to here

    def feed(self, data: bytes) -> list[F | MeterError]:
        """The frames that `data` completes, and a MeterError for each frame whose beginning was valid but
        whose rest was not, in order."""
        self._buffer += data
        self._search()
        found: list[F | MeterError] = []
        waiting: list[int] = []
        taken = 0  # bytes up to here belong to a frame that was found
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
        """The length of the frame that begins at `start`: 0 where none does, None while that is unknown."""

    @abstractmethod
    def frame(self, data: bytes) -> F | MeterError:
        """The frame in `data`, which is as long as `size` says, or what is wrong with it."""

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
