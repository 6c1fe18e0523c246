"""Accounts and their passwords."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from argon2 import PasswordHasher
from argon2.profiles import RFC_9106_LOW_MEMORY
from sqlalchemy import select

from gateway.errors import NotFound, UsageError
from gateway.registrar.access import Attempt
from gateway.registrar.accounts import Accounts
from gateway.registrar.service import Registrar
from gateway.registrar.tables import accounts
from gateway.web.passwords import Passwords, new_password
from gateway.web.refusals import NotAuthenticated, TooMany
from tests.support.clock import FakeClock
from tests.support.registrar import ADDRESS, quick_passwords


class CountingHasher(PasswordHasher):
    """A quick hasher that counts how often a password is compared, and can wait for leave."""

    def __init__(self, memory_cost: int = 8) -> None:
        super().__init__(time_cost=1, memory_cost=memory_cost, parallelism=1)
        self.compared = 0
        self.leave = threading.Event()
        self.leave.set()

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:
        self.compared += 1
        self.leave.wait()
        return super().verify(hash, password)


def attempt() -> Attempt:
    return Attempt("password", ADDRESS)


async def test_a_made_up_password_lets_in_and_no_other_does(registrar: Registrar) -> None:
    password = await registrar.accounts.add("muller", "household")
    tried = attempt()
    account = await registrar.accounts.authenticate("muller", password, tried)
    assert (account.name, account.role, tried.account_id) == ("muller", "household", account.id)
    for wrong in ("", password[:-1], password + "x", password.upper(), new_password()):
        with pytest.raises(NotAuthenticated):
            await registrar.accounts.authenticate("muller", wrong, attempt())


async def test_an_unknown_user_and_a_wrong_password_look_the_same(registrar: Registrar) -> None:
    hasher = CountingHasher()
    found = Accounts(registrar.database, Passwords(hasher), registrar.clock)
    await found.add("muller", "household", "a long password")
    said = []
    for user in ("muller", "nobody"):
        hasher.compared = 0
        with pytest.raises(NotAuthenticated) as refused:
            await found.authenticate(user, "another password", attempt())
        said.append(str(refused.value))
        assert hasher.compared == 1, "an unknown user's password is compared too: it takes as long"
    assert said == ["the user name or the password is wrong"] * 2


async def test_a_digest_of_old_parameters_is_made_anew(registrar: Registrar) -> None:
    old = Accounts(registrar.database, Passwords(CountingHasher()), registrar.clock)
    new = Accounts(registrar.database, Passwords(CountingHasher(memory_cost=16)), registrar.clock)

    async def digest() -> str:
        async with registrar.database.reading() as connection:
            return str((await connection.execute(select(accounts.c.password))).scalar())

    await old.add("muller", "household", "a long password")
    before = await digest()
    with pytest.raises(NotAuthenticated):
        await new.authenticate("muller", "a wrong password", attempt())
    assert await digest() == before
    await new.authenticate("muller", "a long password", attempt())
    assert "m=8," in before
    assert "m=16," in await digest()
    await old.authenticate("muller", "a long password", attempt())


def test_digests_are_those_of_rfc_9106() -> None:
    assert (RFC_9106_LOW_MEMORY.memory_cost, RFC_9106_LOW_MEMORY.time_cost) == (65536, 3)
    digest = asyncio.run(Passwords().digest("a long password"))
    assert digest.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_a_flood_of_passwords_is_turned_away() -> None:
    hasher = CountingHasher()
    passwords = Passwords(hasher, at_once=2, waiting=3)
    digest = await passwords.digest("a long password")
    hasher.leave.clear()
    asked = [asyncio.create_task(passwords.check(digest, "a long password")) for _ in range(5)]
    await asyncio.sleep(0)
    try:
        with pytest.raises(TooMany, match="try again in a few seconds"):
            await asyncio.wait_for(passwords.check(digest, "a long password"), 10)
    finally:
        hasher.leave.set()
    assert await asyncio.gather(*asked) == [(True, None)] * 5
    assert await passwords.check(digest, "a long password") == (True, None)
    passwords.close()


async def test_a_name_composed_otherwise_is_the_same_name(registrar: Registrar) -> None:
    await registrar.accounts.add("mu\u0308ller", "household", "pa\u0308ssword long")
    account = await registrar.accounts.authenticate("m\u00fcller", "p\u00e4ssword long", attempt())
    assert account.name == "m\u00fcller"
    with pytest.raises(UsageError, match="choose another name"):
        await registrar.accounts.add("m\u00fcller", "household")


async def test_accounts_are_listed_by_name(registrar: Registrar, clock: FakeClock) -> None:
    for name, role in (("muller", "household"), ("Acme", "provider"), ("me", "operator")):
        await registrar.accounts.add(name, role)  # type: ignore[arg-type]
    found = [(one.name, one.role, one.created_ms) for one in await registrar.accounts.all()]
    now_ms = clock.now_ms
    assert found == [
        ("Acme", "provider", now_ms),
        ("me", "operator", now_ms),
        ("muller", "household", now_ms),
    ]


async def test_a_new_password_replaces_the_old_one(registrar: Registrar) -> None:
    old = await registrar.accounts.add("muller", "household")
    new = await registrar.accounts.set_password("muller")
    await registrar.accounts.authenticate("muller", new, attempt())
    with pytest.raises(NotAuthenticated):
        await registrar.accounts.authenticate("muller", old, attempt())
    with pytest.raises(NotFound, match="account list"):
        await registrar.accounts.set_password("nobody")


@pytest.mark.parametrize("name", ["", " muller", "mul\nler", "m" * 81])
async def test_a_name_that_is_none_is_refused(registrar: Registrar, name: str) -> None:
    with pytest.raises(UsageError, match="1 to 80 printable characters"):
        await registrar.accounts.add(name, "household")
    assert await registrar.accounts.all() == []


async def test_a_short_password_is_refused(registrar: Registrar) -> None:
    with pytest.raises(UsageError, match="at least 12 characters"):
        await registrar.accounts.add("muller", "household", "short")
    assert await registrar.accounts.all() == []


def test_made_up_passwords_differ() -> None:
    made = {new_password() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(one) for one in made} == {19}


async def test_a_digest_that_is_none_lets_nobody_in() -> None:
    passwords = quick_passwords()
    assert await passwords.check("no digest", "no digest") == (False, None)
    passwords.close()
