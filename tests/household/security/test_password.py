"""The household's password and the setup code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.household.security.password import SHORTEST, Password
from gateway.web.refusals import NotAuthenticated, TooMany
from tests.support.clock import FakeClock

LONG = "a rather long sentence"


@pytest.fixture
def password(tmp_path: Path) -> Iterator[Password]:
    made = Password(tmp_path, FakeClock())
    yield made
    made.close()


async def test_the_setup_code_chooses_the_first_password_once(password: Password) -> None:
    code = password.setup_code()
    assert password.setup_code() == code
    await password.choose(f" {code.upper()} ", LONG, "192.168.1.7")
    assert password.chosen
    await password.check(LONG, "192.168.1.7")
    with pytest.raises(UsageError, match="no setup code is valid"):
        password.setup_code()
    with pytest.raises(NotAuthenticated):
        await password.choose(code, "another long sentence", "192.168.1.7")
    await password.check(LONG, "192.168.1.7")


@pytest.mark.parametrize("between", ["", " ", " - ", "\u2013"])
async def test_a_setup_code_may_be_typed_with_or_without_its_hyphen(password: Password, between: str) -> None:
    await password.choose(password.setup_code().replace("-", between), LONG, "192.168.1.7")
    assert password.chosen


async def test_a_setup_code_from_a_label_takes_the_place_of_the_present_one(password: Password) -> None:
    before = password.setup_code()
    with pytest.raises(UsageError, match="this is not a setup code"):
        password.give("abcde")
    assert password.setup_code() == before
    password.give("abcde-fghjk")
    with pytest.raises(NotAuthenticated):
        await password.choose(before, LONG, "192.168.1.7")
    await password.choose("abcde-fghjk", LONG, "192.168.1.7")
    with pytest.raises(UsageError, match="no setup code is valid"):
        password.give("abcde-fghjk")


async def test_a_wrong_setup_code_chooses_nothing(password: Password) -> None:
    for wrong in ("", "aaaaa-aaaaa", password.setup_code()[:-1]):
        with pytest.raises(NotAuthenticated):
            await password.choose(wrong, LONG, "192.168.1.7")
    assert not password.chosen


async def test_a_short_password_is_refused_and_the_code_stays(password: Password) -> None:
    code = password.setup_code()
    with pytest.raises(UsageError, match="at least 10 characters"):
        await password.choose(code, "x" * (SHORTEST - 1), "192.168.1.7")
    assert password.setup_code() == code


async def test_a_wrong_password_is_refused_and_changes_nothing(password: Password) -> None:
    await password.choose(password.setup_code(), LONG, "a")
    for wrong in ("", LONG + " ", LONG.upper()):
        with pytest.raises(NotAuthenticated):
            await password.check(wrong, "a")
        with pytest.raises(NotAuthenticated):
            await password.change(wrong, "another long sentence", "a")
    await password.change(LONG, "another long sentence", "a")
    await password.check("another long sentence", "a")


async def test_no_password_is_right_before_one_is_chosen(password: Password) -> None:
    with pytest.raises(NotAuthenticated):
        await password.check("", "a")


async def test_who_guesses_waits_ever_longer_and_others_do_not(tmp_path: Path) -> None:
    clock = FakeClock()
    password = Password(tmp_path, clock)
    try:
        await password.choose(password.setup_code(), LONG, "b")
        for _ in range(10):
            with pytest.raises(NotAuthenticated):
                await password.check("wrong", "a")
        with pytest.raises(TooMany):
            await password.check(LONG, "a")
        await password.check(LONG, "b")
        clock.pass_s(2)
        await password.check(LONG, "a")
    finally:
        password.close()


async def test_guesses_from_many_addresses_wait_too(tmp_path: Path) -> None:
    password = Password(tmp_path, FakeClock())
    try:
        for tried in range(100):
            with pytest.raises(NotAuthenticated):
                await password.choose("wrong", LONG, f"2001:db8::{tried:x}")
        with pytest.raises(TooMany):
            await password.choose("wrong", LONG, "2001:db8::ffff")
    finally:
        password.close()


async def test_who_waits_for_others_is_not_charged(tmp_path: Path) -> None:
    clock = FakeClock()
    password = Password(tmp_path, clock)
    try:
        for tried in range(100):
            with pytest.raises(NotAuthenticated):
                await password.choose("wrong", LONG, f"2001:db8::{tried:x}")
        for _ in range(30):
            with pytest.raises(TooMany):
                await password.choose(password.setup_code(), LONG, "192.168.1.7")
        clock.pass_s(60)
        await password.choose(password.setup_code(), LONG, "192.168.1.7")
    finally:
        password.close()


@pytest.mark.parametrize("kept", [b"", b"\n", b"aaaaa", b"\xff\xfe"])
async def test_what_is_no_setup_code_is_made_again(tmp_path: Path, password: Password, kept: bytes) -> None:
    (tmp_path / "setup-code").write_bytes(kept)
    with pytest.raises(NotAuthenticated):
        await password.choose(kept.decode(errors="replace"), LONG, "192.168.1.7")
    await password.choose(password.setup_code(), LONG, "192.168.1.7")


async def test_a_damaged_digest_is_nobodys_password(tmp_path: Path, password: Password) -> None:
    (tmp_path / "password").write_bytes(b"\xff")
    with pytest.raises(NotAuthenticated):
        await password.check("", "192.168.1.7")


async def test_a_forgotten_password_is_replaced_by_a_new_setup_code(password: Password) -> None:
    await password.choose(password.setup_code(), LONG, "a")
    code = password.forget()
    assert not password.chosen
    with pytest.raises(NotAuthenticated):
        await password.check(LONG, "a")
    await password.choose(code, "another long sentence", "a")


async def test_neither_is_readable_by_others_and_the_password_not_at_all(
    password: Password, tmp_path: Path
) -> None:
    code = password.setup_code()
    assert (tmp_path / "setup-code").stat().st_mode & 0o077 == 0
    await password.choose(code, LONG, "a")
    kept = (tmp_path / "password").read_text()
    assert kept.startswith("$argon2id$")
    assert LONG not in kept
    assert (tmp_path / "password").stat().st_mode & 0o077 == 0
    assert not (tmp_path / "setup-code").exists()
