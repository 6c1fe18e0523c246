"""The form of a payload: a CBOR map with integer keys, described field by field, checked on the way in.

An object class lists its fields as `Field(key, name, form)`; `write` and `read` turn it into the
map and back. gw1.cddl says the same in CDDL, and the tests hold the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gateway.errors import Refused

Form = Callable[[Any], bool]


class Field(NamedTuple):
    """One entry of a payload's map. `optional` fields are left out of the map when None."""

    key: int
    name: str
    form: Form
    optional: bool = False


def bstr(size: int | None = None, *, least: int = 0) -> Form:
    """Bytes, of exactly `size` where one is given, else of at least `least`."""
    return lambda v: isinstance(v, bytes) and (size == len(v) if size is not None else len(v) >= least)


def uint(bits: int = 64) -> Form:
    """0 to 2^bits - 1."""
    return between(0, 2**bits - 1)


def integer() -> Form:
    """A signed 64-bit integer."""
    return between(-(2**63), 2**63 - 1)


def between(least: int, most: int) -> Form:
    """`least` to `most`, both included."""
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= most


def tstr(most: int = 256) -> Form:
    """Text of at most so many bytes in UTF-8, all of it printable."""
    return lambda v: isinstance(v, str) and v.isprintable() and len(v.encode()) <= most


def like(pattern: str) -> Form:
    """Text that the pattern matches from end to end."""
    return lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None


def one_of(*values: str) -> Form:
    """One of the given words."""
    return lambda v: isinstance(v, str) and v in values


def either(*forms: Form) -> Form:
    """Whatever fits one of the forms."""
    return lambda v: any(form(v) for form in forms)


def list_of(form: Form, most: int) -> Form:
    """An array of 1 to `most` items that all have the form."""
    return lambda v: isinstance(v, list) and 1 <= len(v) <= most and all(form(item) for item in v)


def tuple_of(*forms: Form) -> Form:
    """An array with one item for each form."""
    return lambda v: (
        isinstance(v, list) and len(v) == len(forms) and all(f(i) for f, i in zip(forms, v, strict=True))
    )


def write(fields: Sequence[Field], values: dict[str, Any], what: str) -> dict[int, Any]:
    """The map of a payload. A ValueError where a value has not the declared form: a bug of ours."""
    out: dict[int, Any] = {}
    for field in fields:
        value = values[field.name]
        if value is None and field.optional:
            continue
        if not field.form(value):
            raise ValueError(f"{what}: {field.name} does not fit its form")
        out[field.key] = value
    return out


def read(fields: Sequence[Field], payload: Any, what: str) -> dict[str, Any]:
    """The values of a payload's map by name; Refused, with the field's name, where the form is not kept."""
    if not isinstance(payload, dict):
        raise Refused(f"{what}: its payload is not a map")
    unknown = set(payload) - {field.key for field in fields}
    if unknown:
        raise Refused(f"{what}: its payload has entries that version 1 does not know")
    values: dict[str, Any] = {}
    for field in fields:
        if field.key not in payload:
            if not field.optional:
                raise Refused(f"{what}: {field.name} is missing")
            values[field.name] = None
        elif field.form(payload[field.key]):
            values[field.name] = payload[field.key]
        else:
            raise Refused(f"{what}: {field.name} has not the form that version 1 gives it")
    return values
