"""The pages in a real browser: Debian's Chromium, over TLS."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from gateway.errors import Refused
from gateway.registrar.server import serving
from gateway.registrar.service import Registrar
from gateway.registrar.settings import ListenSection
from gateway.registry.client import RegistrarClient
from tests.support.clock import FakeClock
from tests.support.operator import OPERATOR, STREAMS, Seen, furnish, refuse
from tests.support.registrar import Holder, open_new, register, settings, tls_files

pytestmark = pytest.mark.slow

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",  # a container's root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
EVIL = "http://evil.example/"
PAGES = ("Overview", "Households", "Providers", "Refused attempts", "Catalogue")

# The least contrast of any text with what is behind it, by WCAG 2.2, "contrast ratio".
LEAST_CONTRAST = """() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number)
  const light = ([r, g, b]) => [r, g, b]
    .map(one => one / 255)
    .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0)
  const behind = element => {
    for (; element; element = element.parentElement) {
      const ground = channels(getComputedStyle(element).backgroundColor)
      if (ground.length === 3 || ground[3] > 0) return ground
    }
    return [255, 255, 255]
  }
  return Math.min(...[...document.querySelectorAll("body *")]
    .filter(one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    .map(one => {
      const pair = [light(channels(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => a - b)
      return (pair[1] + 0.05) / (pair[0] + 0.05)
    }))
}"""


@dataclass
class Window:
    """A window at the registrar, and what went wrong in it: lines of the console, requests to elsewhere."""

    page: Page
    url: str
    ca: Path
    seen: Seen
    problems: list[str] = field(default_factory=list)

    async def log_in(self, password: str | None = None) -> None:
        await self.page.goto(f"{self.url}/operator")
        await self.page.get_by_label("Operator’s user name").fill(OPERATOR)
        await self.page.get_by_label("Password").fill(password or self.seen.password)
        await self.page.get_by_role("button", name="Log in").click()

    async def heading(self, name: str) -> None:
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(name)

    async def told(self) -> Counter[str]:
        """How many parts of each role the browser tells a screen reader of."""
        session = await self.page.context.new_cdp_session(self.page)
        tree = await session.send("Accessibility.getFullAXTree")
        return Counter(node["role"]["value"] for node in tree["nodes"] if not node["ignored"])


@pytest.fixture
async def registrar(database_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Registrar]:
    """A registrar that serves TLS."""
    _, certificate, key = tls_files(tmp_path)
    chosen = settings(tmp_path / "state", database_url)
    listen = ListenSection(host="localhost", port=0, certificate=certificate, key=key)
    async with open_new(chosen.model_copy(update={"listen": listen}), clock) as one:
        yield one


@pytest.fixture
async def window(registrar: Registrar, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Window]:
    """A browser's window at a registrar with something to see."""
    seen = await furnish(registrar, clock.now_ms)
    async with serving(registrar) as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            page = await browser.new_page(ignore_https_errors=True)
            found = Window(page, url, tmp_path / "ca.pem", seen)
            page.set_default_timeout(20_000)
            page.on("console", lambda line: found.problems.append(line.text))
            page.on("pageerror", lambda error: found.problems.append(str(error)))
            page.on(
                "request",
                lambda request: (
                    None if request.url.startswith(f"{url}/operator") else found.problems.append(request.url)
                ),
            )
            yield found
        finally:
            await browser.close()


async def test_an_operator_looks_at_every_page_and_revokes_a_certificate(
    window: Window, registrar: Registrar, clock: FakeClock
) -> None:
    page, seen = window.page, window.seen
    await window.log_in()
    await window.heading("Overview")
    (cookie,) = await page.context.cookies()
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"], cookie["expires"]) == (
        True,
        True,
        "Strict",
        "/operator",
        -1,
    )
    for name, text in zip(
        PAGES[1:],
        ("Home <Bern>", "Stadtwerk", "the user name or the password is wrong", STREAMS[1].hex()),
        strict=True,
    ):
        await page.get_by_role("link", name=name, exact=True).click()
        await window.heading(name)
        await expect(page.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")
        await expect(page.get_by_role("table")).to_contain_text(text)
    await page.get_by_role("link", name="Refused attempts").click()
    await page.get_by_label("Kind").select_option("password")
    await page.get_by_role("button", name="Search").click()
    await expect(page).to_have_url(f"{window.url}/operator/attempts?q=&kind=password")
    await page.get_by_role("link", name="Households").click()
    await page.get_by_label("Name of the account").fill("MÜLLER".lower())
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("row")).to_have_count(2)
    async with RegistrarClient(window.url, window.ca) as client:
        _, card = await client.status()
        await client.certificate(seen.home.kid)
        await page.get_by_role("link", name="Revoke the certificate of Home <Bern>").click()
        await window.heading("Revoke a certificate")
        await page.get_by_role("button", name="Revoke the certificate").click()
        await expect(page.get_by_role("status")).to_contain_text(
            "Certificate 1 of Home <Bern> and all others"
        )
        with pytest.raises(Refused, match="certificate 1 of the key"):
            await client.certificate(seen.home.kid)
        assert (await client.revocations(card, clock.now_ms)).serials == (1,)
        await client.certificate(seen.provider.kid)
    await page.get_by_role("button", name="Log out").click()
    await window.heading("Log in")
    await page.go_back()
    await page.goto(f"{window.url}/operator/households")
    await window.heading("Log in")
    assert await page.context.cookies() != [cookie]
    assert window.problems == []


async def test_wrong_passwords_an_ended_login_and_another_sites_form_are_told_on_the_page(
    window: Window, registrar: Registrar, clock: FakeClock
) -> None:
    page = window.page
    await window.log_in("guessed")
    await expect(page.get_by_role("alert")).to_have_text("The user name or the password is wrong.")
    for _ in range(9):
        await refuse(registrar, "password", OPERATOR, "the user name or the password is wrong")
    await window.log_in()
    await expect(page.get_by_role("alert")).to_contain_text("Too many attempts have failed: try again in ")
    clock.pass_s(300)
    await window.log_in()
    await window.heading("Overview")
    problems = [problem for problem in window.problems if "status of 401" not in problem]
    assert ["status of 429" in problem for problem in problems] == [True]

    target = f"{window.url}/operator/certificates/1/revoke"
    form = f'<form method="post" action="{target}"><button>You have won</button></form>'
    await page.route(EVIL, lambda route: route.fulfill(body=form, content_type="text/html"))
    await page.goto(EVIL)
    await page.get_by_role("button").click()
    await expect(page.get_by_role("alert")).to_contain_text("not logged in any more, and nothing was changed")
    await registrar.cards.present(window.seen.home.kid)

    await page.goto(target)
    await window.heading("Revoke a certificate")
    clock.pass_s(3600)
    await page.get_by_role("button", name="Revoke the certificate").click()
    await expect(page.get_by_role("alert")).to_contain_text("not logged in any more, and nothing was changed")
    await page.get_by_role("link", name="Log in").click()
    await window.heading("Log in")
    await registrar.cards.present(window.seen.home.kid)


async def test_every_page_fits_a_telephone_and_can_be_read_and_heard(
    window: Window, registrar: Registrar, clock: FakeClock
) -> None:
    page, now_ms = window.page, clock.now_ms
    for role in ("household", "provider"):
        long = role[0] * 80
        password = await registrar.accounts.add(long, role)
        holder = Holder("gateway" if role == "household" else "provider", now_ms, long[::-1])
        descriptors = [holder.descriptor()] if role == "household" else []
        await register(registrar, long, password, holder, *descriptors)
    await refuse(
        registrar, "request", secrets.token_hex(40), "x" * 500, "2001:db8:1234:5678:9abc:def0:1234:5678"
    )
    await window.log_in()
    await window.heading("Overview")
    for name in (*PAGES, "Revoke a certificate"):
        if name in PAGES:
            await page.get_by_role("link", name=name, exact=True).click()
        else:
            await page.goto(f"{window.url}/operator/certificates/1/revoke")
        await window.heading(name)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            assert await page.evaluate(LEAST_CONTRAST) >= 4.5, (name, scheme)
        for width in (375, 960, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, (name, width)
            # A screen reader has the whole table, also where the style sheet stacks its cells.
            told = await window.told()
            tables, rows = await page.locator("table").count(), await page.locator("tr").count()
            assert (told["table"], told["row"], told["rowheader"]) == (tables, rows, rows - tables)
            assert told["columnheader"] == await page.locator("thead th").count()
            assert told["cell"] == await page.locator("td").count()
        assert await page.locator("input:not([type=hidden]), select").evaluate_all(
            "all => all.every(one => one.labels.length === 1)"
        )
    await page.goto(f"{window.url}/operator/attempts")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_label("User, address or reason")).to_be_focused()
    assert window.problems == []
