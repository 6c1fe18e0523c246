"""The templates, and times and keys as a person reads them."""

from __future__ import annotations

from contextlib import suppress
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel

from gateway.stream.times import moment


def environment() -> Environment:
    """The templates' environment: everything is escaped, and a name that is not given is an error."""
    made = Environment(
        loader=PackageLoader("gateway.registrar.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["time"] = time_element
    made.globals["page_link"] = page_link
    return made


def asset(name: str) -> str:
    """A file that the pages refer to."""
    return resources.files("gateway.registrar.page").joinpath(name).read_text(encoding="utf-8")


def page_link(query: BaseModel, page: int) -> str:
    """The address of a page of the same table, relative to it."""
    return "?" + urlencode({**query.model_dump(exclude_defaults=True), "page": page})


def time_element(unix_ms: int | None) -> Any:
    """A moment in this machine's zone, with its offset, to the second; a dash for None."""
    if unix_ms is None:
        return Markup("–")
    when = moment(unix_ms, 1)
    with suppress(OverflowError, ValueError, OSError):  # a year that the zone does not reach stays UTC
        when = when.astimezone()
    exact = when.isoformat(timespec="seconds")
    day, clock = exact[:10], f"{exact[11:19]} {exact[19:]}"
    return Markup('<time datetime="{}"><span>{}</span> <span>{}</span></time>').format(exact, day, clock)
