"""pydantic's errors as sentences for a person. No sentence shows a value that could be a secret."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

Loc = tuple[int | str, ...]

_SECRET_KEY = re.compile(r"secret|passw|token|access_?key|api_?key|private", re.IGNORECASE)


def sentences(
    file: Path, raw: dict[str, Any], model: type[BaseModel], error: ValidationError
) -> Iterator[str]:
    """A sentence for each mistake, in the order of `model`'s fields."""
    for mistake in error.errors(include_url=False):
        text = _sentence(raw, model, mistake)
        yield f"{file}: {text}{'' if text.endswith('?') else '.'}"


def _sentence(raw: dict[str, Any], model: type[BaseModel], mistake: ErrorDetails) -> str:
    loc = mistake["loc"]
    where = _where(raw, loc)
    match mistake["type"]:
        case "extra_forbidden":
            return _unknown(raw, model, loc)
        case "whole":
            # Of a section's validator, the place is the section; of a field's, the field's section.
            return f"{_where(raw, loc[:-1] or loc)} {mistake['msg']}"
        case "missing":
            return f"{where} is missing; give {_field(model, loc).description}"
        case "value_error":
            return f"{where} is {_shown(loc, mistake['input'])}; {mistake['ctx']['error']}"
        case _:
            verb = "has" if len(loc) > 2 and isinstance(loc[-1], int) else "is"
            right = _field(model, loc).description
            return f"{where} {verb} {_shown(loc, mistake['input'])}; it must be {right}"


def _where(raw: dict[str, Any], loc: Loc) -> str:
    """`[stream] unit_ms`, `[[meter]] "main" tcp.port`; a meter without a name has a number."""
    head, rest = str(loc[0]), list(loc[1:])
    place = f"[{head}]"
    if rest and isinstance(number := rest[0], int):
        meter = raw[head][number]
        name = meter.get("name") if isinstance(meter, dict) else None
        place = f"[[{head}]] {json.dumps(name) if isinstance(name, str) else f'number {number + 1}'}"
    elif not rest and isinstance(raw.get(head), str | int | float):
        return head
    key = ".".join(part for part in rest if isinstance(part, str))
    return f"{place} {key}".rstrip()


def _unknown(raw: dict[str, Any], model: type[BaseModel], loc: Loc) -> str:
    key = str(loc[-1])
    # The value of an unknown key is never shown: it may be a secret under any name.
    if _SECRET_KEY.search(key):
        return (
            f"{_where(raw, loc)} must not be here: this file may not hold secrets. Put them into a file that "
            "only the gateway can read, and give its path as credentials in [store]"
        )
    siblings = _fields(_model(model, loc[:-1]))
    if near := difflib.get_close_matches(key, siblings, n=1):
        return f"{_where(raw, loc)} is unknown; did you mean {near[0]}?"
    homes = [
        name
        for name, field in _fields(model).items()
        if (inner := _inner(field)) is not None and key in _fields(inner)
    ]
    if homes:
        return f"{_where(raw, loc)} is unknown; it belongs in {_where(raw, (homes[0],))}"
    return f"{_where(raw, loc)} is unknown; known here are {', '.join(siblings)}"


def _shown(loc: Loc, value: object) -> str:
    """A value as TOML writes it. A value that is not plain, or that could hold a password, is only
    described."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list) and (
        loc[0] == "store" or any(isinstance(item, dict | list) for item in value)
    ):
        return "a list"
    if (
        isinstance(value, str)
        and loc[0] in ("store", "updates")
        and (loc[-1] == "credentials" or re.search(r"[\s@?=]", value))
    ):
        return "a value not shown here, since it may hold a secret"
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # of more than 4300 digits
        return "a huge number"


def _field(model: type[BaseModel], loc: Loc) -> FieldInfo:
    """The field that `loc` names; for an item of a list, the list's."""
    names = [part for part in loc if isinstance(part, str)]
    return _fields(_model(model, tuple(names[:-1])))[names[-1]]


def _model(model: type[BaseModel], loc: Loc) -> type[BaseModel]:
    """The model of the table that `loc` names."""
    for part in loc:
        if isinstance(part, str):
            inner = _inner(_fields(model)[part])
            assert inner is not None
            model = inner
    return model


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the keys of the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _inner(field: FieldInfo) -> type[BaseModel] | None:
    """The model that a field holds: itself, optionally, or as items of a tuple."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
