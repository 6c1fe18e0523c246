"""The client's side of an association, without a transport: what to send next, given the answers so far.

Each operation is a generator of `Steps`: it yields an APDU to send, and is sent the meter's answer to it.
`run` joins one with a transport.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.errors import MeterError, UsageError
from gateway.meters.dlms.application import apdu as services
from gateway.meters.dlms.application import association, block_transfer, cipher
from gateway.meters.dlms.application.apdu import Answer, Block, expect
from gateway.meters.dlms.application.association import HLS5, LLS, NONE, Conformance, Initiate
from gateway.meters.dlms.application.cipher import AUTHENTICATED, CipherKeys, Guard
from gateway.meters.dlms.application.refusal import SUCCESS, AccessError, is_refusal, refusal
from gateway.meters.dlms.cosem import data
from gateway.meters.dlms.cosem.data import Value
from gateway.meters.dlms.cosem.objects import REPLY_TO_HLS, Reference, Selection

T = TypeVar("T")
A = TypeVar("A")
Steps = Generator[bytes, bytes, T]

_NO_PARAMETER = data.Integer(0)
_LONGEST_TAKEN = 0xFFFF  # bytes of an APDU that we accept
_LONGEST_VALUE = 1 << 20
_AROUND = 64  # bytes around a block: its head, the object's reference, ciphering
_CONFIRMED = 0xC0  # invoke-id-and-priority: confirmed, high


@dataclass(frozen=True, slots=True)
class Setup:
    """How to associate. `mechanism` is NONE, LLS (with `password`) or HLS5 (with `keys`); `protection` is the
    security control of every message: 0, 0x10, 0x20 or 0x30 (with `keys`). With `general`, messages use
    general-glo-ciphering and long answers may use general-block-transfer; otherwise both are
    service-specific. `title` is the client's own system title, 8 bytes where there are keys."""

    mechanism: int = NONE
    protection: int = 0
    general: bool = False
    title: bytes = b""
    keys: CipherKeys | None = None
    password: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.mechanism == LLS and self.password is None:
            raise UsageError("the meter's profile authenticates with a password (LLS), but none is given")
        if (self.mechanism == HLS5 or self.protection) and self.keys is None:
            raise UsageError("the meter's profile needs its encryption key, but none is given")
        authenticates = self.mechanism == HLS5 or self.protection & AUTHENTICATED
        if authenticates and self.keys and self.keys.authentication is None:
            raise UsageError("the meter's profile needs its authentication key, but none is given")
        if self.keys:
            cipher.check_title(self.title)


class DlmsSession:
    """Associations with one meter, one after the other. `counter` returns an invocation counter that was
    never used before. A message that the meter sent once is never accepted again, in later associations
    either."""

    def __init__(self, setup: Setup, counter: Callable[[], int]) -> None:
        self._setup = setup
        self._counter = counter
        self._guard = Guard(setup.keys, setup.protection) if setup.keys else None
        self._meter_title: bytes | None = None
        self._longest = 0
        self._invoke = 0

    def associate(self) -> Steps[None]:
        """Open the association. MeterError says why that fails."""
        setup = self._setup
        challenge = secrets.token_bytes(16) if setup.mechanism == HLS5 else None
        request = association.Request(
            ciphered=bool(setup.protection),
            mechanism=setup.mechanism,
            initiate=self._protected(self._initiate(), general=False),
            title=setup.title if setup.keys else None,
            secret=setup.password if setup.mechanism == LLS else challenge,
        )
        came = yield request.encode()
        if is_refusal(came):
            raise refusal(came)
        response = association.parse_response(came)
        if response.title is not None:
            self._meter_title = cipher.check_title(response.title)
        self._agree(response)
        if challenge is not None:
            yield from self._prove(challenge, response)

    def get(self, target: Reference, selection: Selection | None = None) -> Steps[Value]:
        """An attribute's value, or a selected part of it. AccessError where the meter refuses this
        attribute."""
        return data.decode((yield from self._get(target, selection)), f"the value of {target}")

    def set(self, target: Reference, value: Value) -> Steps[None]:
        """Write an attribute. AccessError as for `get`."""
        invoke = self._next_invoke()
        encoded = data.encode(value)
        if len(encoded) <= (size := self._block_size()):
            answer = yield from self._ask(
                services.Set(invoke, target, encoded).encode(), services.SetAnswer, invoke
            )
        else:
            first, *others = services.blocks(encoded, size)
            request = services.Set(invoke, target, first).encode()
            for number, block in enumerate(others, 1):
                yield from self._send_block(request, target, invoke, number)
                request = services.SetBlock(invoke, block).encode()
            answer = yield from self._ask(request, services.SetAnswer, invoke)
        if answer.result != SUCCESS:
            raise AccessError(target, answer.result)

    def action(self, target: Reference, parameter: Value = _NO_PARAMETER) -> Steps[Value]:
        """Call a method and return its result. Most methods take an Integer 0. AccessError as for `get`."""
        invoke = self._next_invoke()
        encoded = data.encode(parameter)
        request = services.Action(invoke, target, encoded).encode()
        if len(encoded) > (size := self._block_size()):
            first, *others = services.blocks(encoded, size)
            request = services.Action(invoke, target, first).encode()
            for number, block in enumerate(others, 1):
                yield from self._send_block(request, target, invoke, number)
                request = services.ActionBlock(invoke, block).encode()
        answer = yield from self._answer_to_action(request, invoke)
        if answer.result != SUCCESS:
            raise AccessError(target, answer.result)
        if isinstance(answer.value, int):
            raise AccessError(target, answer.value)
        return None if answer.value is None else data.decode(answer.value, f"what {target} returns")

    def release(self) -> Steps[None]:
        """Close the association; it is closed then, whatever the meter answers."""
        information = self._protected(self._initiate(), general=False) if self._setup.protection else None
        yield association.release(information)

    def _initiate(self) -> bytes:
        """The InitiateRequest."""
        wanted = Conformance.GET | Conformance.SET | Conformance.ACTION | Conformance.SELECTIVE_ACCESS
        wanted |= Conformance.BLOCK_GET | Conformance.BLOCK_SET | Conformance.BLOCK_ACTION
        if self._setup.general:
            wanted |= Conformance.GENERAL_PROTECTION | Conformance.GENERAL_BLOCK_TRANSFER
        return Initiate(wanted, _LONGEST_TAKEN).encode()

    def _agree(self, response: association.Response) -> None:
        """Note what the meter agrees to, or raise its refusal, which may be ciphered too."""
        if response.initiated is None:
            response.check()
            raise MeterError("the meter accepts the association without saying what it agrees to")
        if is_refusal(response.initiated):
            raise refusal(response.initiated)
        response.check()
        agreed = association.parse_initiated(self._opened(response.initiated))
        if not agreed.conformance & Conformance.GET:
            raise MeterError("the meter agrees only to an association in which nothing can be read")
        self._longest = agreed.longest

    def _prove(self, challenge: bytes, response: association.Response) -> Steps[None]:
        """HLS5: answer the meter's challenge, and check its answer to ours (IEC 62056-5-3, HLS)."""
        keys, title = self._setup.keys, self._meter_title
        theirs = response.secret
        if theirs is None or not 8 <= len(theirs) <= 64:
            raise MeterError("the meter does not send a challenge of 8 to 64 bytes: is HLS5 right for it?")
        if keys is None or title is None:
            raise MeterError("the meter does not send its system title, which HLS5 needs")
        if theirs == challenge or title == self._setup.title:
            raise MeterError(
                "the meter's challenge or system title is our own, sent back: it does not know the keys"
            )
        proof = cipher.gmac(keys, self._setup.title, self._counter(), theirs)
        try:
            answer = yield from self.action(REPLY_TO_HLS, proof)
        except AccessError:
            raise MeterError("the meter refuses our proof of the keys: check both keys") from None
        if not isinstance(answer, bytes) or not cipher.gmac_is_right(keys, title, challenge, answer):
            raise MeterError(
                "the meter does not prove that it knows the keys: is our authentication key wrong?"
            )

    def _get(self, target: Reference, selection: Selection | None) -> Steps[bytes]:
        invoke = self._next_invoke()
        request = services.Get(invoke, target, selection).encode()
        whole, number = bytearray(), 1
        while True:
            answer = yield from self._ask(request, services.GetAnswer, invoke)
            if isinstance(answer.value, int):
                raise AccessError(target, answer.value)
            if isinstance(answer.value, bytes):
                return answer.value
            _append(whole, answer.value, number)
            if answer.value.last:
                return bytes(whole)
            request = services.GetNext(invoke, number).encode()
            number += 1

    def _answer_to_action(self, request: bytes, invoke: int) -> Steps[services.ActionAnswer]:
        whole, number = bytearray(), 1
        while True:
            answer = services.parse_answer((yield from self._exchange(request)))
            if not isinstance(answer, services.ActionAnswerBlock):
                return expect(answer, services.ActionAnswer, invoke)
            block = expect(answer, services.ActionAnswerBlock, invoke).block
            _append(whole, block, number)
            if block.last:
                return services.long_action_answer(invoke, bytes(whole))
            request = services.ActionNext(invoke, number).encode()
            number += 1

    def _send_block(self, request: bytes, target: Reference, invoke: int, number: int) -> Steps[None]:
        """Send a block that is not the last one; the meter must request the next."""
        answer = services.parse_answer((yield from self._exchange(request)))
        if isinstance(answer, services.SetAnswer | services.ActionAnswer) and answer.result != SUCCESS:
            raise AccessError(target, answer.result)
        if not isinstance(answer, services.SetNext | services.ActionAnswerNext) or answer.invoke != invoke:
            raise MeterError(
                f"the meter answers with a {type(answer).__name__} instead of requesting a block"
            )
        _in_order(answer.number, number)

    def _ask(self, request: bytes, kind: type[A], invoke: int) -> Steps[A]:
        answer: Answer = services.parse_answer((yield from self._exchange(request)))
        return expect(answer, kind, invoke)

    def _exchange(self, request: bytes) -> Steps[bytes]:
        """The plain answer to a plain request; it may come by general-block-transfer."""
        came = yield self._protected(request, general=self._setup.general)
        if came[:1] == bytes((block_transfer.GENERAL_BLOCK_TRANSFER,)):
            came = yield from self._reassembled(block_transfer.parse(came))
        return self._opened(came)

    def _reassembled(self, block: block_transfer.GeneralBlock) -> Steps[bytes]:
        whole, number = block_transfer.Reassembly(), 1
        while True:
            _in_order(block.number, number)
            if (message := whole.feed(block)) is not None:
                return message
            if block.streaming:
                raise MeterError("the meter sends several blocks at once, but one at a time was agreed")
            asks = block_transfer.GeneralBlock(True, False, 1, number, number)
            block = block_transfer.parse((yield asks.encode()))
            number += 1

    def _protected(self, apdu: bytes, *, general: bool) -> bytes:
        setup = self._setup
        if not setup.protection or setup.keys is None:
            return apdu
        body = cipher.seal(setup.keys, setup.protection, setup.title, self._counter(), apdu)
        return cipher.general_glo(setup.title, body) if general else cipher.service_glo(apdu[0], body)

    def _opened(self, apdu: bytes) -> bytes:
        """The text of a ciphered APDU. Where ciphering is agreed, the only plain message believed is a
        refusal."""
        if not self._setup.protection or self._guard is None:
            return apdu
        if is_refusal(apdu):
            raise refusal(apdu)
        if not cipher.is_ciphered(apdu):
            raise MeterError("the meter answers in clear, but ciphered messages were agreed")
        message = cipher.parse(apdu)
        if message.title is not None and message.title != self._meter_title:
            raise MeterError("a ciphered message came from a system title that is not the meter's")
        return self._guard.open(message, self._meter_title).text

    def _block_size(self) -> int:
        """How many bytes of a value fit into an APDU that the meter accepts."""
        return max(self._longest - _AROUND, 16) if self._longest else _LONGEST_TAKEN

    def _next_invoke(self) -> int:
        self._invoke = (self._invoke + 1) % 16
        return _CONFIRMED | self._invoke


async def run(steps: Steps[T], exchange: Callable[[bytes], Awaitable[bytes]]) -> T:
    """Run `steps` to their end; `exchange` sends an APDU and returns the answer."""
    try:
        request = next(steps)
        while True:
            request = steps.send(await exchange(request))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


def _append(whole: bytearray, block: Block, number: int) -> None:
    _in_order(block.number, number)
    whole += block.raw
    if len(whole) > _LONGEST_VALUE:
        raise MeterError(f"a value has more than {_LONGEST_VALUE} bytes, more than a meter sends")
    if not block.raw and not block.last:
        raise MeterError("the meter sends an empty block before the last one")


def _in_order(came: int, expected: int) -> None:
    if came != expected:
        raise MeterError(f"the meter sends or requests block {came} instead of block {expected}")
