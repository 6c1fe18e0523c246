"""The APDUs of the services GET, SET and ACTION with logical names, and of data-notification (IEC 62056-5-3,
XDLMS-APDU). Both directions: a client encodes requests and parses answers, a simulated meter the reverse.

Values stay encoded here: one may come in blocks, which can only be decoded together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from gateway.errors import MeterError
from gateway.meters.dlms.application.refusal import EXCEPTION, is_refusal, refusal
from gateway.meters.dlms.cosem import data
from gateway.meters.dlms.cosem.data import Value
from gateway.meters.dlms.cosem.objects import Reference, Selection
from gateway.meters.dlms.octets import Octets, string

GET_REQUEST, SET_REQUEST, ACTION_REQUEST = 0xC0, 0xC1, 0xC3
GET_RESPONSE, SET_RESPONSE, ACTION_RESPONSE = 0xC4, 0xC5, 0xC7
DATA_NOTIFICATION = 0x0F


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a long value or answer; blocks are numbered from 1."""

    last: bool
    number: int
    raw: bytes = field(repr=False)

    def encode(self) -> bytes:
        return bytes((self.last,)) + self.number.to_bytes(4, "big") + string(self.raw)

    @classmethod
    def take(cls, octets: Octets) -> Block:
        return cls(octets.number(1) != 0, octets.number(4), octets.string())


def blocks(encoded: bytes, size: int) -> list[Block]:
    """`encoded` in blocks of `size` bytes."""
    parts = [encoded[at : at + size] for at in range(0, len(encoded), size)]
    return [Block(number == len(parts), number, part) for number, part in enumerate(parts, 1)]


# Requests. `invoke` is the invoke-id-and-priority, which the answer repeats.


@dataclass(frozen=True, slots=True)
class Get:
    invoke: int
    target: Reference
    selection: Selection | None = None

    def encode(self) -> bytes:
        return _head(GET_REQUEST, 1, self.invoke) + _reference(self.target) + _selection(self.selection)


@dataclass(frozen=True, slots=True)
class GetNext:
    """A request for the block after `number`."""

    invoke: int
    number: int

    def encode(self) -> bytes:
        return _head(GET_REQUEST, 2, self.invoke) + self.number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Set:
    """`value` is an encoded value, or the first Block of one."""

    invoke: int
    target: Reference
    value: bytes | Block = field(repr=False)

    def encode(self) -> bytes:
        kind, value = (2, self.value.encode()) if isinstance(self.value, Block) else (1, self.value)
        return _head(SET_REQUEST, kind, self.invoke) + _reference(self.target) + b"\0" + value


@dataclass(frozen=True, slots=True)
class SetBlock:
    invoke: int
    block: Block

    def encode(self) -> bytes:
        return _head(SET_REQUEST, 3, self.invoke) + self.block.encode()


@dataclass(frozen=True, slots=True)
class Action:
    """`parameter` is an encoded value, or the first Block of one."""

    invoke: int
    target: Reference
    parameter: bytes | Block | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        if isinstance(self.parameter, Block):
            kind, parameter = 4, self.parameter.encode()
        else:
            kind, parameter = 1, _optional(self.parameter)
        return _head(ACTION_REQUEST, kind, self.invoke) + _reference(self.target) + parameter


@dataclass(frozen=True, slots=True)
class ActionBlock:
    invoke: int
    block: Block

    def encode(self) -> bytes:
        return _head(ACTION_REQUEST, 6, self.invoke) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionNext:
    invoke: int
    number: int

    def encode(self) -> bytes:
        return _head(ACTION_REQUEST, 2, self.invoke) + self.number.to_bytes(4, "big")


Request = Get | GetNext | Set | SetBlock | Action | ActionBlock | ActionNext


def parse_request(apdu: bytes) -> Request:
    """MeterError where `apdu` is not a whole request."""
    octets = Octets(apdu, "a request")
    head = octets.number(1), octets.number(1)
    invoke = octets.number(1)
    request: Request
    match head:
        case (0xC0, 1):
            request = Get(invoke, _take_reference(octets), _take_selection(octets))
        case (0xC0, 2):
            request = GetNext(invoke, octets.number(4))
        case (0xC1, 1 | 2):
            target = _take_reference(octets)
            if _take_selection(octets) is not None:
                raise MeterError("a request writes part of an attribute; only a whole one can be written")
            request = Set(invoke, target, octets.rest() if head[1] == 1 else Block.take(octets))
        case (0xC1, 3):
            request = SetBlock(invoke, Block.take(octets))
        case (0xC3, 1):
            target = _take_reference(octets)
            request = Action(invoke, target, octets.rest() if octets.number(1) else None)
        case (0xC3, 4):
            request = Action(invoke, _take_reference(octets), Block.take(octets))
        case (0xC3, 6):
            request = ActionBlock(invoke, Block.take(octets))
        case (0xC3, 2):
            request = ActionNext(invoke, octets.number(4))
        case _:
            raise MeterError(f"a request begins with {head[0]:#04x} {head[1]:#04x}, which is not known here")
    octets.end()
    return request


# Answers. `result` is a data-access-result or an action-result; 0 is success.


@dataclass(frozen=True, slots=True)
class GetAnswer:
    """A whole encoded value, a Block of one, or the result that says why there is none."""

    invoke: int
    value: bytes | Block | int = field(repr=False)

    def encode(self) -> bytes:
        if isinstance(self.value, Block):
            return _head(GET_RESPONSE, 2, self.invoke) + _get_block(self.value)
        return _head(GET_RESPONSE, 1, self.invoke) + _get_result(self.value)


@dataclass(frozen=True, slots=True)
class SetAnswer:
    """The `result` of writing; `number` is that of the last block where there were blocks."""

    invoke: int
    result: int
    number: int | None = None

    def encode(self) -> bytes:
        if self.number is None:
            return _head(SET_RESPONSE, 1, self.invoke) + bytes((self.result,))
        return _head(SET_RESPONSE, 3, self.invoke) + bytes((self.result,)) + self.number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetNext:
    invoke: int
    number: int

    def encode(self) -> bytes:
        return _head(SET_RESPONSE, 2, self.invoke) + self.number.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class ActionAnswer:
    """The `result` of an action and what it returns: an encoded value, a data-access-result, or nothing."""

    invoke: int
    result: int
    value: bytes | int | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        head = _head(ACTION_RESPONSE, 1, self.invoke) + bytes((self.result,))
        return head + (b"\0" if self.value is None else b"\1" + _get_result(self.value))


@dataclass(frozen=True, slots=True)
class ActionAnswerBlock:
    """A block of a long answer to an action; the blocks together are an ActionAnswer from its result on."""

    invoke: int
    block: Block

    def encode(self) -> bytes:
        return _head(ACTION_RESPONSE, 2, self.invoke) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionAnswerNext:
    """A request for the block of the parameter after `number`."""

    invoke: int
    number: int

    def encode(self) -> bytes:
        return _head(ACTION_RESPONSE, 4, self.invoke) + self.number.to_bytes(4, "big")


Answer = GetAnswer | SetAnswer | SetNext | ActionAnswer | ActionAnswerBlock | ActionAnswerNext


def parse_answer(apdu: bytes) -> Answer:
    """MeterError where `apdu` is not a whole answer, or is a refusal of the request."""
    octets = Octets(apdu, "the meter's answer")
    if is_refusal(apdu):
        raise refusal(apdu)
    head = octets.number(1), octets.number(1)
    invoke = octets.number(1)
    answer: Answer
    match head:
        case (0xC4, 1):
            answer = GetAnswer(invoke, _take_result(octets))
        case (0xC4, 2):
            last, number = octets.number(1) != 0, octets.number(4)
            failed = octets.number(1)
            answer = GetAnswer(invoke, octets.number(1) if failed else Block(last, number, octets.string()))
        case (0xC5, 1):
            answer = SetAnswer(invoke, octets.number(1))
        case (0xC5, 2):
            answer = SetNext(invoke, octets.number(4))
        case (0xC5, 3):
            answer = SetAnswer(invoke, octets.number(1), octets.number(4))
        case (0xC7, 1):
            result = octets.number(1)
            returns = len(octets) > 0 and octets.number(1) != 0  # some meters omit this flag
            answer = ActionAnswer(invoke, result, _take_result(octets) if returns else None)
        case (0xC7, 2):
            answer = ActionAnswerBlock(invoke, Block.take(octets))
        case (0xC7, 4):
            answer = ActionAnswerNext(invoke, octets.number(4))
        case _:
            raise MeterError(
                f"the meter answers with {head[0]:#04x} {head[1]:#04x}, which is not a known answer"
            )
    octets.end()
    return answer


def long_action_answer(invoke: int, whole: bytes) -> ActionAnswer:
    """The answer whose blocks together are `whole`."""
    return expect(parse_answer(_head(ACTION_RESPONSE, 1, invoke) + whole), ActionAnswer, invoke)


def exception(state: int, service: int, counter: int | None = None) -> bytes:
    """An exception-response, which a meter sends instead of an answer (IEC 62056-5-3, ExceptionResponse)."""
    return bytes((EXCEPTION, state, service)) + (b"" if counter is None else counter.to_bytes(4, "big"))


@dataclass(frozen=True, slots=True)
class DataNotification:
    """A message that a meter pushes: `sent` is its time as 12 octets, None where the message has none."""

    invoke: int
    sent: bytes | None
    body: Value = field(repr=False)

    def encode(self) -> bytes:
        head = bytes((DATA_NOTIFICATION,)) + self.invoke.to_bytes(4, "big") + string(self.sent or b"")
        return head + data.encode(self.body)


def parse_notification(apdu: bytes) -> DataNotification:
    """MeterError where `apdu` is not a whole data-notification."""
    octets = Octets(apdu, "the meter's notification")
    if (tag := octets.number(1)) != DATA_NOTIFICATION:
        raise MeterError(f"the meter pushes {tag:#04x}, which is not a data-notification")
    invoke = octets.number(4)
    if octets.peek() == 9:  # some meters tag the time as an octet-string
        octets.take(1)
    sent = octets.string()
    if len(sent) not in (0, 12):
        raise MeterError(f"the meter's notification has a time of {len(sent)} bytes; it must have 12 or 0")
    body = data.take(octets)
    octets.end()
    return DataNotification(invoke, sent or None, body)


A = TypeVar("A")


def expect(answer: Answer, kind: type[A], invoke: int) -> A:
    """`answer` as the kind that the request calls for. MeterError where it is another, or answers another
    request."""
    if not isinstance(answer, kind):
        raise MeterError(f"the meter answers with a {type(answer).__name__} instead of a {kind.__name__}")
    if answer.invoke != invoke:
        raise MeterError("the meter answers a request other than the last one")
    return answer


def _head(service: int, kind: int, invoke: int) -> bytes:
    return bytes((service, kind, invoke))


def _reference(target: Reference) -> bytes:
    return target.class_id.to_bytes(2, "big") + target.obis + target.index.to_bytes(1, "big", signed=True)


def _take_reference(octets: Octets) -> Reference:
    return Reference(octets.number(2), octets.take(6), octets.number(1, signed=True))


def _selection(selection: Selection | None) -> bytes:
    if selection is None:
        return b"\0"
    return bytes((1, selection.selector)) + data.encode(selection.parameter)


def _take_selection(octets: Octets) -> Selection | None:
    return Selection(octets.number(1), data.take(octets)) if octets.number(1) else None


def _optional(encoded: bytes | None) -> bytes:
    return b"\0" if encoded is None else b"\1" + encoded


def _get_result(value: bytes | int) -> bytes:
    return b"\0" + value if isinstance(value, bytes) else bytes((1, value))


def _get_block(block: Block) -> bytes:
    return bytes((block.last,)) + block.number.to_bytes(4, "big") + b"\0" + string(block.raw)


def _take_result(octets: Octets) -> bytes | int:
    return octets.number(1) if octets.number(1) else octets.rest()
