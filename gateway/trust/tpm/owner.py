"""The owner of a TPM: the one thread that talks to it, and what happens when that fails.

Jobs run in the order they come, on one connection. It is made for the first job, and made anew after any
failure: what a failed command leaves behind in tpm2-tss cannot be relied on. Faults that pass (after pauses)
and "lost" (once) are tried again, so a job must be safe to run twice. A job that does not return in time
fails for its caller and for all that wait behind it; its thread cannot be stopped, so it is abandoned, and
the next caller gets a new one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from tpm2_pytss import TSS2_Exception

from gateway.errors import TrustError
from gateway.trust.tpm import codes
from gateway.trust.tpm.codes import Fault, TpmFault

_log = logging.getLogger(__name__)

PATIENCE_S = 30.0
"""For one job. The slowest, first use on an SLB9670, is some five dozen commands of at most 250 ms."""
_MOST_LOST = 30
"""Threads that may be lost in a row, over 15 min at least. Each still hangs in its call, and the gateway's
unit allows 64 (TasksMax=)."""
_CLOSING_S = 1.5
_SILENT_S = 5.0  # then a job that has not returned is worth a sentence
_SHORT_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0)
_PAUSES_S = {
    Fault.BUSY: _SHORT_S,
    Fault.FULL: _SHORT_S,
    # A firmware TPM has no storage before a service of the system has started: minutes, at a boot.
    Fault.NOT_READY: (*_SHORT_S, *[15.0] * 18),
}
"""The pauses after which a job is tried again, by what kept it from being done."""


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
        self._lost_in_a_row = 0
        self._closed = False
        self._began: float | None = None  # of the job that the thread has, on the monotonic clock
        self._fault: str | None = None

    @property
    def fault(self) -> str | None:
        """What keeps jobs from being done, as a sentence; None while the TPM does what it is asked."""
        if self._began is not None:
            seconds = time.monotonic() - self._began
            if seconds >= _SILENT_S:
                return self._hung(seconds)
        return self._fault

    @property
    def hung(self) -> bool:
        """Whether jobs hang beyond their time limit so often, or one so long, that no new thread helps."""
        late = self._began is not None and time.monotonic() - self._began >= 2 * self.patience
        return late or self._lost_in_a_row >= _MOST_LOST

    async def run(self, job: Callable[[C], T]) -> T:
        """The job's result; TrustError says what is wrong with the TPM."""
        lost = self._threads_lost
        async with self._turn:
            if self._closed:
                raise TrustError("this root of trust was closed")
            if lost != self._threads_lost:
                raise TrustError(self._hung(self.patience))
            waits = {fault: iter(pauses) for fault, pauses in _PAUSES_S.items()}
            redone = False
            while True:
                try:
                    result = await self._once(job)
                except TpmFault as trouble:
                    pause = next(waits.get(trouble.fault, iter(())), None)
                    sentence = codes.sentence(trouble, self._tcti)
                    if pause is not None:
                        self._waits(sentence, pause)
                        await self._sleep(pause)
                    elif trouble.fault is Fault.LOST and not redone:
                        redone = True
                    else:
                        self._fault = sentence
                        raise TrustError(sentence) from None
                except TrustError as refusal:
                    self._fault = str(refusal)
                    raise
                else:
                    self._fault = None
                    return result

    async def aclose(self) -> None:
        """Close the connection and end the thread."""
        async with self._turn:
            self._closed = True
            thread, self._thread = self._thread, None
            if thread is not None:
                await thread.end(_CLOSING_S)

    async def _once(self, job: Callable[[C], T]) -> T:
        if self._thread is None:
            self._thread = _Thread(self._connect)
        self._began = time.monotonic()
        try:
            async with asyncio.timeout(self.patience):
                result = await asyncio.wrap_future(self._thread.submit(job))
        except TimeoutError:
            self._thread.abandon()
            self._thread = None
            self._threads_lost += 1
            self._lost_in_a_row += 1
            self._fault = self._hung(self.patience)
            raise TrustError(self._fault) from None
        except Exception:
            self._lost_in_a_row = 0
            raise
        else:
            self._lost_in_a_row = 0
            return result
        finally:
            self._began = None

    def _waits(self, sentence: str, pause: float) -> None:
        """Note a fault that is waited out; the first pauses pass too often to be worth a line."""
        if pause >= 1 and self._fault != sentence:
            self._fault = sentence
            _log.warning("%s", sentence)

    def _hung(self, seconds: float) -> str:
        return (
            f"the TPM at {self._tcti} has not answered for {seconds:.2g} s: check that it is powered and used"
            " by nothing else; the gateway tries again by itself"
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
