"""The gateway registers at a real registrar, over HTTP, and lives with what comes from there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.control.documents import RegistrationOrder
from gateway.daemon.registrar_link import FILE
from gateway.daemon.registration import Registration
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.registrar.server import serving
from gateway.registrar.service import Registrar
from gateway.registry.client import RegistrarClient
from gateway.registry.documents import CredentialsAnswer, Me, NonceAnswer, Notice, StreamsRequest
from gateway.wire import names
from gateway.wire.request import Request
from tests.support.home import LINK_UNITS, Home
from tests.support.registrar import Holder, open_new, register, settings

PASSWORD = "correct horse"
DAY_S = 86_400


class Town:
    """A registrar that serves, a home that runs, and the registration of the home's gateway."""

    def __init__(self, registrar: Registrar, url: str, home: Home) -> None:
        self.registrar = registrar
        self.url = url
        self.home = home
        self.registration = self.made()

    def made(self) -> Registration:
        """The registration, as a gateway that starts finds it."""
        home = self.home
        return Registration(home.state, home.root, home.ledger, home.clock)

    def order(self, **changes: Any) -> RegistrationOrder:
        order = RegistrationOrder(
            url=self.url,
            user="mueller",
            password=PASSWORD,
            registrar_kid=self.registrar.identity.card.kid.hex(),
            name="gateway",
        )
        return order.model_copy(update=changes)


@asynccontextmanager
async def town(
    folder: Path, *, software_roots: bool = True, meters: Sequence[str] = ("main",)
) -> AsyncIterator[Town]:
    home = Home(folder / "home", meters=meters)
    chosen = settings(folder / "registrar", software_roots=software_roots)
    async with open_new(chosen, home.clock) as registrar, serving(registrar) as url:
        await registrar.accounts.add("mueller", "household", PASSWORD)
        await registrar.accounts.add("stadtwerk", "provider", PASSWORD)
        await home.start()
        try:
            await home.runs(2 * LINK_UNITS)
            yield Town(registrar, url, home)
        finally:
            await home.stop()


async def test_a_gateway_registers_and_knows_it_after_a_restart(tmp_path: Path) -> None:
    async with town(tmp_path) as one:
        status = await one.registration.register(one.order())
        stream = await one.home.stream()
        certificate = one.registration._link.certificate
        assert certificate is not None
        assert (certificate.streams, certificate.assurance) == ((stream.id,), "software")
        assert certificate.registrar == status.registrar == one.registrar.identity.card.name
        assert (status.user, status.assurance, status.error) == ("mueller", "software", None)
        assert one.made().status() == replace_credentials(status)
        kept = (one.home.state / FILE).read_text()
        assert PASSWORD not in kept
        entries = await one.home.ledger.audit_log(10)
        assert [entry.detail for entry in entries if entry.what == "registration"] == [
            f"registered at {status.registrar} as mueller"
        ]


def replace_credentials(status: Any) -> Any:
    return status.model_copy(update={"credentials_until_ms": None, "notices": ()})


@pytest.mark.parametrize("cut", ["status", "request_to_register", "respond", "confirm", "put_streams"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_registration_that_was_cut_is_made_again(
    tmp_path: Path, cut: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network goes away at each step, before the registrar has heard of it and after."""
    async with town(tmp_path) as one:
        whole = getattr(RegistrarClient, cut)

        async def gone(*arguments: Any, **options: Any) -> Any:
            if when == "after":
                await whole(*arguments, **options)
            raise Unavailable("the network is gone")

        with monkeypatch.context() as broken:
            broken.setattr(RegistrarClient, cut, gone)
            if cut == "put_streams":  # what comes after registration is done again by itself
                assert (await one.registration.register(one.order())).error == "the network is gone"
            else:
                with pytest.raises(Unavailable, match="the network is gone"):
                    await one.registration.register(one.order())
                assert one.registration.status() is None
                assert not (one.home.state / FILE).exists()
        again = one.made()
        assert (await again.register(one.order())).error is None
        certificate = again._link.certificate
        assert certificate.streams == ((await one.home.stream()).id,)


async def test_software_is_registered_where_the_operator_allows_it_only(tmp_path: Path) -> None:
    async with town(tmp_path, software_roots=False) as one:
        with pytest.raises(UsageError, match="registers gateways with a TPM only"):
            await one.registration.register(one.order())
        assert one.made().status() is None


async def test_another_registrar_gets_nothing(tmp_path: Path) -> None:
    async with town(tmp_path) as one:
        with pytest.raises(UsageError, match="has another key"):
            await one.registration.register(one.order(registrar_kid="00" * 16))
        assert await one.registrar.access.all() == []


async def test_a_wrong_password_registers_nothing_and_is_told_once_it_is_right(tmp_path: Path) -> None:
    async with town(tmp_path) as one:
        with pytest.raises(GatewayError, match="password"):
            await one.registration.register(one.order(password="wrong"))
        assert one.registration.status() is None
        assert one.home.root.public_key  # still there
        one.home.clock.pass_s(3600)
        status = await one.registration.register(one.order())
        assert len(status.notices) == 1
        assert "wrong" not in status.notices[0].split("password")[0]


async def test_a_damaged_file_is_put_aside_and_said(tmp_path: Path) -> None:
    """The gateway starts without its registration, says so, and can be registered again."""
    async with town(tmp_path) as one:
        await one.registration.register(one.order())
        path = one.home.state / FILE
        aside = path.with_suffix(".damaged")
        for text in ("", "{}", path.read_text().replace('"version": 1', '"version": 2'), "[1]"):
            path.write_text(text)
            found = one.made()
            assert found.status() is None
            assert [
                fault.endswith("is damaged: register again (gateway register URL --user NAME)")
                for fault in found.faults
            ] == [True]
            assert (path.exists(), aside.read_text()) == (False, text)
            with pytest.raises(Unavailable, match="this gateway is no longer registered: gateway register"):
                await found.present("v1/x")
        await found.register(one.order())
        assert (found.faults, one.made().faults) == ((), ())


async def provider_of(one: Town) -> Holder:
    holder = Holder("provider", one.home.clock.now_ms, "Stadtwerk")
    await register(one.registrar, "stadtwerk", PASSWORD, holder)
    return holder


async def test_a_card_that_the_registrar_vouches_for_needs_no_fingerprint(tmp_path: Path) -> None:
    async with town(tmp_path) as one:
        holder = await provider_of(one)
        assert await one.registration.vouching.verified_by(holder.card) is None  # not registered yet
        await one.registration.register(one.order())
        assert await one.registration.vouching.verified_by(holder.card) == one.registrar.identity.card.name
        stranger = Holder("provider", one.home.clock.now_ms, "Stadtwerk")
        assert await one.registration.vouching.verified_by(stranger.card) is None
        renamed = replace(holder.card, name="Another")
        assert await one.registration.vouching.verified_by(renamed) is None
        (serial,) = [found.serial for found in await one.registrar.cards.all() if found.kid == holder.kid]
        await one.registrar.cards.revoke(serial)
        assert await one.registration.vouching.verified_by(holder.card) is None


def request(holder: Holder, stream: bytes, **changes: Any) -> Request:
    wanted = Request(
        id=bytes(range(16)),
        provider=holder.kid,
        stream=stream,
        kind="windows",
        lanes=("import",),
        granularity=60,
        zone="UTC",
        purpose="dynamic tariff",
        from_ms=None,
        until_ms=None,
        tariff=None,
        time_ms=holder.card.valid_from_ms,
    )
    return replace(wanted, **changes)


async def test_more_streams_than_a_session_reaches_have_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = 0

    async def credentials(_client: RegistrarClient, streams: Sequence[bytes] = ()) -> CredentialsAnswer:
        nonlocal given
        given += 1
        mine = sorted(stream.id for stream in await one.home.ledger.streams())
        return CredentialsAnswer(
            url="s3://meters",
            access_key=f"key{given}",
            secret_key="secret",
            session_token="token",
            expires_ms=one.home.clock.now_ms + 3_600_000,
            streams=tuple(stream.hex() for stream in mine if not streams or stream in streams)[:2],
        )

    monkeypatch.setattr(RegistrarClient, "credentials", credentials)
    async with town(tmp_path, meters=("a", "b", "c", "d", "e")) as one:
        await one.registration.register(one.order())
        streams = sorted(stream.id for stream in await one.home.ledger.streams())
        keys = [(await one.registration.present(names.head(stream))).access_key for stream in streams]
        assert keys == ["key1", "key1", "key2", "key2", "key3"]
        assert (await one.registration.present(names.PROBE)).access_key == "key1"
        assert given == 3
        refused = await one.registration.present(names.head(streams[4]))
        renewed = await one.registration.present(names.head(streams[4]), refused)
        assert (renewed.access_key, given) == ("key6", 6)
        one.home.clock.pass_s(3600)
        assert (await one.registration.present(names.head(streams[0]))).access_key == "key7"


async def test_a_registrar_that_names_other_streams_for_ever_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def credentials(_client: RegistrarClient, streams: Sequence[bytes] = ()) -> CredentialsAnswer:
        nonlocal asked
        asked += 1
        assert asked < 10
        return CredentialsAnswer(
            url="s3://meters",
            access_key="key",
            secret_key="secret",
            expires_ms=one.home.clock.now_ms + 3_600_000,
            streams=(f"{asked:032x}",),
        )

    monkeypatch.setattr(RegistrarClient, "credentials", credentials)
    async with town(tmp_path) as one:
        await one.registration.register(one.order())
        with pytest.raises(Unavailable, match="there are no storage credentials"):
            await one.registration.present(names.head((await one.home.stream()).id))


async def test_pages_from_a_registrar_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def put_streams(client: RegistrarClient, streams: StreamsRequest) -> Me:
        notice = Notice(time_ms=0, kind="password", sentence="x" * 10**6)
        return (await client.me()).model_copy(update={"notices": (notice,) * 10**4})

    monkeypatch.setattr(RegistrarClient, "put_streams", put_streams)
    async with town(tmp_path) as one:
        status = await one.registration.register(one.order())
        assert sum(map(len, status.notices)) < 2**20


async def test_a_token_that_fits_in_no_header_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps the credentials up to date goes on, and so does what asks for them."""
    whole = RegistrarClient.login

    async def login(client: RegistrarClient, *arguments: Any) -> Any:
        await whole(client, *arguments)
        client._token = "a\r\nHost: b"

    async with town(tmp_path) as one:
        await one.registration.register(one.order())
        one.registration._tell_at = one.registration._next_try = 0
        monkeypatch.setattr(RegistrarClient, "login", login)
        await one.registration._look()
        status = one.registration.status()
        assert status is not None
        assert "a form that this program does not know" in (status.error or "")
        with pytest.raises(Unavailable, match="there are no storage credentials"):
            await one.registration.present(names.head((await one.home.stream()).id))


@pytest.mark.parametrize("nonce", ["", "zz", "00" * 31, "00" * 31 + "\n0"])
async def test_a_nonce_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nonce: str
) -> None:
    async def respond(_client: RegistrarClient, _id: str, _answer: bytes) -> NonceAnswer:
        return NonceAnswer.model_construct(nonce=nonce, expires_ms=0)

    monkeypatch.setattr(RegistrarClient, "respond", respond)
    async with town(tmp_path) as one:
        with pytest.raises(Refused, match="nonce is invalid"):
            await one.registration.register(one.order())
