"""Fixtures of the operator's pages: a registrar with something to see, and a browser of a few lines."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import pytest
from aiohttp import ClientResponse, CookieJar
from aiohttp.test_utils import TestClient, TestServer

from gateway.registrar.server import build_app
from gateway.registrar.service import Registrar
from tests.registrar.conftest import clock, registrar
from tests.support.clock import FakeClock
from tests.support.operator import OPERATOR, Seen, furnish

__all__ = ["clock", "registrar"]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """An empty database; what the pages read from it is tried on MariaDB too, in test_pages.py."""
    return f"sqlite+aiosqlite:///{tmp_path / 'registrar.sqlite'}"


class Browser:
    """Follows no redirect, keeps cookies, and fills a page's form in as a browser does."""

    def __init__(self, client: TestClient) -> None:  # type: ignore[type-arg]
        self.client = client
        self.origin = str(client.make_url("")).rstrip("/")

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text, tags and all."""
        answer = await self.client.get(path, allow_redirects=False)
        return answer.status, await answer.text()

    async def shown(self, path: str) -> str:
        """What a page shows, without tags, in one line."""
        status, text = await self.get(path)
        assert status == 200, text
        return words(text)

    async def post(self, path: str, *, origin: str | None = "", **fields: str) -> ClientResponse:
        """Post a form with these fields; its origin is this server unless one is given, or None."""
        headers = {} if origin is None else {"Origin": origin or self.origin}
        return await self.client.post(path, data=fields, headers=headers, allow_redirects=False)

    async def form_of(self, path: str) -> str:
        """The hidden token of the page's forms."""
        found = re.search(r'name="form" value="(\w+)"', (await self.get(path))[1])
        assert found is not None
        return found[1]

    async def log_in(self, name: str, password: str) -> ClientResponse:
        form = await self.form_of("/operator/login")
        return await self.post("/operator/login", form=form, name=name, password=password)


def words(html: str) -> str:
    """The text of a page, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html.partition("</head>")[2])).split())


@pytest.fixture
async def seen(registrar: Registrar, clock: FakeClock) -> Seen:
    """What the registrar has."""
    return await furnish(registrar, clock.now_ms)


@pytest.fixture
async def stranger(registrar: Registrar) -> AsyncIterator[Browser]:
    """A browser that nobody logged in."""
    jar = CookieJar(unsafe=True)  # also for an address without a name
    async with TestClient(TestServer(build_app(registrar)), cookie_jar=jar) as client:
        yield Browser(client)


@pytest.fixture
async def browser(stranger: Browser, seen: Seen) -> Browser:
    """A browser in which the operator is logged in."""
    answer = await stranger.log_in(OPERATOR, seen.password)
    assert (answer.status, answer.headers["Location"]) == (303, "/operator")
    return stranger
