"""The form of a payload: a CBOR map with integer keys, described field by field and checked on the way in.

An object class lists its fields as `Field(key, name, form)`; `write` and `read` turn it into the map and
back. Arrays are tuples in Python. gw1.cddl says the same in CDDL, and the tests hold the two together.

Version 1 keeps the keys below 64 to itself. Entries under keys from 64 on are additions of later versions,
which a reader skips; signatures and digests cover them, being of the bytes as they are.

A form says in words what it expects, so that a refusal can say what is right and what was found: the kind
and the length of a value, never text or bytes themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

from gateway.errors import Refused

FIRST_ADDED_KEY = 64
_SHOWN = 2**32  # integers of at most this size are quoted


class Misfit(ValueError):
    """A value that does not have its form. `path` leads to it through the arrays and maps that it lies in."""

    def __init__(self, expected: str, found: str, path: tuple[int, ...] = ()) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected = expected
        self.found = found
        self.path = path

    def below(self, index: int) -> Misfit:
        """The same, seen from the array or map whose item `index` it is in."""
        return Misfit(self.expected, self.found, (index, *self.path))

    def of(self, name: str) -> str:
        """The sentence about the field `name`."""
        return f"{name}{''.join(f'[{index}]' for index in self.path)} is invalid: {self}"


@dataclass(frozen=True, slots=True)
class Form:
    """What a value must be. `accept` gives it back, arrays as tuples, or raises Misfit. `all_fit`, where
    there is one, is a quick look at many values: whether `accept` would give all of them back as they are."""

    expected: str
    accept: Callable[[Any], Any]
    all_fit: Callable[[Sequence[Any]], bool] | None = None

    def fits(self, value: Any) -> bool:
        """Whether the value has the form."""
        try:
            self.accept(value)
        except Misfit:
            return False
        return True


class Field(NamedTuple):
    """One entry of a payload's map. `optional` fields are left out of the map when None."""

    key: int
    name: str
    form: Form
    optional: bool = False


def bstr(size: int | None = None, *, least: int = 0) -> Form:
    """Bytes, of exactly `size` where one is given, else of at least `least`."""
    if size is not None:
        return _bytes_of(size)
    expected = f"at least {_many(least, 'byte')}" if least else "bytes"
    return _form(expected, lambda v: isinstance(v, bytes) and len(v) >= least)


def uint(bits: int = 64) -> Form:
    """0 to 2^bits - 1."""
    return _integer(0, 2**bits - 1, f"an integer from 0 to 2^{bits} - 1")


def integer() -> Form:
    """A signed 64-bit integer."""
    return _integer(-(2**63), 2**63 - 1, "an integer from -2^63 to 2^63 - 1")


def between(least: int, most: int) -> Form:
    """`least` to `most`, both included."""
    return _integer(least, most, f"an integer from {least} to {most}")


def tstr(most: int = 256) -> Form:
    """Text of at most so many bytes in UTF-8, all of it printable."""
    return _form(
        f"printable text of at most {_many(most, 'byte')}",
        lambda v: isinstance(v, str) and v.isprintable() and len(v.encode()) <= most,
    )


def like(pattern: str, expected: str) -> Form:
    """Text that the pattern matches from end to end; `expected` says in words what that is."""
    return _form(expected, lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None)


def one_of(*values: str) -> Form:
    """One of the given words."""
    words = " or ".join(f'"{value}"' for value in values)
    return _form(words, lambda v: isinstance(v, str) and v in values)


def either(*forms: Form) -> Form:
    """Whatever fits one of the forms: the first that it fits reads it."""
    expected = " or ".join(form.expected for form in forms)

    def accept(value: Any) -> Any:
        nearest = Misfit(expected, _found(value))
        for form in forms:
            try:
                return form.accept(value)
            except Misfit as misfit:  # the form that agrees the furthest is likely the one that was meant
                nearest = max(nearest, misfit, key=lambda one: len(one.path))
        raise nearest

    return Form(expected, accept)


def list_of(form: Form, most: int, *, least: int = 1) -> Form:
    """An array of `least` to `most` items that all have the form."""
    expected = f"an array of {least} to {_many(most, 'item')}"

    def accept(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            raise Misfit(expected, _found(value))
        if not value or (form.all_fit is not None and form.all_fit(value)):
            return tuple(value)
        return _accept_each(repeat(form.accept), value)

    return Form(expected, accept)


def tuple_of(*forms: Form) -> Form:
    """An array with one item for each form."""
    expected = f"an array of {_many(len(forms), 'item')}"
    accepts = [form.accept for form in forms]

    def accept(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(forms):
            raise Misfit(expected, _found(value))
        return _accept_each(accepts, value)

    return Form(expected, accept)


def map_of(*fields: Field) -> Form:
    """A map with some of these entries, one at least. Its keys are integers here as in CBOR."""
    forms = {field.key: field.form for field in fields}
    expected = f"a map with some of the entries {', '.join(map(str, forms))}"

    def accept(value: Any) -> dict[int, Any]:
        if not isinstance(value, dict) or not value or not value.keys() <= forms.keys():
            raise Misfit(expected, _found(value))
        out = {}
        for key, inner in value.items():
            try:
                out[key] = forms[key].accept(inner)
            except Misfit as misfit:
                raise misfit.below(key) from None
        return out

    return Form(expected, accept)


def write(fields: Sequence[Field], values: dict[str, Any], what: str) -> dict[int, Any]:
    """The map of a payload. A ValueError where a value does not have the declared form: a bug of ours."""
    out: dict[int, Any] = {}
    for field in fields:
        value = values[field.name]
        if value is None and field.optional:
            continue
        try:
            out[field.key] = field.form.accept(value)
        except Misfit as misfit:
            raise ValueError(misfit.of(f"{what}: {field.name}")) from None
    return out


def read(fields: Sequence[Field], payload: Any, what: str) -> dict[str, Any]:
    """The values of a payload's map by name, arrays as tuples; Refused where a field does not have its form,
    with a sentence that names the field, what is expected and what was found. Entries that are unknown are
    skipped from FIRST_ADDED_KEY on, and Refused below it. The keys are integers: `cose.decode` sees to it."""
    if not isinstance(payload, dict):
        raise Refused(f"{what}: its payload is not a map")
    values: dict[str, Any] = {}
    found = 0
    for key, name, form, optional in fields:
        if key not in payload:
            if not optional:
                raise Refused(f"{what}: {name} is missing")
            values[name] = None
            continue
        found += 1
        try:
            values[name] = form.accept(payload[key])
        except Misfit as misfit:
            raise Refused(misfit.of(f"{what}: {name}")) from None
    if found < len(payload):
        _refuse_unknown(payload.keys() - {field.key for field in fields}, what)
    return values


def _refuse_unknown(keys: Set[int], what: str) -> None:
    """Refused unless later versions may have added the entries with these keys."""
    if min(keys) < FIRST_ADDED_KEY:
        raise Refused(
            f"{what}: its payload has an entry {min(keys)}, which version 1 does not know; only those from"
            f" {FIRST_ADDED_KEY} on are skipped"
        )


def _form(expected: str, fits: Callable[[Any], bool]) -> Form:
    def accept(value: Any) -> Any:
        if not fits(value):
            raise Misfit(expected, _found(value))
        return value

    return Form(expected, accept)


def _bytes_of(size: int) -> Form:
    expected = _many(size, "byte")

    def accept(value: Any) -> Any:
        if type(value) is bytes and len(value) == size:
            return value
        raise Misfit(expected, _found(value))

    def all_fit(many: Sequence[Any]) -> bool:
        return set(map(type, many)) == {bytes} and set(map(len, many)) == {size}

    return Form(expected, accept, all_fit)


def _integer(least: int, most: int, expected: str) -> Form:
    def accept(value: Any) -> Any:
        if type(value) is int and least <= value <= most:  # a boolean is not
            return value
        raise Misfit(expected, _found(value))

    return Form(expected, accept)


def _accept_each(accepts: Iterable[Callable[[Any], Any]], items: Sequence[Any]) -> tuple[Any, ...]:
    out: list[Any] = []
    try:
        for accept, item in zip(accepts, items, strict=False):  # as many of both, or without end
            out.append(accept(item))
    except Misfit as misfit:
        raise misfit.below(len(out)) from None
    return tuple(out)


def _found(value: Any) -> str:
    """What a value is, without the text or the bytes that it holds."""
    match value:
        case bool():
            return "a boolean"
        case int():
            return str(value) if abs(value) <= _SHOWN else f"an integer of {value.bit_length()} bits"
        case bytes():
            return _many(len(value), "byte")
        case str():
            size = _many(len(value.encode(errors="surrogatepass")), "byte")
            return f"text of {size}" if value.isprintable() else f"text of {size}, not all printable"
        case list() | tuple():
            return f"an array of {_many(len(value), 'item')}"
        case dict():
            return "a map"
    return f"a Python {type(value).__name__}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
