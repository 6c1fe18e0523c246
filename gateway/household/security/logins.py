"""The browsers that are logged in: each by a cookie with 32 random bytes, of which only the SHA-256 is kept.

They survive restarts. A login ends 30 days after it was last used, with a change of the password, or when the
household ends it on the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from gateway.errors import Unavailable
from gateway.host.clock import Clock, unix_ms
from gateway.host.fault_log import FaultLog
from gateway.host.files import write_durably
from gateway.web.tokens import TOKEN_BYTES, form_token, new_token

IDLE_MS = 30 * 24 * 3_600_000
"""A login that was not used for so long has ended."""
_NOTED_MS = 3_600_000  # how exactly the last use is kept on disk
_MOST = 100


@dataclass(slots=True)
class Login:
    """A browser that is logged in; times are Unix ms. `id` names it on the page."""

    id: str
    browser: str
    address: str
    began_ms: int
    used_ms: int
    noted_ms: int = 0
    notice: str = ""
    """What the next page says first, once."""


_LOGINS = TypeAdapter(dict[str, Login])
_LOG = logging.getLogger(__name__)


class Logins:
    """Begins logins, finds them by their tokens, lists and ends them; `logins.json` in the state folder."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self._path = state / "logins.json"
        self._clock = clock
        self._faults = FaultLog(clock, _LOG.warning, _LOG.info)
        self._key, self._logins = self._read()

    def begin(self, browser: str, address: str) -> str:
        """A login's token. Where there are a hundred logins, the one that was used longest ago ends. One that
        the disk does not take ends with this program."""
        now_ms = unix_ms(self._clock)
        token = new_token()
        self._drop_idle(now_ms)
        while len(self._logins) >= _MOST:
            del self._logins[min(self._logins, key=lambda digest: self._logins[digest].used_ms)]
        shown = (
            browser[:200].encode(errors="replace").decode()
        )  # what is no text comes as halves of characters
        self._logins[_digest(token)] = Login(secrets.token_hex(8), shown, address, now_ms, now_ms, now_ms)
        self._try_to_write()
        return token

    def find(self, token: str) -> Login | None:
        """The login of a token, used now; None where there is none, or it has ended."""
        login = self._logins.get(_digest(token))
        now_ms = unix_ms(self._clock)
        if login is None:
            return None
        if now_ms - login.used_ms >= IDLE_MS:
            self._drop_idle(now_ms)
            self._try_to_write()
            return None
        login.used_ms = now_ms
        if now_ms - login.noted_ms >= _NOTED_MS:
            login.noted_ms = now_ms
            self._try_to_write()
        return login

    def all(self) -> list[Login]:
        """All logins, the last used first."""
        self._drop_idle(unix_ms(self._clock))
        return sorted(self._logins.values(), key=lambda login: -login.used_ms)

    def end(self, login_id: str) -> None:
        """End a login. Unavailable where the disk does not take that: it is ended until this program starts
        anew."""
        self._logins = {digest: login for digest, login in self._logins.items() if login.id != login_id}
        self._write_end()

    def end_all(self, but: Login | None = None) -> None:
        """End all logins, but one; Unavailable as `end`."""
        self._logins = {digest: login for digest, login in self._logins.items() if login is but}
        self._write_end()

    def form_token(self, token: str) -> str:
        """What the forms of the browser with this cookie carry, so that no other site's form is taken."""
        return form_token(self._key, token)

    def _drop_idle(self, now_ms: int) -> None:
        self._logins = {
            digest: login for digest, login in self._logins.items() if now_ms - login.used_ms < IDLE_MS
        }

    def _read(self) -> tuple[bytes, dict[str, Login]]:
        try:
            kept = json.loads(self._path.read_bytes())
            key, logins = (
                base64.b64decode(kept["key"], validate=True),
                _LOGINS.validate_python(kept["logins"]),
            )
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            key, logins = b"", {}
        return (key, logins) if len(key) == TOKEN_BYTES else (secrets.token_bytes(TOKEN_BYTES), {})

    def _write(self) -> None:
        logins = {
            digest: {
                "id": login.id,
                "browser": login.browser,
                "address": login.address,
                "began_ms": login.began_ms,
                "used_ms": login.used_ms,
            }
            for digest, login in self._logins.items()
        }
        kept = {"key": base64.b64encode(self._key).decode(), "logins": logins}
        write_durably(self._path, json.dumps(kept).encode())

    def _write_end(self) -> None:
        try:
            self._write()
        except OSError as error:
            raise Unavailable(
                f"it is done, but {self._path} cannot be written: {error.strerror}. Once this program starts "
                "anew it is as before: do it again when the disk is in order"
            ) from None

    def _try_to_write(self) -> None:
        try:
            self._write()
        except OSError as error:
            self._faults.report(
                f"{self._path} cannot be written, so logins end with this program: {error.strerror}"
            )
        else:
            self._faults.clear("logins are kept again")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
