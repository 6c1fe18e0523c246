"""COSEM object references: OBIS codes, attributes and methods, and selections from a profile."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import UsageError
from gateway.meters.dlms.cosem.data import Array, DoubleLongUnsigned, Integer, LongUnsigned, Value

Obis = bytes  # an OBIS code's six groups, A to F (IEC 62056-6-1)

_OBIS = re.compile(r"(\d+)-(\d+):(\d+)\.(\d+)\.(\d+)(?:[.*](\d+))?")

# Classes of interface objects (IEC 62056-6-2)
DATA, REGISTER, EXTENDED_REGISTER, PROFILE_GENERIC, CLOCK = 1, 3, 4, 7, 8
ASSOCIATION_LN, DISCONNECT_CONTROL = 15, 70

PUBLIC_CLIENT = 16  # the client address that needs no authentication and may read little (IEC 62056-6-2)


def obis(text: str) -> Obis:
    """The six bytes of "1-0:1.8.0" or "1-0:1.8.0.255"; group F is 255 where it is left out. UsageError for
    any other text."""
    match = _OBIS.fullmatch(text)
    groups = [int(group) for group in match.groups("255")] if match else []
    if not groups or max(groups) > 255:
        raise UsageError(f"{text!r} is not an OBIS code, such as 1-0:1.8.0.255")
    return bytes(groups)


def obis_text(code: Obis) -> str:
    a, b, *rest = code
    return f"{a}-{b}:{'.'.join(map(str, rest))}"


@dataclass(frozen=True, slots=True)
class Reference:
    """An attribute or a method: the class and OBIS code of its object, and its index."""

    class_id: int
    obis: Obis
    index: int

    def __str__(self) -> str:
        return f"{obis_text(self.obis)} (class {self.class_id}, {self.index})"


# The method of the current association that takes the client's proof of its keys and returns the meter's.
REPLY_TO_HLS = Reference(ASSOCIATION_LN, bytes((0, 0, 40, 0, 0, 255)), 1)


@dataclass(frozen=True, slots=True)
class Selection:
    """A part of an attribute: selective access with its selector and parameter."""

    selector: int
    parameter: Value


def rows_between(column: Value, first: bytes, last: bytes) -> Selection:
    """The rows of a profile's buffer whose `column` (a capture object, as the profile describes it) is from
    `first` to `last`, date-times of 12 octets (IEC 62056-6-2, profile generic, range_descriptor)."""
    return Selection(1, (column, first, last, Array()))


def rows_numbered(first: int, last: int) -> Selection:
    """The rows `first` to `last` of a profile's buffer, counted from 1, with all columns
    (entry_descriptor)."""
    return Selection(
        2, (DoubleLongUnsigned(first), DoubleLongUnsigned(last), LongUnsigned(1), LongUnsigned(0))
    )


def capture_object(class_id: int, code: Obis, attribute: int) -> Value:
    """The description of a profile's column."""
    return (LongUnsigned(class_id), code, Integer(attribute), LongUnsigned(0))
