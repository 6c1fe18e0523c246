"""HDLC frames of type 3, as in DLMS/COSEM (IEC 62056-46, 6.4; Green Book 8.4.1).

    flag | format 2 | destination 1, 2, 4 | source 1, 2, 4 | control 1 | HCS 2 | information | FCS 2 | flag

A flag is 7E. The format has the bits 1010, one bit that says that more segments follow, and eleven bits of
length, which counts all bytes between the flags. A frame without information has no HCS. Nothing is escaped:
7E may also occur within a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.crc import x25
from gateway.meters.dlms.link.scanner import Scanner

FLAG = 0x7E
LONGEST = 0x7FF  # bytes between the flags, in eleven bits
_AFTER_HEADER = frozenset((0, *range(2, LONGEST)))  # bytes after the HCS: none, or information and FCS
_SEGMENTED = 0x0800
_ADDRESS_SIZES = (1, 2, 4)

Address = bytes  # as in a frame: seven bits in each byte, followed by a 1 in the last byte


def address(upper: int, lower: int | None = None, *, size: int | None = None) -> Address:
    """A station's address: a client's, or a server's logical device and, as `lower`, its physical device.
    `size` is 1, 2 or 4 bytes, by default as few as possible. ValueError where the numbers do not fit."""
    if lower is None:
        if not 0 <= upper <= 0x7F or size not in (None, 1):
            raise ValueError(f"an address of one byte must be from 0 to 127, not {upper}")
        return bytes((upper << 1 | 1,))
    most = max(upper, lower)
    size = size or (2 if most <= 0x7F else 4)
    if min(upper, lower) < 0 or size not in (2, 4) or most >= 1 << (7 * size // 2):
        raise ValueError(f"an address of {size} bytes cannot hold {upper} and {lower}")
    parts = (upper, lower) if size == 2 else (upper >> 7, upper & 0x7F, lower >> 7, lower & 0x7F)
    return bytes(part << 1 for part in parts[:-1]) + bytes((parts[-1] << 1 | 1,))


@dataclass(frozen=True, slots=True)
class Frame:
    """The content between two flags. `segmented` says that more of the same message follows."""

    destination: Address
    source: Address
    control: int
    information: bytes = field(default=b"", repr=False)
    segmented: bool = False

    def encode(self) -> bytes:
        """The frame with its flags. ValueError where it is too long for its length field."""
        header = self.destination + self.source + bytes((self.control,))
        length = 2 + len(header) + 2 + (len(self.information) + 2 if self.information else 0)
        if length > LONGEST:
            raise ValueError(f"a frame of {length} bytes is too long: at most {LONGEST}")
        shape = 0xA000 | (_SEGMENTED if self.segmented else 0) | length
        checked = shape.to_bytes(2, "big") + header
        if self.information:
            checked += x25(checked) + self.information
        return bytes((FLAG,)) + checked + x25(checked) + bytes((FLAG,))


class FrameScanner(Scanner[Frame]):
    """Finds whole frames. Only after a valid header is the end of a frame waited for."""

    mark = FLAG

    def size(self, buffer: bytearray, start: int) -> int | None:
        shape = buffer[start + 1 : start + 3]
        if shape and shape[0] & 0xF0 != 0xA0:
            return 0
        if len(shape) < 2:
            return None
        length = int.from_bytes(shape, "big") & LONGEST
        at = start + 3
        for _ in ("destination", "source"):
            size = _address_size(buffer, at)
            if size is None:
                return None
            if size == 0:
                return 0
            at += size
        at += 1 + 2  # control; HCS, or the FCS of a frame without information
        if start + 1 + length - at not in _AFTER_HEADER:
            return 0
        if len(buffer) < at:
            return None
        if x25(bytes(buffer[start + 1 : at - 2])) != buffer[at - 2 : at]:
            return 0
        return length + 2

    def frame(self, data: bytes) -> Frame | MeterError:
        body = data[1:-1]
        if data[-1] != FLAG or x25(body[:-2]) != body[-2:]:
            return MeterError("an HDLC frame was damaged: its check sequence is wrong")
        middle = 2 + (_address_size(body, 2) or 0)
        end = middle + (_address_size(body, middle) or 0)
        return Frame(
            destination=body[2:middle],
            source=body[middle:end],
            control=body[end],
            information=body[end + 3 : -2],
            segmented=bool(body[0] & _SEGMENTED >> 8),
        )


def _address_size(data: bytes | bytearray, at: int) -> int | None:
    """The number of bytes of the address at `at`: 0 where there is none, None while its end has not come."""
    for size in range(1, 5):
        if at + size > len(data):
            return None
        if data[at + size - 1] & 1:
            return size if size in _ADDRESS_SIZES else 0
    return 0
