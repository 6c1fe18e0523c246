"""The client of a registrar: what it refuses to talk to, and what it makes of strange answers."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.registry import client as registry
from gateway.registry.client import RegistrarClient, read_nonce
from gateway.registry.documents import RegistrationRequest
from gateway.wire.certificate import Revocations
from tests.support.registrar import Holder
from tests.wire.samples import KEY, OTHER, Key

NOW_MS = 1_780_000_000_000
Answer = Callable[[web.Request], web.StreamResponse]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[RegistrarClient]:
    """A client of a server that answers so, whatever it is asked."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with RegistrarClient(f"http://127.0.0.1:{runner.addresses[0][1]}/") as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("registrar.example.org", "is not a registrar's address"),
        ("ftp://registrar.example.org", "is not a registrar's address"),
        ("https://", "is not a registrar's address"),
        ("https://registrar.example.org/?a=b", "is not a registrar's address"),
        ("https://registrar.example.org/#a", "is not a registrar's address"),
        ("https://mueller:secret@registrar.example.org", "do not belong in the registrar's address"),
        ("http://registrar.example.org", "would send a password in clear"),
        ("http://192.0.2.1:8443", "would send a password in clear"),
    ],
)
def test_an_address_that_is_none_is_said(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        RegistrarClient(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (lambda _: web.Response(text="<html>", status=200), GatewayError, "in a form that this program"),
        (lambda _: web.Response(text="<html>", status=404), GatewayError, "answers 404, and not as a reg"),
        (lambda _: web.Response(text="<html>", status=502), Unavailable, "answers 502, and not as a reg"),
        (lambda _: web.Response(status=302, headers={"Location": "/"}), GatewayError, "answers 302"),
        (lambda _: web.json_response({"error": "no", "kind": "refused"}, status=403), Refused, "^no$"),
        (lambda _: web.json_response({"error": "no", "kind": "odd"}, status=400), GatewayError, "^no$"),
        (lambda _: web.json_response({"retry": 1}, status=429), GatewayError, "answers 429"),
    ],
)
async def test_strange_answers_are_sentences(answer: Answer, error: type[Exception], says: str) -> None:
    async with answering(answer) as client:
        with pytest.raises(error, match=says):
            await client.me()


async def test_an_answer_without_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MOST_BYTES", 1000)
    async with answering(lambda _: web.Response(body=b" " * 1001)) as client:
        with pytest.raises(Unavailable, match="with more than 1000 bytes"):
            await client.me()


async def test_nobody_answers() -> None:
    async with RegistrarClient("http://127.0.0.1:9") as client:
        with pytest.raises(Unavailable, match="does not answer now, and nothing is lost"):
            await client.status()


def status_of(signed_card: bytes) -> Answer:
    document = {
        "name": "Registrar",
        "card": base64.b64encode(signed_card).decode(),
        "software_roots": True,
        "now_ms": NOW_MS,
    }
    return lambda _: web.json_response(document)


async def test_a_registrars_card_is_a_registrars() -> None:
    holder = Holder("provider", NOW_MS)
    own = holder.sign(replace(holder.card, role="registrar", xwing_key=None))
    async with answering(status_of(own)) as client:
        assert (await client.status())[1].kid == holder.kid
    async with answering(status_of(holder.signed_card)) as client:
        with pytest.raises(Refused, match="is a provider's"):
            await client.status()
    async with answering(status_of(own[:-1] + bytes([own[-1] ^ 1]))) as client:
        with pytest.raises(Refused):
            await client.status()


@pytest.mark.parametrize(
    ("issued_ms", "next_ms", "key", "fits"),
    [
        (NOW_MS - 1000, NOW_MS + 1, KEY, True),
        (NOW_MS + 299_000, NOW_MS + 400_000, KEY, True),  # clocks differ
        (NOW_MS - 1000, NOW_MS, KEY, False),
        (NOW_MS + 301_000, NOW_MS + 400_000, KEY, False),
        (NOW_MS - 1000, NOW_MS + 1, OTHER, False),
    ],
)
async def test_revocations_are_of_today_and_of_the_pinned_registrar(
    issued_ms: int, next_ms: int, key: Key, fits: bool
) -> None:
    holder = Holder("provider", NOW_MS)
    registrar = replace(holder.card, role="registrar", xwing_key=None, signing_key=KEY.public, kid=KEY.kid)
    signed = key.sign("gw1/revocations", Revocations(issued_ms, next_ms, (7,)).payload())
    document = {"revocations": base64.b64encode(signed).decode()}
    async with answering(lambda _: web.json_response(document)) as client:
        if fits:
            assert (await client.revocations(registrar, NOW_MS)).serials == (7,)
        else:
            with pytest.raises(Refused):
                await client.revocations(registrar, NOW_MS)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 66, "g" * 64])
def test_a_nonce_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="64 hexadecimal digits"):
        read_nonce(text)


def test_a_password_shows_in_no_repr_and_no_refusal() -> None:
    asked = RegistrationRequest(user="mueller", password="correct horse", card=b"card")
    assert "correct horse" not in repr(asked)
    wrong = json.loads(asked.model_dump_json()) | {"card": 7, "odd": "correct horse"}
    with pytest.raises(UsageError) as refused:
        RegistrationRequest.parse(wrong)
    assert "correct horse" not in str(refused.value)
