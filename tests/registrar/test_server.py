"""The HTTP API as a client meets it: over TLS, with limits, sentences and a log without secrets."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway.errors import Refused, Unavailable, UsageError
from gateway.registrar import server
from gateway.registrar.api import ROUTES
from gateway.registrar.server import serving
from gateway.registrar.service import Registrar
from gateway.registrar.settings import ListenSection, Settings
from gateway.registry.client import RegistrarClient, read_certificate, read_nonce
from gateway.registry.documents import (
    PREFIX,
    Confirmation,
    ErrorAnswer,
    RegistrationRequest,
    StreamsRequest,
)
from gateway.wire.signed import Signed
from tests.support.clock import FakeClock
from tests.support.registrar import Holder, log_in, open_new, register, settings, tls_files

STREAM = b"\1" * 16


@pytest.fixture
async def url(registrar: Registrar) -> AsyncIterator[str]:
    """Where the registrar answers."""
    async with serving(registrar) as found:
        yield found


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def register_by(client: RegistrarClient, user: str, password: str, home: Holder, now_ms: int) -> bytes:
    """Figure 3 over HTTP; the certificate, checked."""
    _, card = await client.status()
    asked = RegistrationRequest(user=user, password=password, card=home.signed_card)
    challenge = await client.request_to_register(asked)
    login = home.login(read_nonce(challenge.nonce or ""), card.kid, now_ms)
    nonce = (await client.respond(challenge.id, login)).nonce
    confirmation = Confirmation(
        user=user, password=password, nonce=nonce, descriptors=(home.descriptor(STREAM),)
    )
    answer = await client.confirm(challenge.id, confirmation)
    read_certificate(answer, card, now_ms, "the certificate")
    return answer.certificate


async def test_a_gateway_registers_logs_in_and_lists_its_streams(
    registrar: Registrar, url: str, clock: FakeClock
) -> None:
    password = await registrar.accounts.add("muller", "household")
    home = Holder("gateway", clock.now_ms)

    async def sign(thing: Signed) -> bytes:
        return home.sign(thing)

    async with RegistrarClient(url) as client:
        certificate = await register_by(client, "muller", password, home, clock.now_ms)
        _, card = await client.status()
        assert (await client.certificate(home.kid)).certificate == certificate
        assert (await client.revocations(card, clock.now_ms)).serials is None
        with pytest.raises(Refused, match="this takes a session"):
            await client.me()
        await client.login(home.kid, card, clock.now_ms, sign)
        me = await client.me()
        assert (me.user, me.role, me.kid, me.streams) == (
            "muller",
            "gateway",
            home.kid.hex(),
            (STREAM.hex(),),
        )
        assert [one.kind for one in me.notices] == []
        assert (await client.renew()).certificate == certificate
        descriptors = (home.descriptor(STREAM), home.descriptor(b"\2" * 16))
        me = await client.put_streams(
            StreamsRequest(descriptors=descriptors, region="Bern", tariff_zone="H4", listed=True)
        )
        assert me.streams == (STREAM.hex(), "02" * 16)
        found = read_certificate(await client.certificate(home.kid), card, clock.now_ms, "the certificate")
        assert found.streams == (STREAM, b"\2" * 16)
        assert me.certificate == (await client.certificate(home.kid)).certificate
        assert await client.requests() == ()
        with pytest.raises(Refused, match="is a foreign one"):
            await client.put_streams(
                StreamsRequest(descriptors=(Holder("gateway", clock.now_ms).descriptor(),))
            )
        (notice,) = (await client.me()).notices
        assert (notice.kind, notice.time_ms) == ("descriptor", clock.now_ms)
        assert notice.sentence.startswith("refused from 127.0.0.1: descriptor 1 is a foreign one")


async def test_a_household_is_told_who_tried_its_password(
    registrar: Registrar, url: str, clock: FakeClock
) -> None:
    password = await registrar.accounts.add("muller", "household")
    home = Holder("gateway", clock.now_ms)
    await register(registrar, "muller", password, home)
    async with RegistrarClient(url) as client:
        with pytest.raises(Refused, match="the user name or the password is wrong"):
            await register_by(client, "muller", "hunter2", home, clock.now_ms)
    async with aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {await log_in(registrar, home)}"}
        async with http.get(f"{url}{PREFIX}/me", headers=headers) as answer:
            (notice,) = (await answer.json())["notices"]
    assert notice["kind"] == "password"
    assert "hunter2" not in notice["sentence"]


async def test_who_fails_often_is_told_to_wait(
    registrar: Registrar, url: str, http: aiohttp.ClientSession, clock: FakeClock
) -> None:
    await registrar.accounts.add("muller", "household")
    body = {"user": "muller", "password": "wrong", "card": ""}
    for _ in range(10):
        async with http.post(f"{url}{PREFIX}/registrations", json=body) as answer:
            assert answer.status == 401
    async with http.post(f"{url}{PREFIX}/registrations", json=body) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert await answer.json() == {
            "kind": "unavailable",
            "error": "too many attempts have failed: try again in 1 s",
            "retry_after_s": 1,
        }


async def test_every_answer_forbids_what_a_browser_may_do_with_it(
    url: str, http: aiohttp.ClientSession
) -> None:
    for path in ("/v1/registrar", "/openapi.json", "/nowhere", "/v1/me"):
        async with http.get(url + path) as answer:
            found = answer.headers
            assert found["Cache-Control"] == "no-store"
            assert found["X-Content-Type-Options"] == "nosniff"
            assert found["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert len(found["X-Request-Id"]) == 12
            assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("GET", "/nowhere", None, 404, "does not accept this GET: Not Found"),
        ("DELETE", "/registrar", None, 405, "does not accept this DELETE: Method Not Allowed"),
        ("GET", "/certificates/xyz", None, 400, "the path's kid is invalid: expected 32 hexadecimal"),
        ("GET", "/certificates/" + "0" * 32, None, 404, "no certificate was issued"),
        ("POST", "/registrations", b"{", 400, "the request is not JSON"),
        ("POST", "/registrations", b"\xff", 400, "the request is not JSON"),
        ("POST", "/registrations", b"[" * 60_000, 400, "the request is not JSON"),
        ("POST", "/registrations", b"[]", 400, "the request"),
        ("POST", "/registrations", b'{"user": "hunter2"}', 400, "password: Field required"),
        ("POST", "/registrations", b'{"user": "x", "password": "hunter2", "card": 7}', 400, "card"),
        ("POST", "/registrations", b'{"password": "hunter2", "usr": 1}', 400, "user: Field required"),
        ("POST", "/registrations", b" " * 70_000, 413, "Request Entity Too Large"),
        ("POST", "/sessions", b'{"login": "AAAA"}', 403, "the login is not"),
        ("POST", "/registrations/x/answer", b'{"answer": "AAAA"}', 400, "the path's id is invalid"),
        ("POST", f"/registrations/{'0' * 32}/answer", b'{"answer": "AAAA"}', 404, "begin the registration"),
        ("GET", "/me", None, 401, "this takes a session"),
        ("PUT", "/me/streams", b"{", 401, "this takes a session"),
    ],
)
async def test_what_cannot_be_right_gets_a_status_and_a_sentence(
    url: str,
    http: aiohttp.ClientSession,
    method: str,
    path: str,
    body: bytes | None,
    status: int,
    sentence: str,
) -> None:
    async with http.request(method, url + PREFIX + path, data=body) as answer:
        found = await answer.json()
        assert (answer.status, list(found)) == (status, ["kind", "error", "retry_after_s"])
    assert sentence in found["error"]
    assert "hunter2" not in found["error"]


async def test_a_session_is_for_its_role_alone(
    registrar: Registrar, url: str, http: aiohttp.ClientSession, clock: FakeClock
) -> None:
    password = await registrar.accounts.add("acme", "provider")
    acme = Holder("provider", clock.now_ms)
    await register(registrar, "acme", password, acme)
    headers = {"Authorization": f"Bearer {await log_in(registrar, acme)}"}
    body = StreamsRequest(descriptors=()).model_dump_json()
    async with http.put(f"{url}{PREFIX}/me/streams", data=body, headers=headers) as answer:
        assert answer.status == 403
        assert "this is for a gateway, and the session is a provider's" in await answer.text()
    async with http.get(f"{url}{PREFIX}/me", headers={"Authorization": "Basic eDp5"}) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_the_log_has_ids_and_patterns_and_no_secret(
    registrar: Registrar, url: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    password = await registrar.accounts.add("muller", "household")
    home = Holder("gateway", clock.now_ms)
    async with RegistrarClient(url) as client:
        await register_by(client, "muller", password, home, clock.now_ms)
        with pytest.raises(Refused):
            await register_by(client, "muller", "hunter2", home, clock.now_ms)
    lines = [line.getMessage() for line in caplog.records if line.name.startswith("gateway.registrar.server")]
    assert any("POST /v1/registrations/{id}/confirmation from 127.0.0.1: 200 in " in line for line in lines)
    for secret in (password, "hunter2"):
        assert secret not in caplog.text
    async with aiohttp.ClientSession() as http, http.get(f"{url}/v1/registrar") as answer:
        assert any(line.getMessage().startswith(answer.headers["X-Request-Id"]) for line in caplog.records)


SECRET = b"TOPSECRET"
BROKEN = {
    "a control character": b"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer TOPSECRET\x01\r\n\r\n",
    "a header that is none": b"GET /v1/me HTTP/1.1\r\nHost: x\r\nBearer TOPSECRET\r\n\r\n",
    "not UTF-8": b"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xffTOPSECRET\r\n\r\n",
    "a path that is none": b"GET /v1/me?TOPSECRET\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no HTTP": SECRET + b"\r\n\r\n",
    "a body that is not gzip": b"POST /v1/registrations HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 9\r\n\r\nTOPSECRET",
    "a body that ends early": b"POST /v1/registrations HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n"
    + SECRET,
}


@pytest.mark.parametrize("case", BROKEN)
async def test_what_is_not_http_fails_as_the_client_s_own_and_leaves_no_secret_in_the_log(
    url: str, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(BROKEN[case])
    writer.write_eof()
    answer = await reader.read(12)
    writer.close()
    assert answer in (b"", b"HTTP/1.0 400", b"HTTP/1.1 400", b"HTTP/1.1 401")
    assert SECRET.decode() not in caplog.text
    assert " failed: " not in caplog.text


async def test_a_connection_that_asks_for_nothing_is_closed(
    registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_IDLE_S", 0.05)
    async with serving(registrar) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /v1/registrar HTTP/1.1\r\nHost: x\r\nX-Half: ")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_what_a_hostile_registrar_says_moves_no_cursor_and_fills_no_log() -> None:
    """Of a refusal: a stranger's text reaches the gateway's log, and a person's terminal."""

    async def answer(_request: web.Request) -> web.Response:
        text = "\x1b[2J\r\N{RIGHT-TO-LEFT OVERRIDE}\n" + "x" * 10**6
        error = ErrorAnswer(kind="refused", error=text, homes={"00": text})
        return web.Response(status=403, text=error.model_dump_json())

    app = web.Application()
    app.router.add_get("/v1/me", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with RegistrarClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            with pytest.raises(Refused) as refused:
                await client.me()
    finally:
        await runner.cleanup()
    for said in (str(refused.value), refused.value.homes["00"]):
        assert said.isprintable()
        assert len(said) == 1000


async def test_a_bug_is_answered_and_logged_without_what_it_quotes(
    registrar: Registrar,
    url: str,
    http: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object) -> bytes:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr(type(registrar.cards), "revocations", fail)
    async with http.get(f"{url}/v1/revocations") as answer:
        found, request_id = await answer.json(), answer.headers["X-Request-Id"]
        assert answer.status == 500
    assert request_id in found["error"]
    assert f"{request_id} failed: ZeroDivisionError in test_server.py, line " in caplog.text
    assert "hunter2" not in caplog.text + found["error"]


async def test_a_database_that_is_gone_is_answered_by_503(
    registrar: Registrar, url: str, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> bytes:
        raise Unavailable("the registrar's database does not answer now")

    monkeypatch.setattr(type(registrar.cards), "revocations", fail)
    async with http.get(f"{url}/v1/revocations") as answer:
        assert answer.status == 503


async def test_what_is_under_way_is_finished_before_the_end(
    registrar: Registrar, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, leave = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> bytes:
        begun.set()
        await leave.wait()
        return b"list"

    monkeypatch.setattr(type(registrar.cards), "revocations", slow)
    async with serving(registrar) as url:
        asked = asyncio.create_task(http.get(f"{url}/v1/revocations"))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.1, leave.set)
    assert (await asked).status == 200
    with pytest.raises(aiohttp.ClientError):
        await http.get(f"{url}/v1/revocations")


@asynccontextmanager
async def over_tls(folder: Path, clock: FakeClock) -> AsyncIterator[tuple[str, Path]]:
    ca, certificate, key = tls_files(folder)
    listen = ListenSection(host="localhost", port=0, certificate=certificate, key=key)
    chosen = settings(folder / "state")
    with_tls = Settings(registrar=chosen.registrar, listen=listen)
    async with open_new(with_tls, clock) as one, serving(one) as url:
        yield url, ca


async def test_tls(tmp_path: Path, clock: FakeClock) -> None:
    async with over_tls(tmp_path, clock) as (url, ca):
        assert url.startswith("https://localhost:")
        async with RegistrarClient(url, ca) as client:
            assert (await client.status())[1].role == "registrar"
        async with RegistrarClient(url) as client:
            with pytest.raises(Unavailable, match="does not trust"):
                await client.status()
        context = ssl.create_default_context(cafile=ca)
        async with aiohttp.ClientSession() as http, http.get(f"{url}/v1/registrar", ssl=context) as answer:
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
        with suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as http, http.get(url.replace("https", "http")) as answer:
                assert not answer.ok


async def test_tls_files_that_are_none_get_a_sentence(tmp_path: Path, clock: FakeClock) -> None:
    _, certificate, key = tls_files(tmp_path)
    chosen = settings(tmp_path / "state")
    for one, sentence in ((key, "are not a TLS certificate"), (tmp_path / "no", "cannot be read")):
        listen = ListenSection(port=0, certificate=one, key=key)
        async with open_new(Settings(registrar=chosen.registrar, listen=listen), clock) as registrar:
            with pytest.raises(UsageError, match=sentence):
                await serving(registrar).__aenter__()
    assert certificate.exists()


async def test_an_address_that_is_taken_gets_a_sentence(registrar: Registrar, url: str) -> None:
    listen = ListenSection(port=int(url.rpartition(":")[2]))
    taken = Settings(registrar=registrar.settings.registrar, listen=listen)
    object.__setattr__(registrar, "settings", taken)
    with pytest.raises(UsageError, match=r"cannot listen at 127\.0\.0\.1, port"):
        await serving(registrar).__aenter__()


def test_every_route_of_the_client_is_there() -> None:
    """The paths that `RegistrarClient` asks for and that this server has so far."""
    found = {(route.method, route.path) for route in ROUTES}
    assert {
        ("GET", "/registrar"),
        ("GET", "/revocations"),
        ("GET", "/certificates/{kid}"),
        ("POST", "/registrations"),
        ("POST", "/registrations/{id}/answer"),
        ("POST", "/registrations/{id}/confirmation"),
        ("POST", "/nonces"),
        ("POST", "/sessions"),
        ("GET", "/me"),
        ("POST", "/me/certificate"),
        ("PUT", "/me/streams"),
        ("GET", "/requests"),
        ("POST", "/requests"),
        ("POST", "/requests/{id}"),
    } <= found
