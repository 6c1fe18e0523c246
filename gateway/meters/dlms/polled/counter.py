"""The gateway's own invocation counter for one meter, durable before it is used.

A meter refuses a counter that is not above the last one, and AES-GCM breaks if a sender uses a counter twice
under a key. So numbers are reserved in a file, many at once, before the first of them is sent; after a
restart, the reserved ones are skipped.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import MeterError
from gateway.host.files import write_durably

_RESERVED_AT_ONCE = 4096
_MARGIN = 64  # more numbers than one exchange uses
_END = 1 << 32


class InvocationCounter:
    """The counter in the file `path`, which is created where it is missing. Other processes may use it too (a
    check while the gateway runs): each reserves its own numbers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0
        self._reserved = 0  # the first number that is not reserved

    async def refresh(self) -> None:
        """Continue above the numbers that others have reserved in the file. MeterError where the file cannot
        be read or is damaged: starting again could repeat numbers."""
        stored = await asyncio.to_thread(self._read)
        if stored != self._reserved:
            self.skip_to(stored)
            self._reserved = self._next

    def skip_to(self, number: int) -> None:
        """Continue from `number` if that is ahead: the meter does not accept a number below one it has
        seen."""
        self._next = max(self._next, number)

    async def reserve(self) -> None:
        """Make sure that the next few numbers are reserved. MeterError where the file cannot be written."""
        if self._next + _MARGIN <= self._reserved:
            return
        self._next, self._reserved = await asyncio.to_thread(self._reserve, self._next, self._reserved)

    def take(self) -> int:
        """A number that was never used before. Call `reserve` first."""
        if self._next >= self._reserved:
            raise RuntimeError("no invocation counter is reserved")
        self._next += 1
        return self._next - 1

    def _reserve(self, number: int, ours: int) -> tuple[int, int]:
        """Reserve numbers from `number` on, or above those that others reserved since our `ours`. Returns the
        first reserved number, and the first that is not."""
        with self._alone():
            stored = self._read()
            begin = number if stored == ours else max(number, stored)
            end = begin + _RESERVED_AT_ONCE
            if end > _END:
                raise MeterError(
                    "the invocation counter is exhausted: the meter needs new keys before it can be read"
                )
            self._write(end)
        return begin, end

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from reserving meanwhile. The lock is on the folder, since each write replaces the
        file."""
        try:
            # The folder is missing where a check comes before the gateway's first run.
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise MeterError(
                f"the invocation counter cannot be written to {self._path}: {error.strerror}"
            ) from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _read(self) -> int:
        try:
            match json.loads(self._path.read_text("ascii")):
                case {"next": int(number)} if 0 < number <= _END:
                    return number
        except FileNotFoundError:
            return 1
        except OSError as error:
            raise MeterError(
                f"the invocation counter cannot be read from {self._path}: {error.strerror}"
            ) from None
        except (ValueError, RecursionError):
            pass
        raise MeterError(
            f"{self._path} does not hold an invocation counter; without the file, a new one starts above the "
            "meter's, if its profile says where to read that"
        )

    def _write(self, reserved: int) -> None:
        try:
            write_durably(self._path, json.dumps({"next": reserved}).encode())
            if os.geteuid() == 0:  # a check run as root, while the gateway runs as another user
                folder = self._path.parent.stat()
                os.chown(self._path, folder.st_uid, folder.st_gid)
        except OSError as error:
            raise MeterError(
                f"the invocation counter cannot be written to {self._path}: {error.strerror}"
            ) from None
