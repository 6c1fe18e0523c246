"""A grant with preview and revocation in a real browser, on a phone and on a desktop, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from gateway.household.home import Household
from gateway.household.server import serving
from tests.household.pages.privacy.test_offer import granted
from tests.support.home import Home
from tests.support.provider import Provider
from tests.support.window import Window, running_chromium

pytestmark = pytest.mark.slow


async def test_a_household_grants_and_revokes(home: Home, household: Household, tmp_path: Path) -> None:
    household.settings.change(name="Garden Lane 7")
    async with serving(household) as url, running_chromium() as chromium:
        phone = await Window.open(chromium, url, 390, 844, "light")
        await phone.log_in()
        provider, card = _provider(home, tmp_path, "Stadtwerke <b>")
        await _grant(phone, url, card, provider)
        assert len(await granted(household)) == 1
        await _revoke(phone, url, provider)
        for path in ("/privacy/views", "/messages"):
            await phone.page.goto(f"{url}{path}")
            await phone.check()
        await phone.page.context.close()

        desktop = await Window.open(chromium, url, 1280, 900, "dark")
        await desktop.log_in()
        provider, card = _provider(home, tmp_path, "Octavia")
        await _grant(desktop, url, card, provider)
        await _revoke(desktop, url, provider)
        assert [one for one in await granted(household) if one.revoked_from_ms is None] == []
        await desktop.page.emulate_media(color_scheme="light")
        await desktop.check()


def _provider(home: Home, folder: Path, name: str) -> tuple[Provider, Path]:
    """A provider with the file of its card."""
    provider, card = Provider(home.clock.now_ms, name), folder / f"{name[:3]}.cose"
    card.write_bytes(provider.card_bytes())
    return provider, card


async def _grant(window: Window, url: str, card: Path, provider: Provider) -> None:
    page, name = window.page, provider.card.name
    await page.goto(f"{url}/privacy")
    await expect(page.get_by_role("img", name="The power of the day as you see it")).to_be_visible()
    await page.get_by_role("link", name="month", exact=True).click()
    await expect(page.get_by_text("Of this day alone nothing can be told.")).to_be_visible()
    await page.get_by_text("The numbers of these pictures").click()
    await expect(page.get_by_role("cell", name="02:30")).to_be_visible()
    await window.check()
    await page.get_by_role("link", name="Grant access").click()
    who = page.get_by_label("A provider that the gateway knows")
    if await who.count():
        await who.select_option("")
    await page.get_by_label("The file of their card").set_input_files(card)
    await page.get_by_label("Only the bill").check()
    await expect(page.get_by_label("The tariff’s file", exact=True)).to_be_visible()
    await page.get_by_label("Sums", exact=True).check()
    await expect(page.get_by_label("The tariff’s file", exact=True)).to_be_hidden()
    await page.get_by_label("One for each").select_option("day")
    await page.get_by_label("What for").fill("a study of <i>heat</i>")
    await window.check()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("What this grant would reveal")
    await expect(page.get_by_text(f"{name} would be able to open")).to_be_visible()
    await expect(page.get_by_text("1 number for this day, and no picture of it.")).to_be_visible()
    await expect(page.get_by_text("For: a study of <i>heat</i>")).to_be_visible()
    await window.check()
    await page.get_by_role("button", name="Grant it").click()
    await expect(page.get_by_role("alert").first).to_contain_text("compare the fingerprint")
    assert [one for one in window.problems if "403" not in one] == []
    window.problems.clear()
    await expect(page.get_by_text(provider.card.fingerprint)).to_be_visible()
    await page.get_by_label("has told me the same fingerprint").check()
    await page.get_by_role("button", name="Grant it").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)
    await expect(page.get_by_role("status")).to_contain_text("may now open one sum for each day")
    assert not window.problems


async def _revoke(window: Window, url: str, provider: Provider) -> None:
    page = window.page
    await page.goto(f"{url}/privacy")
    card = page.get_by_role("article").filter(has_text=provider.card.name)
    await card.get_by_role("link", name="Revoke").click()
    await expect(page.get_by_text("stays closed for good")).to_be_visible()
    await window.check()
    await page.get_by_role("button", name="Revoke it").click()
    await expect(page.get_by_role("status")).to_contain_text("The grant is revoked")
    await expect(page.get_by_text("Nobody may open anything.")).to_be_visible()
    await page.get_by_text("ended").click()
    await expect(page.get_by_role("link", name=provider.card.name)).to_be_visible()
    await window.check()
