"""Statuses of all kinds, and the schema made strict, for tests of what is said of a running gateway."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema_rs
from hypothesis import strategies as st

from gateway.control.documents import (
    DiskStatus,
    DoubtStatus,
    HeldRegisterStatus,
    HoldStatus,
    MeterStatus,
    RegistrationStatus,
    ReleaseStatus,
    ScaleStatus,
    Status,
    StoreStatus,
)

MARK = "sauna"
"""In every text that an owner, a meter or an error may have filled in."""
_TEXT = st.text(max_size=8).map(lambda text: f"{text}{MARK}")
_INT = st.integers(0, 2**53)


def _some(kind: type, /, **others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Documents of a kind, each with some of its fields that may be left out."""
    fields = kind.model_fields  # type: ignore[attr-defined]
    given = {name: others[name] for name in fields}
    must = {name: one for name, one in given.items() if fields[name].is_required()}
    may = {name: one for name, one in given.items() if name not in must}
    return st.fixed_dictionaries(must, optional=may).map(lambda values: kind(**values))


def _all(kind: type, /, **others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """As `_some`, with a text, a number or a truth where nothing else is said of a field."""
    by_type = {"str": _TEXT, "int": _INT, "bool": st.booleans()}
    guessed = {}
    for name, kind_of in kind.__annotations__.items():
        plain = str(kind_of).replace(" | None", "")
        if plain in by_type:
            guessed[name] = by_type[plain] | st.none() if "None" in str(kind_of) else by_type[plain]
    return _some(kind, **(guessed | others))


_HELD = _all(
    HeldRegisterStatus,
    counts_mwh=st.dictionaries(st.sampled_from(["exchange", "correction", "before"]), _INT),
)
_HOLD = _all(HoldStatus, registers=st.lists(_HELD, max_size=3).map(tuple))
METERS = _all(
    MeterStatus,
    hold=_HOLD,
    scale=_all(ScaleStatus),
)
_ASSURANCE = st.sampled_from(["tpm", "software"])
STATUSES: st.SearchStrategy[Status] = _all(
    Status,
    version=st.just("2026.11.1"),
    assurance=_ASSURANCE,
    store=_all(StoreStatus),
    meters=st.lists(METERS, max_size=3).map(tuple),
    faults=st.lists(_TEXT, max_size=3).map(tuple),
    doubts=st.lists(_all(DoubtStatus), max_size=3).map(tuple),
    commands=st.lists(_TEXT, max_size=3).map(tuple),
    registration=_all(RegistrationStatus, assurance=_ASSURANCE, notices=st.just((MARK,))),
    release=_all(ReleaseStatus, name=st.just('a "release" \\ 1'), slot=st.sampled_from(["a", "b", None])),
    disk=_all(DiskStatus),
)


def strict(schema: dict[str, Any]) -> Any:
    """A validator that accepts no field which the schema does not name."""
    closed = copy.deepcopy(schema)
    for part in (closed, *closed["$defs"].values()):
        part["additionalProperties"] = False
    return jsonschema_rs.validator_for(closed)
