"""Accounts: who may register, made by the operator."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.errors import NotFound, UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.registrar.access import Attempt
from gateway.registrar.cards import revoke_all
from gateway.registrar.database import Database
from gateway.registrar.tables import NAME_LENGTH, accounts, holders
from gateway.web.passwords import Passwords, new_password
from gateway.web.refusals import NotAuthenticated

AccountRole = Literal["household", "provider", "operator"]
ACCOUNT_ROLES: tuple[AccountRole, ...] = get_args(AccountRole)
LEAST_PASSWORD = 12
_BY_NAME = select(accounts).where(accounts.c.name == bindparam("called"))
WRONG = "the user name or the password is wrong"


@dataclass(frozen=True, slots=True)
class Account:
    """An account; `created_ms` in Unix ms."""

    id: int
    name: str
    role: AccountRole
    created_ms: int


class Accounts:
    """The registrar's accounts."""

    def __init__(self, database: Database, passwords: Passwords, clock: Clock) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock

    async def add(self, name: str, role: AccountRole, password: str | None = None) -> str:
        """Add an account; its password, which is made up where none is given. UsageError for a name that
        another account has or that is none, and for a short password."""
        name = checked_name(name)
        password = new_password() if password is None else _checked_password(password)
        values = {"password": await self._passwords.digest(password), "created_ms": unix_ms(self._clock)}
        async with self._database.writing() as connection:
            try:
                await connection.execute(insert(accounts).values(name=name, role=role, **values))
            except IntegrityError:
                raise UsageError(f"there is an account {name!r} already: choose another name") from None
        return password

    async def all(self) -> list[Account]:
        """All accounts, by name."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(accounts).order_by(accounts.c.name))
        return [Account(row.id, row.name, row.role, row.created_ms) for row in rows]

    async def remove(self, name: str) -> None:
        """Remove an account with its cards, streams and sessions; their certificates are revoked. NotFound
        where there is none."""
        name = normal(name)
        async with self._database.writing() as connection:
            account_id = (
                await connection.execute(select(accounts.c.id).where(accounts.c.name == name))
            ).scalar()
            if account_id is None:
                raise _no_account(name)
            kids = select(holders.c.kid).where(holders.c.account_id == account_id)
            for kid in (await connection.execute(kids)).scalars().all():
                await revoke_all(connection, kid, unix_ms(self._clock))
            await connection.execute(delete(accounts).where(accounts.c.id == account_id))

    async def set_password(self, name: str, password: str | None = None) -> str:
        """Replace an account's password; the new one, which is made up where none is given."""
        name = normal(name)
        password = new_password() if password is None else _checked_password(password)
        digest = await self._passwords.digest(password)
        async with self._database.writing() as connection:
            done = await connection.execute(
                update(accounts).where(accounts.c.name == name).values(password=digest)
            )
        if not done.rowcount:
            raise _no_account(name)
        return password

    async def authenticate(self, name: str, password: str, attempt: Attempt) -> Account:
        """The account of this name and password. NotAuthenticated says the same, and takes as long, for an
        unknown name and for a wrong password. `attempt` learns which account it concerns."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_BY_NAME, {"called": normal(name)})).one_or_none()
        if row is not None:
            attempt.account_id = row.id
        right, renewed = await self._passwords.check(None if row is None else row.password, password)
        if row is None or not right:
            raise NotAuthenticated(WRONG)
        if renewed is not None:
            async with self._database.writing() as connection:
                unchanged = (accounts.c.id == row.id) & (accounts.c.password == row.password)
                await connection.execute(update(accounts).where(unchanged).values(password=renewed))
        return Account(row.id, row.name, row.role, row.created_ms)


def normal(name: str) -> str:
    """A name in Unicode's composed form: one form, however the keyboard made it."""
    return unicodedata.normalize("NFC", name)


def checked_name(name: str) -> str:
    """A name for an account; UsageError for one that is none."""
    name = normal(name)
    if not 0 < len(name) <= NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise UsageError(
            f"an account's name has 1 to {NAME_LENGTH} printable characters, with no space at its ends"
        )
    return name


def _checked_password(password: str) -> str:
    if len(password) < LEAST_PASSWORD:
        raise UsageError(f"the password is too short: expected at least {LEAST_PASSWORD} characters")
    return password


def _no_account(name: str) -> NotFound:
    return NotFound(f"there is no account {name!r}: `gateway registrar account list` shows them")
