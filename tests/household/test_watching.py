"""What a monitoring system gets from the page's server: health without a login, metrics with a token only."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.control.documents import Status
from gateway.control.metrics import CONTENT_TYPE
from gateway.errors import GatewayError, Unavailable
from gateway.household import watching
from gateway.household.home import Household
from gateway.household.server import _leading
from tests.support.clock import FakeClock
from tests.support.exposition import parse, value
from tests.support.pages import Answers, Browser, meter, status


async def test_health_is_told_to_anybody_and_nothing_but_that(stranger: Browser, gateway: Answers) -> None:
    for path in ("/healthz", "/healthz?verbose=1"):
        answer = await stranger.ask(path)
        assert (answer.status, await answer.json()) == (200, {"ok": True})
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"


async def test_one_reason_why_not_and_no_sentence(
    stranger: Browser, gateway: Answers, clock: FakeClock
) -> None:
    fault = "meter sauna: its register fell from 1 kWh"
    gateway.now = status(meters=(meter("sauna", sealing=False, error=fault, held=fault),))
    answer = await stranger.ask("/healthz")
    assert (answer.status, await answer.json()) == (503, {"ok": False, "reason": "meter"})
    for error in (Unavailable("no gateway answers"), GatewayError("in another form")):
        gateway.error = error
        clock.pass_s(5)
        answer = await stranger.ask("/healthz")
        assert (answer.status, await answer.json()) == (503, {"ok": False, "reason": "gateway"})


async def test_a_flood_of_questions_asks_the_gateway_once_in_five_seconds(
    stranger: Browser, gateway: Answers, clock: FakeClock
) -> None:
    for times in (1, 2):
        answers = await asyncio.gather(*(stranger.ask("/healthz") for _ in range(40)))
        assert {answer.status for answer in answers} == {200}
        assert gateway.asked == times
        clock.pass_s(5)


async def test_a_gateway_that_hangs_is_told_of_to_all_who_wait(
    stranger: Browser, household: Household, gateway: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> Status:
        gateway.asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(watching, "_ANSWER_S", 0.1)
    monkeypatch.setattr(gateway, "status", hang)
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(stranger.ask("/healthz") for _ in range(9)))
        assert {answer.status for answer in answers} == {503}
        assert gateway.asked == 1
        token = household.metrics_token.make()
        _, text = await asks(stranger, f"Bearer {token}")
    assert list(parse(text).values()) == [0.0]


async def asks(browser: Browser, authorization: str | None = None) -> tuple[int, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await browser.client.get("/metrics", headers=headers, allow_redirects=False)
    if answer.status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Set-Cookie" not in answer.headers
    return answer.status, await answer.text()


async def test_metrics_take_the_token(stranger: Browser, household: Household, gateway: Answers) -> None:
    assert (await asks(stranger))[0] == 404
    assert (await asks(stranger, "Bearer x"))[0] == 404
    token = household.metrics_token.make()
    for wrong in (None, "", "Bearer ", f"Bearer {token[:-1]}", f"Basic {token}", token):
        code, text = await asks(stranger, wrong)
        assert code == 401
        assert "gateway_" not in text
    assert gateway.asked == 0
    code, text = await asks(stranger, f"Bearer {token}")
    assert code == 200
    assert value(text, "meter_sealing", meter="1") == 1
    household.metrics_token.forget()
    assert (await asks(stranger, f"Bearer {token}"))[0] == 404


async def test_a_login_is_no_token(browser: Browser, household: Household) -> None:
    household.metrics_token.make()
    assert (await asks(browser))[0] == 401


async def test_of_a_gateway_that_is_away_the_metrics_say_so(
    stranger: Browser, household: Household, gateway: Answers
) -> None:
    token, gateway.error = household.metrics_token.make(), Unavailable("no gateway answers")
    answer = await stranger.client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    assert list(parse(await answer.text()).values()) == [0.0]


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_another_name_of_this_machine_or_another_method_is_refused(
    stranger: Browser, path: str
) -> None:
    answer = await stranger.client.get(path, headers={"Host": "evil.example"})
    assert answer.status == 421
    assert (await stranger.post(path, form=await stranger.form_of("/login"))).status in (401, 405)


@pytest.mark.parametrize(
    ("asked", "led_to"), [("/healthz", "/healthz"), ("/metrics", "/metrics"), ("/healthzz", "/"), ("/x", "/")]
)
async def test_without_tls_it_is_led_to_the_same_address_over_tls(
    household: Household, asked: str, led_to: str
) -> None:
    async with TestClient(TestServer(_leading(household, 8443))) as client:
        answer = await client.get(asked, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (308, f"https://127.0.0.1:8443{led_to}")
