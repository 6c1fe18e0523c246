"""Certificates, sessions, streams and requests of those who are registered."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.chain.layout import DAY_MS
from gateway.errors import NotFound, Refused
from gateway.registrar.cards import NEXT_LIST_MS, revoke_all
from gateway.registrar.service import Registrar
from gateway.registrar.sessions import LIFETIME_MS, Session
from gateway.web.refusals import Conflict, NotAuthenticated, TooMany
from gateway.wire.certificate import Certificate, Revocations
from gateway.wire.request import Request
from tests.support.clock import FakeClock
from tests.support.registrar import ADDRESS, Holder, log_in, open_new, register

STREAM = b"\1" * 16


@pytest.fixture
async def home(registrar: Registrar, clock: FakeClock) -> Holder:
    """A gateway that is registered with one stream, as muller's."""
    return await joined(registrar, clock, "muller", "household", STREAM)


@pytest.fixture
async def acme(registrar: Registrar, clock: FakeClock) -> Holder:
    """A provider that is registered."""
    return await joined(registrar, clock, "acme", "provider")


async def joined(
    registrar: Registrar, clock: FakeClock, name: str, role: str, *streams: bytes, days: int = 700
) -> Holder:
    password = await registrar.accounts.add(name, role)  # type: ignore[arg-type]
    holder = Holder("provider" if role == "provider" else "gateway", clock.now_ms, name, days)
    await register(registrar, name, password, holder, *map(holder.descriptor, streams))
    return holder


async def session(registrar: Registrar, holder: Holder) -> Session:
    return await registrar.sessions.find(await log_in(registrar, holder))


def certificate(registrar: Registrar, signed: bytes) -> Certificate:
    return Certificate.read(signed, registrar.identity.card.signing_key, "the certificate")


async def revoked(registrar: Registrar) -> Revocations:
    signed = await registrar.cards.revocations()
    return Revocations.read(signed, registrar.identity.card.signing_key, "the list")


# Sessions.


async def test_a_login_begins_a_session_for_an_hour(
    registrar: Registrar, home: Holder, clock: FakeClock
) -> None:
    token = await log_in(registrar, home)
    clock.pass_s(LIFETIME_MS / 1000 - 1)
    found = await registrar.sessions.find(token)
    assert (found.kid, found.role, found.account, found.assurance) == (
        home.kid,
        "gateway",
        "muller",
        "software",
    )
    assert found.card == home.card
    clock.pass_s(1)
    with pytest.raises(NotAuthenticated, match="log in again"):
        await registrar.sessions.find(token)
    await registrar.sessions.prune()


async def test_a_token_that_is_none_finds_no_session(registrar: Registrar, home: Holder) -> None:
    token = await log_in(registrar, home)
    for wrong in ("", token[:-1], token.swapcase(), secrets.token_urlsafe(32)):
        with pytest.raises(NotAuthenticated):
            await registrar.sessions.find(wrong)


async def test_a_login_is_good_once(registrar: Registrar, home: Holder, clock: FakeClock) -> None:
    nonce, _ = registrar.sessions.nonce()
    login = home.login(nonce, registrar.identity.card.kid, clock.now_ms)
    await registrar.sessions.begin(login, ADDRESS)
    with pytest.raises(NotAuthenticated, match="was used before"):
        await registrar.sessions.begin(login, ADDRESS)
    (refused,) = await registrar.access.all()
    assert (refused.kind, refused.who) == ("nonce", home.kid.hex())
    account = (await registrar.accounts.all())[0]
    assert await registrar.access.of_account(account.id) == [refused]


async def test_a_login_for_another_registrar_is_refused_and_its_nonce_stays(
    registrar: Registrar, home: Holder, clock: FakeClock
) -> None:
    nonce, _ = registrar.sessions.nonce()
    with pytest.raises(NotAuthenticated, match="for another registrar"):
        await registrar.sessions.begin(home.login(nonce, bytes(16), clock.now_ms), ADDRESS)
    await registrar.sessions.begin(home.login(nonce, registrar.identity.card.kid, clock.now_ms), ADDRESS)


async def test_an_unknown_key_and_a_forged_login_are_refused(
    registrar: Registrar, home: Holder, clock: FakeClock
) -> None:
    stranger = Holder("gateway", clock.now_ms)
    with pytest.raises(NotAuthenticated, match="is not registered here"):
        await log_in(registrar, stranger)
    nonce, _ = registrar.sessions.nonce()
    good = home.login(nonce, registrar.identity.card.kid, clock.now_ms)
    with pytest.raises(Refused, match="does not fit"):
        await registrar.sessions.begin(good[:-1] + bytes([good[-1] ^ 1]), ADDRESS)
    assert {one.kind for one in await registrar.access.all()} == {"login"}


async def test_a_stranger_cannot_lock_a_gateway_out(
    registrar: Registrar, home: Holder, clock: FakeClock
) -> None:
    for n in range(30):
        nonce, _ = registrar.sessions.nonce()
        forged = bytearray(home.login(nonce, registrar.identity.card.kid, clock.now_ms))
        forged[-1] ^= 1
        with pytest.raises(Refused, match="does not fit"):
            await registrar.sessions.begin(bytes(forged), f"198.51.100.{n}")
    assert await log_in(registrar, home)


async def test_forged_logins_do_not_keep_a_gateway_out(
    registrar: Registrar, home: Holder, clock: FakeClock
) -> None:
    """A kid is no secret: it is in every card and descriptor."""
    nonce, _ = registrar.sessions.nonce()
    good = home.login(nonce, registrar.identity.card.kid, clock.now_ms)
    forged = good[:-1] + bytes([good[-1] ^ 1])
    for _ in range(100):
        with suppress(Refused, TooMany):
            await registrar.sessions.begin(forged, "198.51.100.9")
    with pytest.raises(TooMany):
        await registrar.sessions.begin(forged, "198.51.100.9")
    await log_in(registrar, home)


async def test_an_expired_certificate_begins_no_session(
    registrar: Registrar, home: Holder, clock: FakeClock
) -> None:
    clock.pass_s(365 * 86_400)
    with pytest.raises(NotAuthenticated, match=r"has expired at .*: register again"):
        await log_in(registrar, home)
    assert [one.kind for one in await registrar.access.all()] == ["certificate"]


async def test_a_revoked_key_has_no_session(registrar: Registrar, home: Holder, acme: Holder) -> None:
    token, others = await log_in(registrar, home), await log_in(registrar, acme)
    await registrar.cards.revoke(certificate(registrar, await registrar.cards.present(home.kid)).serial)
    with pytest.raises(NotAuthenticated):
        await registrar.sessions.find(token)
    with pytest.raises(Refused, match="was revoked"):
        await log_in(registrar, home)
    assert (await registrar.sessions.find(others)).kid == acme.kid


async def test_a_login_that_ends_after_its_key_was_revoked_opens_nothing(
    registrar: Registrar, home: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = registrar.database.writing

    @asynccontextmanager
    async def revoked_before() -> AsyncIterator[AsyncConnection]:
        monkeypatch.undo()
        await registrar.cards.revoke(certificate(registrar, await registrar.cards.present(home.kid)).serial)
        async with whole() as connection:
            yield connection

    monkeypatch.setattr(registrar.database, "writing", revoked_before)
    token = await log_in(registrar, home)
    with pytest.raises(NotAuthenticated):
        await registrar.sessions.find(token)


async def test_a_session_ends_with_the_certificate(registrar: Registrar, clock: FakeClock) -> None:
    home = await joined(registrar, clock, "muller", "household", days=1)
    clock.pass_s(86_400 - 60)
    token = await log_in(registrar, home)
    await registrar.sessions.find(token)
    clock.pass_s(60)
    with pytest.raises(NotAuthenticated):
        await registrar.sessions.find(token)


async def test_a_certificate_that_another_process_revokes_is_not_renewed_meanwhile(
    registrar: Registrar, home: Holder, database_url: str, clock: FakeClock
) -> None:
    """As `gateway registrar certificate revoke` does beside the server."""
    clock.pass_s(200 * 86_400)  # it is due
    renewing: asyncio.Task[bytes]
    async with open_new(registrar.settings, clock) as command:
        async with command.database.writing() as connection:
            renewing = asyncio.create_task(registrar.cards.renew(home.kid))
            await asyncio.sleep(0)
            await revoke_all(connection, home.kid, clock.now_ms)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(renewing), 0.3)
            assert not renewing.done()
        with pytest.raises(Refused, match="was revoked"):
            await renewing
    with pytest.raises(Refused, match="was revoked"):
        await registrar.cards.present(home.kid)


async def test_a_removed_account_has_no_session_and_no_certificate(
    registrar: Registrar, home: Holder
) -> None:
    token = await log_in(registrar, home)
    serial = certificate(registrar, await registrar.cards.present(home.kid)).serial
    await registrar.accounts.remove("muller")
    with pytest.raises(NotAuthenticated):
        await registrar.sessions.find(token)
    with pytest.raises(Refused, match="was revoked"):
        await registrar.cards.present(home.kid)
    assert (await revoked(registrar)).serials == (serial,)
    assert [(one.serial, one.account) for one in await registrar.cards.all()] == [(serial, None)]


# Certificates.


async def test_a_certificate_is_renewed_after_half_its_validity(
    registrar: Registrar, home: Holder, clock: FakeClock
) -> None:
    first = await registrar.cards.present(home.kid)
    clock.pass_s(182 * 86_400)
    assert await registrar.cards.renew(home.kid) == first
    clock.pass_s(86_400)
    second = certificate(registrar, await registrar.cards.renew(home.kid))
    assert second.valid_until_ms == clock.now_ms + 365 * DAY_MS
    assert second.streams == (STREAM,)
    assert await registrar.cards.renew(home.kid) == await registrar.cards.present(home.kid)
    assert second.serial != certificate(registrar, first).serial


async def test_a_certificate_ends_with_its_card(registrar: Registrar, clock: FakeClock) -> None:
    home = await joined(registrar, clock, "muller", "household", days=30)
    first = await registrar.cards.present(home.kid)
    assert certificate(registrar, first).valid_until_ms == home.card.valid_until_ms
    clock.pass_s(29 * 86_400)
    assert await registrar.cards.renew(home.kid) == first, "there is nothing to gain"
    clock.pass_s(86_400)
    with pytest.raises(Refused, match="register a new card of the same key"):
        await registrar.cards.renew(home.kid)


async def test_revocations_list_what_would_be_valid_otherwise(
    registrar: Registrar, home: Holder, acme: Holder, clock: FakeClock
) -> None:
    assert (await revoked(registrar)).serials is None
    serial = certificate(registrar, await registrar.cards.present(home.kid)).serial
    await registrar.cards.revoke(serial)
    found = await revoked(registrar)
    assert (found.serials, found.issued_ms, found.next_ms) == (
        (serial,),
        clock.now_ms,
        clock.now_ms + NEXT_LIST_MS,
    )
    one = certificate(registrar, await registrar.cards.present(acme.kid))
    found.check(one, "the certificate")
    with pytest.raises(Refused, match="was revoked by 'Registrar'"):
        found.check(replace(one, serial=serial), "the certificate")
    with pytest.raises(Refused):
        await registrar.cards.present(home.kid)
    with pytest.raises(Refused):
        await registrar.cards.renew(home.kid)
    clock.pass_s(366 * 86_400)
    assert (await revoked(registrar)).serials is None


async def test_the_list_is_signed_again_each_hour(registrar: Registrar, clock: FakeClock) -> None:
    first = await registrar.cards.revocations()
    clock.pass_s(3599)
    assert await registrar.cards.revocations() == first
    clock.pass_s(1)
    assert (await revoked(registrar)).issued_ms == clock.now_ms


async def test_what_is_not_there_is_not_found(registrar: Registrar) -> None:
    with pytest.raises(NotFound):
        await registrar.cards.present(bytes(16))
    with pytest.raises(NotFound):
        await registrar.cards.renew(bytes(16))
    with pytest.raises(NotFound, match="no certificate has the serial 17"):
        await registrar.cards.revoke(17)


# Requests for grants.


def request(asker: Holder, clock: FakeClock, stream: bytes = STREAM, **changes: object) -> bytes:
    one = Request(
        id=secrets.token_bytes(16),
        provider=asker.kid,
        stream=stream,
        kind="windows",
        lanes=("import",),
        granularity=900,
        zone="UTC",
        purpose="billing",
        from_ms=clock.now_ms,
        until_ms=None,
        tariff=None,
        time_ms=clock.now_ms,
    )
    return asker.sign(replace(one, **changes))  # type: ignore[arg-type]


async def test_a_request_reaches_its_household_and_the_decision_its_provider(
    registrar: Registrar, home: Holder, acme: Holder, clock: FakeClock
) -> None:
    other = await joined(registrar, clock, "maier", "household", b"\2" * 16)
    asking, deciding = await session(registrar, acme), await session(registrar, home)
    signed = request(acme, clock)
    asked = await registrar.requests.add(asking, signed, ADDRESS)
    assert (asked.signed, asked.state, asked.asked_ms) == (signed, "open", clock.now_ms)
    assert certificate(registrar, asked.certificate).holder == acme.card
    assert await registrar.requests.add(asking, signed, ADDRESS) == asked
    assert await registrar.requests.of(deciding) == await registrar.requests.of(asking) == [asked]
    foreign = await session(registrar, other)
    assert await registrar.requests.of(foreign) == []
    with pytest.raises(NotFound, match="on a stream of this gateway"):
        await registrar.requests.decide(foreign, asked.id, "granted")
    for state in ("declined", "granted", "granted"):
        decided = await registrar.requests.decide(deciding, asked.id, state)
        assert decided == replace(asked, state=state)
    assert await registrar.requests.of(asking) == [decided]


async def test_a_request_in_anothers_name_is_refused(
    registrar: Registrar, home: Holder, acme: Holder, clock: FakeClock
) -> None:
    other = await joined(registrar, clock, "other", "provider")
    asking = await session(registrar, acme)
    for signed in (request(other, clock), request(acme, clock, provider=other.kid)):
        with pytest.raises(Refused):
            await registrar.requests.add(asking, signed, ADDRESS)
    assert [one.kind for one in await registrar.access.all()] == ["request"] * 2
    assert await registrar.requests.of(asking) == []


async def test_a_request_for_an_unknown_stream_or_with_a_taken_id_is_refused(
    registrar: Registrar, home: Holder, acme: Holder, clock: FakeClock
) -> None:
    asking = await session(registrar, acme)
    with pytest.raises(NotFound, match="no stream 0909"):
        await registrar.requests.add(asking, request(acme, clock, b"\x09" * 16), ADDRESS)
    await registrar.requests.add(asking, request(acme, clock, id=bytes(16)), ADDRESS)
    with pytest.raises(Conflict, match="draw a new one"):
        await registrar.requests.add(asking, request(acme, clock, id=bytes(16), purpose="other"), ADDRESS)


async def test_a_household_is_not_flooded_with_requests(
    registrar: Registrar, home: Holder, acme: Holder, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.registrar.requests._MOST_OPEN", 2)
    asking = await session(registrar, acme)
    for _ in range(2):
        asked = await registrar.requests.add(asking, request(acme, clock), ADDRESS)
    with pytest.raises(TooMany, match="wait for an answer"):
        await registrar.requests.add(asking, request(acme, clock), ADDRESS)
    await registrar.requests.decide(await session(registrar, home), asked.id, "declined")
    await registrar.requests.add(asking, request(acme, clock), ADDRESS)


async def test_what_a_household_is_sent_does_not_grow_without_end(
    registrar: Registrar, home: Holder, acme: Holder, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many large requests, on one stream or on several, declined or not: its client takes only so much."""
    first = request(acme, clock)
    monkeypatch.setattr("gateway.registrar.requests._MOST_BYTES", 2 * len(first))
    second = b"\2" * 16
    await registrar.accounts.set_password("muller", "a password of it")
    await register(registrar, "muller", "a password of it", home, home.descriptor(second))
    asking, asked = await session(registrar, acme), await session(registrar, home)
    await registrar.requests.add(asking, first, ADDRESS)
    last = await registrar.requests.add(asking, request(acme, clock, second), ADDRESS)
    with pytest.raises(TooMany, match="too large together"):
        await registrar.requests.add(asking, request(acme, clock), ADDRESS)
    await registrar.requests.add(asking, first, ADDRESS)  # the same one again
    await registrar.requests.decide(asked, last.id, "declined")
    assert [one.signed for one in await registrar.requests.of(asked)] == [first]
    await registrar.requests.add(asking, request(acme, clock), ADDRESS)


async def test_a_revoked_providers_requests_show_no_more(
    registrar: Registrar, home: Holder, acme: Holder, clock: FakeClock
) -> None:
    await registrar.requests.add(await session(registrar, acme), request(acme, clock), ADDRESS)
    await registrar.cards.revoke(certificate(registrar, await registrar.cards.present(acme.kid)).serial)
    assert await registrar.requests.of(await session(registrar, home)) == []
