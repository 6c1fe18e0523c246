"""Standing decisions on the page: shown, confirmed for one period, ended."""

from __future__ import annotations

import re

import pytest

from gateway.control.client import ControlClient
from gateway.control.follows import ConfirmRequest, FollowStatus, PeriodStatus
from gateway.household.home import Household
from tests.support.filled import send
from tests.support.pages import Browser, words

ID = "ab" * 16
ASKS = PeriodStatus(
    from_ms=1_780_005_600_000,
    until_ms=1_782_684_000_000,
    state="asks",
    findings=("it learns <i>when</i> you sleep",),
    check="c0ffee",
)
FOLLOW = FollowStatus(
    id=ID,
    meter="main",
    provider="Stadtwerke",
    provider_kid="cd" * 16,
    series="Day <b>ahead</b>",
    lanes=("import",),
    granularity="month",
    zone="Europe/Berlin",
    purpose="the bill",
    from_ms=1_780_005_600_000,
    made_ms=1_780_005_600_000,
    ended_ms=None,
    grants=("ef" * 16,),
    periods=(ASKS,),
)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the gateway was told about the decision that it has."""
    told: list[object] = []

    async def follows(self: ControlClient) -> tuple[FollowStatus, ...]:
        return (FOLLOW, FOLLOW.model_copy(update={"id": "00" * 16, "ended_ms": 1, "provider": "Gone"}))

    async def confirm(self: ControlClient, follow: str, request: ConfirmRequest) -> FollowStatus:
        told.append((follow, request.from_ms, request.seen))
        return FOLLOW

    async def end(self: ControlClient, follow: str) -> FollowStatus:
        told.append(follow)
        return FOLLOW

    monkeypatch.setattr(ControlClient, "follows", follows)
    monkeypatch.setattr(ControlClient, "confirm_follow", confirm)
    monkeypatch.setattr(ControlClient, "end_follow", end)
    return told


async def test_a_decision_is_shown_as_text_with_what_it_asks(
    browser: Browser, household: Household, told: list[object]
) -> None:
    _, html = await browser.get("/privacy")
    shown = words(html)
    assert "one bill for each month, for energy from the grid, by its prices “Day <b>ahead</b>”" in shown
    assert "it learns <i>when</i> you sleep" in shown
    assert "1 bill granted so far." in shown
    assert "Gone" not in shown
    assert "<b>ahead" not in html


async def test_a_period_that_asks_is_confirmed_as_it_was_shown(
    browser: Browser, household: Household, told: list[object]
) -> None:
    _, html = await browser.get("/privacy")
    fields = dict(re.findall(r'name="(from|seen)" value="(\w+)"', html))
    answer = await send(browser, html, f"/privacy/follows/{ID}/confirm", **fields)
    assert (answer.status, answer.headers["Location"]) == (303, "/privacy")
    assert told == [(ID, ASKS.from_ms, "c0ffee")]
    assert "The bill is granted to Stadtwerke." in await browser.shown("/privacy")


async def test_it_is_ended(browser: Browser, household: Household, told: list[object]) -> None:
    _, html = await browser.get("/privacy")
    answer = await send(browser, html, f"/privacy/follows/{ID}/end")
    assert answer.status == 303
    assert told == [ID]
    assert "No further bill is granted to Stadtwerke." in await browser.shown("/privacy")
