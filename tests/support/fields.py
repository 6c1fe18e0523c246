"""A document's fields, each of them replaced by something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Place = tuple[str | int, ...]


def places(value: object) -> Iterator[Place]:
    """The way to each value in a document, and to the whole."""
    yield ()
    keys = value.keys() if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    for key in keys:
        assert isinstance(value, dict | list)
        yield from ((key, *rest) for rest in places(value[key]))


def changed(value: Any, place: Place, other: object) -> Any:
    """A copy of the document with `other` at `place`."""
    if not place:
        return other
    copied = value.copy()
    copied[place[0]] = changed(value[place[0]], place[1:], other)
    return copied


def toml(value: object) -> str:
    """The document as TOML, with every table in a line."""
    assert isinstance(value, dict)
    return "".join(f"{json.dumps(key)} = {_inline(part)}\n" for key, part in value.items())


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value) if isinstance(value, str | bool) else str(value)
