"""The operator's pages: what each shows, to whom, and with which headers."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer

from gateway.centre.page.entrance import read_password
from gateway.centre.page.server import Place
from gateway.centre.page.shown import said
from gateway.centre.watch import BURST, LOOK_S
from gateway.errors import NotGranted, Unavailable, UsageError
from tests.centre.page.conftest import PASSWORD, SITE, STRANGE, app_of
from tests.centre.watched import WAIT_S, Watched
from tests.support.pages import words

NORTH, SOUTH = "/region?name=North", f"/region?name={quote(STRANGE)}"
PAGES = ("/", "/alarms", NORTH, SOUTH)


class Browser:
    """Follows no redirect, and keeps cookies."""

    def __init__(self, client: TestClient) -> None:  # type: ignore[type-arg]
        self.client = client
        self.origin = str(client.make_url("")).rstrip("/")

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        answer = await self.client.get(path, allow_redirects=False, headers=headers)
        return answer.status, await answer.text()

    async def shown(self, path: str) -> str:
        status, text = await self.get(path)
        assert status == 200, text
        return words(text)

    async def posts(self, path: str, form: str | None = None, **fields: str) -> tuple[int, str]:
        if form is None:
            found = re.search(r'name="form" value="(\w+)"', (await self.get("/login"))[1])
            form = found[1] if found else ""
        headers = {"Origin": self.origin}
        data = {"form": form, **fields}
        answer = await self.client.post(path, data=data, headers=headers, allow_redirects=False)
        return answer.status, await answer.text()


@asynccontextmanager
async def browsing(watched: Watched, password: str | None = None) -> AsyncIterator[Browser]:
    server = TestServer(app_of(watched, password))
    async with TestClient(server, cookie_jar=CookieJar(unsafe=True)) as client:
        yield Browser(client)


async def test_missing_homes_are_not_known_before_a_sum(watched: Watched) -> None:
    """After a restart in an outage there are sums, but not of the newest window."""
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S)
    watched.watch = watched.new()
    watched.error = Unavailable("the registrar does not answer")
    await watched.looks_at(300 + WAIT_S)
    async with browsing(watched) as browser:
        shown = await browser.shown(NORTH)
    assert "They are named with the next sum." in shown
    assert "every home of the region" not in shown


async def test_the_overview_has_every_region(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S)
    async with browsing(watched) as browser:
        shown = await browser.shown("/")
        assert shown.startswith(f"Skip to the content {SITE} Overview Alarms Overview ")
        assert "Load 7.0 kW 2 of 2 regions" in shown
        assert "Homes in the sums 4 of 5 80.0 %" in shown
        assert "Alarms 0 all alarms" in shown
        assert "Newest window 1 Mar 00:03 each is 1 minute, and summed 2 minutes after its end" in shown
        assert "North 3.1 70 % of 4.5 kW 2 1 00:03" in shown
        assert f"{STRANGE} 3.9 no limit 2 0 00:03" in shown
        assert "No alarm stands." in await browser.shown("/alarms")


async def test_a_region_has_its_curve_as_a_table_and_names_missing_homes(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S)
    late = watched.street.homes[2].id.hex()
    async with browsing(watched) as browser:
        shown = await browser.shown(NORTH)
        assert "Load 3.1 kW from 00:03 to 00:04 Limit 4.5 kW the load is at 70 %" in shown
        assert "Homes in the sum 2 of 3 1 missing Highest 4.9 kW Sun 00:00" in shown
        rows = (
            "Sun 00:03 3.1 2 1",
            "Sun 00:02 3.1 2 1",
            "Sun 00:01 4.9 above 3 0",
            "Sun 00:00 4.9 above 3 0",
        )
        assert " ".join((*rows, "Sat 23:59 – 0 3")) in shown
        reason = "taken in until 2026-03-01 00:02:00 +00:00"
        assert f"Not in the newest sum: 1 Stream Reason {late} {reason}" in shown
        _, text = await browser.get(NORTH)
        assert text.count("data-above") == 2
        assert len(re.findall(r'data-value="4\.87\d"', text)) == 2
        shown = await browser.shown(SOUTH)
        assert "Limit – kW none is set" in shown
        assert "None: every home of the region is in the newest sum." in shown


async def test_alarms_that_stand_and_that_are_over_are_shown(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(120 + WAIT_S)
    async with browsing(watched) as browser:
        text = "4.9 kW, above the limit of 4.5 kW; 4.9 kW at its highest."
        assert f"Load above the limit North {text}" in await browser.shown("/")
        assert f"Load above the limit {text}" in await browser.shown(NORTH)
        assert "Load above the limit" not in await browser.shown(SOUTH)
        assert f"Standing: 1 Alarm Region What First Last Load above the limit North {text}" in (
            await browser.shown("/alarms")
        )
        await watched.looks_at(240 + WAIT_S)
        assert "Alarms 0 all alarms" in await browser.shown("/")
        assert "No alarm stands. Over The last that are over: 1" in await browser.shown("/alarms")


def test_times_in_sentences_are_those_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the machine's zone, also where they were written down in UTC; the rest is text."""
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    try:
        text = str(said("no sum since 2026-03-01T00:04:00Z & <b>, nor at 2026-13-01T00:00:00Z"))
    finally:
        monkeypatch.undo()
        time.tzset()
    moment = '<time datetime="2026-03-01T01:04:00+01:00"><span>2026-03-01</span> <span>01:04:00 +01:00</span>'
    rest = "</time> &amp; &lt;b&gt;, nor at 2026-13-01T00:00:00Z"
    assert text == f"no sum since {moment}{rest}"


async def test_what_others_wrote_is_text_and_never_html(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S)
    async with browsing(watched) as browser:
        for path in (*PAGES, "/region?name=<i>", "/<i>"):
            _, text = await browser.get(path)
            assert not re.search("<b>|<i>|<Nord>", text)


async def test_loads_that_are_not_up_to_date_are_said(watched: Watched) -> None:
    await watched.street.takes_in()
    async with browsing(watched) as browser:
        assert (await browser.get("/healthz")) == (503, '{"ok": false, "reason": "starting"}')
        await watched.looks_at(60 + WAIT_S)
        assert (await browser.get("/healthz")) == (200, '{"ok": true}')
        assert "not up to date" not in re.sub(r"<p[^>]* hidden>.*?</p>", "", (await browser.get("/"))[1])
        watched.error = Unavailable("the registrar does not answer")
        await watched.looks_at(120 + WAIT_S)
        assert (await browser.get("/healthz")) == (503, '{"ok": false, "reason": "loads"}')
        said = "The loads are not up to date: the registrar does not answer; trying again."
        for path in PAGES:
            assert said in await browser.shown(path)
        watched.error = None
        await watched.looks_at(180 + WAIT_S)
        watched.clock.pass_s(20 * LOOK_S)
        assert (await browser.get("/healthz"))[0] == 200
        watched.clock.pass_s(1)
        assert (await browser.get("/healthz")) == (503, '{"ok": false, "reason": "stalled"}')
        await watched.looks_at(240 + 60 * BURST + WAIT_S)
        assert (await browser.get("/healthz")) == (503, '{"ok": false, "reason": "sums"}')
        assert "No new sums" in (await browser.get("/alarms"))[1]


async def test_a_region_whose_sets_are_all_refused_has_no_new_sums(watched: Watched) -> None:
    await watched.street.takes_in()
    watched.error = NotGranted("this set has homes of 1")
    async with browsing(watched) as browser:
        await watched.looks_at(WAIT_S)
        await watched.looks_at(60 * BURST + WAIT_S)
        assert {one.kind for one in watched.watch.alarms.standing} == {"refused"}
        assert (await browser.get("/healthz")) == (503, '{"ok": false, "reason": "sums"}')


async def test_without_homes_it_is_said_what_to_do(watched: Watched) -> None:
    async with browsing(watched) as browser:
        assert "No home is listed yet" in await browser.shown("/")
        assert "gateway centre ingest" in await browser.shown("/")


async def test_what_is_not_there_gets_a_page(watched: Watched) -> None:
    async with browsing(watched) as browser:
        for path, status, said in (
            ("/nowhere", 404, "There is no such page."),
            ("/region?name=x", 404, "There is no region 'x': the overview has all."),
            ("/events/region?name=x", 404, "There is no region 'x': the overview has all."),
        ):
            code, text = await browser.get(path)
            assert (code, said in words(text)) == (status, True)
        code, text = await browser.posts("/")
        assert (code, "This page does not take POST." in words(text)) == (405, True)


async def test_the_pages_load_nothing_from_elsewhere(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(240 + WAIT_S)
    async with browsing(watched) as browser:
        found = set()
        for path in PAGES:
            answer = await browser.client.get(path)
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            text = await answer.text()
            assert not re.search(r"url\(|@import|style=|<script>|\bon\w+=", text)
            found |= set(re.findall(r'(?:src|href|action|data-events)="([^"]*)"', text))
        assert all(one.startswith(("/", "#")) and not one.startswith("//") for one in found)
        for one in found - {"#content"}:
            if not one.startswith("/events/"):
                assert (await browser.get(one.replace("&amp;", "&")))[0] == 200


async def test_without_a_password_only_this_machine_is_answered(watched: Watched) -> None:
    """Another site's name may lead to this machine's address (DNS rebinding)."""
    async with browsing(watched) as browser:
        for host in ("evil.example", "evil.example:8460", "10.0.0.1", "["):
            for path in (*PAGES, "/healthz", "/events/overview"):
                status, text = await browser.get(path, Host=host)
                assert status == 421
                assert "Overview" not in words(text)
        for host in ("localhost", "localhost:8460", "127.0.0.1"):
            assert (await browser.get("/", Host=host))[0] == 200


async def test_a_password_is_asked_for(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(60 + WAIT_S)
    async with browsing(watched, PASSWORD) as browser:
        for path in (*PAGES, "/events/overview", "/events/alarms", "/page.js"):
            assert (await browser.get(path, Host="centre.example.org"))[0] == 303
        assert (await browser.get("/healthz"))[0] == 200
        status, text = await browser.posts("/login", password="a short sentencf")
        assert (status, "The password is wrong." in words(text)) == (401, True)
        assert "a short sentencf" not in text
        assert (await browser.get("/"))[0] == 303
        answer = await browser.client.get("/login", headers={"X-Forwarded-Proto": "https"})
        cookie = answer.headers["Set-Cookie"]
        assert re.fullmatch(r"centre=[\w-]{43}; HttpOnly; Path=/; SameSite=Strict; Secure", cookie)
        assert (await browser.posts("/login", password=PASSWORD))[0] == 303
        assert "North" in await browser.shown("/")
        status, text = await browser.posts("/logout", form="0" * 64)
        assert (status, "The form is too old" in words(text)) == (403, True)
        found = re.search(r'name="form" value="(\w+)"', (await browser.get("/"))[1])
        assert found is not None
        assert (await browser.posts("/logout", form=found[1]))[0] == 303
        assert (await browser.get("/"))[0] == 303


async def test_who_guesses_waits(watched: Watched) -> None:
    async with browsing(watched, PASSWORD) as browser:
        guesses = [(await browser.posts("/login", password=f"{number}"))[0] for number in range(11)]
        assert guesses == [401] * 10 + [429]
        assert (await browser.posts("/login", password=PASSWORD))[0] == 429
        watched.clock.pass_s(1)
        assert (await browser.posts("/login", password=PASSWORD))[0] == 303
        watched.clock.pass_s(3599)
        assert (await browser.get("/"))[0] == 200
        watched.clock.pass_s(3600)
        assert (await browser.get("/"))[0] == 303


async def test_what_changes_comes_until_the_login_ends(watched: Watched) -> None:
    await watched.street.takes_in()
    await watched.looks_at(60 + WAIT_S)
    async with browsing(watched, PASSWORD) as browser:
        await browser.posts("/login", password=PASSWORD)
        events = await browser.client.get(f"/events{NORTH}")
        assert events.content_type == "text/event-stream"
        for second, newest in ((60, "Sun 00:00"), (120, "Sun 00:01")):
            await watched.looks_at(second + WAIT_S)
            while await events.content.readline() != b"event: loads\n":
                pass
            loads = (await events.content.readuntil(b"\n\n")).decode()
            assert re.search(">(Sun [0-9:]*)<", loads)[1] == newest  # type: ignore[index]
            while await events.content.readline() != b"event: looked\n":
                pass
            looked = (await events.content.readuntil(b"\n\n")).decode()
            assert f"<span>00:0{second // 60 + 2}:00 " in looked
        watched.clock.pass_s(3600)
        await watched.watch.look()
        rest = await events.content.read()
        assert b"event: now" not in rest


def test_pages_for_others_need_tls_and_a_password() -> None:
    tls = Path("centre.pem"), Path("centre.key")
    for host in ("127.0.0.1", "::1", "localhost"):
        Place(host, 0).check(None)
    for host in ("0.0.0.0", "::", "10.0.0.1", "centre.example.org"):
        with pytest.raises(UsageError, match="would cross the network in clear"):
            Place(host, 0).check(PASSWORD)
        with pytest.raises(UsageError, match="anybody who reaches"):
            Place(host, 0, tls).check(None)
        Place(host, 0, tls).check(PASSWORD)


def test_the_passwords_file_holds_a_password_alone(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(f" {PASSWORD}\n")
    assert read_password(file) == PASSWORD
    for content in (b"", b"too short", b"two lines of\ntext here", b"\xff" * 12):
        file.write_bytes(content)
        with pytest.raises(UsageError) as error:
            read_password(file)
        assert "password" in str(error.value)
        assert "two lines" not in str(error.value)
    file.chmod(0o644)
    with pytest.raises(UsageError, match="is open to every user"):
        read_password(file)
