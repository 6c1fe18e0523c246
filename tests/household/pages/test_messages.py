"""What utilities ask and tell: decided on by the household, shown as text, answered by signed receipts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from aiohttp import ClientSession, CookieJar
from aiohttp.test_utils import TestClient, TestServer

from gateway.control.commands import CardStatus, CommandStatus
from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import Household, open_household
from gateway.household.pages.messages import EVERY_S
from gateway.household.prices import Prices
from gateway.household.server import build_app
from gateway.household.server import serving as pages_serving
from gateway.household.shown import moment
from gateway.wire.card import Card
from gateway.wire.command import CODES, Receipt
from tests.household.test_prices import HOUR_MS, NOW_MS, Acme
from tests.support.clock import FakeClock
from tests.support.commanded import CommandedHome
from tests.support.filled import send, tags
from tests.support.home import MEMORY
from tests.support.pages import PASSWORD, Answers, Browser, words
from tests.support.serving import serving


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder where fsync costs nothing."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[CommandedHome]:
    """A home that two utilities may command: one may do all, of the other's the household is asked."""
    home = CommandedHome(tmp_path / "h")
    await home.begins()
    yield home
    await home.crash()


@pytest.fixture
def clock(home: CommandedHome) -> FakeClock:
    """The home's own clock."""
    return home.clock


@pytest.fixture
async def household(home: CommandedHome, tmp_path: Path) -> AsyncIterator[Household]:
    """The pages of the home, whose gateway answers."""
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "household", socket=tmp_path / "s"),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    async with serving(home, tmp_path / "s"), open_household(config, home.clock) as opened:
        opened.settings.change(zone="Europe/Berlin")
        await opened.password.choose(opened.password.setup_code(), PASSWORD, "")
        yield opened


async def test_a_limit_waits_for_the_household_and_runs_once_it_allows(
    browser: Browser, home: CommandedHome
) -> None:
    sent = await home.sends(home.asked, "limit")
    await home.step()
    assert home.device.acts == []
    _, html = await browser.get("/messages")
    shown = words(html)
    assert "Waiting for your decision Stadtwerke Draw no more than 4,200 W" in shown
    assert "from 28 May 2026, 22:27 to 23:27" in shown
    answer = await send(browser, html, f"/messages/{sent.id}", decision="allow")
    assert (answer.status, answer.headers["Location"]) == (303, "/messages")
    await home.step()
    assert home.device.acts == ["limit 4200"]
    shown = await browser.shown("/messages")
    assert "You have allowed what Stadtwerke asked." in shown
    assert "In force now Stadtwerke Draw no more than 4,200 W" in shown
    assert "In force. It ends by itself: 28 May 2026, 23:27." in shown
    home.clock.pass_s(3601)
    await home.step()
    shown = await browser.shown("/messages")
    assert "In force now" not in shown
    assert "Its time is over." in shown


async def test_a_command_is_refused_by_the_household_with_a_receipt(
    browser: Browser, home: CommandedHome
) -> None:
    sent = await home.sends(home.asked, "disconnect")
    _, html = await browser.get("/messages")
    assert (await send(browser, html, f"/messages/{sent.id}", decision="refuse")).status == 303
    await home.step()
    assert home.device.connected
    shown = await browser.shown("/messages")
    assert "You have refused what Stadtwerke asked. It gets a signed receipt of that." in shown
    assert "You refused it." in shown
    answer = await browser.ask(f"/messages/{sent.id}/receipt")
    assert answer.content_type == "application/cose"
    receipt = Receipt.read(await answer.read(), home.root.public_key, "the receipt")
    assert (receipt.state, receipt.code) == ("refused", "owner")


async def test_a_limit_is_ended_by_hand_where_the_household_is_asked(
    browser: Browser, home: CommandedHome
) -> None:
    sent = await home.sends(home.asked, "limit")
    _, html = await browser.get("/messages")
    assert "End it now" not in words(html)
    await send(browser, html, f"/messages/{sent.id}", decision="allow")
    await home.step()
    _, html = await browser.get("/messages")
    assert "End it now" in words(html)
    answer = await send(browser, html, f"/messages/{sent.id}", decision="end")
    assert answer.status == 303
    await home.step()
    assert home.device.limit is None
    shown = await browser.shown("/messages")
    assert "You have ended the limit of Stadtwerke. It gets a signed receipt of that." in shown
    assert "You ended it." in shown
    assert "In force now" not in shown


async def test_a_limit_that_runs_unasked_ends_by_its_time_alone(
    browser: Browser, home: CommandedHome
) -> None:
    sent = await home.sends(home.allowed, "limit")
    await home.step()
    _, html = await browser.get("/messages")
    assert "so it ends by its time alone" in words(html)
    assert "End it now" not in words(html)
    form = await browser.form_of("/settings")
    answer = await browser.post(f"/messages/{sent.id}", form=form, decision="end")
    assert answer.status == 400
    assert "are carried out without asking" in words(await answer.text())
    assert home.device.limit == 4200


async def test_a_decision_that_comes_too_late_is_told(browser: Browser, home: CommandedHome) -> None:
    sent = await home.sends(home.asked, "limit")
    _, html = await browser.get("/messages")
    home.clock.pass_s(3601)
    await home.step()
    answer = await send(browser, html, f"/messages/{sent.id}", decision="allow")
    assert answer.status == 400
    assert "Its time was over before you decided." in words(await answer.text())
    assert home.device.acts == []


async def test_what_comes_is_shown_without_a_reload_until_the_login_ends(
    browser: Browser, home: CommandedHome, household: Household
) -> None:
    answer = await browser.client.get("/messages/events")
    assert answer.content_type == "text/event-stream"

    async def event() -> str:
        while (text := (await answer.content.readuntil(b"\n\n")).decode()) == ":\n\n":
            pass
        assert text.startswith("event: messages\n")
        return words("</head>" + text.replace("data: ", ""))

    assert "Nothing was asked of this home before." in await event()
    await home.sends(home.asked, "limit")
    for _ in range(2):  # the second time nothing has changed, and nothing is sent
        await home.clock.asleep()
        home.clock.pass_s(EVERY_S)
    assert "Waiting for your decision Stadtwerke Draw no more than 4,200 W" in await event()
    (login,) = household.logins.all()
    household.logins.end(login.id)
    await home.clock.asleep()
    home.clock.pass_s(EVERY_S)
    assert (await answer.content.read()).strip(b":\n") == b""


async def test_only_this_pages_form_decides(browser: Browser, home: CommandedHome) -> None:
    sent = await home.sends(home.asked, "disconnect")
    path = f"/messages/{sent.id}"
    form = await browser.form_of("/messages")
    for origin, token, decision in (
        ("http://evil.example", form, "allow"),
        (None, form, "allow"),
        ("", "0" * len(form), "allow"),
        ("", form, "perhaps"),
    ):
        answer = await browser.post(path, origin=origin, form=token, decision=decision)
        assert answer.status in (400, 403)
    assert (await home.status(sent.id)).state == "asks"


async def test_a_disconnect_is_in_force_until_it_is_ended(browser: Browser, home: CommandedHome) -> None:
    await home.sends(home.allowed, "disconnect")
    await home.step()
    home.clock.pass_s(7200)
    await home.step()
    assert "In force now Netz Disconnect the home from the grid" in await browser.shown("/messages")
    await home.sends(home.allowed, "reconnect")
    await home.step()
    shown = await browser.shown("/messages")
    assert "In force now" not in shown
    assert "A reconnect ended it." in shown


async def test_what_is_refused_says_why(browser: Browser, home: CommandedHome) -> None:
    late = home.clock.now_ms - 7_200_000
    await home.sends(home.allowed, "limit", from_ms=late, until_ms=late + 60_000, time_ms=late)
    shown = await browser.shown("/messages")
    assert "Netz : Draw no more than 4,200 W" in shown
    assert "Refused: its time was over when it came." in shown


async def test_a_message_is_shown_as_text(browser: Browser, home: CommandedHome) -> None:
    text = "<script>alert(1)</script><img src=x onerror=alert(2)> שלום </blockquote>&lt;b&gt;"
    await home.sends(home.allowed, "message", text=text)
    await home.step()
    _, html = await browser.get("/messages")
    assert "img" not in tags(html)
    assert html.count("<script") == 1
    assert "<bdi>&lt;script&gt;alert(1)" in html


class Evil(Answers):
    """A gateway that hands on what no signed object can carry."""

    texts: tuple[str, ...] = ()

    async def commands(self) -> tuple[CommandStatus, ...]:
        return tuple(
            CommandStatus(
                id=f"{n:032x}",
                provider=text,
                provider_kid="00" * 16,
                kind="message",
                meter=text,
                text=text,
                limit_w=None,
                from_ms=0,
                until_ms=1,
                received_ms=0,
                state=state,
                code=code,
                reason=text,
                receipt=b"",
                fault=text,
            )
            for n, (state, code, text) in enumerate(
                (state, code, text)
                for state, codes in CODES.items()
                for code in (*codes, "new")
                for text in self.texts
            )
        )


class WithCards(Evil):
    """A gateway that knows a card."""

    card = b""

    async def cards(self) -> tuple[CardStatus, ...]:
        card = Card.read_self_signed(self.card, "the card")
        return (
            CardStatus(
                kid=card.kid.hex(), name=card.name, fingerprint="", known_by="granted", card=self.card
            ),
        )


@asynccontextmanager
async def at_home(gateway: Answers, folder: Path, prices: Prices | None = None) -> AsyncIterator[Browser]:
    """A browser at the pages of a home whose gateway answers so."""
    config = HouseholdConfig(
        household=HouseholdSection(state=folder / "household"),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    async with open_household(config, FakeClock(), gateway) as opened:
        home = opened if prices is None else replace(opened, prices=prices)
        await home.password.choose(home.password.setup_code(), PASSWORD, "")
        async with TestClient(TestServer(build_app(home)), cookie_jar=CookieJar(unsafe=True)) as client:
            browser = Browser(client)
            await browser.log_in()
            yield browser


async def test_nothing_that_is_sent_can_change_the_page(tmp_path: Path) -> None:
    gateway = Evil()
    gateway.texts = ("a\u202eb\u0007\u2066c", '"><script>alert(1)</script>', "{{ 7 * 7 }}%(end)s")
    async with at_home(gateway, tmp_path) as browser:
        status, html = await browser.get("/messages")
    assert status == 200
    assert html.count("<script") == 1
    assert not {"\u202e", "\u0007", "\u2066"} & set(html)
    assert "{{ 7 * 7 }}" in html
    assert "49" not in words(html).replace("1970", "")


async def test_prices_that_came_are_listed_with_their_provider(tmp_path: Path) -> None:
    acme, gateway = Acme(tmp_path / "acme", "<i>ACME</i>"), WithCards()
    gateway.card = acme.card

    async def cards() -> list[bytes]:
        return [acme.card]

    prices = Prices(tmp_path / "prices", cards, FakeClock())
    series, signed = acme.signed(NOW_MS - NOW_MS % HOUR_MS, [250] * 24, name="Day <b>ahead</b>")
    await prices.accept(signed)
    async with at_home(gateway, tmp_path, prices) as browser:
        _, html = await browser.get("/messages")
    until = moment(series.end_ms, "UTC")
    assert f"<i>ACME</i> Day <b>ahead</b> energy from the grid {until}" in words(html)
    assert not {"i", "b"} & tags(html)


async def test_nobody_is_asked_for_a_browser_that_has_left(tmp_path: Path) -> None:
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "household"),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    clock, gateway = FakeClock(), Evil()
    async with open_household(config, clock, gateway) as opened, pages_serving(opened) as url:
        cookies = {"gateway": opened.logins.begin("a browser", "127.0.0.1")}
        async with ClientSession(cookies=cookies) as session:
            answer = await session.get(f"{url}/messages/events")
            assert answer.content_type == "text/event-stream"
            await clock.asleep()
            answer.close()

            async def is_watched() -> bool:
                """Whether the page is made again."""
                clock.pass_s(EVERY_S)
                for _ in range(1000):
                    await asyncio.sleep(0)
                    if clock._sleepers:
                        return True
                return False

            async with asyncio.timeout(20):
                while await is_watched():
                    pass
