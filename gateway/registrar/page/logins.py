"""Logins of operators, in memory; one also ends with its account, and with the password that began it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from gateway.host.clock import Clock
from gateway.registrar.access import Access
from gateway.registrar.accounts import WRONG, Accounts, normal
from gateway.registrar.database import Database
from gateway.registrar.tables import accounts
from gateway.web import logins
from gateway.web.refusals import NotAuthenticated

_ACCOUNT = select(accounts.c.role, accounts.c.password).where(accounts.c.id == bindparam("account"))


@dataclass(slots=True)
class Login:
    """An operator who is logged in. `notice` is what the next page says first, once."""

    account_id: int
    name: str
    password: bytes
    notice: str = ""


class Logins:
    """Begins logins, finds them by their tokens, and ends them."""

    def __init__(self, database: Database, access: Access, accounts: Accounts, clock: Clock) -> None:
        self._database = database
        self._access = access
        self._accounts = accounts
        self._logins = logins.Logins[Login](clock)
        self.form_token = self._logins.form_token
        self.end = self._logins.end

    async def begin(self, name: str, password: str, address: str) -> str:
        """A login's token. NotAuthenticated, and recorded, unless it is an operator's name and password;
        TooMany for those who failed too often."""
        name = normal(name)
        async with self._access.attempt("password", address, name) as attempt:
            account = await self._accounts.authenticate(name, password, attempt)
            digest = await self._password(account.id)
            if digest is None:
                raise NotAuthenticated(WRONG)
        return self._logins.begin(Login(account.id, account.name, digest))

    async def find(self, token: str) -> Login | None:
        """The login of a token, used now; None where there is none, or it has ended."""
        login = self._logins.find(token)
        if login is None:
            return None
        digest = await self._password(login.account_id)
        if digest is None or not hmac.compare_digest(digest, login.password):
            self._logins.end(token)
            return None
        return login

    async def _password(self, account_id: int) -> bytes | None:
        """A digest of the account's present password; None unless it is an operator's."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_ACCOUNT, {"account": account_id})).one_or_none()
        return None if row is None or row.role != "operator" else _digest(row.password)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
