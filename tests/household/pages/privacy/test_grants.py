"""Grants that were made: shown, narrowed, revoked; ended ones are folded away."""

from __future__ import annotations

import pytest

from gateway.control.client import ControlClient
from gateway.control.documents import GrantRecordStatus
from gateway.household.home import Household
from tests.household.pages.privacy.test_offer import FORM, granted, previewed
from tests.support.filled import fields, send
from tests.support.home import Home
from tests.support.pages import Browser, words
from tests.support.provider import Provider


async def test_a_revoked_grant_opens_nothing_new_and_what_it_opened_is_said(
    browser: Browser, home: Home, household: Household, provider: Provider
) -> None:
    await home.grants(provider, "1h", purpose="a study")
    await home.runs(16)
    await home.publish()
    (one,) = await granted(household)
    path = f"/privacy/grants/{one.id}/revoke"
    _, html = await browser.get(path)
    assert f"{one.windows_served} windows were opened so far, and stay known" in words(html)
    assert one.windows_served > 1
    answer = await send(browser, html, path)
    assert (answer.status, answer.headers["Location"]) == (303, "/privacy")
    (one,) = await granted(household)
    assert one.revoked_from_ms is not None
    shown = await browser.shown("/privacy")
    assert "The grant is revoked: no window that ends from now on will ever be opened." in shown
    assert "Nobody may open anything." in shown
    assert "1 grant has ended" in shown
    for _ in range(2):  # of the second time nothing more comes
        await home.runs(16)
        await home.publish()
        (later,) = await granted(household)
        assert one.from_ms + later.windows_served * 3_600_000 <= one.revoked_from_ms
    shown = await browser.shown(f"/privacy/grants/{one.id}")
    assert "Could open" in shown
    assert "Narrow" not in shown


async def test_a_grant_that_has_run_out_is_folded_away(
    browser: Browser, home: Home, household: Household, provider: Provider
) -> None:
    await home.grants(provider, "1h", until_ms=home.clock.now_ms + 2 * 3_600_000)
    assert "1 grant has ended" not in await browser.shown("/privacy")
    await home.runs(16)
    assert "1 grant has ended" in await browser.shown("/privacy")


async def test_narrowing_makes_a_coarser_grant_and_revokes_the_finer_one(
    browser: Browser, household: Household, provider: Provider
) -> None:
    html = await previewed(browser, provider, purpose="a study", lanes="import")
    await send(browser, html, FORM, do="grant", fingerprint=provider.card.fingerprint)
    (fine,) = await granted(household)
    _, html = await browser.get(f"{FORM}?instead={fine.id}")
    assert dict(fields(html, FORM))["who"] == provider.card.kid.hex()  # no file has to be chosen again
    answer = await send(browser, html, FORM, do="preview")
    html = await answer.text()
    assert "The grant before it is revoked as soon as this one is made." in words(html)
    assert "Stadtwerke until now 24 numbers for this day." in words(html)
    assert "Stadtwerke from then on 1 number for this day, and no picture of it." in words(html)
    assert (await granted(household))[0].revoked_from_ms is None
    answer = await send(browser, html, FORM, do="grant")
    assert answer.status == 303
    old, new = sorted(await granted(household), key=lambda one: one.serial)
    assert old.revoked_from_ms is not None
    assert (new.granularity, new.lanes, new.purpose) == ("day", ("import",), "a study")
    assert new.revoked_from_ms is None
    assert "The grant before it is revoked." in await browser.shown("/privacy")


async def test_a_narrowing_that_is_not_made_leaves_the_old_grant(
    browser: Browser, home: Home, household: Household, provider: Provider
) -> None:
    await home.grants(provider, "15min")
    (fine,) = await granted(household)
    _, html = await browser.get(f"{FORM}?instead={fine.id}")
    answer = await send(browser, html, FORM, {"card": provider.card_bytes()}, do="grant", purpose=" ")
    assert answer.status == 400
    assert [one.revoked_from_ms for one in await granted(household)] == [None]


async def test_there_is_no_page_of_a_grant_that_is_none(browser: Browser) -> None:
    for path in ("/privacy/grants/00", "/privacy/grants/00/revoke"):
        status, html = await browser.get(path)
        assert status == 404
        assert "There is no such grant" in words(html)


async def test_a_revocation_by_another_sites_form_is_refused(
    browser: Browser, home: Home, household: Household, provider: Provider
) -> None:
    await home.grants(provider, "1h")
    (one,) = await granted(household)
    path = f"/privacy/grants/{one.id}/revoke"
    form = await browser.form_of(path)
    assert (await browser.post(path, origin="http://evil.example", form=form)).status == 403
    assert (await browser.post(path)).status == 403
    assert [one.revoked_from_ms for one in await granted(household)] == [None]


async def test_a_grant_that_cannot_be_read_can_be_revoked(
    browser: Browser, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = GrantRecordStatus(
        id="ab" * 16,
        stream="cd" * 16,
        meter="main",
        provider="<b>Somebody</b>",
        revoked_from_ms=None,
        windows_served=3,
        fault="its body is damaged",
    )

    async def grants(self: ControlClient) -> tuple[GrantRecordStatus, ...]:
        return (record,)

    monkeypatch.setattr(ControlClient, "grants", grants)
    for path in ("/privacy", f"/privacy/grants/{record.id}"):
        _, html = await browser.get(path)
        assert "<b>Somebody</b>" in words(html)
        assert "what it opens cannot be read" in words(html)
        assert "It gets nothing new: its body is damaged" in words(html)
        assert f"/privacy/grants/{record.id}/revoke" in html
        assert "instead=" not in html
