"""Logins of operators: a cookie with a random token, good until an hour has passed without a request.

They are kept in memory, by the SHA-256 of their token: a restart ends them all. A login also ends with its
account, and with the password that began it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from gateway.host.clock import Clock
from gateway.registrar.access import Access
from gateway.registrar.accounts import WRONG, Accounts, normal
from gateway.registrar.database import Database
from gateway.registrar.tables import accounts
from gateway.web.refusals import NotAuthenticated
from gateway.web.tokens import form_token, new_token

IDLE_S = 3600
_ACCOUNT = select(accounts.c.role, accounts.c.password).where(accounts.c.id == bindparam("account"))


@dataclass(slots=True)
class Login:
    """An operator who is logged in. `notice` is what the next page says first, once."""

    account_id: int
    name: str
    password: bytes
    used_ns: int
    notice: str = ""


class Logins:
    """Begins logins, finds them by their tokens, and ends them."""

    def __init__(self, database: Database, access: Access, accounts: Accounts, clock: Clock) -> None:
        self._database = database
        self._access = access
        self._accounts = accounts
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._logins: dict[bytes, Login] = {}

    async def begin(self, name: str, password: str, address: str) -> str:
        """A login's token. NotAuthenticated, and recorded, unless it is an operator's name and password;
        TooMany for those who failed too often."""
        name = normal(name)
        async with self._access.attempt("password", address, name) as attempt:
            account = await self._accounts.authenticate(name, password, attempt)
            digest = await self._password(account.id)
            if digest is None:
                raise NotAuthenticated(WRONG)
        now_ns = self._clock.monotonic()
        for key in [key for key, login in self._logins.items() if self._idle(login)]:
            del self._logins[key]
        token = new_token()
        self._logins[_digest(token)] = Login(account.id, account.name, digest, now_ns)
        return token

    async def find(self, token: str) -> Login | None:
        """The login of a token, used now; None where there is none, or it has ended."""
        login = self._logins.get(_digest(token))
        if login is None:
            return None
        digest = await self._password(login.account_id)
        if self._idle(login) or digest is None or not hmac.compare_digest(digest, login.password):
            self.end(token)
            return None
        login.used_ns = self._clock.monotonic()
        return login

    def end(self, token: str) -> None:
        """End a login."""
        self._logins.pop(_digest(token), None)

    def form_token(self, token: str) -> str:
        """What the forms of the browser with this cookie carry, so that no other site's form is taken."""
        return form_token(self._key, token)

    def _idle(self, login: Login) -> bool:
        return self._clock.monotonic() - login.used_ns >= IDLE_S * 1_000_000_000

    async def _password(self, account_id: int) -> bytes | None:
        """A digest of the account's present password; None unless it is an operator's."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_ACCOUNT, {"account": account_id})).one_or_none()
        return None if row is None or row.role != "operator" else _digest(row.password)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
