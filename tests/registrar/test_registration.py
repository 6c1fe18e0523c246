"""Registration in the steps of Figure 3: what it gives, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway.errors import GatewayError, NotFound, Refused, Unavailable
from gateway.registrar import registration as module
from gateway.registrar.registration import LIFETIME_MS, Challenged
from gateway.registrar.service import Registrar
from gateway.registrar.tables import certificates, holders, streams
from gateway.web.refusals import Conflict, NotAuthenticated, TooMany
from gateway.wire.certificate import Certificate
from tests.support.clock import FakeClock
from tests.support.registrar import ADDRESS, Holder, open_new, register, settings

STREAM = b"\1" * 16


class User:
    """An account, and a key that it registers."""

    def __init__(self, registrar: Registrar, name: str, password: str, holder: Holder) -> None:
        self.registrar = registrar
        self.name = name
        self.password = password
        self.holder = holder

    @classmethod
    async def new(cls, registrar: Registrar, name: str = "muller", role: Any = "household") -> User:
        password = await registrar.accounts.add(name, role)
        holder = Holder("provider" if role == "provider" else "gateway", registrar.clock.wall() // 10**6)
        return cls(registrar, name, password, holder)

    async def register(self, *descriptors: bytes) -> Certificate:
        signed = await register(self.registrar, self.name, self.password, self.holder, *descriptors)
        return self.read(signed)

    def read(self, signed: bytes) -> Certificate:
        return Certificate.read(signed, self.registrar.identity.card.signing_key, "the certificate")

    async def ask(self, card: bytes | None = None) -> Challenged:
        return await self.registrar.registration.request_to_register(
            self.name, self.password, card or self.holder.signed_card, None, ADDRESS
        )

    def login(self, asked: Challenged, holder: Holder | None = None) -> bytes:
        assert asked.nonce is not None
        kid = self.registrar.identity.card.kid
        return (holder or self.holder).login(asked.nonce, kid, self.registrar.clock.wall() // 10**6)

    async def answer(self, asked: Challenged, login: bytes | None = None) -> bytes:
        login = self.login(asked) if login is None else login
        return (await self.registrar.registration.validate_response(asked.id, login, ADDRESS))[0]

    async def confirm(self, asked: Challenged, nonce: bytes, *descriptors: bytes) -> Certificate:
        signed = await self.registrar.registration.confirm(
            asked.id, self.name, self.password, nonce, descriptors, ADDRESS
        )
        return self.read(signed)


@pytest.fixture
async def user(registrar: Registrar) -> User:
    """A household that has not registered yet."""
    return await User.new(registrar)


async def rows(registrar: Registrar) -> list[int]:
    """How many cards, streams and certificates there are."""
    async with registrar.database.reading() as connection:
        return [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in (holders, streams, certificates)
        ]


async def last(registrar: Registrar) -> tuple[str, str]:
    """The kind of the last refused attempt, and whose it was."""
    one = (await registrar.access.all())[0]
    return one.kind, one.who


async def test_a_household_registers_its_gateway_and_its_streams(user: User, clock: FakeClock) -> None:
    ids = [bytes([n]) * 16 for n in (3, 1, 2)]
    certificate = await user.register(*map(user.holder.descriptor, ids))
    certificate.check(clock.now_ms, "the certificate")
    assert certificate.holder == user.holder.card
    assert certificate.streams == tuple(sorted(ids))
    assert (certificate.assurance, certificate.registrar) == ("software", "Registrar")
    assert certificate.valid_until_ms == clock.now_ms + 365 * 86_400_000


async def test_a_gateway_without_a_stream_yet_registers(user: User) -> None:
    assert (await user.register()).streams is None


async def test_a_provider_registers_without_streams(registrar: Registrar) -> None:
    acme = await User.new(registrar, "acme", "provider")
    certificate = await acme.register()
    assert (certificate.holder, certificate.assurance, certificate.streams) == (
        acme.holder.card,
        None,
        None,
    )
    with pytest.raises(Refused, match="a provider has no streams"):
        await acme.register(acme.holder.descriptor())


async def test_registering_again_gives_the_same(registrar: Registrar, user: User) -> None:
    first = await user.register(user.holder.descriptor(STREAM))
    assert await user.register(user.holder.descriptor(STREAM)) == first
    assert await user.register() == first
    assert await rows(registrar) == [1, 1, 1]


async def test_a_registration_that_was_cut_is_begun_again(registrar: Registrar, user: User) -> None:
    await user.ask()
    asked = await user.ask()
    await user.answer(asked)
    assert await rows(registrar) == [0, 0, 0]
    assert (await user.register(user.holder.descriptor(STREAM))).streams == (STREAM,)
    with pytest.raises(NotFound, match="begin the registration again"):
        await user.answer(asked)


async def test_a_renewed_card_of_the_same_key_gets_a_certificate(user: User) -> None:
    before = await user.register(user.holder.descriptor(STREAM))
    user.holder.signed_card = user.holder.card_with(name="Another name")
    after = await user.register()
    assert (after.holder.name, after.streams) == ("Another name", before.streams)
    assert after.serial != before.serial


async def test_a_user_may_register_several_gateways(registrar: Registrar, user: User) -> None:
    await user.register(user.holder.descriptor(STREAM))
    user.holder = Holder("gateway", registrar.clock.wall() // 10**6)
    await user.register(user.holder.descriptor())
    assert await rows(registrar) == [2, 2, 2]


async def test_a_wrong_password_or_user_is_refused_at_both_steps(registrar: Registrar, user: User) -> None:
    right = user.password
    asked = await user.ask()
    nonce = await user.answer(asked)
    for name, password in (("muller", "wrong"), ("nobody", right)):
        user.name, user.password = name, password
        with pytest.raises(NotAuthenticated, match="user name or the password is wrong"):
            await user.ask()
        assert await last(registrar) == ("password", name)
        with pytest.raises(NotAuthenticated, match="user name or the password is wrong"):
            await user.confirm(asked, nonce)
    user.name, user.password = "muller", right
    assert await user.confirm(asked, nonce), "the right password is still good for the nonce"


async def test_another_users_card_is_refused(registrar: Registrar, user: User) -> None:
    await user.register(user.holder.descriptor(STREAM))
    other = await User.new(registrar, "maier")
    other.holder = user.holder
    with pytest.raises(Conflict, match="this card is registered for another user"):
        await other.ask()
    assert await last(registrar) == ("evidence", "maier")
    assert await rows(registrar) == [1, 1, 1]


async def test_of_two_users_who_register_one_card_at_once_one_is_refused(
    registrar: Registrar, user: User
) -> None:
    other = await User.new(registrar, "maier")
    other.holder = user.holder
    results = await asyncio.gather(user.register(), other.register(), return_exceptions=True)
    assert sorted(type(one).__name__ for one in results) == ["Certificate", "Conflict"]
    assert await rows(registrar) == [1, 0, 1]


@pytest.mark.parametrize(("role", "holds"), [("household", "provider"), ("provider", "gateway")])
async def test_a_card_of_another_role_is_refused(registrar: Registrar, role: str, holds: Any) -> None:
    one = await User.new(registrar, "one", role)
    one.holder = Holder(holds, registrar.clock.wall() // 10**6)
    with pytest.raises(Refused, match=f"the card is a {holds}'s, and a {role} registers a"):
        await one.ask()
    assert await last(registrar) == ("card", "one")


async def test_an_operator_registers_nothing(registrar: Registrar) -> None:
    one = await User.new(registrar, "me", "operator")
    with pytest.raises(Refused, match="registers no card"):
        await one.ask()


async def test_a_card_that_is_not_valid_now_is_refused(user: User, clock: FakeClock) -> None:
    for changes, sentence in (
        ({"valid_from_ms": clock.now_ms + 1}, "is not valid yet"),
        ({"valid_until_ms": clock.now_ms}, "has expired"),
    ):
        with pytest.raises(Refused, match=sentence):
            await user.ask(user.holder.card_with(**changes))


async def test_a_card_that_another_key_signed_is_refused(user: User) -> None:
    thief = Holder("gateway", user.registrar.clock.wall() // 10**6)
    with pytest.raises(Refused):
        await user.ask(thief.sign(user.holder.card))
    with pytest.raises(Refused, match=r"is not a COSE_Sign1|not CBOR"):
        await user.ask(b"no card")


async def test_an_answer_by_another_key_is_refused(registrar: Registrar, user: User) -> None:
    asked = await user.ask()
    thief = Holder("gateway", registrar.clock.wall() // 10**6)
    with pytest.raises(Refused, match="signed by key"):
        await user.answer(asked, user.login(asked, thief))
    assert await last(registrar) == ("challenge", "muller")
    with pytest.raises(NotAuthenticated, match="was answered before"):
        await user.answer(asked)


async def test_an_answer_to_another_challenge_is_refused(registrar: Registrar, user: User) -> None:
    asked = await user.ask()
    kid, now_ms = registrar.identity.card.kid, registrar.clock.wall() // 10**6
    with pytest.raises(NotAuthenticated, match="the answer to the challenge is wrong"):
        await user.answer(asked, user.holder.login(bytes(32), kid, now_ms))


async def test_an_answer_for_another_registrar_is_refused(registrar: Registrar, user: User) -> None:
    asked = await user.ask()
    assert asked.nonce is not None
    with pytest.raises(NotAuthenticated, match="for another registrar"):
        await user.answer(asked, user.holder.login(asked.nonce, bytes(16), registrar.clock.wall() // 10**6))


async def test_a_nonce_is_good_once(registrar: Registrar, user: User) -> None:
    asked = await user.ask()
    nonce = await user.answer(asked)
    await user.confirm(asked, nonce)
    with pytest.raises(NotAuthenticated, match="the nonce was used before"):
        await user.confirm(asked, nonce)
    assert await last(registrar) == ("nonce", "muller")


async def test_a_wrong_nonce_is_refused_and_ends_the_registration(registrar: Registrar, user: User) -> None:
    asked = await user.ask()
    nonce = await user.answer(asked)
    with pytest.raises(NotAuthenticated, match="the nonce is wrong"):
        await user.confirm(asked, bytes(32))
    with pytest.raises(NotAuthenticated, match="the nonce was used before"):
        await user.confirm(asked, nonce)
    assert await rows(registrar) == [0, 0, 0]


async def test_a_nonce_before_the_answer_is_refused(user: User) -> None:
    asked = await user.ask()
    assert asked.nonce is not None
    with pytest.raises(NotAuthenticated, match="the challenge was not answered"):
        await user.confirm(asked, asked.nonce)


async def test_another_user_cannot_confirm(registrar: Registrar, user: User) -> None:
    other = await User.new(registrar, "maier")
    asked = await user.ask()
    nonce = await user.answer(asked)
    with pytest.raises(Refused, match="another user began this registration"):
        await other.confirm(asked, nonce)
    assert await last(registrar) == ("nonce", "maier")
    await user.confirm(asked, nonce)


async def test_a_registration_lasts_some_minutes(user: User, clock: FakeClock) -> None:
    asked = await user.ask()
    clock.pass_s(LIFETIME_MS / 1000)
    with pytest.raises(NotFound, match="took too long"):
        await user.answer(asked)
    asked = await user.ask()
    nonce = await user.answer(asked)
    clock.pass_s(LIFETIME_MS / 1000)
    with pytest.raises(NotFound, match="took too long"):
        await user.confirm(asked, nonce)


async def test_a_foreign_descriptor_is_refused(registrar: Registrar, user: User) -> None:
    other = Holder("gateway", registrar.clock.wall() // 10**6)
    key = other.card.signing_key
    for foreign, sentence in (
        (other.descriptor(), "descriptor 2 is a foreign one"),
        (user.holder.descriptor(signing_key=key), "descriptor 2 names another signing key"),
        (user.holder.descriptor(assurance="tpm"), "says that a TPM holds the gateway's keys"),
        (b"nothing", "descriptor 2 is not"),
    ):
        with pytest.raises(Refused, match=sentence):
            await user.register(user.holder.descriptor(), foreign)
        assert await rows(registrar) == [0, 0, 0], "nothing is half-registered"
    assert await last(registrar) == ("descriptor", "muller")


async def test_a_stream_of_another_account_is_refused(registrar: Registrar, user: User) -> None:
    await user.register(user.holder.descriptor(STREAM))
    other = await User.new(registrar, "maier")
    with pytest.raises(Conflict, match="is registered for another gateway"):
        await other.register(other.holder.descriptor(b"\7" * 16), other.holder.descriptor(STREAM))
    assert await last(registrar) == ("descriptor", "maier")
    assert await rows(registrar) == [1, 1, 1]


async def test_nothing_is_half_registered_where_signing_fails(
    registrar: Registrar, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise Unavailable("the key is gone")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.registrar.identity._signed", fail)
        holder = user.holder
        asked = await user.ask()
        nonce = await user.answer(asked)
        with pytest.raises(Unavailable):
            await user.confirm(asked, nonce, holder.descriptor(STREAM))
    assert await rows(registrar) == [0, 0, 0]
    assert (await user.register(user.holder.descriptor(STREAM))).streams == (STREAM,)


async def test_an_account_that_is_removed_meanwhile_registers_nothing(
    registrar: Registrar, user: User
) -> None:
    asked = await user.ask()
    nonce = await user.answer(asked)
    await registrar.accounts.remove("muller")
    with pytest.raises(NotAuthenticated):
        await user.confirm(asked, nonce)
    assert await rows(registrar) == [0, 0, 0]


async def test_a_key_of_a_removed_account_registers_for_another(registrar: Registrar, user: User) -> None:
    before = await user.register(user.holder.descriptor(STREAM))
    await registrar.accounts.remove("muller")
    other = await User.new(registrar, "maier")
    other.holder = user.holder
    after = await other.register(user.holder.descriptor(STREAM))
    assert after.serial > before.serial
    assert user.read(await registrar.cards.present(user.holder.kid)) == after
    assert await rows(registrar) == [1, 1, 2]


async def test_a_revoked_card_does_not_come_back(registrar: Registrar, user: User) -> None:
    certificate = await user.register()
    await registrar.cards.revoke(certificate.serial)
    with pytest.raises(Refused, match=r"was revoked at .*: ask the registrar's operator"):
        await user.register(user.holder.descriptor(STREAM))
    assert await rows(registrar) == [1, 0, 1]


async def test_too_many_under_way_drop_the_oldest(
    registrar: Registrar, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST", 3)
    begun = []
    for _ in range(5):
        user.holder = Holder("gateway", registrar.clock.wall() // 10**6)
        begun.append(await user.ask())
    with pytest.raises(NotFound):
        await user.answer(begun[0])
    await user.answer(begun[-1])
    assert len(registrar.registration._pending) <= 3
    assert len(registrar.registration._latest) == len(registrar.registration._pending)


@pytest.fixture
async def strict(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Registrar]:
    """A registrar that takes gateways with a TPM only."""
    async with open_new(settings(tmp_path / "strict", software_roots=False), clock) as one:
        yield one


async def test_a_software_root_is_refused_where_the_operator_does_not_allow_it(strict: Registrar) -> None:
    with pytest.raises(Refused, match="with a TPM only: its operator may allow software roots"):
        await (await User.new(strict)).register()
    assert await last(strict) == ("evidence", "muller")
    assert await (await User.new(strict, "acme", "provider")).register()


async def test_every_refusal_is_an_error_of_the_tree(user: User) -> None:
    with pytest.raises(GatewayError):
        await user.registrar.registration.validate_response("0" * 32, b"", ADDRESS)


async def test_a_name_in_another_form_has_no_guesses_of_its_own(registrar: Registrar) -> None:
    await registrar.accounts.add("K\N{LATIN SMALL LETTER U WITH DIAERESIS}rzel", "household")
    forms = [f"{k}{u}rzel" for k in ("K", "\N{KELVIN SIGN}") for u in ("\xfc", "u\N{COMBINING DIAERESIS}")]
    for form in forms * 3:
        with suppress(NotAuthenticated, TooMany):
            await registrar.registration.request_to_register(form, "wrong", b"", None, ADDRESS)
    (one, two) = await registrar.access.all()
    assert (one.kind, two.kind, two.times) == ("too_many", "password", 10)


LIKE = (
    "Stadtwerk Nord",
    "STADTWERK-NORD",
    "Stadtwerk  Nord.",
    "St\N{CYRILLIC SMALL LETTER A}dtwerk N\N{GREEK SMALL LETTER OMICRON}rd",
    "St\N{COMBINING ACUTE ACCENT}adtwerk N0rd",
    "\N{FULLWIDTH LATIN CAPITAL LETTER S}tadtwerk Nord",
)


@pytest.mark.parametrize("name", LIKE)
async def test_a_provider_has_no_name_that_looks_like_anothers(registrar: Registrar, name: str) -> None:
    first, second = [await User.new(registrar, user, "provider") for user in ("nord", "thief")]
    first.holder.signed_card = first.holder.card_with(name="Stadtwerk Nord")
    await first.register()
    await first.register()
    second.holder.signed_card = second.holder.card_with(name="Stadtwerk Sued")
    before = await second.register()
    second.holder.signed_card = second.holder.card_with(name=name)
    with pytest.raises(Conflict, match="looks like it"):
        await second.register()
    assert second.read(await registrar.cards.present(second.holder.kid)) == before


async def test_of_two_providers_of_one_name_at_once_one_is_registered(registrar: Registrar) -> None:
    users = [await User.new(registrar, user, "provider") for user in ("one", "two")]
    asked = [await user.ask() for user in users]
    nonces = [await user.answer(one) for user, one in zip(users, asked, strict=True)]
    done = await asyncio.gather(
        *(user.confirm(one, nonce) for user, one, nonce in zip(users, asked, nonces, strict=True)),
        return_exceptions=True,
    )
    assert [type(one) for one in done if isinstance(one, Exception)] == [Conflict]
    assert await rows(registrar) == [1, 0, 1]
