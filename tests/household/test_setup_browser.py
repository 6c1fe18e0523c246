"""On a phone, in a real browser: the setup from nothing to a meter that is read; a held register accepted."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, ViewportSize, async_playwright, expect

from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import open_household
from gateway.household.server import serving as serving_pages
from tests.support.axe import violations
from tests.support.home import LINK_UNITS, Home
from tests.support.pages import PASSWORD
from tests.support.serving import serving
from tests.support.window import ARGUMENTS, CHROMIUM

pytestmark = pytest.mark.slow

COMMAND = str(Path(sys.executable).with_name("gateway"))
PHONE = ViewportSize(width=390, height=844)


@asynccontextmanager
async def running(*arguments: str, says: str, **environment: str) -> AsyncIterator[tuple[Process, str]]:
    """A command that runs, and its line of the log with these words."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=PIPE, stderr=STDOUT, env={"PATH": "/usr/bin:/bin", **environment}
    )
    assert process.stdout is not None
    try:
        line = ""
        async with asyncio.timeout(60):
            while says not in line:
                line = (await process.stdout.readline()).decode()
                assert line, f"it ended before {says!r}"
        draining = asyncio.create_task(process.stdout.read())
        yield process, line
    finally:
        process.terminate()
        await process.wait()
    draining.cancel()


@asynccontextmanager
async def phone() -> AsyncIterator[Page]:
    """A page of a phone's browser, on which nothing may go wrong."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = await browser.new_context(
            viewport=PHONE,
            has_touch=True,
            locale="en-GB",
            timezone_id="Europe/Paris",
        )
        page = await context.new_page()
        page.set_default_timeout(30_000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
        assert wrong == []
        await browser.close()


async def check(page: Page) -> None:
    """Nobody is shut out, and the page is not wider than the screen."""
    assert await violations(page) == []
    wider = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wider <= 0, page.url


async def test_a_home_is_set_up_from_nothing(tmp_path: Path) -> None:
    """The real commands: a gateway that waits, the pages, a simulated meter, and a folder as the store."""
    socket, bucket = tmp_path / "control.sock", tmp_path / "bucket"
    bucket.mkdir()
    (tmp_path / "household.toml").write_text(
        f'[household]\nstate = "{tmp_path}/pages"\nsocket = "{socket}"\n'
        '[listen]\nhost = "127.0.0.1"\nport = 0\ntls = false\n'
    )
    file = str(tmp_path / "household.toml")
    gateway = ("run", "--config", str(tmp_path / "gateway.toml"), "--setup", str(socket))
    async with (
        running(*gateway, says="waits at", STATE_DIRECTORY=str(tmp_path / "gateway")),
        running("household", "--config", file, says="pages of this home are at") as (_, line),
        running("simulate", "modbus", "--port", "0", says="device id 1") as (_, meter),
        phone() as page,
    ):
        port = meter.partition("127.0.0.1:")[2].partition(",")[0]
        code = await _output("household", "--config", file, "setup-code")
        await page.goto(f"{line.split()[-1]}/welcome#{code}")  # a label's QR code
        await expect(page.get_by_label("Setup code")).to_have_value(code)
        await expect(page).to_have_url(f"{line.split()[-1]}/welcome")
        await page.get_by_label("New password").fill("a rather long sentence")
        await check(page)
        await page.get_by_role("button", name="Choose it").click()

        await expect(page.get_by_label("Time zone")).to_have_value("Europe/Paris")
        await page.get_by_label("Name of this home").fill("Lindenstraße 7")
        await check(page)
        await page.get_by_role("button", name="Go on").click()

        await page.get_by_label("In a file").check()
        await check(page)
        await page.get_by_role("button", name="Try it").click()

        await page.get_by_label("Model", exact=True).fill("eastron-sdm630")
        await page.locator("#host").fill("127.0.0.1")
        await page.get_by_label("Port, where").fill(port)
        await page.get_by_role("button", name="Read it").click()
        await expect(page.locator("#trial")).to_contain_text("kWh")
        await check(page)
        await page.get_by_role("button", name="Yes: add this meter").click()
        await page.get_by_role("link", name="Go on to the storage").click()

        await page.get_by_label("A folder").check()
        await page.get_by_label("Folder", exact=True).fill(str(bucket))
        await check(page)
        await page.get_by_role("button", name="Try it and begin").click()
        await page.get_by_role("button", name="Without a registrar").click()
        await check(page)
        await page.get_by_role("button", name="Without prices").click()
        await expect(page.locator(".step")).to_contain_text("The gateway runs.")
        await check(page)
        await page.get_by_role("link", name="What flows now").click()
        await expect(page.locator(".big")).to_contain_text("the grid")
        await page.goto(f"{line.split()[-1]}/doctor")
        await page.get_by_role("button", name="Check every part").click()
        await expect(page.locator("#findings")).to_contain_text("list, put and get work")
        await check(page)
        for path in ("settings", "settings/configuration", "meters", "meters/new"):
            await page.goto(f"{line.split()[-1]}/{path}")
            await check(page)


async def test_a_held_register_is_accepted(tmp_path: Path) -> None:
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "pages", socket=tmp_path / "s"),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    async with (
        Home(tmp_path / "h") as home,
        serving(home, tmp_path / "s"),
        open_household(config, home.clock) as household,
        serving_pages(household) as url,
        phone() as page,
    ):
        await household.password.choose(household.password.setup_code(), PASSWORD, "")
        await home.runs(2 * LINK_UNITS)
        _, exported, power = home.shown["main"]
        home.clock.pass_s(1)
        home.deliver((10**13, exported, power))
        await home.commit()
        await page.goto(f"{url}/login")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("link", name="Decide").click()
        await page.get_by_role("link", name="Decide").click()
        await expect(page.get_by_role("table")).to_contain_text("10,000,000.000 kWh")
        await check(page)
        await page.get_by_label("Another meter, or a register that was reset").check()
        await page.get_by_role("button", name="This is what happened").click()
        await expect(page.get_by_role("status")).to_contain_text("accepted another meter")
        (meter,) = (await household.control.status()).meters
        assert meter.hold is None
        await check(page)


async def _output(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(COMMAND, *arguments, stdout=PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()
