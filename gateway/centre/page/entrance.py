"""Who may see the pages: whoever has the password, or without one, people at this machine.

Without a password a request must name this machine: another site can give its own name this machine's address
(DNS rebinding), and its script would then read the pages.
"""

from __future__ import annotations

import hmac
import unicodedata
from pathlib import Path

from aiohttp import web

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.host.files import read_private
from gateway.web.hosts import Hosts
from gateway.web.limits import Limits
from gateway.web.logins import Logins
from gateway.web.refusals import NotAuthenticated

SHORTEST = 10
"""The fewest characters of a password."""
COOKIE = "centre"


class Entrance:
    """Lets requests in. Who fails often waits ever longer."""

    def __init__(self, clock: Clock, password: str | None) -> None:
        self.logins = Logins[str](clock)
        self._password = None if password is None else _bytes(password)
        self._limits = Limits(clock, free=10, most_s=900)
        self._hosts = Hosts(())

    @property
    def open(self) -> bool:
        """Whether no password is asked for."""
        return self._password is None

    def named(self, request: web.Request) -> bool:
        """Whether a request may be answered at all."""
        return not self.open or self._hosts.accept(request)

    def admits(self, token: str) -> bool:
        """Whether the browser with this cookie may see the pages; it was used by that."""
        return self.open or self.logins.find(token) is not None

    def log_in(self, password: str, address: str) -> str:
        """A login's token. NotAuthenticated for a wrong password; TooMany for who tried too often."""
        assert self._password is not None
        self._limits.charge(address)
        if not hmac.compare_digest(_bytes(password), self._password):
            raise NotAuthenticated("the password is wrong")
        self._limits.forget(address)
        return self.logins.begin(address)


def read_password(path: Path) -> str:
    """The password of a file. UsageError where it cannot be read, is open to every user, or too short."""
    try:
        text = read_private(path, "the pages' password").decode().strip()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8: expected the pages' password alone") from None
    if len(text) < SHORTEST or not text.isprintable():
        raise UsageError(f"{path}: expected one line, a password of at least {SHORTEST} characters")
    return text


def _bytes(password: str) -> bytes:
    return unicodedata.normalize("NFC", password).encode(errors="replace")
