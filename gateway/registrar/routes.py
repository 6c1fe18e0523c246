"""Routes of the HTTP API: each is a function, whose signature and docstring the server and the OpenAPI
description are both made of.

    @routes.post("/me/requests/{id}", "gateway")
    async def decide(call: Call, asked: GrantRequestState) -> GrantRequestAnswer:
        '''Say what the household decided on a request.'''

`asked` is the JSON body and `query` the query string, both checked before the function runs; what it returns
is the answer. Parts of a path in braces are 16 bytes in hexadecimal. A route that names roles takes a session
of such a key only.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, ValidationError

from gateway.errors import UsageError
from gateway.registrar.service import Registrar
from gateway.registrar.sessions import Session
from gateway.registry.documents import Asked, Document

MOST_BYTES = 2**16
"""The most that a request's body may have, unless its route says more."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request under way: the registrar, the client's address, the path's ids, and the session, if any."""

    registrar: Registrar
    address: str
    ids: Mapping[str, str]
    found: Session | None = None

    @property
    def session(self) -> Session:
        """The session, on a route that takes one."""
        assert self.found is not None, "the route names no role"
        return self.found

    def id(self, name: str) -> bytes:
        """The 16 bytes that the path names; UsageError for anything else."""
        text = self.ids[name]
        if not re.fullmatch("[0-9a-f]{32}", text):
            raise UsageError(f"the path's {name} is invalid: expected 32 hexadecimal digits in small letters")
        return bytes.fromhex(text)


class Query(Document):
    """What a query string may have."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=False, extra="forbid")

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> Self:
        """The query in decoded text; UsageError says what is wrong, and repeats no value."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise UsageError(f"the query's {place}: {first['msg']}") from None


Handler = Callable[..., Awaitable[Document | tuple[Document, ...]]]


@dataclass(frozen=True, slots=True)
class Route:
    """A route: `asks` is the form of its body, `query` that of its query string, `answers` that of its
    answer, a list of them where `many`."""

    method: str
    path: str
    roles: tuple[str, ...]
    most_bytes: int
    handler: Handler
    asks: type[Asked] | None
    query: type[Query] | None
    answers: type[Document]
    many: bool

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return " ".join((self.handler.__doc__ or "").split()).partition(". ")[0].rstrip(".") + "."

    @property
    def description(self) -> str:
        """The docstring."""
        return " ".join((self.handler.__doc__ or "").split())


class Routes:
    """A list of routes, which `get`, `post` and `put` add to."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def get(self, path: str, *roles: str) -> Callable[[Handler], Handler]:
        """A route for GET."""
        return self._add("GET", path, roles, MOST_BYTES)

    def post(self, path: str, *roles: str, most_bytes: int = MOST_BYTES) -> Callable[[Handler], Handler]:
        """A route for POST."""
        return self._add("POST", path, roles, most_bytes)

    def put(self, path: str, *roles: str, most_bytes: int = MOST_BYTES) -> Callable[[Handler], Handler]:
        """A route for PUT."""
        return self._add("PUT", path, roles, most_bytes)

    def _add(
        self, method: str, path: str, roles: tuple[str, ...], most_bytes: int
    ) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            hints: dict[str, Any] = get_type_hints(handler)
            answers = hints["return"]
            many = get_origin(answers) is tuple
            self._routes.append(
                Route(
                    method=method,
                    path=path,
                    roles=roles,
                    most_bytes=most_bytes,
                    handler=handler,
                    asks=hints.get("asked"),
                    query=hints.get("query"),
                    answers=get_args(answers)[0] if many else answers,
                    many=many,
                )
            )
            return handler

        return add
