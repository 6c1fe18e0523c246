"""The JSON Schema of `gateway status --json`: made of the typed documents, and true of what they become."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.documents import Status
from tests.control.make_schema import PATH, made
from tests.support.statuses import STATUSES, strict

SCHEMA: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))


def test_the_published_schema_is_that_of_the_documents() -> None:
    assert PATH.read_text(encoding="utf-8") == made(), "run: python -m tests.control.make_schema"


def test_it_is_a_schema_and_says_what_each_document_is() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    for name, part in {"Status": SCHEMA, **SCHEMA["$defs"]}.items():
        assert part["description"], name
        assert part["required"], name


@given(STATUSES)
def test_every_status_fits_it_and_comes_back(status: Status) -> None:
    answered = json.loads(json.dumps(status.model_dump(exclude_unset=True)))
    strict(SCHEMA).validate(answered)
    assert Status.model_validate_json(json.dumps(answered)) == status


@given(STATUSES, st.data())
def test_a_status_without_what_it_must_have_does_not_fit(status: Status, data: st.DataObject) -> None:
    answered = json.loads(json.dumps(status.model_dump(exclude_unset=True)))
    del answered[data.draw(st.sampled_from(SCHEMA["required"]))]
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(SCHEMA, answered)


def test_a_newer_gateways_field_is_no_fault() -> None:
    assert "additionalProperties" not in {key for key in SCHEMA if key != "$defs"}
