"""Bytes to M-Bus long frames, and their encrypted content (EN 13757-2, 5.5; OMS Volume 2, encryption mode 5):

    68 L L 68   C A 5B   id(4) maker(2) version medium   access status configuration(2)   ciphertext   sum 16

L counts the bytes from C to before the sum, which is theirs. Numbers of several bytes have the lowest one
first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from gateway.errors import KeyFault, MeterError
from gateway.meters.dlms.link.scanner import Scanner

_START, _STOP = 0x68, 0x16
_TO_DEVICE = 0x5B  # CI: data for a device, with a long header
_HEADER = 15  # from C to the configuration
_MODE_5, _BLOCK = 5, 16
_FILL = b"\x2f\x2f"  # what a decrypted content begins with


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """A long frame's header, from C on, and its ciphertext."""

    header: bytes
    ciphertext: bytes = field(repr=False)

    def open(self, key: bytes) -> bytes:
        """The decrypted data records. KeyFault of another key, MeterError of another mode."""
        mode, blocks = self.header[14] & 0x1F, self.header[13] >> 4
        if mode != _MODE_5 or blocks * _BLOCK != len(self.ciphertext) or not blocks:
            raise MeterError(f"an M-Bus frame is encrypted in another way (mode {mode}, {blocks} blocks)")
        # The maker, the rest of the address, and the access number eight times.
        vector = self.header[7:9] + self.header[3:7] + self.header[9:11] + self.header[11:12] * 8
        opening = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
        content = opening.update(self.ciphertext) + opening.finalize()
        if not content.startswith(_FILL):
            raise KeyFault("an M-Bus frame cannot be decrypted: the meter has another encryption_key")
        return content


class LongFrames(Scanner[SealedFrame]):
    """Finds long frames; one that is damaged, or does not carry a meter's data, is an error."""

    mark = _START

    def size(self, buffer: bytearray, start: int) -> int | None:
        head = bytes(buffer[start : start + 4])
        if len(head) > 1 and (head[1] < _HEADER or head[1:3] != head[1:2] * (len(head[1:3]))):
            return 0
        if len(head) < 4:
            return None
        return head[1] + 6 if head[3] == _START else 0

    def frame(self, data: bytes) -> SealedFrame | MeterError:
        body = data[4:-2]
        if data[-1] != _STOP or data[-2] != sum(body) & 0xFF:
            return MeterError("an M-Bus frame was damaged: its checksum is wrong")
        if body[2] != _TO_DEVICE:
            return MeterError(f"an M-Bus frame does not carry a meter's registers (CI field {body[2]:#04x})")
        return SealedFrame(body[:_HEADER], body[_HEADER:])
