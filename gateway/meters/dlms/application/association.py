"""Opening and closing an association: the APDUs of the ACSE in BER, with Initiate inside (IEC 62056-5-3).

Both directions. A meter's refusal becomes a sentence that names what to check.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.dlms.octets import Octets, string

AARQ, AARE, RLRQ, RLRE = 0x60, 0x61, 0x62, 0x63
INITIATE_REQUEST, INITIATE_RESPONSE = 0x01, 0x08

NONE, LLS, HLS5 = 0, 1, 5  # authentication mechanisms

_LOGICAL_NAMES, _LOGICAL_NAMES_CIPHERED = 1, 3  # application contexts; 2 and 4 are by short names
_CONTEXT_NAME = bytes.fromhex("608574050801")  # 2.16.756.5.8.1, then the context
_MECHANISM_NAME = bytes.fromhex("608574050802")
_ASSOCIATES = b"\x07\x80"  # ACSE requirements: the authentication functional unit
_DLMS_VERSION = 6
_VAA_NAME = 7  # of an association by logical names

ACCEPTED, REJECTED = 0, 1
NO_DIAGNOSTIC, NO_REASON, CONTEXT_NOT_SUPPORTED, TITLE_NOT_RECOGNISED = 0, 1, 2, 3
MECHANISM_NOT_RECOGNISED, AUTHENTICATION_FAILED, AUTHENTICATION_REQUIRED = 11, 13, 14
_DIAGNOSTICS = {
    1: "it gives no reason: check the client address, the authentication and the password",
    2: "it does not support the application context: check whether it needs ciphered messages",
    3: "it does not know the client's system title",
    11: "it does not support the authentication mechanism: check the profile's authentication",
    12: "it needs an authentication mechanism: check the profile's authentication",
    13: "the authentication failed: check the password, or the keys",
    14: "it requires authentication: check the client address and the profile's authentication",
}


class Conformance(enum.IntFlag):
    """The services that an association may use: 24 bits, bit 0 the highest (IEC 62056-5-3, Conformance)."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    BLOCK_GET = 1 << 12
    BLOCK_SET = 1 << 11
    BLOCK_ACTION = 1 << 10
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    ACTION = 1 << 0


@dataclass(frozen=True, slots=True)
class Initiate:
    """The client's proposal: services, and the longest APDU that it accepts (0: any)."""

    conformance: Conformance
    longest: int

    def encode(self) -> bytes:
        # no dedicated key, response allowed, no quality of service
        return bytes((INITIATE_REQUEST, 0, 0, 0, _DLMS_VERSION)) + _agreed(self.conformance, self.longest)


@dataclass(frozen=True, slots=True)
class Initiated:
    """The meter's agreement: services, and the longest APDU that it accepts."""

    conformance: Conformance
    longest: int

    def encode(self) -> bytes:
        head = bytes((INITIATE_RESPONSE, 0, _DLMS_VERSION))
        return head + _agreed(self.conformance, self.longest) + _VAA_NAME.to_bytes(2, "big")


def parse_initiate(apdu: bytes) -> Initiate:
    octets = Octets(apdu, "the proposal of an association")
    if octets.number(1) != INITIATE_REQUEST:
        raise MeterError("the proposal of an association is not an InitiateRequest")
    if octets.number(1):
        octets.string()  # a dedicated key: never used, as dedicated ciphering is not
    if octets.number(1):
        octets.number(1)  # response allowed
    if octets.number(1):
        octets.number(1)  # quality of service
    _version(octets)
    return Initiate(*_take_agreed(octets))


def parse_initiated(apdu: bytes) -> Initiated:
    octets = Octets(apdu, "the meter's agreement to the association")
    if octets.number(1) != INITIATE_RESPONSE:
        raise MeterError("the meter's agreement to the association is not an InitiateResponse")
    if octets.number(1):
        octets.number(1)  # quality of service
    _version(octets)
    agreed = Initiated(*_take_agreed(octets))
    octets.number(2)
    return agreed


def _version(octets: Octets) -> None:
    if (version := octets.number(1)) < _DLMS_VERSION:
        raise MeterError(f"{octets.what} has DLMS version {version}; it must be {_DLMS_VERSION}")


def _agreed(conformance: Conformance, longest: int) -> bytes:
    # the tag is [APPLICATION 31]; the bit string has no unused bits
    return bytes((0x5F, 0x1F, 4, 0)) + conformance.to_bytes(3, "big") + longest.to_bytes(2, "big")


def _take_agreed(octets: Octets) -> tuple[Conformance, int]:
    if octets.number(2) != 0x5F1F:
        raise MeterError(f"{octets.what} has no conformance")
    block = octets.string()
    if len(block) != 4:
        raise MeterError(f"{octets.what} has a conformance of {len(block)} bytes; it must have 4")
    return Conformance(int.from_bytes(block[1:], "big")), octets.number(2)


@dataclass(frozen=True, slots=True)
class Request:
    """An AARQ, the request to associate. `secret` is the password (LLS) or the challenge to the meter (HLS5);
    `initiate` is an InitiateRequest, ciphered where the association is."""

    ciphered: bool
    mechanism: int
    initiate: bytes = field(repr=False)
    title: bytes | None = None
    secret: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        parts = [_context(self.ciphered)]
        if self.title is not None:
            parts.append(_element(0xA6, _element(0x04, self.title)))
        if self.mechanism != NONE:
            parts.append(_element(0x8A, _ASSOCIATES))
            parts.append(_element(0x8B, _MECHANISM_NAME + bytes((self.mechanism,))))
            parts.append(_element(0xAC, _element(0x80, self.secret or b"")))
        parts.append(_element(0xBE, _element(0x04, self.initiate)))
        return _element(AARQ, b"".join(parts))


@dataclass(frozen=True, slots=True)
class Response:
    """An AARE, the meter's response. `secret` is its challenge (HLS5)."""

    ciphered: bool
    result: int
    diagnostic: int
    initiated: bytes | None = field(default=None, repr=False)
    mechanism: int = NONE
    title: bytes | None = None
    secret: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        parts = [_context(self.ciphered), _element(0xA2, _integer(self.result))]
        parts.append(_element(0xA3, _element(0xA1, _integer(self.diagnostic))))
        if self.title is not None:
            parts.append(_element(0xA4, _element(0x04, self.title)))
        if self.secret is not None:
            parts.append(_element(0x88, _ASSOCIATES))
            parts.append(_element(0x89, _MECHANISM_NAME + bytes((self.mechanism,))))
            parts.append(_element(0xAA, _element(0x80, self.secret)))
        if self.initiated is not None:
            parts.append(_element(0xBE, _element(0x04, self.initiated)))
        return _element(AARE, b"".join(parts))

    def check(self) -> None:
        """MeterError where the meter refuses. That HLS5 needs another step is not a refusal."""
        if self.result != ACCEPTED:
            said = _DIAGNOSTICS.get(self.diagnostic, f"with diagnostic {self.diagnostic}")
            raise MeterError(f"the meter refuses the association: {said}")


def parse_request(apdu: bytes) -> Request:
    """MeterError where `apdu` is not an AARQ, or asks for a context other than logical names."""
    fields = _fields(apdu, AARQ, "a request to associate")
    if 0xBE not in fields:
        raise MeterError("a request to associate proposes nothing")
    mechanism = fields[0x8B][-1] if fields.get(0x8B) else NONE
    return Request(
        _is_ciphered(fields),
        mechanism,
        _within(fields, 0xBE, 0x04) or b"",
        _within(fields, 0xA6, 0x04),
        _within(fields, 0xAC, 0x80),
    )


def parse_response(apdu: bytes) -> Response:
    """MeterError where `apdu` is not an AARE."""
    fields = _fields(apdu, AARE, "the meter's answer to the association")
    result = _within(fields, 0xA2, 0x02)
    diagnostic = Octets(fields.get(0xA3, b""), "the meter's diagnostic")
    code = 0
    if len(diagnostic):
        diagnostic.take(1)  # its source: the service's user, or its provider
        inner = Octets(diagnostic.string(), "the meter's diagnostic")
        inner.take(1)
        code = int.from_bytes(inner.string(), "big")
    return Response(
        _is_ciphered(fields),
        int.from_bytes(result, "big") if result else ACCEPTED,
        code,
        _within(fields, 0xBE, 0x04),
        fields[0x89][-1] if fields.get(0x89) else NONE,
        _within(fields, 0xA4, 0x04),
        _within(fields, 0xAA, 0x80),
    )


def release(user_information: bytes | None = None) -> bytes:
    """An RLRQ; in a ciphered association it must carry the ciphered InitiateRequest again."""
    return _release(RLRQ, user_information)


def released(user_information: bytes | None = None) -> bytes:
    """An RLRE."""
    return _release(RLRE, user_information)


def release_information(apdu: bytes) -> bytes | None:
    """The user information of an RLRQ. MeterError where `apdu` is not one."""
    return _within(_fields(apdu, RLRQ, "a request to release the association"), 0xBE, 0x04)


def _release(tag: int, user_information: bytes | None) -> bytes:
    reason = _element(0x80, b"\0")  # normal
    told = b"" if user_information is None else _element(0xBE, _element(0x04, user_information))
    return _element(tag, reason + told)


def _element(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + string(content)


def _integer(value: int) -> bytes:
    return _element(0x02, bytes((value,)))


def _context(ciphered: bool) -> bytes:
    number = _LOGICAL_NAMES_CIPHERED if ciphered else _LOGICAL_NAMES
    return _element(0xA1, _element(0x06, _CONTEXT_NAME + bytes((number,))))


def _is_ciphered(fields: dict[int, bytes]) -> bool:
    name = _within(fields, 0xA1, 0x06)
    if name is None or name[:-1] != _CONTEXT_NAME:
        raise MeterError("an association names no application context of DLMS")
    number = name[-1]
    if number not in (_LOGICAL_NAMES, _LOGICAL_NAMES_CIPHERED):
        raise MeterError(f"an association has the context {number}; it must be that of logical names, 1 or 3")
    return number == _LOGICAL_NAMES_CIPHERED


def _fields(apdu: bytes, tag: int, what: str) -> dict[int, bytes]:
    outer = Octets(apdu, what)
    if (first := outer.number(1)) != tag:
        raise MeterError(f"{what} begins with {first:#04x}; it must begin with {tag:#04x}")
    inner = Octets(outer.string(), what)
    outer.end()
    fields: dict[int, bytes] = {}
    while len(inner):
        element = inner.number(1)
        fields[element] = inner.string()
    return fields


def _within(fields: dict[int, bytes], tag: int, wrapped: int) -> bytes | None:
    """The content of the element `wrapped` inside the element `tag`; None where there is no `tag`."""
    if tag not in fields:
        return None
    octets = Octets(fields[tag], "an association")
    if (found := octets.number(1)) != wrapped:
        raise MeterError(f"an association has {found:#04x} inside {tag:#04x}; it must have {wrapped:#04x}")
    return octets.string()
