"""General-block-transfer: any long APDU in numbered blocks (IEC 62056-5-3, General-Block-Transfer).

    E0 | control: last 0x80, streaming 0x40, window 0x3F | number (2) | acknowledged (2) | a part of the APDU

A sender sends as many blocks as the receiver's window allows, and then waits for a request for the next one;
a meter that pushes does not wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.dlms.octets import Octets, string

GENERAL_BLOCK_TRANSFER = 0xE0
_LAST, _STREAMING, _WINDOW = 0x80, 0x40, 0x3F
_LONGEST = 1 << 20  # bytes of a whole APDU: a month of a load profile has a tenth of this


@dataclass(frozen=True, slots=True)
class GeneralBlock:
    """`streaming` says that another block follows without a request."""

    last: bool
    streaming: bool
    window: int
    number: int
    acknowledged: int
    data: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        control = _LAST * self.last | _STREAMING * self.streaming | self.window & _WINDOW
        numbers = self.number.to_bytes(2, "big") + self.acknowledged.to_bytes(2, "big")
        return bytes((GENERAL_BLOCK_TRANSFER, control)) + numbers + string(self.data)


def parse(apdu: bytes) -> GeneralBlock:
    """MeterError where `apdu` is not a whole block."""
    octets = Octets(apdu, "a block of a long message")
    if (tag := octets.number(1)) != GENERAL_BLOCK_TRANSFER:
        raise MeterError(f"a block of a long message begins with {tag:#04x}; it must begin with 0xe0")
    control = octets.number(1)
    block = GeneralBlock(
        last=bool(control & _LAST),
        streaming=bool(control & _STREAMING),
        window=control & _WINDOW,
        number=octets.number(2),
        acknowledged=octets.number(2),
        data=octets.string(),
    )
    octets.end()
    return block


class Reassembly:
    """Joins blocks in their order. A block 1 begins a new message, whatever came before."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, block: GeneralBlock) -> bytes | None:
        """The whole APDU once its last block comes, else None. MeterError where a block is missing: then the
        blocks so far are dropped."""
        if block.number == 1:
            self._drop()
        elif block.number != len(self._parts) + 1:
            missing = len(self._parts) + 1
            self._drop()
            raise MeterError(f"block {block.number} of a long message came instead of block {missing}")
        if self._size + len(block.data) > _LONGEST:
            self._drop()
            raise MeterError(f"a long message has more than {_LONGEST} bytes, more than a meter sends")
        self._parts.append(block.data)
        self._size += len(block.data)
        if not block.last:
            return None
        whole = b"".join(self._parts)
        self._drop()
        return whole

    def _drop(self) -> None:
        self._parts, self._size = [], 0


def split(apdu: bytes, size: int, window: int = 1) -> list[GeneralBlock]:
    """`apdu` in blocks of `size` bytes, sent `window` at a time."""
    parts = [apdu[at : at + size] for at in range(0, len(apdu), size)]
    count = len(parts)
    return [
        GeneralBlock(n == count, n < count and n % window != 0, window, n, 0, part)
        for n, part in enumerate(parts, 1)
    ]
