"""What each page shows: all that the database has, found by searching, a page at a time, and escaped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import delete, insert

from gateway.errors import Refused, Unavailable
from gateway.registrar.indexer import Indexer
from gateway.registrar.page.survey import Survey
from gateway.registrar.server import build_app
from gateway.registrar.service import Registrar
from gateway.registrar.tables import accounts, coverage
from gateway.store.directory import DirectoryBucket
from tests.registrar.conftest import database_url
from tests.registrar.page.conftest import Browser, words
from tests.support.clock import FakeClock
from tests.support.operator import FAULT, OPERATOR, STREAMS, Seen, refuse

__all__ = ["database_url"]

DAY_S = 86_400


async def test_the_overview_counts_what_there_is(browser: Browser) -> None:
    shown = await browser.shown("/operator")
    for figure in (
        "Households 2 1 with a gateway",
        "Gateways 1 0 with a TPM, 1 in software",
        "Providers 1 ",
        "Streams 2 2 listed for all providers",
        "Open requests 1 ",
        "Refused attempts 1 in the last 24 hours",
        "Certificates that end soon 0",
        "Streams with a fault 1",
    ):
        assert figure in shown
    assert f"{STREAMS[1].hex()} müller {FAULT}" in shown
    assert STREAMS[0].hex() not in shown


async def test_the_overview_counts_the_attempts_of_a_day(
    browser: Browser, registrar: Registrar, clock: FakeClock, seen: Seen
) -> None:
    clock.pass_s(DAY_S - 1)
    for _ in range(3):
        await refuse(registrar, "nonce", "0badc0de", "the nonce was used before")
    await browser.log_in(OPERATOR, seen.password)
    assert "Refused attempts 4 in the last 24 hours" in await browser.shown("/operator")
    clock.pass_s(1)
    assert "Refused attempts 3 in the last 24 hours" in await browser.shown("/operator")


async def test_the_overview_names_certificates_that_were_not_renewed(
    browser: Browser, registrar: Registrar, seen: Seen, clock: FakeClock
) -> None:
    clock.pass_s(200 * DAY_S)
    await registrar.cards.renew(seen.provider.kid)
    clock.pass_s(120 * DAY_S)
    await browser.log_in(OPERATOR, seen.password)
    shown = await browser.shown("/operator")
    assert "Certificates that end soon 1" in shown
    assert f"Home <Bern> (gateway) {seen.home.card.fingerprint}" in shown
    assert "Stadtwerk (provider)" not in shown
    clock.pass_s(60 * DAY_S)
    await browser.log_in(OPERATOR, seen.password)
    assert "Certificates that end soon 0" in await browser.shown("/operator")
    assert "expired" in await browser.shown("/operator/households")


async def test_households_are_shown_with_their_gateways(browser: Browser, seen: Seen) -> None:
    shown = await browser.shown("/operator/households")
    assert "empty none registered yet" in shown
    assert f"müller Home <Bern> {seen.home.card.fingerprint} software 2 Bern 2026-05-28 " in shown
    assert "stadtwerk" not in shown


async def test_households_are_found_by_their_name(browser: Browser) -> None:
    for search, found in (
        ("ülle", True),
        ("M", True),
        (" u\u0308ller", True),
        ("%25", False),
        ("_", False),
        ("stadt", False),
    ):
        shown = await browser.shown(f"/operator/households?q={search}")
        assert ("müller" in shown) == found
        assert ("No household’s name contains" in shown) == (not found)


async def test_providers_are_shown_with_requests_and_grants(browser: Browser, seen: Seen) -> None:
    shown = await browser.shown("/operator/providers")
    assert f"stadtwerk Stadtwerk {seen.provider.card.fingerprint} 2027-05-" in shown
    assert "1 open 1, and 1 revoked Revoke…" in shown
    assert "müller" not in shown


async def test_refused_attempts_are_shown_by_kind_and_searched(
    browser: Browser, registrar: Registrar, clock: FakeClock
) -> None:
    clock.pass_s(60)
    await refuse(registrar, "nonce", "0badc0de", "the nonce was used before")
    await refuse(registrar, "nonce", "0badc0de", "the nonce was used before")
    shown = await browser.shown("/operator/attempts")
    assert re.search(
        r"nonce 0badc0de 192\.0\.2\.7 the nonce was used before 2 .* password müller 192\.0\.2\.7 "
        r"the user name or the password is wrong 1 ",
        shown,
    )
    only = await browser.shown("/operator/attempts?kind=nonce")
    assert "the nonce was used before" in only
    assert "müller" not in only
    assert "müller" in await browser.shown("/operator/attempts?q=MÜLLER".replace("Ü", "ü"))
    assert "0badc0de" not in await browser.shown("/operator/attempts?q=wrong")
    assert "No refused attempt answers" in await browser.shown("/operator/attempts?kind=nonce&q=wrong")


async def test_the_catalogue_shows_streams_and_never_more(browser: Browser) -> None:
    shown = await browser.shown("/operator/catalogue")
    begins = f"{STREAMS[0].hex()} müller import, count, each 1 s 1970-01-01"
    assert re.search(rf"{begins} \S+ \S+ 2026-05-28 \S+ \S+ Bern H4 1 2026-05-28", shown)
    assert FAULT in shown
    faulty = await browser.shown("/operator/catalogue?fault=true")
    assert STREAMS[1].hex() in faulty
    assert STREAMS[0].hex() not in faulty
    by_id = await browser.shown("/operator/catalogue?q=ABAB")
    assert STREAMS[1].hex() in by_id
    assert STREAMS[0].hex() not in by_id
    assert STREAMS[0].hex() in await browser.shown("/operator/catalogue?q=h4")
    assert "No stream answers" in await browser.shown("/operator/catalogue?q=abab0")


async def test_long_tables_have_pages(browser: Browser, registrar: Registrar, clock: FakeClock) -> None:
    rows = [
        {"name": f"home-{number:03}", "role": "household", "password": "none", "created_ms": clock.now_ms}
        for number in range(120)
    ]
    async with registrar.database.writing() as connection:
        await connection.execute(insert(accounts), rows)
    names: list[str] = []
    path = "?q=home-"
    for number in range(1, 4):
        status, text = await browser.get(f"/operator/households{path}")
        assert status == 200
        assert f"Page {number} of 3" in words(text)
        names += re.findall(r'data-label="Account">(home-\d+)<', text)
        link = re.search(r'rel="next" href="(\?[^"]+)"', text)
        path = "" if link is None else link[1].replace("&amp;", "&")
    assert names == [row["name"] for row in rows]
    assert path == ""
    status, text = await browser.get("/operator/households?q=home-&page=4")
    assert status == 404
    assert "There is no page 4: the last one is 3." in words(text)


async def test_a_query_that_cannot_be_right_gets_a_sentence(browser: Browser) -> None:
    for path in (
        "?x=1",
        "/households?page=0",
        "/attempts?page=x",
        "/providers?y=1",
        "/catalogue?fault=maybe",
    ):
        status, text = await browser.get("/operator" + path)
        assert status == 400
        assert "The query's" in words(text)


async def test_what_is_not_there_gets_a_page(browser: Browser) -> None:
    status, text = await browser.get("/operator/nowhere")
    assert status == 404
    assert "Not found There is no such page." in words(text)
    for serial in (99, 2**63):
        status, text = await browser.get(f"/operator/certificates/{serial}/revoke")
        assert status == (404 if serial == 99 else 400)
        assert "serial" in words(text)
    answer = await browser.post("/operator/households")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")


async def test_what_others_wrote_is_text_and_never_html(browser: Browser, registrar: Registrar) -> None:
    await refuse(registrar, "password", "<script>alert(1)</script>", "<b>\"no'</b>")
    for path in ("/attempts", "/households", "/attempts?q=<i>&kind=<u>", '/providers?q="><i>'):
        _, text = await browser.get("/operator" + path)
        assert not re.search("<script|<b>|<i>|<u>|<Bern", text)


async def test_a_certificate_is_revoked_after_a_question(
    browser: Browser, registrar: Registrar, seen: Seen
) -> None:
    _, text = await browser.get("/operator/households")
    link = re.search(r'href="(/operator/certificates/\d+/revoke)"', text)
    assert link is not None
    path = link[1]
    assert "This cannot be undone" in await browser.shown(path)
    await registrar.cards.present(seen.home.kid)  # asking revoked nothing
    answer = await browser.post(path, form=await browser.form_of(path))
    assert (answer.status, answer.headers["Location"]) == (303, "/operator/households")
    shown = await browser.shown("/operator/households")
    assert "Certificate 1 of Home <Bern> and all others of its key are revoked." in shown
    assert "revoked 2026-05-28" in shown
    assert "are revoked" not in await browser.shown("/operator/households")
    with pytest.raises(Refused, match="was revoked"):
        await registrar.cards.present(seen.home.kid)
    assert "It was revoked at" in await browser.shown(path)


async def test_the_pages_load_nothing_from_elsewhere(browser: Browser) -> None:
    for path in ("", "/households", "/providers", "/attempts", "/catalogue", "/style.css", "/icon.svg"):
        answer = await browser.client.get("/operator" + path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'")
        assert answer.headers["Cache-Control"] == "no-store"
        text = await answer.text()
        assert not re.search(r'(?:src|href|action)="(?!/operator|#|\?)', text)
        assert not re.search(r"url\(|@import|style=|<script|\bon\w+=", text)


async def test_it_is_said_when_the_streams_were_looked_at(
    registrar: Registrar, seen: Seen, clock: FakeClock, tmp_path: Path
) -> None:
    indexer = Indexer(registrar.database, DirectoryBucket(tmp_path), clock)
    jar = CookieJar(unsafe=True)
    app = build_app(replace(registrar, indexer=indexer))
    async with TestClient(TestServer(app), cookie_jar=jar) as client:
        browser = Browser(client)
        await browser.log_in(OPERATOR, seen.password)
        assert "All streams were looked at 2026-05-28" in await browser.shown("/operator")
        async with registrar.database.writing() as connection:
            await connection.execute(delete(coverage).where(coverage.c.stream == STREAMS[1]))
        shown = await browser.shown("/operator")
        assert "1 of 2 streams were not looked at yet. All others were looked at 2026-05-28" in shown
        assert "not yet" in await browser.shown("/operator/catalogue")


async def test_a_database_that_does_not_answer_is_told(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Survey) -> None:
        raise Unavailable("the registrar's database does not answer now")

    monkeypatch.setattr(Survey, "overview", fail)
    status, text = await browser.get("/operator")
    assert status == 503
    assert "The registrar's database does not answer now." in words(text)


async def test_the_log_has_who_revoked_what_and_no_secret(
    stranger: Browser, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR", "aiohttp.access")  # the test server's; the registrar's own has none
    caplog.set_level("INFO")
    await stranger.log_in("secret-name", "secret-password")
    await stranger.log_in(OPERATOR, seen.password)
    form = await stranger.form_of("/operator?page=secret-query")
    await stranger.post("/operator/certificates/1/revoke", form=form)
    assert f"the operator {OPERATOR} revoked certificate 1" in caplog.text
    assert "POST /operator/certificates/{serial}/revoke" in caplog.text
    cookies = [cookie.value for cookie in stranger.client.session.cookie_jar]
    assert cookies
    for secret in (seen.password, form, "secret-", *cookies):
        assert secret not in caplog.text
