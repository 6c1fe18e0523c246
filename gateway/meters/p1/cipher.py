"""Bytes to telegrams where the meter encrypts them, in one of two forms.

General-glo-ciphering APDUs of DLMS security suite 0, one after the other (Luxmetering E-Meter P1
Specification 1.1.3, 3.2.5). The plaintext is a whole telegram:

    db 08 system title   length   30 frame counter   ciphertext   tag of 12 bytes

The same without a system title, between the head and the `!` of a telegram (Stoen Operator, Poland: captures
of four meters in UtilitechAS/amsreader-firmware, issues 1067, 1177 and 1198, and frames/EGM5G35.txt). The
plaintext is the telegram's data lines; the check sequence after the `!` is that of the encrypted telegram:

    / head CR LF CR LF   00   length   30 00 00 00 00   ciphertext   tag of 12 bytes   ! check sequence

Only the tag shows where a frame really begins: everything that looks like a head is tried until a tag fits.
The frame counter of the first form rises with every frame and starts again only with a new key: a frame whose
counter does not rise is a recording, and is refused. That of the second form is always 0, as is the system
title, so that all frames have the same nonce: recordings are not noticed, and whoever taps the line for a
while can read it, and forge frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.errors import KeyFault, MeterError

_MOST = 16_384  # bytes of a telegram
_SECURITY_CONTROL = b"\x30"  # suite 0, encrypted and authenticated
_TAG = 12
_SHORTEST = 1 + 4 + _TAG  # security control, frame counter, tag
# Lengths up to 127 take one byte; 81 is followed by one, 82 by two.
_SEALED = rb"(?:([\x00-\x7f])|\x81(.)|\x82(..))\x30(.{4})"
_TITLED = re.compile(rb"\xdb\x08(.{8})" + _SEALED, re.DOTALL)
_UNTITLED = re.compile(rb"(/[^\r\n]{4,64}\r\n\r\n)\x00" + _SEALED, re.DOTALL)
_LONGEST_HEAD = 78
_NO_TITLE = bytes(8)


class SealedHeads:
    """Notices encrypted frames where plain telegrams are expected."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, data: bytes) -> bool:
        """Whether `data` completes the head of an encrypted frame."""
        self._bytes += data
        ends = [found.end() for form in (_TITLED, _UNTITLED) for found in form.finditer(self._bytes)]
        self._bytes = self._bytes[max([len(self._bytes) - _LONGEST_HEAD + 1, *ends]) :]
        return bool(ends)


class SealedFrames:
    """Decrypts the frames in a stream of bytes with the meter's two keys; `titled` says in which form they
    come, with a system title or without."""

    def __init__(self, encryption_key: bytes, authentication_key: bytes, *, titled: bool = True) -> None:
        self._form = _TITLED if titled else _UNTITLED
        self._titled = titled
        self._encryption_key = encryption_key
        self._authentication_key = authentication_key
        self._bytes = bytearray()
        self._dropped = 0  # how many bytes of the stream came before these
        self._seen = 0  # where in the stream the next head may begin
        self._begun: list[_Head] = []  # the oldest first
        self._last: tuple[bytes, bytes] | None = None  # the meter, and the frame counter it has reached

    def cut(self) -> None:
        """Forget the frames that have begun, but not the frame counter."""
        self._bytes.clear()
        self._begun.clear()
        self._dropped = self._seen = 0

    def feed(self, data: bytes) -> list[bytes | MeterError]:
        """The telegrams in the frames that `data` completes, and an error for each broken one."""
        self._bytes += data
        self._find_heads()
        said = list(self._open())
        needless = min([self._seen, *(head.begin for head in self._begun)]) - self._dropped
        del self._bytes[:needless]
        self._dropped += needless
        return said

    def _find_heads(self) -> None:
        while found := self._form.search(self._bytes, self._seen - self._dropped):
            begin, sealed = found.start() + self._dropped, found.end() + self._dropped
            length = int.from_bytes(found[2] or found[3] or found[4], "big")
            if _SHORTEST <= length <= _MOST:
                self._begun.append(_Head(begin, sealed, sealed - 5 + length, found[1], found[5]))
            self._seen = begin + 1
        self._seen = max(self._seen, self._dropped + len(self._bytes) - _LONGEST_HEAD + 1)

    def _open(self) -> Iterator[bytes | MeterError]:
        reached = self._dropped + len(self._bytes)
        while whole := next((head for head in self._begun if head.end <= reached), None):
            telegram = self._decrypted(whole)
            if telegram is not None:
                yield telegram
                self._begun = [head for head in self._begun if head.begin >= whole.end]
                continue
            if whole is self._begun[0]:
                yield KeyFault("a P1 frame cannot be decrypted: it is damaged, or the meter has other keys")
            self._begun.remove(whole)

    def _decrypted(self, head: _Head) -> bytes | MeterError | None:
        """The telegram in the frame; None where the tag does not fit."""
        sealed = bytes(self._bytes[head.sealed - self._dropped : head.end - self._dropped])
        title = head.title if self._titled else _NO_TITLE
        mode = modes.GCM(title + head.counter, sealed[-_TAG:], min_tag_length=_TAG)
        opening = Cipher(algorithms.AES(self._encryption_key), mode).decryptor()
        opening.authenticate_additional_data(_SECURITY_CONTROL + self._authentication_key)
        try:
            telegram = opening.update(sealed[:-_TAG]) + opening.finalize()
        except InvalidTag:
            return None
        if not self._titled:
            return head.title + telegram + b"!"
        if self._last is not None and self._last[0] == head.title and head.counter <= self._last[1]:
            return MeterError("a P1 frame's counter does not rise: the frame was sent before")
        self._last = head.title, head.counter
        return telegram


@dataclass(frozen=True, slots=True)
class _Head:
    """What may be a frame: where in the stream it begins, where its ciphertext begins, and where it ends.
    `title` is its system title, or else the plain head of its telegram."""

    begin: int
    sealed: int
    end: int
    title: bytes
    counter: bytes
