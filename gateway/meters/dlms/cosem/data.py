"""COSEM data: values encoded in A-XDR (IEC 62056-6-2, common data types).

A value is one of Python's own: None, bool, int, float, bytes (octet-string), str (visible-string), tuple
(structure). Where the type matters for sending, it is a subclass with the type's name: Unsigned(3) is an int.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from gateway.errors import MeterError
from gateway.meters.dlms.octets import Octets, length, string

_DEEPEST = 16  # structures within structures; COSEM objects need six
_MOST_OCTETS = 1 << 20


class Number(int):
    """A whole number of a COSEM type."""

    tag: ClassVar[int]
    width: ClassVar[int]
    signed: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    __str__ = int.__repr__


class Integer(Number):
    tag, width, signed = 15, 1, True


class Long(Number):
    tag, width, signed = 16, 2, True


class DoubleLong(Number):
    tag, width, signed = 5, 4, True


class Long64(Number):
    tag, width, signed = 20, 8, True


class Unsigned(Number):
    tag, width = 17, 1


class LongUnsigned(Number):
    tag, width = 18, 2


class DoubleLongUnsigned(Number):
    tag, width = 6, 4


class Long64Unsigned(Number):
    tag, width = 21, 8


class Enum(Number):
    tag, width = 22, 1


class Bcd(Number):
    """Two decimal digits in an octet; the value is the octet's own."""

    tag, width = 13, 1


class DeltaInteger(Number):
    tag, width, signed = 28, 1, True


class DeltaLong(Number):
    tag, width, signed = 29, 2, True


class DeltaDoubleLong(Number):
    tag, width, signed = 30, 4, True


class DeltaUnsigned(Number):
    tag, width = 31, 1


class DeltaLongUnsigned(Number):
    tag, width = 32, 2


class DeltaDoubleLongUnsigned(Number):
    tag, width = 33, 4


class Float32(float):
    tag: ClassVar[int] = 23
    format: ClassVar[str] = ">f"


class Float64(float):
    tag: ClassVar[int] = 24
    format: ClassVar[str] = ">d"


class DateTime(bytes):
    """The 12 octets of a date-time; `gateway.meters.dlms.cosem.date_time` reads them. Meters mostly send
    them as an octet-string."""

    tag: ClassVar[int] = 25
    width: ClassVar[int] = 12


class Date(bytes):
    tag: ClassVar[int] = 26
    width: ClassVar[int] = 5


class Time(bytes):
    tag: ClassVar[int] = 27
    width: ClassVar[int] = 4


class Utf8(str):
    """A utf8-string."""

    __slots__ = ()


class BitString(str):
    """A bit-string, as the digits 0 and 1."""

    __slots__ = ()


class Array(tuple["Value", ...]):
    """An array, or a compact-array; a structure is a plain tuple."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Array({super().__repr__()})"


Value: TypeAlias = bool | int | float | bytes | str | tuple["Value", ...] | None

_NUMBERS = {
    kind.tag: kind
    for kind in (
        *(Integer, Long, DoubleLong, Long64, Unsigned, LongUnsigned, DoubleLongUnsigned, Long64Unsigned),
        *(Enum, Bcd, DeltaInteger, DeltaLong, DeltaDoubleLong),
        *(DeltaUnsigned, DeltaLongUnsigned, DeltaDoubleLongUnsigned),
    )
}
_MOMENTS = {kind.tag: kind for kind in (DateTime, Date, Time)}
_FLOATS = {kind.tag: kind for kind in (Float32, Float64)}
_NULL, _ARRAY, _STRUCTURE, _BOOLEAN, _BITS, _OCTETS, _VISIBLE, _UTF8, _COMPACT = 0, 1, 2, 3, 4, 9, 10, 12, 19
_DONT_CARE = 255


def decode(data: bytes, what: str = "the value") -> Value:
    """The one value in `data`; `what` names it in a MeterError."""
    octets = Octets(data, what)
    value = take(octets)
    octets.end()
    return value


def take(octets: Octets) -> Value:
    """The next value; what follows it is left."""
    if len(octets) > _MOST_OCTETS:
        raise MeterError(f"{octets.what} has more than {_MOST_OCTETS} bytes, more than a meter sends")
    return _Decoder(octets).value()


@dataclass(frozen=True, slots=True)
class _Type:
    """A type as a compact-array describes it: a tag and, for arrays and structures, the types in them."""

    tag: int
    parts: tuple[_Type, ...] = ()
    count: int = 0  # of an array's elements, all of the type parts[0]


class _Decoder:
    def __init__(self, octets: Octets) -> None:
        self._octets = octets
        # In a compact-array a value may take no octet at all: a few octets could stand for billions of
        # values.
        self._values_left = _DEEPEST * (len(octets) + 1)

    def value(self, depth: int = 0) -> Value:
        tag = self._octets.number(1)
        if tag in (_ARRAY, _STRUCTURE):
            self._descend(depth)
            parts = (self.value(depth + 1) for _ in range(self._octets.length()))
            return Array(parts) if tag == _ARRAY else tuple(parts)
        if tag == _COMPACT:
            return self._compact_array(depth)
        return self._plain(tag)

    def _descend(self, depth: int) -> None:
        if depth == _DEEPEST:
            raise MeterError(f"{self._octets.what} has structures nested more than {_DEEPEST} deep")

    def _plain(self, tag: int) -> Value:
        octets = self._octets
        if tag in (_NULL, _DONT_CARE):
            return None
        if tag in _NUMBERS:
            kind = _NUMBERS[tag]
            return kind(octets.number(kind.width, signed=kind.signed))
        if tag == _OCTETS:
            return octets.string()
        if tag == _VISIBLE:
            return octets.string().decode("latin-1")
        if tag == _UTF8:
            return Utf8(octets.string().decode("utf-8", "replace"))
        if tag == _BOOLEAN:
            return octets.number(1) != 0
        if tag == _BITS:
            count = octets.length()
            bits = octets.take((count + 7) // 8)
            return BitString("".join(f"{octet:08b}" for octet in bits)[:count])
        if tag in _FLOATS:
            number = _FLOATS[tag]
            return number(*struct.unpack(number.format, octets.take(struct.calcsize(number.format))))
        if tag in _MOMENTS:
            moment = _MOMENTS[tag]
            return moment(octets.take(moment.width))
        raise MeterError(f"{octets.what} has a value of type {tag}, which COSEM does not have")

    def _compact_array(self, depth: int) -> Array:
        """Elements of one type, described once at the beginning (IEC 62056-5-3, CompactArray)."""
        self._descend(depth)
        described = self._description(depth + 1)
        contents = Octets(self._octets.string(), self._octets.what)
        outer, self._octets = self._octets, contents
        elements = []
        while len(contents):
            left = len(contents)
            elements.append(self._described(described))
            if len(contents) == left:
                raise MeterError(f"{contents.what} has a compact array whose elements have no bytes")
        self._octets = outer
        return Array(elements)

    def _description(self, depth: int) -> _Type:
        self._descend(depth)
        self._spend()
        tag = self._octets.number(1)
        if tag == _ARRAY:
            count = self._octets.number(2)
            return _Type(tag, (self._description(depth + 1),), count)
        if tag == _STRUCTURE:
            count = self._octets.length()
            return _Type(tag, tuple(self._description(depth + 1) for _ in range(count)))
        return _Type(tag)

    def _described(self, described: _Type) -> Value:
        self._spend()
        if described.tag == _ARRAY:
            return Array(self._described(described.parts[0]) for _ in range(described.count))
        if described.tag == _STRUCTURE:
            return tuple(self._described(part) for part in described.parts)
        return self._plain(described.tag)

    def _spend(self) -> None:
        self._values_left -= 1
        if self._values_left < 0:
            raise MeterError(
                f"{self._octets.what} has a compact array of more values than its bytes can hold"
            )


def encode(value: Value) -> bytes:
    """`value` in A-XDR. TypeError for a plain int or float, whose COSEM type is not known."""
    if value is None:
        return bytes((_NULL,))
    if isinstance(value, bool):
        return bytes((_BOOLEAN, value))
    if isinstance(value, Number):
        return bytes((value.tag,)) + value.to_bytes(value.width, "big", signed=value.signed)
    if isinstance(value, Float32 | Float64):
        return bytes((value.tag,)) + struct.pack(value.format, value)
    if isinstance(value, DateTime | Date | Time):
        return bytes((value.tag,)) + value
    if isinstance(value, bytes):
        return bytes((_OCTETS,)) + string(value)
    if isinstance(value, Utf8):
        return bytes((_UTF8,)) + string(value.encode())
    if isinstance(value, BitString):
        padded = value.ljust((len(value) + 7) // 8 * 8, "0")
        octets = bytes(int(padded[at : at + 8], 2) for at in range(0, len(padded), 8))
        return bytes((_BITS,)) + length(len(value)) + octets
    if isinstance(value, str):
        return bytes((_VISIBLE,)) + string(value.encode("latin-1"))
    if isinstance(value, tuple):
        tag = _ARRAY if isinstance(value, Array) else _STRUCTURE
        return bytes((tag,)) + length(len(value)) + b"".join(map(encode, value))
    raise TypeError(f"{type(value).__name__} is not a COSEM type")
