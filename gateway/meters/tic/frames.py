"""Bytes to frames, and frames to groups (Enedis-NOI-CPT_54E, 5.3):

    STX   LF label SP value SP check CR           LF ... CR   ETX       mode historique
    STX   LF label HT value HT check CR           LF ... CR   ETX       mode standard
    STX   LF label HT time HT value HT check CR   LF ... CR   ETX       mode standard, some labels

The check character is the sum of the characters of label, time and value with what separates them, modulo 64,
plus 32: so it may be a space. In mode standard the separator before it is part of the sum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.errors import MeterError
from gateway.meters.parity import OTHER_PARITY, is_even

Mode = Literal["historique", "standard"]
MODES: tuple[Mode, ...] = ("historique", "standard")

_STX, _ETX, _EOT = 0x02, 0x03, 0x04
_STX_WITH_PARITY = 0x82  # ETX has an even number of bits as it is
_MARK = re.compile(rb"[\x02\x03\x04\x82]")
_MOST = 8_192  # bytes of a frame; those of mode standard have about 1 kB
_GROUP = re.compile(rb"\n([^\n\r]+)\r")
_FRAME = re.compile(rb"(?:\n[^\n\r]+\r)+")
_SEPARATORS: dict[Mode, bytes] = {"historique": b" \t", "standard": b"\t"}


@dataclass(frozen=True, slots=True)
class Group:
    """What stands behind a label: a value, and in mode standard for some labels its time."""

    value: str = field(repr=False)
    time: str = ""


class TicFrames:
    """Cuts a stream of bytes into frames, what stands between STX and ETX."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._begun: int | None = None  # by which character

    def cut(self) -> None:
        """Forget the frame that has begun."""
        self._bytes.clear()
        self._begun = None

    def feed(self, data: bytes) -> list[bytes | MeterError]:
        """The frames that `data` completes, and an error for each broken one."""
        said: list[bytes | MeterError] = []
        at = 0
        for mark in _MARK.finditer(data):
            self._add(data[at : mark.start()], said)
            said += self._take(mark[0][0])
            at = mark.end()
        self._add(data[at:], said)
        return said

    def _add(self, data: bytes, said: list[bytes | MeterError]) -> None:
        if self._begun is None:
            return
        self._bytes += data
        if len(self._bytes) > _MOST:
            said.append(MeterError(f"a TIC frame does not end within {_MOST} bytes"))
            self.cut()

    def _take(self, mark: int) -> Iterator[bytes | MeterError]:
        begun, frame = self._begun, bytes(self._bytes)
        if mark == _STX_WITH_PARITY and begun == _STX:
            self._bytes.append(mark)  # it has no meaning within a frame of seven bits
            return
        self.cut()
        if mark in (_STX, _STX_WITH_PARITY):
            self._begun = mark
            if begun == _STX:
                yield MeterError("a TIC frame breaks off")
        elif begun is None:
            pass
        elif begun == _STX_WITH_PARITY:
            if is_even(frame):
                yield MeterError(OTHER_PARITY)
        elif mark == _EOT:
            yield MeterError("the meter interrupts a TIC frame")
        else:
            yield frame


def read_groups(frame: bytes, mode: Mode) -> Mapping[str, Group]:
    """The groups of a frame by their labels. MeterError where one of them is damaged, or two with the same
    label differ: then nothing in the frame is trusted, since a check character lets every 64th error pass."""
    if _FRAME.fullmatch(frame) is None or not frame.isascii():
        raise MeterError("a TIC frame is damaged: it must consist of lines")
    groups: dict[str, Group] = {}
    for text in _GROUP.findall(frame):
        label, group = _group(text, mode)
        if groups.setdefault(label, group) != group:
            raise MeterError(f"a TIC frame has two different groups {label}")
    return groups


def check_character(text: bytes) -> int:
    """Of a group's characters that it checks."""
    return (sum(text) & 0x3F) + 0x20


def _group(text: bytes, mode: Mode) -> tuple[str, Group]:
    if not _is_checked(text, mode):
        other = next(one for one in MODES if one != mode)
        if _is_checked(text, other):
            raise MeterError(
                f"TIC arrives in mode {other}, and the profile is for mode {mode}: choose linky-{other}"
            )
        raise MeterError("a TIC group is damaged: its check character is wrong")
    separator = text[-2:-1]
    label, *fields = (part.decode("ascii") for part in text[:-2].split(separator))
    if mode == "historique":
        return label, Group(separator.decode("ascii").join(fields))
    return label, Group(fields[-1] if fields else "", fields[0] if len(fields) > 1 else "")


def _is_checked(text: bytes, mode: Mode) -> bool:
    if len(text) < 4 or text[-2] not in _SEPARATORS[mode]:
        return False
    return text[-1] == check_character(text[:-2] if mode == "historique" else text[:-1])
