"""The answer of a meter that was asked to its data block (IEC 62056-21, 6.3.3):

    STX   1.8.0(000123.4*kWh) CR LF   ...   ! CR LF   ETX   BCC

The block check character (BCC) is the exclusive or of all characters behind STX, up to ETX (ISO 1155).
"""

from __future__ import annotations

import re
from functools import reduce
from operator import xor

from gateway.errors import MeterError
from gateway.meters.parity import OTHER_PARITY, is_even, seven_bits

_STX, _ETX, _NAK = b"\x02", b"\x03", 0x15
_MOST = 65_536  # bytes; the longest known ones, with the registers of 15 months, have 10 kB
_CONTENT = re.compile(r"(.*)!\r*\n?", re.DOTALL)
_UNCHECKED = re.compile(rb"(?:^|\n)!\r?\n")


class Readout:
    """Takes an answer in whatever pieces it comes."""

    def __init__(self) -> None:
        self._heard = bytearray()

    @property
    def begun(self) -> bool:
        """Whether something came, but not all of it."""
        return bool(self._heard)

    def feed(self, data: bytes) -> str | None:
        """The data block once it is whole, else None. MeterError says what is wrong with the answer."""
        self._heard += data
        plain = seven_bits(bytes(self._heard))
        begin = plain.find(_STX)
        if begin < 0:
            if _UNCHECKED.search(plain):
                self._check_parity(0, len(plain))
                raise MeterError(
                    "the meter's answer has no block check character: damage to it would go unnoticed"
                )
            if _NAK in plain:
                raise MeterError("the meter refuses to send its registers (NAK)")
        end = plain.find(_ETX, max(begin, 0))
        if begin < 0 or end < 0 or end + 1 == len(plain):
            if len(plain) > _MOST:
                raise MeterError(f"the meter's answer does not end within {_MOST} bytes")
            return None
        self._check_parity(begin, end + 2)
        if reduce(xor, plain[begin + 1 : end + 1]) != plain[end + 1]:
            raise MeterError("the block check character is wrong: the meter's answer was damaged on its way")
        content = _CONTENT.fullmatch(plain[begin + 1 : end].decode("ascii"))
        if content is None:
            raise MeterError("the meter's answer does not end in an exclamation mark: it is not a readout")
        return content[1]

    def _check_parity(self, begin: int, end: int) -> None:
        raw = bytes(self._heard[begin:end])
        if is_even(raw):
            raise MeterError(OTHER_PARITY)
        if not raw.isascii():
            raise MeterError("the meter's answer has characters of eight bits: it was damaged on its way")
