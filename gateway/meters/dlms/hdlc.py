"""HDLC frames of type 3, as DLMS/COSEM uses them (IEC 62056-46, 6.4; Green Book 8.4.1).

    flag | format 2 | destination 1, 2, 4 | source 1, 2, 4 | control 1 | HCS 2 | information | FCS 2 | flag

A flag is 7E. The format's bits are 1010, one that says that more segments follow, and eleven of length: all
bytes between the flags. A frame without information has no HCS. Nothing is escaped: a flag's byte may stand
within a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.crc import x25

FLAG = 0x7E
LONGEST = 0x7FF  # bytes between the flags: what eleven bits can say
_BEHIND_HEADER = frozenset((0, *range(2, LONGEST)))  # bytes behind the HCS: none, or information and FCS
_SEGMENTED = 0x0800
_ADDRESS_SIZES = (1, 2, 4)

Address = bytes  # as it stands in a frame: seven bits in each byte, and a 1 behind the last of them


def address(upper: int, lower: int | None = None, *, size: int | None = None) -> Address:
    """A station's address: a client's, or a server's logical device and, as `lower`, its physical device.
    `size` is 1, 2 or 4 bytes; by default the smallest that holds them. ValueError where none does."""
    if lower is None:
        if not 0 <= upper <= 0x7F or size not in (None, 1):
            raise ValueError(f"an address of one byte is from 0 to 127, not {upper}")
        return bytes((upper << 1 | 1,))
    most = max(upper, lower)
    size = size or (2 if most <= 0x7F else 4)
    if min(upper, lower) < 0 or size not in (2, 4) or most >= 1 << (7 * size // 2):
        raise ValueError(f"an address of {size} bytes cannot hold {upper} and {lower}")
    parts = (upper, lower) if size == 2 else (upper >> 7, upper & 0x7F, lower >> 7, lower & 0x7F)
    return bytes(part << 1 for part in parts[:-1]) + bytes((parts[-1] << 1 | 1,))


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands between two flags. `segmented` says that more of the same message follows."""

    destination: Address
    source: Address
    control: int
    information: bytes = field(default=b"", repr=False)
    segmented: bool = False

    def encode(self) -> bytes:
        """The frame with its flags. ValueError when it is longer than its length can say."""
        header = self.destination + self.source + bytes((self.control,))
        length = 2 + len(header) + 2 + (len(self.information) + 2 if self.information else 0)
        if length > LONGEST:
            raise ValueError(f"a frame of {length} bytes; {LONGEST} at most")
        shape = 0xA000 | (_SEGMENTED if self.segmented else 0) | length
        checked = shape.to_bytes(2, "big") + header
        if self.information:
            checked += x25(checked) + self.information
        return bytes((FLAG,)) + checked + x25(checked) + bytes((FLAG,))


class Scanner:
    """Finds whole frames in bytes that come in any pieces, with anything between and before them.

    Each flag may begin a frame. Its header must be right before its end is waited for, and a right frame
    within one that is not whole yet ends the wait: what was lost of a frame never takes the next one.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._starts: list[int] = []  # behind the flags that may begin a frame, in order
        self._searched = 0  # up to here flags were looked for

    def feed(self, data: bytes) -> list[Frame | MeterError]:
        """The frames that became whole with `data`, and a MeterError for each whose header was right and
        whose rest was not, in order."""
        self._buffer += data
        self._search()
        found: list[Frame | MeterError] = []
        waiting: list[int] = []
        taken = -1  # flags up to here belong to a frame that was found
        for start in self._starts:
            end = self._end(start) if start > taken else 0
            if end is None or end >= len(self._buffer):
                waiting.append(start)
            elif end > 0:
                found.append(item := self._item(start, end))
                if isinstance(item, Frame):
                    waiting.clear()
                    taken = end  # the flag there may begin the next frame
        self._starts = waiting
        self._forget()
        return found

    def _search(self) -> None:
        at = self._searched
        while (at := self._buffer.find(FLAG, at) + 1) > 0:
            self._starts.append(at)
        self._searched = len(self._buffer)

    def _end(self, start: int) -> int | None:
        """Where the flag behind the frame must be: 0 where no frame begins, None while that is open."""
        buffer = self._buffer
        shape = buffer[start : start + 2]
        if shape and shape[0] & 0xF0 != 0xA0:
            return 0
        if len(shape) < 2:
            return None
        length = int.from_bytes(shape, "big") & LONGEST
        at = start + 2
        for _ in ("destination", "source"):
            size = _address_size(buffer, at)
            if size is None:
                return None
            if size == 0:
                return 0
            at += size
        at += 1 + 2  # control; HCS, or the FCS of a frame without information
        if start + length - at not in _BEHIND_HEADER:
            return 0
        if len(buffer) < at:
            return None
        if x25(bytes(buffer[start : at - 2])) != buffer[at - 2 : at]:
            return 0
        return start + length

    def _item(self, start: int, end: int) -> Frame | MeterError:
        body = bytes(self._buffer[start:end])
        if self._buffer[end] != FLAG or x25(body[:-2]) != body[-2:]:
            return MeterError("a frame of HDLC came damaged: its check sequence is wrong")
        middle = 2 + (_address_size(body, 2) or 0)
        behind = middle + (_address_size(body, middle) or 0)
        return Frame(
            destination=body[2:middle],
            source=body[middle:behind],
            control=body[behind],
            information=body[behind + 3 : -2],
            segmented=bool(body[0] & _SEGMENTED >> 8),
        )

    def _forget(self) -> None:
        """Drop what can no longer be part of a frame; a frame whose end is awaited has at most LONGEST."""
        first = self._starts[0] if self._starts else len(self._buffer)
        del self._buffer[:first]
        self._starts = [start - first for start in self._starts]
        self._searched -= first


def _address_size(data: bytes | bytearray, at: int) -> int | None:
    """How many bytes the address at `at` has: 0 where there is none, None while its end has not come."""
    for size in range(1, 5):
        if at + size > len(data):
            return None
        if data[at + size - 1] & 1:
            return size if size in _ADDRESS_SIZES else 0
    return 0
