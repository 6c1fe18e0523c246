"""M-Bus long frames that carry DLMS (EN 13757-2, 5.5; EN 13757-1, the M-Bus based profile).

    68 | length | length | 68 | C | A | CI | source | destination | part of a message | checksum | 16

The length counts the bytes from C to before the checksum, which is their sum. The lower four bits of CI
number the parts of a message from 0; bit 0x10 is set in the last part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.dlms.link.scanner import Scanner

_START, _STOP = 0x68, 0x16
_FINAL, _NUMBER = 0x10, 0x0F
_BEFORE = 5  # C, A, CI, source, destination
_MOST = 0xFF - _BEFORE
_SND_UD, _BROADCAST = 0x53, 0xFF


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message; `number` counts modulo 16."""

    number: int
    final: bool
    content: bytes = field(repr=False)
    source: int = 1
    destination: int = 0x67

    def encode(self) -> bytes:
        """The frame, addressed to everyone."""
        information = self.number & _NUMBER | (_FINAL if self.final else 0)
        body = bytes((_SND_UD, _BROADCAST, information, self.source, self.destination)) + self.content
        head = bytes((_START, len(body), len(body), _START))
        return head + body + bytes((sum(body) & 0xFF, _STOP))


class PartScanner(Scanner[Part]):
    """Finds long frames; one that does not carry DLMS is an error."""

    mark = _START

    def size(self, buffer: bytearray, start: int) -> int | None:
        head = bytes(buffer[start : start + 4])
        if len(head) > 1 and (head[1] < _BEFORE or head[1:3] != head[1:2] * (len(head[1:3]))):
            return 0
        if len(head) < 4:
            return None
        return head[1] + 6 if head[3] == _START else 0

    def frame(self, data: bytes) -> Part | MeterError:
        body = data[4:-2]
        if data[-1] != _STOP or data[-2] != sum(body) & 0xFF:
            return MeterError("an M-Bus frame was damaged: its checksum is wrong")
        information = body[2]
        if information & ~(_FINAL | _NUMBER):
            return MeterError(f"an M-Bus frame does not carry DLMS (CI field {information:#04x})")
        return Part(information & _NUMBER, bool(information & _FINAL), body[_BEFORE:], body[3], body[4])


class Reassembly:
    """Joins parts in their order. A part 0 begins a new message, whatever came before."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, part: Part) -> bytes | None:
        """The whole message once its last part comes, else None. MeterError where a part is missing: then the
        parts so far are dropped."""
        if part.number == 0:
            self._parts.clear()
        elif part.number != len(self._parts):
            missing = len(self._parts)
            self._parts.clear()
            raise MeterError(f"part {part.number} of an M-Bus message came instead of part {missing}")
        self._parts.append(part.content)
        if not part.final:
            return None
        message = b"".join(self._parts)
        self._parts.clear()
        return message


def split(message: bytes) -> list[Part]:
    """`message` in as few parts as possible. ValueError for more than 16, which CI cannot number."""
    contents = [message[at : at + _MOST] for at in range(0, len(message), _MOST)]
    if len(contents) > _NUMBER + 1:
        raise ValueError(f"a message of {len(message)} bytes is too long: at most {_MOST * (_NUMBER + 1)}")
    return [Part(number, number == len(contents) - 1, part) for number, part in enumerate(contents)]
