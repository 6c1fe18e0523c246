"""A window of a real browser, Debian's Chromium, at the pages of a home or of a centre."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, Self

from playwright.async_api import Browser as Chromium
from playwright.async_api import Page, async_playwright

from tests.support.axe import violations
from tests.support.pages import PASSWORD

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",  # a container's root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
)
_HARMLESS = (
    "Password forms should have",  # a home has one password, and no user names
    "Canvas2D: Multiple readback",  # by tests that look at a plot
    "status of 422 (Unprocessable Entity)",  # the page that says what is wrong in a form
)


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Chromium]:
    """The browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Window:
    """A window, and what went wrong in it: lines of the console, requests to elsewhere. `bytes` are all that
    have crossed the network."""

    page: Page
    url: str
    problems: list[str] = field(default_factory=list)
    bytes: int = 0

    @classmethod
    async def open(
        cls, chromium: Chromium, url: str, width: int, height: int, scheme: Literal["light", "dark"]
    ) -> Self:
        """A new window of that size, in English, empty yet."""
        context = await chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB"
        )
        page = await context.new_page()
        window = cls(page, url)
        page.set_default_timeout(20_000)
        page.on("console", lambda line: window.note(line.text))
        page.on("pageerror", lambda error: window.note(str(error)))
        page.on("request", lambda request: None if request.url.startswith(url) else window.note(request.url))
        session = await context.new_cdp_session(page)
        await session.send("Network.enable")
        session.on("Network.loadingFinished", window.count)
        return window

    async def log_in(self) -> None:
        """Log in at a home."""
        await self.page.goto(f"{self.url}/login")
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.wait_for_url("**/now")

    def note(self, problem: str) -> None:
        """Keep what went wrong."""
        if not any(one in problem for one in _HARMLESS):
            self.problems.append(problem)

    def count(self, event: dict[str, float]) -> None:
        """Count what has crossed the network."""
        self.bytes += int(event["encodedDataLength"])

    async def check(self) -> None:
        """Nothing went wrong, nobody is shut out, and the page is no wider than the screen."""
        assert not self.problems
        assert await violations(self.page) == []
        wide, inner = await self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= inner, await self.page.title()
