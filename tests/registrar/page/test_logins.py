"""Who gets in, for how long, and what is refused of those who should not."""

from __future__ import annotations

import re

import pytest

from gateway.errors import Refused
from gateway.registrar.service import Registrar
from tests.registrar.page.conftest import Browser, words
from tests.support.clock import FakeClock
from tests.support.operator import OPERATOR, Seen

PAGES = ("", "/households", "/providers", "/attempts", "/catalogue", "/certificates/1/revoke")
WRONG = "The user name or the password is wrong."


async def test_a_stranger_is_sent_to_log_in(stranger: Browser) -> None:
    for page in PAGES:
        answer = await stranger.client.get("/operator" + page, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/operator/login")
        assert await answer.text() == ""


async def test_the_cookie_is_for_this_page_alone(stranger: Browser, seen: Seen) -> None:
    answer = await stranger.log_in(OPERATOR, seen.password)
    cookie = answer.headers["Set-Cookie"]
    assert re.fullmatch(r"operator=[\w-]{43}; HttpOnly; Path=/operator; SameSite=Strict", cookie)
    headers = {"X-Forwarded-Proto": "https"}
    behind = await stranger.client.get("/operator/login", headers=headers, allow_redirects=False)
    assert behind.status == 303
    stranger.client.session.cookie_jar.clear()
    behind = await stranger.client.get("/operator/login", headers=headers)
    assert "; Secure" in behind.headers["Set-Cookie"]


async def test_logging_in_changes_the_cookie(stranger: Browser, seen: Seen) -> None:
    before = [(await stranger.client.get("/operator/login")).headers["Set-Cookie"].partition(";")[0]]
    for _ in range(2):  # the second time with a login already there, which ends
        form = await stranger.form_of("/operator/login" if len(before) == 1 else "/operator")
        login = {"name": OPERATOR, "password": seen.password}
        answer = await stranger.post("/operator/login", form=form, **login)
        before.append(answer.headers["Set-Cookie"].partition(";")[0])
    assert len(set(before)) == 3
    stranger.client.session.cookie_jar.clear()
    opened = [
        (await stranger.client.get("/operator", headers={"Cookie": cookie}, allow_redirects=False)).status
        for cookie in before
    ]
    assert opened == [303, 303, 200]


async def test_a_wrong_password_says_the_same_of_everybody(stranger: Browser, seen: Seen) -> None:
    for name in (OPERATOR, "nobody", ""):
        answer = await stranger.log_in(name, "not it")
        text = await answer.text()
        assert answer.status == 401
        assert WRONG in words(text)
        assert "not it" not in text
        assert (await stranger.get("/operator"))[0] == 303


async def test_a_household_is_not_let_in(stranger: Browser, registrar: Registrar, seen: Seen) -> None:
    answer = await stranger.log_in("müller", seen.home_password)
    assert answer.status == 401
    assert WRONG in words(await answer.text())
    assert (await stranger.get("/operator"))[0] == 303
    assert (await registrar.access.all())[0].address == "127.0.0.1"


async def test_many_wrong_passwords_have_to_wait(
    stranger: Browser, registrar: Registrar, clock: FakeClock, seen: Seen
) -> None:
    statuses = [(await stranger.log_in(OPERATOR, f"guess {number}")).status for number in range(11)]
    assert statuses == [401] * 10 + [429]
    answer = await stranger.log_in(OPERATOR, seen.password)
    assert answer.status == 429
    assert "Too many attempts have failed: try again in 1 s." in words(await answer.text())
    assert answer.headers["Retry-After"] == "1"
    assert {one.kind for one in await registrar.access.all()} == {"password", "too_many"}
    clock.pass_s(1)
    assert (await stranger.log_in(OPERATOR, seen.password)).status == 303


async def test_a_login_ends_an_hour_after_the_last_request(browser: Browser, clock: FakeClock) -> None:
    for _ in range(3):
        clock.pass_s(3599)
        assert (await browser.get("/operator"))[0] == 200
    clock.pass_s(3600)
    form = await browser.form_of("/operator/login")
    assert (await browser.get("/operator"))[0] == 303
    answer = await browser.post("/operator/certificates/1/revoke", form=form)
    assert answer.status == 401
    assert "not logged in any more, and nothing was changed" in words(await answer.text())


async def test_logging_out_ends_the_login_itself(browser: Browser) -> None:
    jar = browser.client.session.cookie_jar
    cookies = [(cookie.key, cookie.value) for cookie in jar]
    answer = await browser.post("/operator/logout", form=await browser.form_of("/operator"))
    assert (answer.status, answer.headers["Location"]) == (303, "/operator/login")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    headers = {"Cookie": "; ".join(f"{key}={value}" for key, value in cookies)}
    kept = await browser.client.get("/operator", headers=headers, allow_redirects=False)
    assert kept.status == 303


async def test_a_login_ends_with_its_password_or_its_account(browser: Browser, registrar: Registrar) -> None:
    password = await registrar.accounts.set_password(OPERATOR)
    assert (await browser.get("/operator"))[0] == 303
    assert (await browser.log_in(OPERATOR, password)).status == 303
    assert (await browser.get("/operator"))[0] == 200
    await registrar.accounts.remove(OPERATOR)
    assert (await browser.get("/operator"))[0] == 303


async def test_a_form_without_its_token_is_refused(
    browser: Browser, registrar: Registrar, seen: Seen
) -> None:
    login = {"name": OPERATOR, "password": seen.password}
    for path in ("/operator/login", "/operator/logout", "/operator/certificates/1/revoke"):
        for form in ({}, {"form": ""}, {"form": "0" * 64}, {"form": "é"}, {"other": "x"}):
            answer = await browser.post(path, **login, **form)
            assert answer.status == 403
            assert "The form is too old, is not from this page" in words(await answer.text())
    assert (await browser.get("/operator"))[0] == 200
    await registrar.cards.present(seen.home.kid)


async def test_a_form_of_another_browser_is_refused(browser: Browser) -> None:
    form = await browser.form_of("/operator")
    browser.client.session.cookie_jar.clear()
    assert (await browser.post("/operator/logout", form=form)).status == 403


async def test_a_form_of_another_site_is_refused(browser: Browser, registrar: Registrar, seen: Seen) -> None:
    path = "/operator/certificates/1/revoke"
    form = await browser.form_of(path)
    ftp = browser.origin.replace("http://", "ftp://")
    for origin in ("https://evil.example", "null", None, "http://127.0.0.1", "http://[", ftp):
        answer = await browser.post(path, origin=origin, form=form)
        assert answer.status == 403
        assert "The form comes from another site" in words(await answer.text())
    await registrar.cards.present(seen.home.kid)
    assert (await browser.post(path, form=form)).status == 303
    with pytest.raises(Refused):
        await registrar.cards.present(seen.home.kid)


async def test_a_request_of_another_site_is_refused_by_what_the_browser_says(browser: Browser) -> None:
    headers = {"Origin": browser.origin, "Sec-Fetch-Site": "cross-site"}
    data = {"form": await browser.form_of("/operator")}
    answer = await browser.client.post("/operator/logout", data=data, headers=headers)
    assert answer.status == 403


async def test_a_body_that_is_no_form_gets_a_sentence(stranger: Browser) -> None:
    form = "application/x-www-form-urlencoded"
    for body, kind, status in (
        (b'{"form": "x"}', "application/json", 400),
        (b"\xff\xfe", form, 400),
        (b"a=1&" * 11, form, 400),
        (b"a=" + b"b" * 9000, form, 413),
    ):
        headers = {"Origin": stranger.origin, "Content-Type": kind}
        answer = await stranger.client.post("/operator/login", data=body, headers=headers)
        assert answer.status == status
        assert answer.content_type == "text/html"
        assert "form" in words(await answer.text())


async def test_a_foreign_cookie_opens_nothing(stranger: Browser, seen: Seen) -> None:
    for cookie in ("operator=" + "A" * 43, "operator=ü", 'operator="x\\"'):
        answer = await stranger.client.get("/operator", headers={"Cookie": cookie}, allow_redirects=False)
        assert answer.status == 303
