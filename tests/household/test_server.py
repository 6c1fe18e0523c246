"""What each request to the pages must be: attacks, each refused, and nothing changed by them."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from gateway.household import files, i18n, server
from gateway.household.answers import Answers as AnswersKept
from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import Household, open_household
from gateway.household.pages import ROUTES
from gateway.household.server import build_app, serving
from gateway.web.connections import FewSocket
from tests.support.clock import FakeClock
from tests.support.pages import PASSWORD, Browser

OPEN = {"/login", "/welcome", "/logout"}
CHANGING = sorted(
    {route.path for route in ROUTES if route.method == "POST" and not re.search(r"\{", route.path)} - OPEN
)
SHOWN = sorted({route.path for route in ROUTES if route.method == "GET" and "{" not in route.path} - OPEN)


@pytest.mark.parametrize("path", SHOWN)
async def test_nothing_is_shown_to_who_is_not_logged_in(stranger: Browser, path: str) -> None:
    answer = await stranger.ask(path)
    assert answer.status == 303
    assert answer.headers["Location"] in ("/login", "/now")
    assert await answer.read() == b""


@pytest.mark.parametrize("path", CHANGING)
async def test_nothing_is_changed_by_who_is_not_logged_in(stranger: Browser, path: str) -> None:
    answer = await stranger.post(path, form=await stranger.form_of("/login"))
    assert answer.status == 401


@pytest.mark.parametrize("path", CHANGING)
async def test_nothing_is_changed_by_a_form_of_another_site(browser: Browser, path: str) -> None:
    """CSRF: with the form's token, which another site cannot have, and without."""
    form = await browser.form_of("/settings")
    for origin in ("https://evil.example", "null", None, "http://gateway.local.evil.example"):
        answer = await browser.post(path, origin=origin, form=form)
        assert answer.status == 403, origin
        assert "another site" in await answer.text()
    for wrong in ("", form[:-1], form[::-1]):
        answer = await browser.post(path, form=wrong)
        assert answer.status == 403
        assert "not from this page" in await answer.text()


async def test_a_browser_that_says_the_form_is_of_another_site_is_believed(browser: Browser) -> None:
    form = await browser.form_of("/settings")
    for site in ("cross-site", "same-site", "none"):
        answer = await browser.client.post(
            "/logout",
            data={"form": form},
            headers={"Origin": browser.origin, "Sec-Fetch-Site": site},
            allow_redirects=False,
        )
        assert answer.status == 403, site
    assert (await browser.ask("/settings")).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "gateway.local.evil.example",
        "evil.example:80",
        "[::1",
        "192.0.2.7",
        "",
        "localhost.evil",
    ],
)
@pytest.mark.parametrize("path", ["/now", "/login", "/ca.pem"])
async def test_another_name_for_this_machine_is_not_answered(browser: Browser, host: str, path: str) -> None:
    """DNS rebinding: another site's name that leads here, with the cookie of a login."""
    answer = await browser.ask(path, Host=host)
    assert answer.status in (400, 421)
    assert "kWh" not in await answer.text()


@pytest.mark.parametrize(
    "host", ["gateway.local", "GATEWAY.local:8443", "localhost", "127.0.0.1:1", "gateway.local."]
)
async def test_its_own_names_are_answered(browser: Browser, host: str) -> None:
    assert (await browser.ask("/settings", Host=host)).status == 200


async def test_a_cookie_from_before_the_login_is_none_afterwards(household: Household) -> None:
    """Session fixation: who planted the cookie, or saw that of the login page, does not share the login."""
    jar = CookieJar(unsafe=True)
    async with TestClient(TestServer(build_app(household)), cookie_jar=jar) as client:
        victim = Browser(client)
        await victim.form_of("/login")
        planted = {cookie.key: cookie.value for cookie in jar}
        assert (await victim.log_in()).status == 303
        assert (await victim.ask("/settings")).status == 200
        assert {cookie.value for cookie in jar} != set(planted.values())
        url = client.make_url("/settings")
        async with (
            aiohttp.ClientSession(cookies=planted) as attacker,
            attacker.get(url, allow_redirects=False) as answer,
        ):
            assert answer.status == 303


async def test_the_cookie_is_for_no_script_and_no_other_site(stranger: Browser) -> None:
    cookie = (await stranger.ask("/login")).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Domain" not in cookie


async def test_a_logout_ends_the_login_and_not_the_cookie_alone(
    browser: Browser, household: Household
) -> None:
    assert len(household.logins.all()) == 1
    answer = await browser.post("/logout", form=await browser.form_of("/settings"))
    assert answer.headers["Location"] == "/login"
    assert household.logins.all() == []
    assert (await browser.ask("/settings")).status == 303


async def test_guesses_are_slowed_down_and_said_to_be(stranger: Browser, clock: FakeClock) -> None:
    form = await stranger.form_of("/login")
    codes = [(await stranger.post("/login", form=form, password=f"guess {n}")).status for n in range(11)]
    assert codes == [401] * 10 + [429]
    answer = await stranger.post("/login", form=form, password=PASSWORD)
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 1
    clock.pass_s(3600)
    assert (await stranger.post("/login", form=form, password=PASSWORD)).status == 303


@pytest.mark.parametrize(
    "path", ["/login", "/settings", "/nothing", "/assets/x/style.css", "/assets/x/../../x"]
)
async def test_every_answer_binds_the_browser(browser: Browser, path: str) -> None:
    headers = (await browser.ask(path)).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/assets/x/..%2fsettings.py", "/assets/x/.gitignore", "/assets/x/stamp", "/assets/x/nothing.js"]
)
async def test_no_other_file_is_served(browser: Browser, path: str) -> None:
    assert (await browser.ask(path)).status == 404


async def test_what_is_too_large_or_no_form_is_a_sentence(browser: Browser) -> None:
    form = await browser.form_of("/settings")
    answer = await browser.post("/settings", form=form, name="x" * 300_000)
    assert answer.status == 413
    headers = {"Origin": browser.origin, "Content-Type": "application/json"}
    answer = await browser.client.post("/settings", data=b"{}", headers=headers, allow_redirects=False)
    assert answer.status == 403
    headers["Content-Type"] = "multipart/form-data; boundary=x"
    answer = await browser.client.post("/settings", data=b"--y\r\n", headers=headers, allow_redirects=False)
    assert answer.status in (400, 403)
    assert "Traceback" not in await answer.text()


async def test_over_tls_with_the_homes_own_authority(tmp_path: Path) -> None:
    """The cookie is for TLS alone then; what comes without TLS is led there, and may have the certificate."""
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path, socket=tmp_path / "s"),
        listen=ListenSection(host="127.0.0.1", port=0, http_port=None),
    )
    async with open_household(config, FakeClock(1_795_000_000)) as home, serving(home) as url:
        tls = ssl.create_default_context(cadata=home.authority.certificate.decode())
        tls.verify_flags |= ssl.VERIFY_X509_STRICT
        async with aiohttp.ClientSession() as session, session.get(f"{url}/welcome", ssl=tls) as answer:
            assert answer.status == 200
            assert "Secure" in answer.headers["Set-Cookie"]
            assert answer.headers["Strict-Transport-Security"]
        async with aiohttp.ClientSession() as session, session.get(f"{url}/ca.pem", ssl=tls) as answer:
            assert await answer.read() == home.authority.certificate


FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=x"
PART = b"--x\r\nContent-Disposition: form-data; name=form\r\n%s\r\n\r\nx\r\n--x--\r\n"
FORMS = {
    "an unknown charset": (f"{FORM}; charset=bogus", b"form=1"),
    "a charset of bytes": (f"{FORM}; charset=hex", b"form=1"),
    "half a character": (f"{FORM}; charset=unicode_escape", b"form=\\ud800"),
    "an unknown encoding of a part": (PARTS, PART % b"Content-Transfer-Encoding: bogus"),
    "an unknown charset of a part": (PARTS, PART % b"Content-Type: text/plain; charset=bogus"),
}


@pytest.mark.parametrize("case", FORMS)
async def test_what_no_browser_would_send_is_a_sentence_and_no_line_of_the_log(
    stranger: Browser, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    kind, body = FORMS[case]
    headers = {"Origin": stranger.origin, "Content-Type": kind}
    answer = await stranger.client.post("/login", data=body, headers=headers)
    assert answer.status == 400
    assert "not a form" in await answer.text()
    assert not caplog.records


async def test_a_token_that_is_no_text_is_refused(stranger: Browser) -> None:
    head = (
        f"POST /login HTTP/1.1\r\nHost: {stranger.origin.partition('//')[2]}\r\nOrigin: {stranger.origin}\r\n"
    )
    answer = await _raw(stranger, head.encode() + b"X-Form: \xff\xfe\r\nContent-Length: 0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")


async def test_what_is_not_http_leaves_no_secret_in_the_log(
    household: Household, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(household) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: gateway=SECRET\x01\r\n\r\n")
        assert (await reader.read(12)).endswith(b"400")
        writer.close()
    assert "could not be handled" in caplog.text
    assert "SECRET" not in caplog.text


async def test_a_connection_that_asks_for_nothing_is_closed(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_IDLE_S", 0.05)
    async with serving(household) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /login HTTP/1.1\r\nHost: local")
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


async def test_one_address_has_only_so_many_connections(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FewSocket, "most_each", 3)
    async with serving(household) as url, asyncio.timeout(10):
        port = int(url.rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        for _, one in held:
            one.close()
            await one.wait_closed()
        async with aiohttp.ClientSession() as session:
            while True:  # until the server has seen that they are closed
                with suppress(aiohttp.ClientError):
                    assert (await session.get(f"{url}/login")).status == 200
                    break


async def _raw(browser: Browser, request: bytes) -> bytes:
    url = browser.client.make_url("/")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request)
    answer = await reader.read(1000)
    writer.close()
    return answer


async def test_a_full_disk_is_a_sentence(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    form = await browser.form_of("/settings")
    monkeypatch.setattr("gateway.household.settings.write_durably", full)
    answer = await browser.post("/settings", form=form, zone="Europe/Berlin", name="x")
    assert answer.status == 503
    assert "full, read-only or damaged" in await answer.text()


async def test_what_is_missing_of_the_program_is_a_sentence(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = type("Missing", (), {"files": staticmethod(lambda _: tmp_path)})
    monkeypatch.setattr(i18n, "resources", missing)
    i18n._catalogue.cache_clear()
    browser.language = "nl"
    try:
        assert "Settings" in await browser.shown("/settings")
    finally:
        i18n._catalogue.cache_clear()
    monkeypatch.setattr(files, "resources", missing)
    files.content.cache_clear()
    files.address.cache_clear()
    code, text = await browser.get("/settings")
    assert (code, text) == (
        503,
        "The pages' scripts were not built: run provisioning/venv.sh household again.",
    )


async def test_an_answer_to_a_form_has_an_address_to_go_back_to(
    browser: Browser, household: Household, clock: FakeClock
) -> None:
    """For the browser that sent the form alone, as long as it is logged in, and for ten minutes."""
    form = await browser.form_of("/settings")
    posted = await browser.client.post(
        "/settings",
        data={"form": form, "zone": "Mars"},
        headers={"Origin": browser.origin},
        allow_redirects=False,
    )
    assert posted.status == 303
    path = posted.headers["Location"]
    assert path.startswith("/answers/")
    for _ in range(2):
        answer = await browser.ask(path)
        assert answer.status == 400
        assert "there is no such time zone" in (await answer.text()).lower()
        assert answer.headers["Cache-Control"] == "no-store"
    token = {cookie.key: cookie.value for cookie in browser.client.session.cookie_jar}["gateway"]
    for other in (household.logins.begin("another", "127.0.0.1"), "A" * len(token)):
        browser.client.session.cookie_jar.update_cookies({"gateway": other}, browser.client.make_url("/"))
        assert (await browser.ask(path)).status == 404
    browser.client.session.cookie_jar.update_cookies({"gateway": token}, browser.client.make_url("/"))
    assert (await browser.ask(path)).status == 400
    clock.pass_s(601)
    answer = await browser.ask(path)
    assert answer.status == 404
    assert "no longer kept" in await answer.text()


async def test_an_answer_ends_with_the_login(browser: Browser, household: Household) -> None:
    answer = await browser.post("/settings", form=await browser.form_of("/settings"), zone="Mars")
    assert answer.status == 400
    household.logins.end_all()
    assert (await browser.ask(answer.url.path)).status == 404


async def test_a_refused_login_has_an_address_and_its_status(stranger: Browser) -> None:
    form = await stranger.form_of("/login")
    answer = await stranger.post("/login", form=form, password="a wrong sentence")
    assert answer.status == 401
    assert answer.url.path.startswith("/answers/")
    assert (await stranger.post("/nowhere", form=form)).status == 401


async def test_few_answers_are_kept_and_those_to_strangers_push_out_no_others(
    browser: Browser, stranger: Browser, household: Household
) -> None:
    kept = AnswersKept(household.clock)
    page = web.Response(text="x" * 100_000, content_type="text/html")
    (login,) = household.logins.all()
    first = kept.keep("t", login, page).rpartition("/")[2]
    for _ in range(100):
        last = kept.keep("t", None, page).rpartition("/")[2]
    assert kept.find(first, "t", login) is not None
    assert kept.find(last, "t", None) is not None
    assert sum(len(one.body) for one in kept._kept[False].values()) <= 1_000_000
    for _ in range(30):
        kept.keep("t", login, web.Response(text="x", content_type="text/html"))
    assert kept.find(first, "t", login) is None
