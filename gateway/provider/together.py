"""Signatures and decapsulations of several homes, done in a row.

Between other work one takes up to half as long again, since each kind of work leaves little of the other in
the processor's caches. So the tasks that read homes side by side hand theirs in here, and what is handed in
within one turn of the event loop is done one after another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

from gateway.errors import GatewayError
from gateway.wire.cose import Unverified

T = TypeVar("T")


class Together:
    """Does the work that tasks hand in, all in a row."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, or its error, once its turn has come."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run_all)
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, done))
        return await done

    def verified(self) -> Verified:
        """A block at whose end the signatures are verified that it puts into its list."""
        return Verified(self)

    def _run_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for work, done in waiting:
            if done.cancelled():
                continue
            try:
                done.set_result(work())
            except Exception as error:  # whatever it is, the task that handed it in has it
                done.set_exception(error)


class Verified:
    """`async with ... as later`: what the block checks with `later` may be used behind it. Refused there, for
    the first object whose signature is not valid."""

    def __init__(self, together: Together) -> None:
        self._together = together
        self._later: list[Unverified] = []

    async def __aenter__(self) -> list[Unverified]:
        return self._later

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(error, GatewayError):  # which an object with an invalid signature may have caused
            _verify(self._later)
        elif error is None and self._later:
            await self._together.run(lambda: _verify(self._later))


def _verify(signatures: Iterable[Unverified]) -> None:
    for one in signatures:
        one.verify()
