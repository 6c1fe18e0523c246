"""Forms as they come in: from a page of this server, from the browser that it was sent to, and small."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from gateway.errors import Refused, UsageError
from gateway.web.bodies import read_body

TOKEN_FIELD = "form"  # noqa: S105 - the field's name
_MOST_BYTES = 2**13
_MOST_FIELDS = 10
_FORM = "application/x-www-form-urlencoded"


async def read_form(request: web.Request, expected_token: str) -> Mapping[str, str]:
    """The fields of a form that was posted. Refused where another site's page sent it, or it is not one that
    this browser was given; UsageError where it is no form."""
    check_origin(request)
    if request.content_type != _FORM:
        raise UsageError(f"the request is not a form: expected {_FORM}")
    body = await read_body(request, _MOST_BYTES)
    try:
        fields = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise UsageError("the request is not a form: send it with a browser") from None
    check_token(fields.get(TOKEN_FIELD, ""), expected_token)
    return fields


def check_token(given: str, expected: str) -> None:
    """Refused for a form of another browser than the one that this server gave the form to."""
    # A header's bytes that are not UTF-8 come as halves of characters.
    if not hmac.compare_digest(given.encode(errors="replace"), expected.encode()):
        raise Refused(
            "the form is too old, is not from this page, or the browser keeps no cookies: open the page "
            "again, then send it"
        )


def check_origin(request: web.Request) -> None:
    """Refused unless the browser says that the form is of this very server. All that are in use say so of
    every POST (Fetch standard, "append a request Origin header"), under a policy that lets them."""

    def refuse() -> NoReturn:
        raise Refused(
            "the form comes from another site: open the page itself. Behind a proxy, that must "
            "pass the Host header on"
        )

    try:
        origin = urlsplit(request.headers.get("Origin", ""))
        same = origin.scheme in ("http", "https") and origin.netloc.lower() == request.host.lower()
    except ValueError:
        refuse()
    if not same or request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        refuse()
