"""The gateway's own invocation counter for one meter: durable before it is used.

A meter refuses a counter that is not above the last one, and AES-GCM breaks where a sender's counter comes
twice under a key. So numbers are reserved in a file, many at once, before the first of them is sent, and
after a restart what was reserved is skipped.
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
_MARGIN = 64  # more than one exchange uses
_END = 1 << 32


class InvocationCounter:
    """The counter in the file `path`, which is made where it is missing. Other processes may take numbers
    from it too (a check while the gateway runs): each reserves its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0
        self._reserved = 0  # the first number that is not

    async def refresh(self) -> None:
        """Go on above what is reserved in the file, where that was not by us. MeterError where the file
        cannot be read, or is damaged: to begin anew could repeat numbers."""
        stored = await asyncio.to_thread(self._read)
        if stored != self._reserved:
            self.skip_to(stored)
            self._reserved = self._next

    def skip_to(self, number: int) -> None:
        """Go on from `number`, if that is ahead: what the meter has seen it does not take again."""
        self._next = max(self._next, number)

    async def reserve(self) -> None:
        """Make sure that the next few numbers are reserved. MeterError where that cannot be written."""
        if self._next + _MARGIN <= self._reserved:
            return
        self._next, self._reserved = await asyncio.to_thread(self._reserve, self._next, self._reserved)

    def take(self) -> int:
        """A number that was never taken before; there is one after `reserve`."""
        if self._next >= self._reserved:
            raise RuntimeError("no invocation counter is reserved")
        self._next += 1
        return self._next - 1

    def _reserve(self, number: int, ours: int) -> tuple[int, int]:
        """Reserve from `number` on, or from above what others reserved since `ours` was: from where, and the
        first number that is not."""
        with self._alone():
            stored = self._read()
            begin = number if stored == ours else max(number, stored)
            end = begin + _RESERVED_AT_ONCE
            if end > _END:
                raise MeterError(
                    "the invocation counter is at its end: the meter needs new keys before it is read"
                )
            self._write(end)
        return begin, end

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else reserves meanwhile. The lock is the folder's: the file is another one each time."""
        try:
            # A check comes before the first run, which would make the folder.
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
            f"{self._path} holds no invocation counter; without the file one is begun anew, above what the "
            "meter tells if its profile knows where"
        )

    def _write(self, reserved: int) -> None:
        try:
            write_durably(self._path, json.dumps({"next": reserved}).encode())
            if os.geteuid() == 0:  # a check as root, while the gateway runs as another user
                folder = self._path.parent.stat()
                os.chown(self._path, folder.st_uid, folder.st_gid)
        except OSError as error:
            raise MeterError(
                f"the invocation counter cannot be written to {self._path}: {error.strerror}"
            ) from None
