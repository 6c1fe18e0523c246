"""Fixtures of the household's tests: a home, its gateway's answers, and browsers at its pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import Household, open_household
from gateway.household.server import build_app
from tests.stream.conftest import provider
from tests.support.clock import FakeClock
from tests.support.energy import MINUTE_MS, FakeHistory
from tests.support.pages import PASSWORD, Answers, Browser

__all__ = ["provider"]


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
def gateway() -> Answers:
    """The gateway that the pages ask."""
    return Answers()


@pytest.fixture
def history(clock: FakeClock) -> FakeHistory:
    """What the home's meter `main` has counted for 500 days, until two minutes ago."""
    until_ms = clock.now_ms // MINUTE_MS * MINUTE_MS - 2 * MINUTE_MS
    return FakeHistory(until_ms - 500 * 1440 * MINUTE_MS, until_ms)


@pytest.fixture
async def household(
    tmp_path: Path, clock: FakeClock, gateway: Answers, history: FakeHistory
) -> AsyncIterator[Household]:
    """A home whose password is chosen."""
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "household", socket=tmp_path / "control.sock"),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    async with open_household(config, clock, gateway) as opened:
        home = replace(opened, history=history)
        digest = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)  # a quick one
        (config.household.state / "password").write_text(digest)
        yield home


@pytest.fixture
async def stranger(household: Household) -> AsyncIterator[Browser]:
    """A browser that nobody logged in."""
    jar = CookieJar(unsafe=True)  # also for an address without a name
    async with TestClient(TestServer(build_app(household)), cookie_jar=jar) as client:
        yield Browser(client)


@pytest.fixture
async def browser(stranger: Browser, household: Household) -> Browser:
    """A browser that is logged in."""
    token = household.logins.begin("a browser", "127.0.0.1")
    stranger.client.session.cookie_jar.update_cookies({"gateway": token}, stranger.client.make_url("/"))
    return stranger
