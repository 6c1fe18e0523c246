"""What providers ask for: approved as it stands, through the preview, or declined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from gateway.control.client import ControlClient
from gateway.control.documents import RegistrationStatus, RequestStatus, Status
from gateway.errors import Unavailable
from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import Household, open_household
from gateway.household.pages.privacy import overview
from tests.household.pages.privacy.test_offer import granted
from tests.support.filled import send, tags
from tests.support.home import Home
from tests.support.pages import PASSWORD, Browser, words
from tests.support.provider import Provider
from tests.support.serving import serving

ID = "3f" * 16
PATH = f"/privacy/requests/{ID}"


class Asked(ControlClient):
    """A gateway at which, through a registrar, a provider asks for a grant."""

    def __init__(self, socket: Path, provider: Provider) -> None:
        super().__init__(socket)
        self.away = False
        self.decided: list[tuple[str, str]] = []
        self.one = RequestStatus(
            id=ID,
            provider=provider.card.name,
            verified_by="Registrar <Bern>",
            meter="main",
            card=provider.card_bytes(),
            kind="windows",
            granularity="day",
            zone="Europe/Berlin",
            lanes=("import",),
            purpose="<i>your bill</i>",
            from_ms=None,
            until_ms=None,
            tariff=None,
            received_ms=0,
        )

    async def status(self) -> Status:
        registration = RegistrationStatus(
            url="https://registrar.example",
            user="mueller",
            registrar="Registrar <Bern>",
            registrar_kid="00" * 16,
            assurance="software",
            valid_until_ms=2**41,
        )
        return (await super().status()).model_copy(update={"registration": registration})

    async def requests(self) -> tuple[RequestStatus, ...]:
        if self.away:
            raise Unavailable("the registrar does not answer")
        return () if self.decided else (self.one,)

    async def decide(self, request: str, state: Literal["granted", "declined"]) -> None:
        if self.away:
            raise Unavailable("the registrar does not answer")
        self.decided.append((request, state))


@pytest.fixture
def asked(tmp_path: Path, provider: Provider) -> Asked:
    """The gateway as the pages see it."""
    return Asked(tmp_path / "s", provider)


@pytest.fixture
async def household(home: Home, tmp_path: Path, asked: Asked) -> AsyncIterator[Household]:
    """The pages of the home of which something is asked."""
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "household"),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    async with serving(home, tmp_path / "s"), open_household(config, home.clock, asked) as opened:
        opened.settings.change(zone="Europe/Berlin")
        await opened.password.choose(opened.password.setup_code(), PASSWORD, "")
        yield opened


async def test_a_request_is_approved_through_its_preview(
    browser: Browser, household: Household, asked: Asked, provider: Provider
) -> None:
    _, html = await browser.get("/privacy")
    assert "Stadtwerke verified by Registrar <Bern> would like to open one sum for each day" in words(html)
    assert "i" not in tags(html)
    _, html = await browser.get(PATH)
    assert "Stadtwerke would be able to open one sum for each day of energy from the grid" in words(html)
    answer = await send(browser, html, PATH, do="grant")
    assert (answer.status, asked.decided) == (403, [])  # no registrar vouches for it in this home
    answer = await send(browser, html, PATH, do="grant", fingerprint=provider.card.fingerprint)
    (made,) = await granted(household)
    assert (answer.status, answer.headers["Location"]) == (303, f"/privacy/grants/{made.id}")
    assert (made.granularity, made.lanes, made.purpose) == ("day", ("import",), "<i>your bill</i>")
    assert asked.decided == [(ID, "granted")]
    assert "Waiting for your decision" not in await browser.shown("/privacy")
    assert (await browser.get(PATH))[0] == 404


@pytest.mark.parametrize(
    ("begin_ms", "end_ms"), [(0, 2**64 - 1), (2**63, 2**64 - 1), (None, 253_402_300_799_999)]
)
async def test_a_request_of_times_that_no_calendar_has_can_be_seen_and_declined(
    browser: Browser, household: Household, asked: Asked, begin_ms: int | None, end_ms: int
) -> None:
    household.settings.change(zone="Pacific/Kiritimati")
    asked.one = asked.one.model_copy(update={"from_ms": begin_ms, "until_ms": end_ms})
    code, html = await browser.get("/privacy")
    assert code == 200
    assert (await browser.get(PATH))[0] in (200, 400)
    assert (await send(browser, html, f"{PATH}/decline")).status == 303


async def test_a_request_is_declined(browser: Browser, household: Household, asked: Asked) -> None:
    _, html = await browser.get("/privacy")
    answer = await send(browser, html, f"{PATH}/decline")
    assert (answer.status, asked.decided) == (303, [(ID, "declined")])
    assert await granted(household) == []
    assert "The request of Stadtwerke is declined." in await browser.shown("/privacy")


async def test_a_registrar_that_is_away_hides_nothing_of_the_house(
    browser: Browser, household: Household, asked: Asked
) -> None:
    asked.away = True
    shown = await browser.shown("/privacy")
    assert "What providers ask for is not known at the moment: The registrar does not answer." in shown
    assert "Nobody may open anything." in shown


async def test_the_page_does_not_wait_for_a_slow_registrar(
    browser: Browser, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(self: Asked) -> tuple[RequestStatus, ...]:
        await asyncio.Event().wait()
        return ()

    monkeypatch.setattr(Asked, "requests", slow)
    monkeypatch.setattr(overview, "ASKED_S", 0.0)
    shown = await browser.shown("/privacy")
    assert "is not known at the moment: The registrar does not answer in time." in shown
    assert "Nobody may open anything." in shown


async def test_a_grant_that_the_registrar_does_not_hear_of_is_said(
    browser: Browser, household: Household, asked: Asked, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unheard(self: Asked, request: str, state: str) -> None:
        raise Unavailable("the registrar does not answer")

    _, html = await browser.get(PATH)
    monkeypatch.setattr(Asked, "decide", unheard)
    answer = await send(browser, html, PATH, do="grant", fingerprint=provider.card.fingerprint)
    assert answer.status == 503
    assert "do not grant it again" in words(await answer.text())
    assert len(await granted(household)) == 1
