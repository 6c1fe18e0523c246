"""Now: power in and out, per meter, and what is wrong, as it changes."""

from __future__ import annotations

import asyncio
import re

from aiohttp import ClientResponse

from gateway.errors import StoreUnavailable, Unavailable
from gateway.household.home import Household
from gateway.household.live import EVERY_S
from tests.support.clock import FakeClock
from tests.support.energy import FakeHistory
from tests.support.pages import Answers, Browser, meter, reading, status, words


async def test_power_and_registers_are_shown(browser: Browser, gateway: Answers) -> None:
    gateway.now = status(meters=(meter("main"), meter("roof"), meter("rain", series=True)))
    gateway.shown = (
        reading("main", power=512, **{"import": 12_345_678_901}),
        reading("roof", power=-4210, export=9_000_000),
        reading("rain", temperature=2150),
    )
    text = await browser.shown("/now")
    assert "Everything works." in text
    assert "512 W from the grid" in text
    assert "main 512 W coming in Import register 12,345.679 kWh" in text
    assert "roof 4,210 W going out Export register 9.000 kWh" in text
    assert "rain" not in text
    assert "uses 4,722 W, of which 512 W come from the grid" in (await browser.get("/now"))[1]


async def test_a_house_whose_power_nobody_measures_is_not_said_to_use_none(
    browser: Browser, gateway: Answers
) -> None:
    gateway.now = status(meters=(meter("main"),))
    gateway.shown = (reading("main", power=-899),)
    text = await browser.shown("/now")
    assert "899 W to the grid" in text
    assert " 0 W" not in text
    assert 'aria-label="899 W go to the grid."' in (await browser.get("/now"))[1]


async def test_what_is_wrong_is_one_sentence_with_a_link(browser: Browser, gateway: Answers) -> None:
    gateway.now = status(meters=(meter("main", held="its register fell"),), faults=("a <b>fault</b>", "two"))
    _, page = await browser.get("/now")
    assert "Readings of main are held until you decide: its register fell." in words(page)
    assert '<a href="/meters">Decide</a>' in page
    assert "and 2 more" in words(page)
    assert "Everything works" not in page


async def test_a_gateway_that_does_not_answer_is_no_broken_page(browser: Browser, gateway: Answers) -> None:
    gateway.error = Unavailable("no gateway answers at the socket")
    assert "The gateway does not answer: no gateway answers at the socket." in await browser.shown("/now")


async def test_names_are_text(browser: Browser, gateway: Answers) -> None:
    evil = "<script>alert(1)</script>"
    gateway.now = status(meters=(meter(evil, error=f"{evil} is broken"),))
    gateway.shown = (reading(evil, power=5),)
    _, page = await browser.get("/now")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


async def test_an_old_reading_is_said_to_be_old(browser: Browser, gateway: Answers) -> None:
    gateway.shown = (reading("main", power=5).model_copy(update={"age_ns": 7_200 * 10**9}),)
    assert "Last read 2 hours ago." in await browser.shown("/now")


class Events:
    """A stream of server-sent events. What does not come within 20 s is a TimeoutError."""

    def __init__(self, answer: ClientResponse) -> None:
        self._answer = answer

    async def rest(self) -> bytes:
        """What comes until the stream ends."""
        async with asyncio.timeout(20):
            return await self._answer.content.read()

    async def next(self) -> tuple[str, str]:
        """The next event: its name, and what it shows."""
        async with asyncio.timeout(20):
            text = (await self._answer.content.readuntil(b"\n\n")).decode()
        name = re.match(r"event: (\w+)\n", text)
        assert name is not None
        return name[1], words("</head>" + re.sub(r"^(event: \w+|data: )", "", text, flags=re.M))


async def test_changes_arrive_as_events_until_the_login_ends(
    browser: Browser, gateway: Answers, clock: FakeClock, household: Household, history: FakeHistory
) -> None:
    answer = await browser.client.get("/now/events")
    assert answer.content_type == "text/event-stream"
    events = Events(answer)

    async def after(power: int) -> None:
        gateway.shown = (reading("main", power=power),)
        await clock.asleep()
        clock.pass_s(EVERY_S)

    await after(-700)
    name, shown = await events.next()
    assert name == "now"
    assert "700 W to the grid" in shown
    name, shown = await events.next()
    assert name == "today"
    assert re.search(r"Today so far From the grid [\d.]+ kWh", shown)
    await after(900)
    assert "900 W from the grid" in (await events.next())[1]
    assert len(history.asked) == 1  # the day is summed up once a minute
    (login,) = household.logins.all()
    household.logins.end(login.id)
    await after(5)
    assert await events.rest() == b""


async def test_a_stranger_gets_no_events(stranger: Browser) -> None:
    assert (await stranger.ask("/now/events")).status == 303


async def test_a_day_that_is_not_known_stays_away(
    browser: Browser, gateway: Answers, clock: FakeClock, history: FakeHistory
) -> None:
    history.error = Unavailable("no history yet")
    events = Events(await browser.client.get("/now/events"))
    for _ in range(2):
        await clock.asleep()
        clock.pass_s(EVERY_S)
        assert (await events.next())[0] == "now"


async def test_a_day_stays_as_it_was_known_while_the_store_is_away(
    browser: Browser, gateway: Answers, clock: FakeClock, history: FakeHistory
) -> None:
    events = Events(await browser.client.get("/now/events"))

    async def after(seconds: float) -> str:
        await clock.asleep()
        clock.pass_s(seconds)
        assert (await events.next())[0] == "now"
        name, shown = await events.next()
        assert name == "today"
        return shown

    known = await after(EVERY_S)
    assert "As it was known" not in known
    history.error = StoreUnavailable("the store does not answer")
    assert await after(60) == f"{known} As it was known at 28 May 2026, 20:26."


async def test_the_page_speaks_the_browser_s_language(browser: Browser, gateway: Answers) -> None:
    gateway.shown = (reading("main", power=12_345, **{"import": 1_234_567_890_000}),)
    for language, expected in {
        "de": "12,3 kW aus dem Netz",
        "nl": "12,3 kW van het net",
        "fr": "12,3 kW du réseau",
    }.items():
        browser.language = language
        assert expected in await browser.shown("/now")
