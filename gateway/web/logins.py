"""Logins in memory, each by a cookie with a random token, good until an hour has passed without a request.

They are kept by the SHA-256 of their token: a restart ends them all.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

from gateway.host.clock import Clock
from gateway.web.tokens import TOKEN_FORM, form_token, new_token

_IDLE_NS = 3600 * 10**9

Who = TypeVar("Who")


@dataclass(slots=True)
class _Kept(Generic[Who]):
    who: Who
    used_ns: int


class Logins(Generic[Who]):
    """The logins of one server, with what it keeps of each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._logins: dict[str, _Kept[Who]] = {}

    def begin(self, who: Who) -> str:
        """A new login's token."""
        now_ns = self._clock.monotonic()
        self._logins = {key: one for key, one in self._logins.items() if now_ns - one.used_ns < _IDLE_NS}
        token = new_token()
        self._logins[_digest(token)] = _Kept(who, now_ns)
        return token

    def find(self, token: str) -> Who | None:
        """The login of a token, used now; None where there is none, or it has ended."""
        kept, now_ns = self._logins.get(_digest(token)), self._clock.monotonic()
        if kept is None or now_ns - kept.used_ns >= _IDLE_NS:
            self.end(token)
            return None
        kept.used_ns = now_ns
        return kept.who

    def end(self, token: str) -> None:
        """End a login."""
        self._logins.pop(_digest(token), None)

    def form_token(self, token: str) -> str:
        """What the forms of the browser with this cookie carry, so that no other site's form is taken."""
        return form_token(self._key, token)


def read_cookie(request: web.Request, name: str) -> str:
    """The token in a cookie; empty where there is none, or it is not a token of ours."""
    value = request.cookies.get(name, "")
    return value if TOKEN_FORM.fullmatch(value) else ""


def set_cookie(request: web.Request, answer: web.Response, name: str, token: str, path: str) -> None:
    """For this browser's session, for no script, and for no request that another site begins; over TLS alone
    where the browser speaks TLS, to this server or to the proxy before it."""
    secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    answer.set_cookie(name, token, path=path, secure=secure, httponly=True, samesite="Strict")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
