"""The OpenAPI 3.1 description of the HTTP API, made of its routes and documents."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from gateway import __version__
from gateway.registrar.routes import Query, Route
from gateway.registry.documents import PREFIX, Document, ErrorAnswer

_REF = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request cannot be right.",
    401: "The password is wrong, or there is no such session.",
    403: "The request is refused.",
    404: "There is no such thing.",
    409: "It stands against what is there already.",
    413: "The request is too large.",
    429: "Too many attempts: the header Retry-After says how many seconds to wait.",
    500: "The registrar failed, and has logged where.",
    503: "A part does not answer now: try again later.",
}


def describe(routes: Iterable[Route], name: str = "Registrar") -> dict[str, Any]:
    """The description as a JSON document."""
    routes = list(routes)
    models: dict[tuple[type[Document], JsonSchemaMode], None] = {(ErrorAnswer, "serialization"): None}
    for route in routes:
        models[route.answers, "serialization"] = None
        if route.asks is not None:
            models[route.asks, "validation"] = None
    _, schemas = models_json_schema(list(models), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{name}: a registrar of privacy gateways",
            "version": __version__,
            "description": "Times are Unix ms, ids hexadecimal, bytes base64. An error has a kind and a "
            "sentence.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"session": {"type": "http", "scheme": "bearer"}},
            "responses": {f"Error{status}": _error(status, text) for status, text in _ERRORS.items()},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {"$ref": _REF.format(model=route.answers.__name__)}
    if route.many:
        answer = {"type": "array", "items": answer}
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "description": route.description,
        "responses": {
            "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
            **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in _ERRORS},
        },
    }
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    if route.query is not None:
        parameters += _query(route.query)
    if parameters:
        operation["parameters"] = parameters
    if route.asks is not None:
        schema = {"$ref": _REF.format(model=route.asks.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.roles:
        operation["security"] = [{"session": []}]
    return operation


def _query(query: type[Query]) -> list[dict[str, Any]]:
    schema = query.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": form}
        for name, form in schema["properties"].items()
    ]


def _error(status: int, text: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model="ErrorAnswer")}
    found: dict[str, Any] = {"description": text, "content": {"application/json": {"schema": schema}}}
    if status == 429:
        found["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return found
