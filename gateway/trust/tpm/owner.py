"""The owner of a TPM: the one thread that talks to it, and what happens when that fails.

Jobs run in the order they come, on one connection. It is made for the first job, and made anew after any
failure: what a failed command leaves behind in tpm2-tss cannot be relied on. Only "busy" (after a pause) and
"lost" (once) are tried again, so a job must be safe to run twice. A job that does not return in time fails
for its caller and for all that wait behind it; its thread cannot be stopped, so it is abandoned, and the next
caller gets a new one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from tpm2_pytss import TSS2_Exception

from gateway.errors import TrustError
from gateway.trust.tpm import codes
from gateway.trust.tpm.codes import Fault, TpmFault

PATIENCE_S = 30.0
"""For one job. The slowest, first use on an SLB9670, is some two dozen commands of at most 250 ms."""
_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0)


class Connection(Protocol):
    def close(self, *, orderly: bool) -> None: ...


C = TypeVar("C", bound=Connection)
T = TypeVar("T")


class Owner(Generic[C]):
    """Runs blocking jobs on a connection to the TPM at `tcti`; `connect` makes the connection, in the
    thread. For the tasks of one event loop."""

    def __init__(
        self,
        tcti: str,
        connect: Callable[[], C],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tcti = tcti
        self._connect = connect
        self.patience = PATIENCE_S
        self._sleep = sleep
        self._thread: _Thread[C] | None = None
        self._turn = asyncio.Lock()
        self._threads_lost = 0
        self._closed = False

    async def run(self, job: Callable[[C], T]) -> T:
        """The job's result; TrustError says what is wrong with the TPM."""
        lost = self._threads_lost
        async with self._turn:
            if self._closed:
                raise TrustError("this root of trust was closed")
            if lost != self._threads_lost:
                raise self._hung()
            pauses, redone = iter(_PAUSES_S), False
            while True:
                try:
                    return await self._once(job)
                except TpmFault as trouble:
                    pause = next(pauses, None) if trouble.fault is Fault.BUSY else None
                    if pause is not None:
                        await self._sleep(pause)
                    elif trouble.fault is Fault.LOST and not redone:
                        redone = True
                    else:
                        raise TrustError(codes.sentence(trouble, self._tcti)) from None

    async def aclose(self) -> None:
        """Close the connection and end the thread."""
        async with self._turn:
            self._closed = True
            thread, self._thread = self._thread, None
            if thread is not None:
                await thread.end(self.patience)

    async def _once(self, job: Callable[[C], T]) -> T:
        if self._thread is None:
            self._thread = _Thread(self._connect)
        try:
            async with asyncio.timeout(self.patience):
                return await asyncio.wrap_future(self._thread.submit(job))
        except TimeoutError:
            self._thread.abandon()
            self._thread = None
            self._threads_lost += 1
            raise self._hung() from None

    def _hung(self) -> TrustError:
        return TrustError(
            f"the TPM at {self._tcti} has not answered for {self.patience:g} s: check that it is powered and"
            " used by nothing else; the gateway tries again by itself"
        )


class _Thread(Generic[C]):
    """A thread and the connection that only it touches. It is a daemon thread, unlike an executor's: if it
    hangs in a driver, it must not keep the process from ending."""

    def __init__(self, connect: Callable[[], C]) -> None:
        self._connect = connect
        self._jobs: SimpleQueue[tuple[Callable[[C], Any], Future[Any]] | None] = SimpleQueue()
        self._ended: Future[None] = Future()
        self._orderly = True
        self._thread = threading.Thread(target=self._serve, name="tpm", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[C], T]) -> Future[T]:
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def abandon(self) -> None:
        """Never wait for the thread again; should it come back, it closes its connection and ends."""
        self._orderly = False
        self._jobs.put(None)

    async def end(self, patience: float) -> None:
        """Let the thread finish and end; abandon it if that takes longer than `patience` seconds."""
        self._jobs.put(None)
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(asyncio.wrap_future(self._ended))
            self._thread.join()  # it has nothing left to do
        except TimeoutError:
            self._orderly = False

    def _serve(self) -> None:
        connection: C | None = None
        while (item := self._jobs.get()) is not None:
            job, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if connection is None:
                    connection = self._connect()
                result = job(connection)
            except BaseException as error:
                if connection is not None:
                    connection.close(orderly=False)
                    connection = None
                future.set_exception(codes.fault(error) if isinstance(error, TSS2_Exception) else error)
            else:
                future.set_result(result)
        if connection is not None:
            connection.close(orderly=self._orderly)
        self._ended.set_result(None)
