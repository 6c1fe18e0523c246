"""What forms were answered, kept for a while so that a browser finds it under an address of its own.

A page that answers a form by itself cannot be gone back to: the browser would have to send the form again. So
it is kept in memory, and the browser is led to it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web

from gateway.host.clock import Clock, unix_ms
from gateway.household.security.logins import Login

PATH = "/answers/"
_KEPT_MS = 10 * 60_000
_MOST = 24
_MOST_BYTES = 1_000_000
_HEADERS = ("Retry-After", "Allow")


@dataclass(frozen=True, slots=True)
class _Kept:
    owner: bytes
    when_ms: int
    status: int
    headers: dict[str, str]
    body: bytes


class Answers:
    """The answers of the last ten minutes, each for the browser whose form it answered. Those to strangers
    push out none of those to who is logged in."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[bool, OrderedDict[str, _Kept]] = {False: OrderedDict(), True: OrderedDict()}

    def keep(self, token: str, login: Login | None, answer: web.Response) -> str:
        """Keep a page, and give the path at which the browser with this cookie finds it."""
        pool, now_ms = self._kept[login is not None], unix_ms(self._clock)
        headers = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
        body = answer.body if isinstance(answer.body, bytes) else b""
        name = secrets.token_urlsafe(16)
        pool[name] = _Kept(_owner(token, login), now_ms, answer.status, headers, body)
        for other in list(pool):
            size = sum(len(one.body) for one in pool.values())
            old = not 0 <= now_ms - pool[other].when_ms < _KEPT_MS
            if other != name and (old or len(pool) > _MOST or size > _MOST_BYTES):
                del pool[other]
        return f"{PATH}{name}"

    def find(self, name: str, token: str, login: Login | None) -> web.Response | None:
        """The page of this name; None where it is another browser's, of another login, or no longer kept."""
        kept = self._kept[login is not None].get(name)
        if kept is None or kept.owner != _owner(token, login):
            return None
        if not 0 <= unix_ms(self._clock) - kept.when_ms < _KEPT_MS:
            return None
        return web.Response(
            body=kept.body,
            status=kept.status,
            headers=kept.headers,
            content_type="text/html",
            charset="utf-8",
        )


def is_page(answer: web.StreamResponse) -> bool:
    """Whether it is a page, and neither a way to one nor a file."""
    return (
        isinstance(answer, web.Response)
        and answer.content_type == "text/html"
        and not 300 <= answer.status < 400
        and "Content-Disposition" not in answer.headers
    )


def _owner(token: str, login: Login | None) -> bytes:
    """Whose answers these are; no cookie is kept."""
    return hashlib.sha256(f"{token} {login.id if login else ''}".encode()).digest()
