"""A TOML table whose keys are taken one by one. A key that is missing, wrong or left over at the end is a
UsageError that names the file and the key, and says what it must be."""

from __future__ import annotations

import difflib
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from gateway.errors import UsageError

C = TypeVar("C", bound=str)

_MOST_DIGITS = 30  # before the decimal point, or zeros after it


class TomlTable:
    """One table of a document that tomllib read with floats as Decimal; `path` leads to it: `probe.`."""

    def __init__(self, table: dict[str, Any], file: str, path: str = "") -> None:
        self._left = dict(table)
        self._asked: list[str] = []
        self._file = file
        self._path = path

    def fault(self, key: str, problem: str) -> UsageError:
        """The error to raise for a key's value."""
        return UsageError(f"{self._file}: {self._path}{key} {problem}")

    def problem(self, sentence: str) -> UsageError:
        """The error to raise for the table as a whole."""
        return UsageError(f"{self._file}: {sentence}")

    def has(self, key: str) -> bool:
        """Whether the key is there and not taken yet."""
        self._asked.append(key)
        return key in self._left

    def text(self, key: str, pattern: str) -> str:
        """A string that the regular expression matches as a whole."""
        right = f"a string like {pattern}"
        value = self._take(key, right)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise self.fault(key, f"is {_shown(value)}; it must be {right}")
        return value

    def texts(self, key: str, *, empty: bool = False) -> tuple[str, ...]:
        """A list of strings, none of them empty; with `empty`, the list may have none."""
        right = f"a list of strings{'' if empty else ', at least one'}"
        value = self._take(key, right)
        good = isinstance(value, list) and all(isinstance(text, str) and text.strip() for text in value)
        if not good or not (value or empty):
            raise self.fault(key, f"must be {right}")
        return tuple(value)

    def choice(self, key: str, options: tuple[C, ...], default: C | None = None) -> C:
        right = f"one of {', '.join(options)}"
        value = self._take(key, right, default)
        for option in options:
            if option == value:
                return option
        raise self.fault(key, f"is {_shown(value)}; it must be {right}")

    def integer(self, key: str, low: int, high: int) -> int:
        right = f"a whole number from {low} to {high}"
        value = self._take(key, right)
        if type(value) is not int or not low <= value <= high:
            raise self.fault(key, f"is {_shown(value)}; it must be {right}")
        return value

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers, at least one."""
        right = f"a list of whole numbers from {low} to {high}, at least one"
        value = self._take(key, right)
        good = isinstance(value, list) and all(type(item) is int and low <= item <= high for item in value)
        if not good or not value:
            raise self.fault(key, f"must be {right}")
        return tuple(value)

    def flag(self, key: str) -> bool:
        """Whether the key is `true`; a missing key counts as false."""
        value = self._take(key, "true or false", False)
        if not isinstance(value, bool):
            raise self.fault(key, f"is {_shown(value)}; it must be true or false")
        return value

    def number(self, key: str, default: int | None = None) -> Fraction:
        """A number, exactly as written: 0.1 is a tenth."""
        value = self._take(key, "a number", default)
        finite = type(value) is int or (isinstance(value, Decimal) and value.is_finite())
        # A number written as 1e999999999 would fill the memory.
        if not finite or abs(Decimal(value).adjusted()) > _MOST_DIGITS:
            raise self.fault(key, "must be a number, and not a huge one")
        return Fraction(value)

    def table(self, key: str) -> TomlTable:
        return self._nested(key, self._take(key, f"a table: [{self._path}{key}]"), f"{self._path}{key}.")

    def tables(self, key: str) -> list[TomlTable]:
        """A list of tables, at least one."""
        right = f"a list of tables, at least one: [[{key}]]"
        value = self._take(key, right)
        if not isinstance(value, list) or not value:
            raise self.fault(key, f"must be {right}")
        return [self._nested(key, entry, f"{self._path}{key}[{n}].") for n, entry in enumerate(value)]

    def end(self) -> None:
        """Refuse the keys that nobody took: misspelt or unknown ones."""
        for key in self._left:
            near = difflib.get_close_matches(key, self._asked, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise self.fault(key, f"is not a known key{meant}")

    def _take(self, key: str, right: str, default: object = None) -> Any:
        self._asked.append(key)
        value = self._left.pop(key, default)
        if value is None:
            raise self.fault(key, f"is missing; it must be {right}")
        return value

    def _nested(self, key: str, value: object, path: str) -> TomlTable:
        if not isinstance(value, dict):
            raise self.fault(key, "must be a table")
        return TomlTable(value, self._file, path)


def _shown(value: object) -> str:
    try:
        return str(value) if isinstance(value, Decimal) else repr(value)
    except ValueError:  # Python does not print whole numbers of more than 4300 digits
        return "a huge number"
