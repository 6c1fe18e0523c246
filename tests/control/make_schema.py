"""Makes gateway/control/status.schema.json, the JSON Schema of the status, of the typed documents:

.venv/bin/python -m tests.control.make_schema

Pydantic's own schema says nothing of the strings below fields: they are taken from the source.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any

from gateway.control import documents
from gateway.control.documents import Status

PATH = Path(documents.__file__).with_name("status.schema.json")


def made() -> str:
    """The file's text."""
    schema = Status.model_json_schema(mode="serialization")
    described = _descriptions()
    for name, part in {"Status": schema, **schema["$defs"]}.items():
        for field, about in part.get("properties", {}).items():
            about.pop("title", None)
            if (name, field) in described:
                about["description"] = described[name, field]
        if "description" in part:
            part["description"] = _one_line(part["description"])
    head: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(head | schema, indent=2, ensure_ascii=False) + "\n"


def _descriptions() -> dict[tuple[str, str], str]:
    found = {}
    for one in ast.parse(inspect.getsource(documents)).body:
        if isinstance(one, ast.ClassDef):
            for field, below in zip(one.body, one.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(field.target, ast.Name)
                    and isinstance(below, ast.Expr)
                    and isinstance(below.value, ast.Constant)
                ):
                    found[one.name, field.target.id] = _one_line(str(below.value.value))
    return found


def _one_line(text: str) -> str:
    return re.sub(r"\bNone\b", "null", " ".join(text.split()))


if __name__ == "__main__":
    PATH.write_text(made(), encoding="utf-8")
