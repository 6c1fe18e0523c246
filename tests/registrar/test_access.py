"""Refused attempts: recorded, shown, slowed down."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select

from gateway.errors import Refused, UsageError
from gateway.registrar.access import RefusedAttempt
from gateway.registrar.service import Registrar
from gateway.registrar.tables import attempts
from gateway.web.limits import Limits
from gateway.web.refusals import TooMany
from tests.support.clock import FakeClock
from tests.support.registrar import ADDRESS

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


async def refuse(
    registrar: Registrar,
    sentence: str = "wrong",
    who: str = "muller",
    address: str = ADDRESS,
    account: int | None = None,
) -> None:
    with suppress(Refused):
        async with registrar.access.attempt("password", address, who) as attempt:
            attempt.account_id = account
            raise Refused(sentence)


async def succeed(registrar: Registrar, who: str = "muller", address: str = ADDRESS) -> None:
    async with registrar.access.attempt("password", address, who):
        pass


async def account_id(registrar: Registrar) -> int:
    await registrar.accounts.add("muller", "household")
    return (await registrar.accounts.all())[0].id


async def test_a_refused_attempt_is_recorded_with_who_where_when_and_why(
    registrar: Registrar, clock: FakeClock
) -> None:
    await refuse(registrar, "the nonce was used before")
    assert await registrar.access.all() == [
        RefusedAttempt(
            "password", "muller", ADDRESS, "the nonce was used before", clock.now_ms, clock.now_ms, 1
        )
    ]


async def test_what_succeeds_or_cannot_be_right_is_not_recorded(registrar: Registrar) -> None:
    await succeed(registrar)
    with pytest.raises(UsageError):
        async with registrar.access.attempt("password", ADDRESS, "muller"):
            raise UsageError("not JSON")
    assert await registrar.access.all() == []


async def test_the_same_one_within_an_hour_is_one_row(registrar: Registrar, clock: FakeClock) -> None:
    began_ms = clock.now_ms
    for _ in range(3):
        await refuse(registrar)
        clock.pass_s(MINUTE_S)
    (one,) = await registrar.access.all()
    assert (one.times, one.first_ms, one.last_ms) == (3, began_ms, clock.now_ms - MINUTE_S * 1000)
    assert one.notice == f"refused from {ADDRESS} (3 times): wrong"
    await refuse(registrar, who="maier")
    await refuse(registrar, address="192.0.2.8")
    await refuse(registrar, "wrong otherwise")
    clock.pass_s(HOUR_S)
    await refuse(registrar)
    assert [one.times for one in await registrar.access.all()] == [1, 1, 1, 1, 3]


async def test_an_account_sees_what_concerns_it_and_no_more(registrar: Registrar) -> None:
    mine = await account_id(registrar)
    await refuse(registrar, "mine", account=mine)
    await refuse(registrar, "nobody's", who="nobody")
    assert [one.sentence for one in await registrar.access.of_account(mine)] == ["mine"]
    assert len(await registrar.access.all()) == 2


async def test_ten_failures_are_free_then_the_account_waits_twice_as_long_each_time(
    registrar: Registrar, clock: FakeClock
) -> None:
    for n in range(10):
        await refuse(registrar, address=f"192.0.2.{n}")
    for seconds in (1, 2, 4, 8):
        with pytest.raises(TooMany, match=f"try again in {seconds} s") as refused:
            await succeed(registrar, address="198.51.100.1")
        assert refused.value.retry_after_s == seconds
        clock.pass_s(seconds)
        await refuse(registrar, address="198.51.100.1")
    await succeed(registrar, who="maier")


async def test_a_success_forgets_the_accounts_failures(registrar: Registrar) -> None:
    for _ in range(3):
        for n in range(9):
            await refuse(registrar, address=f"192.0.2.{n}")
        await succeed(registrar)


async def test_one_address_may_fail_sixty_times_whatever_the_account(
    registrar: Registrar, clock: FakeClock
) -> None:
    for n in range(60):
        await refuse(registrar, who=f"user{n}")
    with pytest.raises(TooMany):
        await succeed(registrar, who="muller")
    await succeed(registrar, who="muller", address="192.0.2.8")
    kinds = [one.kind for one in await registrar.access.all()]
    assert kinds.count("too_many") == 1
    for _ in range(5):
        with pytest.raises(TooMany):
            await succeed(registrar, who="muller")
    assert len(await registrar.access.all()) == 61, "a flood is recorded once a minute"


async def test_an_ipv6_customer_has_one_limit(registrar: Registrar) -> None:
    for n in range(60):
        await refuse(registrar, who=f"user{n}", address=f"2001:db8:1:2::{n:x}")
    with pytest.raises(TooMany):
        await succeed(registrar, address="2001:db8:1:2:ffff::1")
    await succeed(registrar, address="2001:db8:1:3::1")


async def test_attempts_under_way_count(registrar: Registrar) -> None:
    """A thousand guesses at once are not a thousand free ones."""
    opened = [registrar.access.attempt("password", f"192.0.2.{n}", "muller") for n in range(10)]
    for one in opened:
        await one.__aenter__()
    with pytest.raises(TooMany):
        await succeed(registrar, address="192.0.2.200")
    for one in opened:
        await one.__aexit__(None, None, None)
    await succeed(registrar)


def _told(limits: Limits) -> int:
    """Try once: how many seconds to wait, 0 where it is let in."""
    try:
        limits.charge("muller")
    except TooMany as refused:
        return refused.retry_after_s
    return 0


@given(st.lists(st.floats(0.0, 2000.0), max_size=40))
def test_whoever_waits_as_told_is_let_in(pauses: list[float]) -> None:
    clock = FakeClock()
    limits = Limits(clock, free=3, most_s=60)
    for pause in pauses:
        clock.pass_s(pause)
        if told := _told(limits):
            assert told <= 60
            clock.pass_s(told)
            assert not _told(limits)


@given(st.integers(1, 300))
def test_guesses_an_hour_are_few(most_s: int) -> None:
    """However often it is tried, some free attempts and one for each wait are let in."""
    clock = FakeClock()
    limits = Limits(clock, free=3, most_s=most_s)
    let_in = 0
    for _ in range(3600):
        clock.pass_s(1)
        let_in += not _told(limits)
    assert let_in <= 3 + most_s.bit_length() + 1 + 3600 / most_s


async def test_old_attempts_and_the_oldest_of_too_many_are_deleted(
    registrar: Registrar, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.registrar.access._MOST_ROWS", 5)
    mine = await account_id(registrar)
    await refuse(registrar, "old", account=mine)
    clock.pass_s(91 * DAY_S)
    await refuse(registrar, "mine", account=mine)
    row = {"kind": "password", "who": "x", "address": ADDRESS, "sentence": "flood", "times": 1}
    row |= {"first_ms": clock.now_ms, "last_ms": clock.now_ms}
    async with registrar.database.writing() as connection:
        await connection.execute(insert(attempts), [row for _ in range(20)])
    await registrar.access.prune()
    assert [one.sentence for one in await registrar.access.of_account(mine)] == ["mine"]
    async with registrar.database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(attempts))).scalar() == 6


async def test_a_long_name_and_a_long_sentence_are_recorded_cut(registrar: Registrar) -> None:
    await refuse(registrar, "w" * 1000, who="m" * 200)
    (one,) = await registrar.access.all()
    assert (len(one.who), len(one.sentence)) == (80, 500)
    await refuse(registrar, "w" * 1000, who="m" * 200)
    (one,) = await registrar.access.all()
    assert one.times == 2
