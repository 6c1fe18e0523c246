"""Lists of values alone: which object each value is of follows from its place.

A layout is known by the type of every value and by the texts that never change, not by its length alone: two
grid operators may both send twelve values. A list that does not fit exactly one layout is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from gateway.errors import UsageError
from gateway.meters.dlms.cosem import data
from gateway.meters.dlms.cosem.data import Value
from gateway.meters.dlms.cosem.objects import Obis, obis

# The names of COSEM types in layouts (IEC 62056-6-2, common data types). An octet-string is named by what its
# length allows: a time, a date and a date-time have 4, 5 and 12 octets, an OBIS code has 6.
_KINDS: dict[type, str] = {
    data.Unsigned: "u8",
    data.LongUnsigned: "u16",
    data.DoubleLongUnsigned: "u32",
    data.Long64Unsigned: "u64",
    data.Integer: "i8",
    data.Long: "i16",
    data.DoubleLong: "i32",
    data.Long64: "i64",
    data.Float32: "f32",
    data.Float64: "f64",
    data.Enum: "enum",
    data.Bcd: "bcd",
    bool: "bool",
    str: "text",
    data.Utf8: "text",
    data.BitString: "bits",
    data.DateTime: "date-time",
    data.Date: "date",
    data.Time: "time",
    data.Array: "array",
    tuple: "structure",
    type(None): "null",
}
_OCTETS = "octets"
_BY_LENGTH = {4: "time", 5: "date", 6: "obis", 12: "date-time"}
TYPES = tuple(sorted({*_KINDS.values(), *_BY_LENGTH.values(), _OCTETS} - {"null"}))
_ITEM = re.compile(r"(?P<types>[a-z0-9/-]+)(?: (?P<code>\d[\d.:*-]*))?(?: = (?P<text>[!-~]+))?")
_LONGEST_SHOWN = 12  # groups of types in a sentence


@dataclass(frozen=True, slots=True)
class Item:
    """A value's place in a layout: the types that it may have, the object that it is of (None for one that
    nobody needs), and its text where that never changes; one that ends in `*` is only a beginning."""

    types: frozenset[str]
    code: Obis | None = None
    text: str | None = None

    def fits(self, value: Value) -> bool:
        """Whether the value may stand at this place; null-data may, wherever a meter lacks a register."""
        if value is None:
            return True
        if self.types.isdisjoint(_types(value)):
            return False
        return self.text is None or _fits_text(self.text, value)

    def excludes(self, other: Item) -> bool:
        """Whether no value fits both."""
        if self.types.isdisjoint(other.types) and not _both_octets(self.types, other.types):
            return True
        if self.text is None or other.text is None:
            return False
        one, another = self.text, other.text
        return not (_begins(one, another) or _begins(another, one) or one == another)


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of a list, in order."""

    items: tuple[Item, ...]

    def fits(self, body: Sequence[Value]) -> bool:
        """Whether the list has this layout."""
        return len(body) == len(self.items) and all(
            item.fits(value) for item, value in zip(self.items, body, strict=True)
        )

    def excludes(self, other: Layout) -> bool:
        """Whether no list without null-data fits both."""
        return len(self.items) != len(other.items) or any(
            one.excludes(another) for one, another in zip(self.items, other.items, strict=True)
        )


def parse_item(text: str) -> Item:
    """From a profile: the type, or types with a slash between them, then the OBIS code of the value's object
    where it is needed, then `= TEXT` where its text never changes: "u32/u64 1-0:1.8.0", "octets = KFM_*".
    UsageError for any other text."""
    match = _ITEM.fullmatch(text)
    if match is None:
        raise UsageError("must be like 'u16', 'u32 1-0:1.8.0' or 'octets 0-0:96.1.0 = ISK*'")
    types = frozenset(match["types"].split("/"))
    if unknown := types.difference(TYPES):
        raise UsageError(f"has the type {min(unknown)}; the types are {', '.join(TYPES)}")
    if match["text"] is not None and not types <= {_OCTETS, "text"}:
        raise UsageError("has a text, but its type is neither octets nor text")
    return Item(types, None if match["code"] is None else obis(match["code"]), match["text"])


def described(body: Sequence[Value]) -> str:
    """A list by the types of its values, without what they hold: "3 values (octets[16], 2 u32)"."""
    groups = list(_groups(body))
    shown = groups[:_LONGEST_SHOWN] + ["..."] * (len(groups) > _LONGEST_SHOWN)
    return f"{len(body)} value{'' if len(body) == 1 else 's'}" + (f" ({', '.join(shown)})" if shown else "")


def _groups(body: Sequence[Value]) -> Iterator[str]:
    for name, group in groupby(body, _shown_type):
        count = sum(1 for _ in group)
        yield name if count == 1 else f"{count} {name}"


def _shown_type(value: Value) -> str:
    if isinstance(value, tuple):
        return f"{_KINDS.get(type(value), 'structure')}[{len(value)}]"
    if type(value) is bytes:
        return f"{_OCTETS}[{len(value)}]"
    return _KINDS.get(type(value), type(value).__name__)


def _types(value: Value) -> set[str]:
    if type(value) is bytes:
        return {_OCTETS, _BY_LENGTH.get(len(value), _OCTETS)}
    return {_KINDS.get(type(value), "?")}


def _both_octets(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether one has octet-strings of any length, and the other those of a certain length."""
    lengths = set(_BY_LENGTH.values())
    return (_OCTETS in some and not lengths.isdisjoint(others)) or (
        _OCTETS in others and not lengths.isdisjoint(some)
    )


def _begins(text: str, other: str) -> bool:
    """Whether `text` is a beginning, and all that fits `other` has it."""
    return text.endswith("*") and other.removesuffix("*").startswith(text[:-1])


def _fits_text(text: str, value: Value) -> bool:
    held = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(held, str):
        return False
    return held.startswith(text[:-1]) if text.endswith("*") else held == text
