"""One Modbus connection: over TCP, over a serial line, or as RTU frames over TCP.

Several meters may share a bus: it asks for one at a time. It connects when it is first asked, and
again after a fault; any doubt about what is still on its way ends the connection, so that a late
answer never passes for the answer to a later question. It never retries and never waits between
attempts: that is the reader's job.
"""

from __future__ import annotations

import asyncio
import logging
import termios
from typing import Literal

from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.framer import FRAMER_NAME_TO_CLASS, FramerType
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest
from pymodbus.transaction import TransactionManager
from pymodbus.transport import CommParams, CommType

from gateway.errors import MeterError
from gateway.meters.endpoint import Endpoint, Tcp, why
from gateway.meters.modbus.model import Table

# pymodbus logs the frames of a failed exchange, and with them what the meter had said before. What a
# person needs to know is in our own errors.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_REQUESTS = {"input": ReadInputRegistersRequest, "holding": ReadHoldingRegistersRequest}
_REFUSALS = {  # Modbus application protocol V1.1b3, section 7
    1: "cannot read this table at all (exception 1): is it the profile's model?",
    2: "has no such registers (exception 2): is it the profile's model?",
    3: "refuses the number of registers (exception 3): is it the profile's model?",
    4: "reports a failure of its own (exception 4)",
    6: "is busy (exception 6)",
    10: "cannot be reached by its gateway (exception 10): check the gateway's settings",
    11: "does not answer its gateway (exception 11): check device_id and the wiring behind the gateway",
}


Framing = Literal["tcp", "rtu"]


class Bus:
    """The connection to `endpoint`. An answer must come within `timeout_s`, and so must a connection. On
    the network, `framing` "rtu" is for a converter that passes serial frames through."""

    def __init__(self, endpoint: Endpoint, framing: Framing = "tcp", timeout_s: float = 2.0) -> None:
        self._endpoint = endpoint
        self._framing = framing
        self._timeout_s = timeout_s
        self._link: _Link | None = None
        self._one_at_a_time = asyncio.Lock()

    def __str__(self) -> str:
        return str(self._endpoint)

    async def registers(self, device_id: int, table: Table, address: int, count: int) -> list[int]:
        """`count` registers of 16 bits from `address` on. MeterError says what kept them from coming."""
        async with self._one_at_a_time:
            link = self._link if self._link and self._link.is_active() else await self._connect()
            request = _REQUESTS[table](address=address, count=count, dev_id=device_id)
            whole = False
            try:
                await asyncio.sleep(_silence(self._endpoint))
                reply = await link.execute(False, request)
                whole = True
                _raise_cancellation()
            except ModbusException:
                problem = link.problem or f"does not answer within {self._timeout_s:g} s"
                raise MeterError(f"device {device_id} at {self} {problem}") from None
            finally:
                if not whole:
                    self._drop()
            if reply.isError():
                code = reply.exception_code
                refusal = _REFUSALS.get(code, f"refuses with exception {code}")
                raise MeterError(f"device {device_id} at {self} {refusal}")
            if reply.function_code != request.function_code or len(reply.registers) != count:
                self._drop()
                raise MeterError(f"device {device_id} at {self} answers something else than it was asked")
            return list(reply.registers)

    async def aclose(self) -> None:
        self._drop()

    async def _connect(self) -> _Link:
        self._drop()
        link = _Link(self._endpoint, self._framing, self._timeout_s)
        try:
            await link.open()
        except TimeoutError:
            raise MeterError(f"{self} does not accept a connection within {self._timeout_s:g} s") from None
        except (OSError, ValueError, termios.error) as error:  # the last two: settings the port cannot have
            raise MeterError(f"cannot open {self}: {why(error)}") from None
        self._link = link
        return link

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


class _Link(TransactionManager):
    """pymodbus' transactions on one connection, made to fail at once when the connection ends or what
    comes is no Modbus: left alone, the one waits for its timeout and the other ends in a traceback."""

    def __init__(self, endpoint: Endpoint, network_framing: Framing, timeout_s: float) -> None:
        self.problem = ""
        if isinstance(endpoint, Tcp):
            params = CommParams(comm_type=CommType.TCP, host=endpoint.host, port=endpoint.port)
            framing = FramerType.SOCKET if network_framing == "tcp" else FramerType.RTU
        else:
            params = CommParams(
                comm_type=CommType.SERIAL,
                host=endpoint.device,
                baudrate=endpoint.settings.baud,
                bytesize=8,
                parity=endpoint.settings.parity[0].upper(),
                stopbits=endpoint.settings.stop_bits,
            )
            framing = FramerType.RTU
        params.timeout_connect = timeout_s  # of answers too, whatever its name
        params.reconnect_delay = 0  # never by itself
        framer = FRAMER_NAME_TO_CLASS[framing](DecodePDU(False))
        super().__init__(params, framer, 0, False, None, None, None)

    async def open(self) -> None:
        """Connect, as `connect` does, but with the error instead of a log line."""
        async with asyncio.timeout(self.comm_params.timeout_connect):
            self.transport, _ = await self.call_create()

    def callback_data(self, data: bytes, addr: tuple[object, ...] | None = None) -> int:
        try:
            return super().callback_data(data, addr)
        except Exception:  # whatever it is that a decoder stumbles over in a stranger's bytes
            self._fail("answers what is no Modbus")
            return len(data)

    def callback_disconnected(self, exc: Exception | None) -> None:
        super().callback_disconnected(exc)
        self._fail("ended the connection")

    def _fail(self, problem: str) -> None:
        self.problem = problem
        if not self.response_future.done():
            self.response_future.set_exception(ModbusIOException(problem))
            self.response_future.exception()  # seen: between two questions nobody awaits it


def _raise_cancellation() -> None:
    """What asyncio.wait_for, which pymodbus waits with, forgets up to Python 3.11 when the answer comes in
    the same moment: the task would go on for ever, and the gateway never stop."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _silence(endpoint: Endpoint) -> float:
    """Seconds without a character between two frames: 3.5 characters of 11 bits, 1.75 ms from 19200 Bd
    on (Modbus over serial line V1.02, 2.5.1.1)."""
    if isinstance(endpoint, Tcp):
        return 0
    return max(3.5 * 11 / endpoint.settings.baud, 0.001_75)
