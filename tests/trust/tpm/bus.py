"""The wires between the processor and a TPM: what a probe there sees, and what it could change."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tpm2_pytss import ESAPI, TCTI, TCTILdr, TSS2_Exception
from tpm2_pytss.TCTI import PyTCTI

from gateway.trust.root import Root
from gateway.trust.tpm.transport import Transport

KNOWN = bytes(range(100, 132))
"""A root that tests know, ..."""
MESSAGE = b"gw1/incarnation" + bytes(range(24))
ANSWER = hmac.digest(KNOWN, MESSAGE, "sha256")
"""... and what it answers to a message."""

IO_ERROR = 0x000A000A  # TSS2_TCTI_RC_IO_ERROR

Execute = Callable[[bytes], bytes]
Meddler = Callable[[int, bytes, Execute], bytes]
"""Given a command's number, the command and a way to have the TPM execute one, what to answer."""


class Bus:
    """Stands between any number of connections and the TPM at `tcti`, records all commands and answers,
    and lets `meddle` change them."""

    def __init__(self, tcti: str) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self._tcti = tcti
        self._meddle: Meddler | None = None
        self._count = 0

    @property
    def transport(self) -> Transport:
        return Transport(self._tcti, lambda: _Tap(self, TCTILdr.parse(self._tcti)), managed=False)

    @contextmanager
    def meddling(self, meddler: Meddler) -> Iterator[None]:
        """Let `meddler` answer; commands are numbered from 0 on from here."""
        self._meddle, self._count = meddler, 0
        try:
            yield
        finally:
            self._meddle = None

    def saw(self, secret: bytes) -> bool:
        return any(secret in message for pair in self.seen for message in pair)

    def answer(self, command: bytes, inner: TCTI) -> bytes:
        def execute(command: bytes) -> bytes:
            inner.transmit(command)
            return bytes(inner.receive(-1))

        number, self._count = self._count, self._count + 1
        answer = execute(command) if self._meddle is None else self._meddle(number, command, execute)
        self.seen.append((command, answer))
        return answer


class _Tap(PyTCTI):  # type: ignore[misc]
    def __init__(self, bus: Bus, inner: Any) -> None:
        super().__init__()
        self._bus = bus
        self._inner = inner
        self._command = b""

    def do_transmit(self, command: bytes) -> None:
        self._command = command

    def do_receive(self, timeout: int) -> bytes:
        return self._bus.answer(self._command, self._inner)

    def close(self) -> None:
        self._inner.close()


@contextmanager
def another_user(tcti: str) -> Iterator[Any]:
    """An ESAPI context of somebody else on the same TPM, with the owner's rights."""
    with TCTILdr.parse(tcti) as connection, ESAPI(connection) as esapi:
        yield esapi


def error(code: int) -> bytes:
    """The answer of a TPM that says only this code."""
    return struct.pack(">HII", 0x8001, 10, code)


def is_command(command: bytes, code: int) -> bool:
    return bool(command[6:10] == struct.pack(">I", code))


def failing(numbers: range, *, executed: bool) -> Meddler:
    """The connection breaks at these commands, before or after the TPM executed them."""

    def meddle(number: int, command: bytes, execute: Execute) -> bytes:
        if number not in numbers:
            return execute(command)
        if executed:
            execute(command)
        raise TSS2_Exception(IO_ERROR)

    return meddle


def saying(code: int, times: int) -> Meddler:
    """The TPM answers the first commands with this code."""
    return lambda number, command, execute: error(code) if number < times else execute(command)


async def checked_hmac(root: Root) -> None:
    assert await root.hmac(MESSAGE) == ANSWER


async def checked_sign(root: Root) -> None:
    assert len(await root.sign(b"message")) == 64


async def use(root: Root) -> None:
    """Everything a root does, checked as far as it can be."""
    assert await root.hmac(MESSAGE) == ANSWER
    await root.sign(b"message")  # verifies itself
    drawn = await root.draw_incarnation()
    assert await root.incarnation_counter() == drawn
    assert len(await root.random(40)) == 40
