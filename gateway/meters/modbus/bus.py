"""One Modbus connection: over TCP or UDP, over a serial line, or as RTU frames over TCP.

Several meters may share a bus, which sends one request at a time. It connects on the first request, and again
after a fault. Any doubt about which bytes may still be in transit ends the connection, so that a late answer
is never taken for the answer to a later request. It never retries and never waits between attempts: that is
the reader's job.

RTU frames do not say which request they answer, and some converters pass a late answer on over the next
connection: from then on each answer belongs to the request before. So after a request without an answer, the
first answer on the next connection counts only if no other follows it; and an answer that nobody asked for is
a fault at any time.
"""

from __future__ import annotations

import asyncio
import logging
import termios
from collections.abc import Iterator
from typing import Literal

from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, WriteSingleCoilRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
)
from pymodbus.transaction import TransactionManager
from pymodbus.transport import CommParams, CommType

from gateway.errors import MeterError
from gateway.meters.endpoint import Endpoint, Line, Tcp, Udp, why
from gateway.meters.modbus.model import Pace, Table

# pymodbus logs the frames of a failed exchange, and with them earlier answers of the meter. What a person
# needs to know is in our own errors.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

_REQUESTS = {"input": ReadInputRegistersRequest, "holding": ReadHoldingRegistersRequest}
_REFUSALS = {  # Modbus application protocol V1.1b3, section 7
    1: "cannot read this table at all (exception 1): is it the profile's model?",
    2: "has no such registers (exception 2): is it the profile's model?",
    3: "refuses this number of registers (exception 3): is it the profile's model?",
    4: "reports an internal failure (exception 4)",
    5: "needs longer for the answer (exception 5)",
    6: "is busy (exception 6)",
    10: "cannot be reached by the converter (exception 10): check the converter's settings",
    11: "does not answer the converter (exception 11): check unit_id (--id), and the wiring behind it",
}
# The unit ids that say nothing on TCP (Modbus messaging on TCP/IP implementation guide V1.0b, 4.4.2): servers
# answer under them whatever the request said. The transaction id says which request is answered.
_NO_UNIT = (0, 255)

_SURPLUS = (
    "sends answers that were not asked for, so nobody can tell which register an answer holds: the converter "
    "passes them on late, or another program polls through it too (then only one of them may)"
)

_READ_COILS, _WRITE_COIL, _WRITE_REGISTERS = 1, 5, 16  # function codes
_WRITES = (_WRITE_COIL, _WRITE_REGISTERS)  # an RTU frame that answers one has 8 bytes, the address among them

Framing = Literal["tcp", "rtu"]


class NoSuchRegisters(MeterError):
    """The meter answers that it has no registers at these addresses (exception 2)."""


class NotReached(MeterError):
    """The meter did not answer: the connection failed, or nothing readable came over it."""


class Bus:
    """The connection to `endpoint`. Connecting, and each answer, may take `timeout_s`. On the network,
    `framing` "rtu" is for a converter that passes serial frames through. `connections` counts the connections
    so far: on a new one the meter may be another."""

    def __init__(self, endpoint: Endpoint, framing: Framing = "tcp", timeout_s: float = 2.0) -> None:
        self.endpoint = endpoint
        self._framing = framing
        self._timeout_s = timeout_s
        self._pause_s = 0.0
        self.connections = 0
        self._link: _Link | None = None
        self._owed = False  # whether a converter may still pass an answer on, over the next connection
        self._one_at_a_time = asyncio.Lock()

    def __str__(self) -> str:
        return str(self.endpoint)

    async def registers(
        self, device_id: int, table: Table, address: int, count: int, words: int | None = None
    ) -> list[int]:
        """`count` registers from `address` on, as `words` of 16 bits (None: one for each). MeterError says
        why they did not come: NoSuchRegisters, NotReached, or a plain MeterError where the meter refuses for
        another reason."""
        request = _REQUESTS[table](address=address, count=count, dev_id=device_id)
        return list((await self._answer(request, words or count)).registers)

    async def coil(self, device_id: int, address: int) -> bool:
        """Whether a coil is on. MeterError as for `registers`."""
        reply = await self._answer(ReadCoilsRequest(address=address, count=1, dev_id=device_id))
        return bool(reply.bits[0])

    async def write_coil(self, device_id: int, address: int, on: bool) -> None:
        """Turn a coil on or off. MeterError as for `registers`: then nobody knows whether it was."""
        await self._answer(WriteSingleCoilRequest(address=address, bits=[on], dev_id=device_id))

    async def write_registers(self, device_id: int, address: int, words: list[int]) -> None:
        """Write holding registers from `address` on, with function 16, which meters know that do not know
        function 6 (SunSpec demands it). MeterError as for `write_coil`."""
        await self._answer(WriteMultipleRegistersRequest(address=address, registers=words, dev_id=device_id))

    async def _answer(self, request: ModbusPDU, words: int = 0) -> ModbusPDU:
        """The answer to a request, with as many registers as are expected."""
        device_id = request.dev_id
        async with self._one_at_a_time:
            link = self._link if self._link and self._link.is_active() else await self._connect()
            whole = False
            try:
                await asyncio.sleep(_silence(self.endpoint))
                reply = await link.execute(False, request) if not link.surplus else None
                _raise_cancellation()
                if self._owed:
                    await asyncio.sleep(self._timeout_s)
                if reply is None or link.surplus:
                    raise NotReached(f"device {device_id} at {self} {_SURPLUS}")
                whole, self._owed = True, False
            except ModbusException:
                problem = link.problem or f"does not answer within {self._timeout_s:g} s{link.stranger}"
                raise NotReached(f"device {device_id} at {self} {problem}") from None
            finally:
                if not whole:
                    self._owed = isinstance(self.endpoint, Tcp) and self._framing == "rtu"
                    self._drop()
            if reply.isError():
                code = reply.exception_code
                refusal = _REFUSALS.get(code, f"refuses with exception {code}")
                kind = _KINDS.get(code, MeterError)
                raise kind(f"device {device_id} at {self} {refusal}")
            other = request.function_code in _WRITES and reply.address != request.address
            if reply.function_code != request.function_code or len(reply.registers) != words or other:
                self._drop()
                raise NotReached(f"device {device_id} at {self} answered a different request")
            return reply

    def allow(self, pace: Pace) -> None:
        """Wait at least as long as a meter on the bus needs."""
        self._timeout_s = max(self._timeout_s, pace.answer_s)
        self._pause_s = max(self._pause_s, pace.pause_s)

    async def aclose(self) -> None:
        self._drop()

    async def _connect(self) -> _Link:
        self._drop()
        link = _Link(self.endpoint, self._framing, self._timeout_s)
        try:
            await link.open()
        except TimeoutError:
            raise NotReached(f"{self} does not accept a connection within {self._timeout_s:g} s") from None
        except (OSError, ValueError, termios.error) as error:  # the last two: settings the port cannot have
            raise NotReached(f"cannot open {self}: {why(error)}") from None
        self._link = link
        self.connections += 1
        await asyncio.sleep(self._pause_s)
        return link

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


_KINDS = {2: NoSuchRegisters, 10: NotReached, 11: NotReached}  # exception codes


class _Link(TransactionManager):
    """pymodbus' transactions on one connection, made to fail at once when the connection ends or the answer
    is not Modbus. pymodbus itself would wait for its timeout in the first case, and log a traceback in the
    second."""

    def __init__(self, endpoint: Endpoint, network_framing: Framing, timeout_s: float) -> None:
        self.problem = ""
        framer: type[_RtuAnswers | _SocketAnswers] = _RtuAnswers
        if isinstance(endpoint, Tcp):
            params = CommParams(comm_type=CommType.TCP, host=endpoint.host, port=endpoint.port)
            framer = _RtuAnswers if network_framing == "rtu" else _SocketAnswers
        elif isinstance(endpoint, Udp):
            params = CommParams(comm_type=CommType.UDP, host=endpoint.host, port=endpoint.port)
            framer = _SocketAnswers
        else:
            assert isinstance(endpoint, Line)  # nobody polls a multicast group
            params = CommParams(
                comm_type=CommType.SERIAL,
                host=endpoint.device,
                baudrate=endpoint.settings.baud,
                bytesize=8,
                parity=endpoint.settings.parity[0].upper(),
                stopbits=endpoint.settings.stop_bits,
            )
        self._answers = framer(DecodePDU(False))
        params.timeout_connect = timeout_s  # it limits answers too, despite its name
        params.reconnect_delay = 0  # never reconnect by itself
        super().__init__(params, self._answers, 0, False, None, None, None)

    async def open(self) -> None:
        """Connect like `connect`, but raise the error instead of logging it."""
        async with asyncio.timeout(self.comm_params.timeout_connect):
            self.transport, _ = await self.call_create()

    def send(self, data: bytes, addr: tuple[object, ...] | None = None) -> None:
        self._answers.ask(data)
        super().send(data, addr)

    @property
    def surplus(self) -> bool:
        """Whether more than one answer to the last request came."""
        return self._answers.found > 1

    @property
    def stranger(self) -> str:
        """What else came, to continue the sentence that no answer did: empty where nothing did."""
        if (other := self._answers.other_id) is None:
            return ""
        return f", but device {other} does: {_set_unit_id(other)}"

    def callback_data(self, data: bytes, addr: tuple[object, ...] | None = None) -> int:
        try:
            return super().callback_data(data, addr)
        except _OtherId as other:
            self._fail(f"answers as device {other.device_id}: {_set_unit_id(other.device_id)}")
            return len(data)
        except Exception:  # whatever a decoder trips over in foreign bytes
            self._fail("answered something that is not Modbus")
            return len(data)

    def error_received(self, exc: Exception) -> None:
        """Called for UDP: the host says that nothing listens at its port."""
        self._fail(f"cannot be reached: {why(exc)}")

    def callback_disconnected(self, exc: Exception | None) -> None:
        super().callback_disconnected(exc)
        self._fail("ended the connection")

    def _fail(self, problem: str) -> None:
        self.problem = problem
        if not self.response_future.done():
            self.response_future.set_exception(ModbusIOException(problem))
            self.response_future.exception()  # marks it as seen: between two requests nobody awaits it


class _OtherId(Exception):
    """The answer to the request came under another device id."""

    def __init__(self, device_id: int) -> None:
        super().__init__(device_id)
        self.device_id = device_id


class _SocketAnswers(FramerSocket):
    """Takes an answer under a unit id that says nothing for that of the device asked, if its transaction id
    is the request's; raises _OtherId where it comes under any other."""

    other_id = None  # none is left unraised
    found = 0  # the transaction ids are enough

    def ask(self, request: bytes) -> None:
        """A request goes out."""
        self._transaction, self._device_id = _big(request[:2]), request[6]

    def decode(self, data: bytes) -> tuple[int, int, int, bytes]:
        length, device_id, transaction, pdu = super().decode(data)
        if pdu and transaction == self._transaction and device_id != self._device_id:
            if device_id not in _NO_UNIT:
                raise _OtherId(device_id)
            device_id = self._device_id
        return length, device_id, transaction, pdu


class _RtuAnswers(FramerRTU):
    """Finds the answer to a request among whatever else arrives: the request's echo, which two-wire adapters
    send back, the rest of another frame, or noise. `found` counts the answers since the request; `other_id`
    is the device id of an answer that another device gave instead."""

    asked = bytes(2)  # the request's device id and function; no device has id 0
    found = 0
    other_id: int | None = None

    def ask(self, request: bytes) -> None:
        """A request goes out."""
        self.asked, self.found, self.other_id = request[:2], 0, None

    def decode(self, data: bytes) -> tuple[int, int, int, bytes]:
        answers = list(self._answers(data))
        self.found += len(answers)
        if self.asked[1] == _WRITE_COIL:  # its answer is its echo, so both may be there
            self.found = min(self.found, 1)
        return (len(data), answers[0][0], 0, answers[0][1:-2]) if answers else (0, 0, 0, b"")

    def _answers(self, data: bytes) -> Iterator[bytes]:
        """The whole frames in `data` that can answer the request."""
        end = 0
        for at in range(len(data) - 4):
            if at < end or data[at + 1] & 0x7F != self.asked[1]:
                continue
            if not (length := self._length(data[at + 1], data[at + 2])):
                continue  # an impossible number of bytes; an echo can look like this, checksum and all
            frame = data[at : at + length]
            if len(frame) == length and self.check_CRC(frame[:-2], _big(frame[-2:])):
                if frame[0] == self.asked[0]:
                    end = at + len(frame)
                    yield frame
                else:
                    self.other_id = frame[0]

    def _length(self, function: int, octets: int) -> int:
        """The bytes of an answer with this function code and third byte; 0 where no answer has them."""
        if function & 0x80:
            return 5
        if function in _WRITES:
            return 8
        possible = octets == 1 if function == _READ_COILS else octets > 0 and octets % 2 == 0
        return 5 + octets if possible else 0


def _set_unit_id(device_id: int) -> str:
    return f"set unit_id = {device_id} (--id {device_id}) if that is the meter"


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _raise_cancellation() -> None:
    """Raise a cancellation that asyncio.wait_for, which pymodbus uses, loses up to Python 3.11 if the answer
    arrives at the same moment: otherwise the task would go on for ever and the gateway never stop."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _silence(endpoint: Endpoint) -> float:
    """Seconds of silence between two frames: 3.5 characters of 11 bits, or 1.75 ms from 19200 Bd on (Modbus
    over serial line V1.02, 2.5.1.1)."""
    if not isinstance(endpoint, Line):
        return 0
    return max(3.5 * 11 / endpoint.settings.baud, 0.001_75)
