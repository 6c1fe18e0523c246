"""Views for a phone: made as a file or a link, listed, revoked."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from gateway.control.client import ControlClient
from gateway.control.documents import Status
from gateway.errors import UsageError
from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import Household, open_household
from gateway.household.pages.privacy import views as page
from gateway.household.view import views
from gateway.store.location import Location
from tests.support.filled import fields, send
from tests.support.home import Home
from tests.support.pages import PASSWORD, Browser, words
from tests.support.serving import serving

PATH = "/privacy/views"
TYPED = {
    "name": "phone of <b>Anna</b>",
    "granularity": "1h",
    "endpoint": "https://s3.example.org",
    "access_key": "VIEWER",
    "secret_key": "SECRET-of-the-store",
}


class InBucket(ControlClient):
    """A gateway whose store is a bucket, as far as the pages see."""

    async def status(self) -> Status:
        found = await super().status()
        return found.model_copy(update={"store": found.store.model_copy(update={"url": "s3://meters"})})


@pytest.fixture
async def household(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Household]:
    """The pages of a home with a bucket."""

    async def check(place: Location, streams: Sequence[bytes]) -> None:
        if place.access_key == "WRITER":
            raise UsageError("these credentials may write to the store")

    monkeypatch.setattr(page, "_check", check)
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "household"),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    control = InBucket(tmp_path / "s")
    async with serving(home, tmp_path / "s"), open_household(config, home.clock, control) as opened:
        opened.settings.change(zone="Europe/Berlin")
        await opened.password.choose(opened.password.setup_code(), PASSWORD, "")
        yield opened


async def test_a_view_is_a_file_that_is_listed_and_revoked(browser: Browser, household: Household) -> None:
    _, html = await browser.get(PATH)
    assert "There is none yet." in words(html)
    assert "v1/" in html  # the policy names the streams
    answer = await send(browser, html, PATH, **TYPED)
    assert answer.status == 200, words(await answer.text())
    assert answer.headers["Content-Disposition"] == 'attachment; filename="phone-of--b-Anna--b.html"'
    text = await answer.text()
    assert "default-src 'none'; script-src 'sha256-" in text  # the page as the build makes it
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert found is not None
    document = json.loads(found[1])
    assert (document["a"], document["s"], document["zone"]) == (
        "VIEWER",
        TYPED["secret_key"],
        "Europe/Berlin",
    )
    (view,) = await views(household.control)
    assert (view.open, view.grants[0].granularity) == (True, "1h")
    assert document["streams"][0]["g"] == view.grants[0].id

    _, html = await browser.get(PATH)
    assert "phone of <b>Anna</b> opens one sum for each hour" in words(html)
    assert "<b>Anna" not in html
    assert "SECRET-of" not in html
    shown = await browser.shown("/privacy")
    assert "1 view shows your energy from anywhere: phone of <b>Anna</b>" in shown
    assert "Nobody may open anything." in shown  # it is not among the grants to others
    answer = await send(browser, html, f"{PATH}/revoke")
    assert answer.status == 303
    assert not (await views(household.control))[0].open
    assert "1 view is revoked" in await browser.shown(PATH)


async def test_a_link_stands_behind_the_hash_and_in_a_code(browser: Browser, household: Household) -> None:
    _, html = await browser.get(PATH)
    at = "https://example.org/page.html"
    answer = await send(browser, html, PATH, **(TYPED | {"as": "link", "link": at}))
    html = await answer.text()
    assert answer.status == 200
    (link,) = [word for word in words(html).split() if word.startswith(at)]
    document = json.loads(base64.urlsafe_b64decode(link.partition("#")[2] + "=="))
    assert document["s"] == TYPED["secret_key"]
    assert 'class="code" role="img"' in html
    assert "style=" not in html


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"access_key": "WRITER"}, "These credentials may write to the store"),
        ({"access_key": ""}, "its access key is not"),
        ({"as": "link", "link": "javascript:alert(1)"}, "A link needs the address of the page"),
        ({"endpoint": "ftp://x"}, "endpoint"),
        ({"name": " "}, "A view's name has 1 to 80"),
    ],
)
async def test_a_mistake_makes_no_view_and_loses_nothing(
    browser: Browser, household: Household, typed: dict[str, str], sentence: str
) -> None:
    _, html = await browser.get(PATH)
    answer = await send(browser, html, PATH, **(TYPED | typed))
    html = await answer.text()
    assert answer.status in (400, 403)
    assert sentence in words(html)
    kept = dict(fields(html, PATH))
    wanted = TYPED | typed
    assert {name: kept[name] for name in wanted} == {name: value.strip() for name, value in wanted.items()}
    assert [one for one in await views(household.control) if one.open] == []


async def test_a_link_too_long_for_a_code_is_shown_without_one() -> None:
    assert page._code("https://example.org/#" + "x" * 4000) is None
