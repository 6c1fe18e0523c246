"""The meter's side of DLMS associations, without a transport: which clients may associate, and the answers.

It refuses what a real meter refuses: a wrong client address, mechanism, password or key, a message less
protected than agreed, a repeated invocation counter, and objects that the association has no right to.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from gateway.errors import MeterError
from gateway.meters.dlms.application import apdu as services
from gateway.meters.dlms.application import association, block_transfer, cipher
from gateway.meters.dlms.application.apdu import Block
from gateway.meters.dlms.application.association import HLS5, LLS, NONE, Conformance, Initiate, Initiated
from gateway.meters.dlms.application.cipher import CipherKeys
from gateway.meters.dlms.application.refusal import (
    BLOCK_NUMBER_INVALID,
    CLASS_INCONSISTENT,
    DENIED,
    SUCCESS,
    UNDEFINED,
    AccessError,
)
from gateway.meters.dlms.cosem import data
from gateway.meters.dlms.cosem.data import Value
from gateway.meters.dlms.cosem.objects import ASSOCIATION_LN, REPLY_TO_HLS, Reference, Selection
from gateway.simulate.dlms_association import CURRENT, CurrentAssociation, Listed

_OFFERED = (
    *(Conformance.GET, Conformance.SET, Conformance.ACTION, Conformance.SELECTIVE_ACCESS),
    *(Conformance.BLOCK_GET, Conformance.BLOCK_SET, Conformance.BLOCK_ACTION),
)
LOGICAL_DEVICE = 1
_AROUND = 64  # bytes around a block: its head, ciphering
_LONGEST_VALUE = 1 << 16


class Objects(Protocol):
    """The meter's COSEM objects. Each method raises AccessError for objects that do not exist or are not
    allowed."""

    def get(self, target: Reference, selection: Selection | None, client: int) -> Value: ...

    def set(self, target: Reference, value: Value, client: int) -> None: ...

    def act(self, target: Reference, parameter: Value, client: int) -> Value: ...

    def listed(self, client: int) -> Sequence[Listed]:
        """The objects that the client may use, and how."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The requirements for a client: the authentication mechanism, the protection of every message (a
    security control), and the keys or password for them. `longest` is the longest APDU accepted or sent, in
    bytes; with `general_blocks`, longer ones use general-block-transfer if the client supports it."""

    mechanism: int = NONE
    protection: int = 0
    keys: CipherKeys | None = None
    password: bytes | None = field(default=None, repr=False)
    longest: int = 1024
    general_blocks: bool = False


class Server:
    """A meter's objects, with a policy for each client address (SAP); `title` is its system title. `received`
    is the highest invocation counter received in any association."""

    def __init__(self, objects: Objects, policies: Mapping[int, Policy], title: bytes) -> None:
        self.objects = objects
        self.policies = policies
        self.title = title
        self.received = 0
        self._sent = 0

    def connection(self) -> Association:
        """The association of a new connection."""
        return Association(self)

    def next_counter(self) -> int:
        self._sent += 1
        return self._sent


class _Refusal(Exception):
    """An exception-response (IEC 62056-5-3): state 1 is not allowed, 2 is unknown."""

    def __init__(self, state: int, service: int, counter: int | None = None) -> None:
        super().__init__(state, service)
        self.answer = services.exception(state, service, counter)


class _Incoming:
    """A long value that arrives in blocks."""

    def __init__(self, target: Reference) -> None:
        self.target = target
        self._whole = bytearray()
        self._number = 0

    def feed(self, block: Block) -> bytes | None:
        self._number += 1
        self._whole += block.raw
        if block.number != self._number or len(self._whole) > _LONGEST_VALUE:
            raise AccessError(self.target, BLOCK_NUMBER_INVALID)
        return bytes(self._whole) if block.last else None


class Association:
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._close()

    def answer(self, client: int, message: bytes) -> bytes:
        """The answer to a message from the client address `client`."""
        tag = message[0] if message else -1
        try:
            if tag == association.AARQ:
                return self._associate(client, message)
            if client != self._client:
                raise _Refusal(1, 1)
            if tag == association.RLRQ:
                self._close()
                return association.released()
            if tag == block_transfer.GENERAL_BLOCK_TRANSFER:
                return self._next_general_block(block_transfer.parse(message))
            return self._serve(message)
        except _Refusal as refusal:
            return refusal.answer
        except MeterError:
            return services.exception(2, 2)

    def _close(self) -> None:
        self._client: int | None = None
        self._policy = Policy()
        self._client_title = self._client_challenge = self._challenge = b""
        self._proven = self._general = self._general_blocks = False
        self._longest = 0
        self._agreed: CurrentAssociation | None = None
        self._outgoing: list[Block] = []
        self._outgoing_general: list[block_transfer.GeneralBlock] = []
        self._incoming: _Incoming | None = None

    def _associate(self, client: int, message: bytes) -> bytes:
        self._close()
        request = association.parse_request(message)
        policy = self._server.policies.get(client)
        if policy is None:
            return _rejected(request, association.NO_REASON)
        if request.ciphered != bool(policy.protection):
            return _rejected(request, association.CONTEXT_NOT_SUPPORTED)
        if request.mechanism != policy.mechanism:
            missing = request.mechanism == NONE
            return _rejected(
                request,
                association.AUTHENTICATION_REQUIRED if missing else association.MECHANISM_NOT_RECOGNISED,
            )
        if policy.mechanism == LLS and not hmac.compare_digest(request.secret or b"", policy.password or b""):
            return _rejected(request, association.AUTHENTICATION_FAILED)
        if policy.keys is not None and len(request.title or b"") != 8:
            return _rejected(request, association.TITLE_NOT_RECOGNISED)
        self._policy, self._client_title = policy, request.title or b""
        initiate = association.parse_initiate(self._opened(request.initiate))
        self._client = client
        return self._accepted(request, initiate)

    def _accepted(self, request: association.Request, initiate: Initiate) -> bytes:
        policy = self._policy
        offered = Conformance(sum(_OFFERED))
        if policy.protection:
            offered |= Conformance.GENERAL_PROTECTION
        if policy.general_blocks:
            offered |= Conformance.GENERAL_BLOCK_TRANSFER
        agreed = initiate.conformance & offered
        self._general_blocks = bool(agreed & Conformance.GENERAL_BLOCK_TRANSFER)
        self._longest = min(policy.longest, initiate.longest or policy.longest)
        self._agreed = CurrentAssociation(
            self._client or 0,
            LOGICAL_DEVICE,
            request.ciphered,
            agreed,
            initiate.longest or self._longest,
            policy.longest,
            policy.mechanism,
        )
        self._proven = policy.mechanism != HLS5
        if not self._proven:
            self._client_challenge, self._challenge = request.secret or b"", secrets.token_bytes(16)
        return association.Response(
            ciphered=request.ciphered,
            result=association.ACCEPTED,
            diagnostic=association.NO_DIAGNOSTIC if self._proven else association.AUTHENTICATION_REQUIRED,
            initiated=self._protected(Initiated(agreed, policy.longest).encode()),
            mechanism=policy.mechanism,
            title=self._server.title if policy.keys else None,
            secret=self._challenge or None,
        ).encode()

    def _serve(self, message: bytes) -> bytes:
        self._general = message[:1] == bytes((cipher.GENERAL_GLO,))
        request = services.parse_request(self._opened(message))
        if not self._proven and self._target(request) != REPLY_TO_HLS:
            raise _Refusal(1, 1)
        answer = self._protected(self._served(request).encode())
        if self._general_blocks and len(answer) > self._longest:
            self._outgoing_general = block_transfer.split(answer, self._longest - _AROUND)
            return self._outgoing_general.pop(0).encode()
        return answer

    def _target(self, request: services.Request) -> Reference | None:
        """The method that an action calls."""
        if isinstance(request, services.ActionBlock):
            return self._incoming.target if self._incoming else None
        return request.target if isinstance(request, services.Action) else None

    def _served(self, request: services.Request) -> services.Answer:
        invoke = request.invoke
        match request:
            case services.Get(target=target, selection=selection):
                return self._got(invoke, lambda: self._value(target, selection))
            case services.GetNext(number=number):
                due = self._outgoing.pop(0) if self._outgoing else None
                if due is None or due.number != number + 1:
                    return services.GetAnswer(invoke, BLOCK_NUMBER_INVALID)
                return services.GetAnswer(invoke, due)
            case services.Set(target=target, value=value):
                return self._set(invoke, _Incoming(target), value)
            case services.SetBlock(block=block) if self._incoming:
                return self._set(invoke, self._incoming, block)
            case services.Action(target=target, parameter=parameter):
                return self._act(invoke, _Incoming(target), parameter)
            case services.ActionBlock(block=block) if self._incoming:
                return self._act(invoke, self._incoming, block)
        raise _Refusal(2, 2)

    def _value(self, target: Reference, selection: Selection | None) -> Value:
        client, objects = self._client or 0, self._server.objects
        if target.obis != CURRENT or self._agreed is None:
            return objects.get(target, selection, client)
        if target.class_id != ASSOCIATION_LN:
            raise AccessError(target, CLASS_INCONSISTENT)
        listed = objects.listed(client)
        if not 1 <= target.index <= len(self._agreed.listed.attributes):
            raise AccessError(target, UNDEFINED)
        if not self._agreed.listed.attributes[target.index - 1]:
            raise AccessError(target, DENIED)
        return self._agreed.attribute(target.index, listed)

    def _got(self, invoke: int, value: Callable[[], Value]) -> services.Answer:
        try:
            encoded = data.encode(value())
        except AccessError as error:
            return services.GetAnswer(invoke, error.result)
        size = self._longest - _AROUND
        if len(encoded) <= size or self._general_blocks:
            return services.GetAnswer(invoke, encoded)
        self._outgoing = services.blocks(encoded, size)
        return services.GetAnswer(invoke, self._outgoing.pop(0))

    def _set(self, invoke: int, incoming: _Incoming, part: bytes | Block) -> services.Answer:
        number = part.number if isinstance(part, Block) else None
        result = SUCCESS
        try:
            whole = self._whole(incoming, part)
            if whole is None:
                return services.SetNext(invoke, number or 0)
            self._server.objects.set(incoming.target, data.decode(whole), self._client or 0)
        except AccessError as error:
            result = error.result
        return services.SetAnswer(invoke, result, number)

    def _act(self, invoke: int, incoming: _Incoming, part: bytes | Block | None) -> services.Answer:
        try:
            whole = b"\0" if part is None else self._whole(incoming, part)
            if whole is None:
                return services.ActionAnswerNext(invoke, part.number if isinstance(part, Block) else 0)
            parameter = data.decode(whole)
            if incoming.target == REPLY_TO_HLS:
                returned = self._prove(parameter)
            else:
                returned = self._server.objects.act(incoming.target, parameter, self._client or 0)
        except AccessError as error:
            return services.ActionAnswer(invoke, error.result)
        return services.ActionAnswer(invoke, SUCCESS, None if returned is None else data.encode(returned))

    def _whole(self, incoming: _Incoming, part: bytes | Block) -> bytes | None:
        """The value that `part` completes; None while more blocks are to come."""
        self._incoming = None
        if isinstance(part, bytes):
            return part
        whole = incoming.feed(part)
        if whole is None:
            self._incoming = incoming
        return whole

    def _prove(self, answer: Value) -> Value:
        """HLS5: check the client's f(StoC), and return f(CtoS)."""
        keys = self._policy.keys
        if keys is None or not self._challenge or not isinstance(answer, bytes):
            raise AccessError(REPLY_TO_HLS, DENIED)
        if not cipher.gmac_is_right(keys, self._client_title, self._challenge, answer):
            raise AccessError(REPLY_TO_HLS, DENIED)
        self._proven = True
        return cipher.gmac(keys, self._server.title, self._server.next_counter(), self._client_challenge)

    def _next_general_block(self, asked: block_transfer.GeneralBlock) -> bytes:
        due = self._outgoing_general.pop(0) if self._outgoing_general else None
        if due is None or asked.acknowledged != due.number - 1:
            raise _Refusal(2, 2)
        return replace(due, acknowledged=asked.number).encode()

    def _opened(self, message: bytes) -> bytes:
        keys, protection = self._policy.keys, self._policy.protection
        if not protection or keys is None:
            return message
        if not cipher.is_ciphered(message):
            raise _Refusal(1, 2)
        ciphered = cipher.parse(message)
        try:
            opened = cipher.open_body(keys, ciphered.title or self._client_title, ciphered.body)
        except MeterError:
            raise _Refusal(1, 5) from None
        if opened.control != protection or opened.title != self._client_title:
            raise _Refusal(1, 5)
        if opened.counter <= self._server.received:
            raise _Refusal(1, 6, self._server.received + 1)
        self._server.received = opened.counter
        return opened.text

    def _protected(self, apdu: bytes) -> bytes:
        keys, protection, server = self._policy.keys, self._policy.protection, self._server
        if not protection or keys is None:
            return apdu
        body = cipher.seal(keys, protection, server.title, server.next_counter(), apdu)
        return cipher.general_glo(server.title, body) if self._general else cipher.service_glo(apdu[0], body)


def _rejected(request: association.Request, diagnostic: int) -> bytes:
    return association.Response(request.ciphered, association.REJECTED, diagnostic).encode()
