"""The pages of energy in a real browser: Debian's Chromium, on a phone and on a desk, light and dark."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.async_api import expect

from gateway.household.home import Household
from gateway.household.live import EVERY_S
from gateway.household.server import serving
from tests.support.clock import FakeClock
from tests.support.pages import Answers, meter, reading, status
from tests.support.window import Window, running_chromium

pytestmark = pytest.mark.slow

MOST_BYTES = 150_000
"""Of a first page, as it crosses the network."""
TARIFF = """
currency = "EUR"
zone = "Europe/Berlin"
[[import]]
price = "0.3215"
from = "06:00"
until = "22:00"
[[import]]
price = "0.2450"
[[export]]
price = "-0.0810"
"""
# Whether a plot has the colour of this name, within so many frames.
DRAWN_IN = """async ([name, at, frames]) => {
  for (let frame = 0; frame < frames; frame++) {
    const wanted = getComputedStyle(document.querySelector(`.${name}`)).color.match(/\\d+/g).map(Number)
    const canvas = document.querySelectorAll(".plot canvas")[at]
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    for (let at = 0; at < data.length; at += 4)
      if (wanted.every((value, channel) => data[at + channel] === value)) return true
    await new Promise(requestAnimationFrame)
  }
  return false
}"""


async def test_a_household_looks_at_its_energy(
    household: Household, gateway: Answers, clock: FakeClock
) -> None:
    """On a phone in light, and on a desk in dark."""
    household.settings.change(zone="Europe/Berlin", name="Garden Lane 7")
    household.settings.tariff_file.write_text(TARIFF)
    gateway.now = status(meters=(meter("main"), meter("roof"), meter("car")))
    screens: tuple[tuple[int, int, Literal["light", "dark"]], ...] = (
        (390, 844, "light"),
        (1280, 800, "dark"),
    )
    async with serving(household) as url, running_chromium() as chromium:
        for width, height, scheme in screens:
            gateway.shown = (reading("main", power=512, **{"import": 5_000_000}), reading("roof", power=-900))
            clock.pass_s(EVERY_S)
            window = await Window.open(chromium, url, width, height, scheme)
            await window.log_in()
            await _look_at_now(window, gateway, clock)
            await _look_at_today(window, scheme)
            await _look_at_history(window)
            await _plan_a_wash(window)
            await window.page.goto(f"{url}/bills")
            await expect(window.page.get_by_role("heading", level=1)).to_have_text("Bills")
            await window.check()
            await window.page.context.close()


async def _look_at_now(window: Window, gateway: Answers, clock: FakeClock) -> None:
    """Power changes in place: who was about to follow a link still is."""
    page = window.page
    await expect(page.locator(".big")).to_have_text("512 W from the grid")
    assert 10_000 < window.bytes <= MOST_BYTES
    await page.get_by_role("link", name="main").focus()
    await clock.asleep()
    gateway.shown = (reading("main", power=-2100), *gateway.shown[1:])
    clock.pass_s(EVERY_S)
    await expect(page.locator(".big")).to_have_text("2,100 W to the grid")
    await expect(page.get_by_role("link", name="main")).to_be_focused()
    await expect(page.get_by_text("Today so far")).to_be_visible()
    await window.check()


async def _look_at_today(window: Window, scheme: str) -> None:
    """The plots are drawn, in the colours of the scheme; the table opens by keyboard."""
    page = window.page
    await page.get_by_role("link", name="Today", exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Today")
    await expect(page.locator(".plot canvas")).to_have_count(2)
    assert await page.evaluate(DRAWN_IN, ["import", 0, 300])
    assert await page.evaluate(DRAWN_IN, ["price", 1, 300])
    assert not await page.evaluate(DRAWN_IN, ["price", 0, 1])
    await page.locator(".plot").first.hover(position={"x": 120, "y": 60})
    await expect(page.locator(".legend").first).to_contain_text("kWh")
    await page.get_by_text("The same as a table").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#numbers tbody tr").last).to_be_visible()
    await window.check()
    await page.emulate_media(color_scheme="dark" if scheme == "light" else "light")
    assert await page.evaluate(DRAWN_IN, ["import", 0, 300])
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await page.goto(f"{window.url}/today?day=2025-10-26")
    for name in ("02:30 CEST", "02:30 CET"):
        await expect(page.get_by_role("rowheader", name=name, exact=True, include_hidden=True)).to_have_count(
            1
        )


async def _look_at_history(window: Window) -> None:
    """From a year to a month, then a day of 23 hours, and its CSV."""
    page = window.page
    await page.get_by_role("link", name="History", exact=True).click()
    await expect(page.locator(".plot canvas")).to_have_count(2)
    await window.check()
    await page.get_by_role("link", name="Year", exact=True).click()
    await page.get_by_text("The same as a table").click()
    await page.get_by_role("link", name="March 2026").click()
    await expect(page.locator(".here")).to_have_text("March 2026")
    await page.get_by_label("From", exact=True).fill("2026-03-29T00:00")
    await page.get_by_label("Until", exact=True).fill("2026-03-30T00:00")
    await page.get_by_label("Steps").select_option("hour")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#numbers tbody tr")).to_have_count(23)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV of this").click()
    path = await (await download.value).path()
    assert len(path.read_text().splitlines()) == 24
    await window.check()


async def _plan_a_wash(window: Window) -> None:
    """An appliance is added, is in the plan, and is removed."""
    page = window.page
    await page.goto(f"{window.url}/today")
    await page.get_by_role("link", name="Add an appliance").click()
    for label, text in (("Name", "Wash"), ("Power, in watts", "1200"), ("How long", "90")):
        await page.get_by_label(label).fill(text)
    await page.get_by_label("Not before").fill("20:00")
    await page.get_by_label("Done by").fill("20:30")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_contain_text("there are only 30")
    await page.get_by_role("link", name="To the plan").click()
    await page.go_back()  # to the answer of a form, which is not sent again
    await expect(page.get_by_role("alert")).to_contain_text("there are only 30")
    await window.check()
    await page.get_by_label("Done by").fill("07:00")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("1,200 W · 90 minutes · from 20:00, done by 07:00")).to_be_visible()
    await window.check()
    await page.get_by_role("link", name="To the plan").click()
    bar = await page.locator("svg.runs rect.run").bounding_box()
    assert bar is not None
    assert bar["width"] > 5
    await expect(page.get_by_role("cell", name="22:26 – 23:56")).to_be_visible()
    await window.check()
    await page.goto(f"{window.url}/settings/appliances")
    await page.get_by_role("button", name="Remove: Wash").click()
    await expect(page.get_by_text("Wash is removed.")).to_be_visible()
