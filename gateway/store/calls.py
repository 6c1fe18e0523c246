"""Blocking calls to a store, each with an overall deadline by its size.

A timeout of a socket is one of silence: a server that sends a byte a second never reaches it. A call that is
not done in time fails for its caller, and its connection is broken, which ends its thread too. A thread that
hangs all the same, in a network file system or in the resolver of names, is left behind: it is a daemon
thread, and neither other calls nor the end of the process wait for it.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from gateway.errors import StoreUnavailable
from gateway.store.bucket import deadline_s

_MOST_LEFT = 16  # far below the threads that the service manager allows
_CLOSING_S = 1.0

T = TypeVar("T")


class Wire:
    """A second handle of a connection's socket, by which any thread can break the connection: the first may
    be taken over by TLS, or be closed while an answer is still read."""

    def __init__(self, connected: socket.socket) -> None:
        self._handle = connected.dup()

    def cut(self) -> None:
        """Break the connection: who waits for it is woken."""
        with suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def __del__(self) -> None:
        self._handle.close()


class Call(Generic[T]):
    """A call on its thread. `size` are the bytes that it has been known to move so far."""

    def __init__(self, work: Callable[[], T], size: int) -> None:
        self.work = work
        self.size = size
        self.wire: Wire | None = None
        self.cut = False
        self._began = time.monotonic()

    @property
    def allowed_s(self) -> float:
        """How long it may take in all."""
        return deadline_s(self.size)

    @property
    def left_s(self) -> float:
        """How long it may still take."""
        return self._began + self.allowed_s - time.monotonic()

    def break_off(self) -> None:
        """Break its connection, and those that it would make yet."""
        self.cut = True
        if self.wire is not None:
            self.wire.cut()


_this_thread = threading.local()


def use(wire: Wire | None) -> None:
    """The call on this thread, if any, goes by `wire` from now on. TimeoutError if it was broken off."""
    call: Call[Any] | None = getattr(_this_thread, "call", None)
    if call is not None:
        call.wire = wire
        if call.cut:
            raise TimeoutError


def moved(count: int) -> None:
    """The call on this thread, if any, has moved so many bytes more."""
    call: Call[Any] | None = getattr(_this_thread, "call", None)
    if call is not None:
        call.size += count


class Calls:
    """The calls to one bucket, at most `most` at a time. `where` names the bucket in errors."""

    def __init__(self, most: int, where: str) -> None:
        self._turns = asyncio.Semaphore(most)
        self._where = where
        self._running: dict[Call[Any], asyncio.Future[Any]] = {}

    async def run(self, work: Callable[[], T], what: str, size: int = 0) -> T:
        """What `work` returns on a thread, if it does so in time. `size` are the bytes that it will move,
        where that is known before. StoreUnavailable names `what` has taken too long."""
        async with self._turns:
            call, ended = Call(work, size), asyncio.get_running_loop().create_future()
            self._start(call, ended)
            try:
                while not ended.done() and (left := call.left_s) > 0:
                    await asyncio.wait([ended], timeout=left)
            finally:
                if not ended.done():
                    call.break_off()
            if not ended.done():
                raise StoreUnavailable(
                    f"{self._where} cannot be used now: {what} was not done in {call.allowed_s:.0f} s"
                )
            try:
                result: T = ended.result()
                return result
            finally:  # an error must not keep itself, and with it a connection, by its own traceback
                del call, ended

    async def aclose(self) -> None:
        """Let the calls under way end, and break off those that take seconds."""
        for _ in range(2):
            if self._running:
                await asyncio.wait(self._running.values(), timeout=_CLOSING_S)
            for call in self._running:
                call.break_off()

    def _start(self, call: Call[T], ended: asyncio.Future[T]) -> None:
        loop = asyncio.get_running_loop()

        def end(result: T | None, error: BaseException | None) -> None:
            del self._running[call]
            if error is None:
                ended.set_result(result)  # type: ignore[arg-type]
            else:
                ended.set_exception(error)
                ended.exception()  # seen, also where the caller has left

        def serve() -> None:
            _this_thread.call = call
            result, error = None, None
            try:
                result = call.work()
            except BaseException as raised:
                error = raised
            call.wire = None
            with suppress(RuntimeError):  # the loop is closed: nobody waits any longer
                loop.call_soon_threadsafe(end, result, error)
            result = error = None  # as above

        try:
            if len(self._running) >= _MOST_LEFT:
                raise RuntimeError
            threading.Thread(target=serve, name="store", daemon=True).start()
        except RuntimeError:  # what Python raises where no thread can be made
            raise StoreUnavailable(
                f"{self._where} cannot be used now: {len(self._running)} requests to it hang"
            ) from None
        self._running[call] = ended
