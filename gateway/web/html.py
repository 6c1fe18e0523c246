"""The templates of operators' pages, and times as a person reads them.

The templates that all operators' pages have are in this room: `base.html` and `error.html`. What they show is
in `templates/base.html`; `operator.css` is their style sheet.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel

from gateway.errors import GatewayError

_ROOM = "gateway.web"
STYLE = "operator.css"
"""The style sheet of operators' pages, an `asset` of this room."""


def environment(package: str) -> Environment:
    """The environment of a package's templates, and of those in this room: everything is escaped, and a name
    that is not given is an error."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(_ROOM)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["time"] = time_element
    made.globals["page_link"] = page_link
    return made


def asset(name: str, package: str = _ROOM) -> str:
    """A file that pages refer to; without a package, one of this room."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def page_link(query: BaseModel, page: int) -> str:
    """The address of a page of the same table, relative to it."""
    return "?" + urlencode({**query.model_dump(exclude_defaults=True), "page": page})


def sentence(error: GatewayError) -> str:
    """An error's text as a sentence of a page."""
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def time_element(unix_ms: int | None) -> Any:
    """A moment in this machine's zone, with its offset, to the second; a dash for None."""
    if unix_ms is None:
        return Markup("–")
    when = datetime.max.replace(tzinfo=UTC)
    with suppress(OverflowError, ValueError, OSError):  # a year that the calendar or the zone does not reach
        when = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=unix_ms)
        when = when.astimezone()
    exact = when.isoformat(timespec="seconds")
    day, clock = exact[:10], f"{exact[11:19]} {exact[19:]}"
    return Markup('<time datetime="{}"><span>{}</span> <span>{}</span></time>').format(exact, day, clock)
