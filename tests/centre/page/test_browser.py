"""The operator's pages in a real browser: Debian's Chromium, on a phone and on a desk, light and dark."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from playwright.async_api import Browser as Chromium
from playwright.async_api import expect

from gateway.centre.page.server import Place, serving
from tests.centre.page.conftest import PASSWORD, STRANGE, app_of, filled
from tests.centre.watched import WAIT_S, Watched
from tests.support.axe import violations
from tests.support.window import Window, running_chromium

pytestmark = pytest.mark.slow

# Whether a plot has the colour of this name, within so many frames.
DRAWN_IN = """async ([name, at, frames]) => {
  const probe = document.createElement("span")
  probe.className = name
  document.querySelector(".legend").append(probe)
  const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number)
  probe.remove()
  for (let frame = 0; frame < frames; frame++) {
    const canvas = document.querySelectorAll(".plot canvas")[at]
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    for (let at = 0; at < data.length; at += 4)
      if (wanted.every((value, channel) => data[at + channel] === value)) return true
    await new Promise(requestAnimationFrame)
  }
  return false
}"""


class Centre(Window):
    """A window at the centre."""

    async def heading(self, name: str) -> None:
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(name)

    async def log_in(self) -> None:
        """The second password is the right one."""
        await self.page.goto(self.url)
        await self.heading("Log in")
        await self.page.get_by_label("Password").fill("something else")
        await self.page.keyboard.press("Enter")
        await expect(self.page.get_by_role("alert")).to_have_text("The password is wrong.")
        await self.check_but("status of 401")
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.keyboard.press("Enter")
        await self.heading("Overview")
        (cookie,) = await self.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        await self.check()

    async def check_but(self, harmless: str) -> None:
        """`check`, but for lines of the console that have this text."""
        self.problems = [one for one in self.problems if harmless not in one]
        await self.check()


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve of so few windows that each is wide enough to be seen."""
    monkeypatch.setattr("gateway.centre.watch.MOST_WINDOWS", 12)


@pytest.fixture
async def chromium() -> AsyncIterator[Chromium]:
    async with running_chromium() as browser:
        yield browser


async def test_an_operator_watches_a_region(watched: Watched, chromium: Chromium) -> None:
    """Log in, see a load rise above its limit and fall, and a home that breaks, without loading a page again;
    by keyboard alone."""
    street = watched.street
    await street.takes_in()
    await watched.looks_at(-60)
    async with serving(app_of(watched, PASSWORD), Place("127.0.0.1", 0)) as url:
        window = await Centre.open(chromium, url, 1280, 900, "light")
        page = window.page
        await window.log_in()

        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        for _ in range(2):
            await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="North")).to_be_focused()
        await page.keyboard.press("Enter")
        await window.heading("North")
        table = page.get_by_role("table").filter(has_text="newest window first")
        rows = table.get_by_role("row")
        await expect(rows.nth(1).get_by_role("rowheader")).to_have_text("Sat 23:56")
        assert not await page.evaluate(DRAWN_IN, ["load", 0, 2])

        await watched.looks_at(120 + WAIT_S)
        await expect(rows.nth(1).get_by_role("rowheader")).to_have_text("Sun 00:01")
        await expect(rows.nth(1)).to_contain_text("4.9 above 3 0")
        await expect(page.get_by_text("Last look at the loads:")).to_contain_text("2026-03-01 00:04:00")
        await expect(page.get_by_text("above the limit of 4.5 kW; 4.9 kW at its highest.")).to_be_visible()
        for colour, at in (("load", 0), ("bad", 0), ("homes", 1)):
            assert await page.evaluate(DRAWN_IN, [colour, at, 600]), colour
        await page.locator(".plot").first.hover(position={"x": 720, "y": 60})
        await expect(page.locator(".legend .when").first).to_have_text("Sun 00:01")
        await expect(page.locator(".legend .load").first).to_have_text("Load 4.9 above")
        await window.check()

        broken = street.homes[1]
        for home in street.homes:
            home.seal(filled(1, 120))
        broken.objects[broken.chunks[-1]] = broken.objects[broken.chunks[-2]]
        await street.takes_in()
        await watched.looks_at(240 + WAIT_S)
        await expect(rows.nth(1)).to_contain_text("Sun 00:03")
        await expect(page.get_by_role("row", name="Home passed over")).to_contain_text(broken.id.hex())
        await page.get_by_role("region", name="The loads, the newest first").focus()
        await page.keyboard.press("End")
        await expect(rows.last).to_be_in_viewport()
        await window.check()

        await page.get_by_role("link", name="Alarms").focus()
        await page.keyboard.press("Enter")
        await window.heading("Alarms")
        await expect(page.get_by_role("row", name="Load above the limit")).to_contain_text("North")
        await window.check()
        await page.get_by_role("button", name="Log out").press("Enter")
        await window.heading("Log in")
        await page.goto(f"{url}/region?name=North")
        await window.heading("Log in")
        assert window.problems == []


async def test_every_page_fits_a_phone_and_a_desk(watched: Watched, chromium: Chromium) -> None:
    street = watched.street
    async with serving(app_of(watched), Place("127.0.0.1", 0)) as url:
        windows = [
            await Centre.open(chromium, url, 375, 812, "light"),
            await Centre.open(chromium, url, 1280, 900, "dark"),
        ]
        for window in windows:
            await window.page.goto(url)
            await expect(window.page.get_by_role("heading", name="No home is listed yet")).to_be_visible()
            await window.check()
        broken = street.homes[1]
        broken.objects[broken.chunks[-2]] = broken.objects[broken.chunks[-3]]
        await street.takes_in()
        await watched.looks_at(200 + WAIT_S)
        for window in windows:
            for path in ("", "/alarms", "/region?name=North", f"/region?name={quote(STRANGE)}"):
                await window.page.goto(f"{url}{path}")
                await window.check()
                if path.startswith("/region"):
                    fits = "one => one.scrollWidth <= one.clientWidth"
                    assert await window.page.locator(".rows").evaluate(fits)
                    assert await window.page.evaluate(DRAWN_IN, ["homes", 1, 600])


async def test_a_centre_that_is_away_is_told(watched: Watched, chromium: Chromium) -> None:
    await watched.street.takes_in()
    async with serving(app_of(watched), Place("127.0.0.1", 0)) as url:
        window = await Centre.open(chromium, url, 375, 812, "dark")
        await window.page.goto(url)
        await window.heading("Overview")
    await expect(window.page.get_by_role("status")).to_have_text(
        "The centre does not answer: the page shows what was known last."
    )
    assert await violations(window.page) == []
