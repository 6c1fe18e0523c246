"""Ciphered APDUs: security suites 0 and 1, AES-GCM, keys of 128 bits, tags of 12 bytes (IEC 62056-5-3).

    security control (1) | invocation counter (4) | text | tag (12, where it is authenticated)

The nonce is the sender's system title (8) and the counter, so a counter must never be used twice under a key:
outgoing messages take theirs from `gateway.meters.dlms.polled.counter`, and a `Guard` refuses incoming
messages that repeat one.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import KeyFault, MeterError, UsageError
from gateway.meters.dlms.octets import Octets, string

AUTHENTICATED, ENCRYPTED = 0x10, 0x20
_SUITE, _COMPRESSED = 0x0F, 0x80
_AES_128_SUITES = (0, 1)  # suite 1 differs in how keys are agreed on, not in ciphering

GENERAL_GLO = 0xDB
_UNREADABLE = {
    0xDC: "general-ded-ciphering",
    0xDD: "general-ciphering",
    0xDF: "general-signing",
    **dict.fromkeys(range(208, 216), "dedicated ciphering"),
}
# The tag of a service's APDU, and of the same APDU with service-specific global ciphering (IEC 62056-5-3,
# XDLMS-APDU).
SERVICE_GLO = {
    **{0x01: 0x21, 0x08: 0x28, 0x0E: 0x2E},
    **{0xC0: 0xC8, 0xC1: 0xC9, 0xC2: 0xCA, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF},
}
_CIPHERED = {GENERAL_GLO, *SERVICE_GLO.values(), *_UNREADABLE}

_KEY, _TITLE, _COUNTER, _TAG = 16, 8, 4, 12
_SENDERS = 16


@dataclass(frozen=True, slots=True)
class CipherKeys:
    """The global unicast encryption key (GUEK, EK) and the authentication key (GAK, AK), 16 bytes each; a
    meter that only encrypts has no authentication key."""

    encryption: bytes = field(repr=False)
    authentication: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, key in (("encryption", self.encryption), ("authentication", self.authentication)):
            if key is not None and len(key) != _KEY:
                raise UsageError(f"the {name} key has {len(key)} bytes; it must have {_KEY} (32 hex digits)")


@dataclass(frozen=True, slots=True)
class Ciphered:
    """A ciphered APDU taken apart; `title` is the sender's system title, None where the APDU lacks it."""

    tag: int
    title: bytes | None
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """The plaintext of a ciphered APDU, and how it was protected."""

    title: bytes
    control: int
    counter: int
    text: bytes = field(repr=False)


def is_ciphered(apdu: bytes) -> bool:
    return bool(apdu) and apdu[0] in _CIPHERED


def parse(apdu: bytes) -> Ciphered:
    """Take a ciphered APDU apart, without any key. MeterError where it is not one, or of an unsupported
    kind."""
    octets = Octets(apdu, "a ciphered message")
    tag = octets.number(1)
    if tag in _UNREADABLE:
        raise MeterError(f"the meter uses {_UNREADABLE[tag]}; only global ciphering is supported")
    title: bytes | None = None
    if tag == GENERAL_GLO:
        title = octets.string() or None
        if title is not None:
            check_title(title)
    elif tag not in _CIPHERED:
        raise MeterError(f"a message begins with {tag:#04x}, which is not the tag of a ciphered message")
    body = octets.string()
    octets.end()
    return Ciphered(tag, title, body)


def general_glo(title: bytes, body: bytes) -> bytes:
    """The general-glo-ciphering APDU with a body from `seal`."""
    return bytes((GENERAL_GLO,)) + string(title) + string(body)


def service_glo(tag: int, body: bytes) -> bytes:
    """The service-specific ciphered APDU with a body from `seal`; `tag` is the plain APDU's."""
    return bytes((SERVICE_GLO[tag],)) + string(body)


def check_title(title: bytes) -> bytes:
    if len(title) != _TITLE:
        raise MeterError(f"a system title has {len(title)} bytes; it must have {_TITLE}")
    return title


def seal(keys: CipherKeys, control: int, title: bytes, counter: int, text: bytes) -> bytes:
    """`text` protected by the sender `title` with `counter`: security control, counter, text, tag."""
    head = bytes((control,)) + counter.to_bytes(_COUNTER, "big")
    nonce = title + head[1:]
    if not control & AUTHENTICATED:
        return head + _keystream(keys, nonce, text)
    aad = bytes((control,)) + _authentication_key(keys)
    gcm = AESGCM(keys.encryption)
    if control & ENCRYPTED:
        return head + _short(gcm.encrypt(nonce, text, aad))
    return head + text + _short(gcm.encrypt(nonce, b"", aad + text))


def open_body(keys: CipherKeys, title: bytes, body: bytes) -> Opened:
    """The text that the sender `title` sealed into `body`. MeterError where it was sealed under other keys or
    altered; without authentication (security control 0x20), a wrong key gives random bytes."""
    octets = Octets(body, "a ciphered message")
    control, counter = octets.number(1), octets.number(_COUNTER)
    if not control & (AUTHENTICATED | ENCRYPTED):
        raise MeterError("a message in a ciphered envelope is neither encrypted nor authenticated")
    if control & _SUITE not in _AES_128_SUITES:
        raise MeterError(f"the meter uses security suite {control & _SUITE}; only 0 and 1 are supported")
    if control & _COMPRESSED:
        raise MeterError("the meter compresses its ciphered messages, which is not supported")
    text = octets.take(max(len(octets) - (_TAG if control & AUTHENTICATED else 0), 0))
    tag = octets.rest()
    nonce = check_title(title) + counter.to_bytes(_COUNTER, "big")
    if control & AUTHENTICATED:
        text = _verified(keys, nonce, control, text, tag)
    elif control & ENCRYPTED:
        text = _keystream(keys, nonce, text)
    return Opened(title, control, counter, text)


def gmac(keys: CipherKeys, title: bytes, counter: int, challenge: bytes) -> bytes:
    """f(challenge) of HLS5 for the sender `title`: security control, counter, tag (IEC 62056-5-3, HLS)."""
    sealed = seal(keys, AUTHENTICATED, title, counter, challenge)
    return sealed[: 1 + _COUNTER] + sealed[-_TAG:]


def gmac_is_right(keys: CipherKeys, title: bytes, challenge: bytes, answer: bytes) -> bool:
    """Whether `answer` is the sender's f(challenge)."""
    if len(answer) != 1 + _COUNTER + _TAG or answer[0] != AUTHENTICATED:
        return False
    counter = int.from_bytes(answer[1 : 1 + _COUNTER], "big")
    return hmac.compare_digest(gmac(keys, title, counter, challenge), answer)


class Guard:
    """Opens incoming messages and refuses replayed ones: each sender's counter must rise. `least` has the
    bits of the security control that every message must have."""

    def __init__(self, keys: CipherKeys, least: int = 0) -> None:
        self._keys = keys
        self._least = least
        self._last: OrderedDict[bytes, int] = OrderedDict()

    def open(self, message: Ciphered, title: bytes | None = None) -> Opened:
        """The content of `message`; `title` is the sender's where the message lacks it. MeterError where it
        cannot be opened, or must not be believed."""
        sender = message.title or title
        if sender is None:
            raise MeterError("a ciphered message lacks its sender's system title, which is not known either")
        opened = open_body(self._keys, sender, message.body)
        if opened.control & self._least != self._least:
            raise MeterError(
                f"a message is protected only by security control {opened.control:#04x};"
                f" {self._least:#04x} was agreed"
            )
        self.passed(sender, opened.counter)
        return opened

    def passed(self, sender: bytes, counter: int) -> None:
        """Note a sender's counter; MeterError where it is not above the last one."""
        last = self._last.get(sender, -1)
        if counter <= last:
            raise MeterError(
                "a ciphered message has an invocation counter that was used before: it is a copy of an older"
                " message, or the meter's counter was reset"
            )
        self._last[sender] = counter
        self._last.move_to_end(sender)
        if len(self._last) > _SENDERS:
            self._last.popitem(last=False)


def _verified(keys: CipherKeys, nonce: bytes, control: int, text: bytes, tag: bytes) -> bytes:
    if len(tag) != _TAG:
        raise MeterError("a ciphered message is cut off in its authentication tag")
    aad = bytes((control,)) + _authentication_key(keys)
    gcm = Cipher(algorithms.AES(keys.encryption), modes.GCM(nonce, tag, _TAG)).decryptor()
    try:
        if control & ENCRYPTED:
            gcm.authenticate_additional_data(aad)
            return gcm.update(text) + gcm.finalize()
        gcm.authenticate_additional_data(aad + text)
        gcm.finalize()
    except InvalidTag:
        raise KeyFault(
            "a ciphered message fails its check: wrong encryption or authentication key, or damage in transit"
        ) from None
    return text


def _short(sealed: bytes) -> bytes:
    """Cut AES-GCM's tag of 16 bytes to the 12 that COSEM sends."""
    return sealed[: _TAG - 16]


def _keystream(keys: CipherKeys, nonce: bytes, text: bytes) -> bytes:
    """`text` in GCM's counter mode alone, whose counter for the text begins at 2 (NIST SP 800-38D, 7.1)."""
    cipher = Cipher(algorithms.AES(keys.encryption), modes.CTR(nonce + (2).to_bytes(4, "big"))).encryptor()
    return cipher.update(text) + cipher.finalize()


def _authentication_key(keys: CipherKeys) -> bytes:
    if keys.authentication is None:
        raise KeyFault("the meter authenticates its messages: its authentication_key is needed too")
    return keys.authentication
