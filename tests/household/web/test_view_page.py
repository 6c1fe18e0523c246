"""The page of a view in a real browser, Debian's Chromium, reading real S3 servers."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from boto3.session import Session
from playwright.async_api import BrowserContext, Page, async_playwright, expect

import hatch_build
from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.store.opening import open_bucket
from gateway.wire import names
from gateway.wire.grant import Revocation
from gateway.wire.stream import Head
from tests.registrar.page.test_browser import ARGUMENTS, CHROMIUM, LEAST_CONTRAST
from tests.stream.stream import Home, Provider
from tests.support.axe import violations
from tests.support.servers import BUCKET, S3Server

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CORSRuleTypeDef

pytestmark = pytest.mark.slow

DAY_MS = 86_400_000
UNIT_MS = 600_000
DAY = DAY_MS // UNIT_MS
PHONE = {"width": 390, "height": 844}


@dataclass
class Shown:
    """A page that shows a view, what went wrong in it (its console, errors), and what it asked for."""

    page: Page
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def total(self, kind: str) -> str:
        return await self.page.locator(f"#totals .{kind} dd").inner_text()

    async def trouble(self, text: str | re.Pattern[str]) -> None:
        await expect(self.page.locator("#trouble")).to_contain_text(text)

    async def shows(self, span: str) -> None:
        await self.page.get_by_role("button", name=span, exact=True).click()
        await self.page.locator("#chart:not([aria-busy]) svg").wait_for()


class Viewed:
    """A home whose store is on a server, and the document of a view of it."""

    def __init__(self, home: Home, grant: Grant, server: S3Server, prefix: str) -> None:
        self.home = home
        self.zone = zone_by_day()
        self.grant = grant
        self.server = server
        self.location = server.location(prefix)
        keys = server.limited.get("s3:PutObject", (server.access_key, server.secret_key))
        self.document: dict[str, Any] = {
            "v": 1,
            "name": "Haus <am> See",
            "zone": self.zone.key,
            "e": server.endpoint,
            "b": f"{BUCKET}/{prefix}",
            "r": "us-east-1",
            "a": keys[0],
            "s": keys[1],
            "streams": [
                {
                    "s": home.id.hex(),
                    "k": home.signer.kid.hex(),
                    "g": grant.id.hex(),
                    "k0": home._k_0[grant.id].hex(),
                    "name": "main",
                }
            ],
        }
        self._sent: dict[str, bytes] = {}

    async def send(self) -> None:
        """Put what is new in the home's store."""
        bucket = open_bucket(self.location)
        try:
            for key, data in self.home.objects.items():
                if self._sent.get(key) != data:
                    await bucket.put(key, data, replace=True)
                    self._sent[key] = data
        finally:
            await bucket.aclose()

    def yesterday(self, lane: str) -> str:
        """What the page shows of a lane's sum of the day before today, which can have 23 hours."""
        today = datetime.now(self.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        begin = (today - timedelta(days=1)).replace(tzinfo=self.zone)
        a, b = (round(when.timestamp()) * 1000 // UNIT_MS for when in (begin, today))
        kwh = self.home.truth(lane, a, b) / 1e6
        return f"{kwh:,.{2 if kwh < 10 else 1}f} kWh"


def zone_by_day() -> ZoneInfo:
    """A zone in which today has readings already: the last whole six hours end seven hours ago at most."""
    zones = map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Asia/Tokyo"))
    return next(zone for zone in zones if 8 <= datetime.now(zone).hour < 23)


async def three_days(server: S3Server, folder: Path) -> Viewed:
    """A home whose last three days, up to an hour ago, are on a server."""
    card = Provider.new(folder / "acme").card
    now = time.time_ns() // 1_000_000 // UNIT_MS
    home = Home(layout=Layout(UNIT_MS, 36), start=(now - 3 * DAY) // DAY * DAY, chunk_units=36)
    grant = home.grant(card, "30min")
    seal(home, now - home.start - 6)
    found = Viewed(home, grant, server, f"view-{home.id.hex()[:8]}")
    await found.send()
    return found


@pytest.fixture
async def viewed(seaweedfs: S3Server, tmp_path: Path) -> Viewed:
    return await three_days(seaweedfs, tmp_path)


def seal(home: Home, units: int) -> None:
    """40 to 64 Wh a unit from the grid, and 7 into it."""
    home.seal({"import": [40_000 + 1000 * (n % 25) for n in range(units)], "export": [7_000] * units})


@pytest.fixture
async def phone() -> AsyncIterator[BrowserContext]:
    rule = "--host-resolver-rules=MAP nas.test 127.0.0.1"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rule])
        yield await browser.new_context(viewport={"width": 390, "height": 844}, locale="en-GB")
        await browser.close()


@pytest.fixture(scope="module")
def template() -> str:
    hatch_build.build()
    return (hatch_build.BUILT / "view.html").read_text("utf-8")


@pytest.fixture
def served(tmp_path: Path, template: str) -> Iterator[int]:
    """The port of a server that has the page without data."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "view.html").write_text(template.replace("{{view}}", "null"), "utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


async def opened(phone: BrowserContext, address: str) -> Shown:
    shown = Shown(await phone.new_page())
    shown.page.on("console", lambda message: shown.problems.append(message.text))
    shown.page.on("pageerror", lambda error: shown.problems.append(str(error)))
    shown.page.on("request", lambda request: shown.requests.append(request.url))
    await shown.page.goto(address)
    await shown.page.locator("#chart svg, #trouble:not([hidden])").first.wait_for()
    return shown


def as_file(folder: Path, template: str, document: dict[str, Any]) -> str:
    """The address of a file that has the page with its data."""
    path = folder / "view.html"
    path.write_text(template.replace("{{view}}", json.dumps(document).replace("<", "\\u003c")), "utf-8")
    return path.as_uri()


def behind(document: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


@pytest.mark.parametrize("kind", ["seaweedfs", "minio"])
async def test_a_view_in_a_file(
    phone: BrowserContext, kind: str, template: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Exact sums, nothing in the console, a table, no request that says a secret; then what is sealed later,
    and the end by a revocation."""
    viewed = await three_days(request.getfixturevalue(kind), tmp_path)
    home = viewed.home
    shown = await opened(phone, as_file(tmp_path, template, viewed.document))
    assert await shown.page.locator("h1").inner_text() == "Haus <am> See"
    await shown.page.get_by_role("button", name="Earlier").click()
    await expect(shown.page.locator("#totals .import dd")).to_have_text(viewed.yesterday("import"))
    assert await shown.total("export") == viewed.yesterday("export")
    await shown.page.locator("summary").click()
    rows = shown.page.locator("tbody tr")
    assert await rows.count() in (46, 48, 50)
    await shown.page.locator("#chart svg").focus()
    await shown.page.keyboard.press("ArrowLeft")
    await expect(shown.page.locator("#reading")).to_contain_text("kWh")
    await expect(shown.page.locator("#trouble")).to_be_hidden()
    for scheme in ("light", "dark"):
        await shown.page.emulate_media(color_scheme=scheme)
        assert await shown.page.evaluate(LEAST_CONTRAST) >= 4.5
        assert await violations(shown.page) == []
    assert await shown.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    sealed = await shown.page.locator("#state").inner_text()
    home.seal({"import": [1_000_000] * 3, "export": [0] * 3})
    await viewed.send()
    await shown.page.reload()
    await expect(shown.page.locator("#state")).to_contain_text("Sealed")
    assert await shown.page.locator("#state").inner_text() != sealed

    key, head_key = names.revocation(home.id, viewed.grant.id), names.head(home.id)
    home.objects[key] = home.signer.sign(Revocation(home.id, viewed.grant.id, home.end))
    head = Head.read(home.objects[head_key], home.signer.public, head_key)
    home.objects[head_key] = home.signer.sign(replace(head, revoked=(viewed.grant.id,)))
    await viewed.send()
    await shown.page.reload()
    await shown.trouble("This view was revoked")
    assert shown.problems == []
    secrets = (viewed.document["s"], viewed.document["streams"][0]["k0"])
    assert not [url for url in shown.requests if any(secret in url for secret in secrets)]


async def test_a_view_behind_a_link(phone: BrowserContext, viewed: Viewed, served: int) -> None:
    """The data behind `#` are out of the address before the first request; the tab can be loaded again. Over
    plain http by a name no browser checks signatures: the page says so."""
    address = f"http://127.0.0.1:{served}/view.html"
    document = {**viewed.document, "lang": "de"}
    shown = await opened(phone, f"{address}#{behind(document)}")
    assert shown.page.url == address
    assert await shown.page.locator("html").get_attribute("lang") == "de"
    await shown.page.reload()
    await shown.page.locator("#chart svg, #trouble:not([hidden])").first.wait_for()
    await shown.page.get_by_role("button", name="Früher").click()
    german = viewed.yesterday("import").replace(".", ";").replace(",", ".").replace(";", ",")
    await expect(shown.page.locator("#totals .import dd")).to_have_text(german)
    assert shown.problems == []
    assert not [url for url in shown.requests if behind(document)[:40] in url and "#" not in url]

    await (await opened(phone, f"http://nas.test:{served}/view.html#{behind(document)}")).trouble("https")
    await (await opened(phone, address)).trouble("open its whole link")


async def test_what_goes_wrong_is_said(
    phone: BrowserContext, viewed: Viewed, template: str, tmp_path: Path
) -> None:
    """Each failure has a sentence, and shows no number."""

    async def says(text: str, **changes: Any) -> Shown:
        shown = await opened(phone, as_file(tmp_path, template, {**viewed.document, **changes}))
        await shown.trouble(text)
        assert await shown.page.locator("#totals dd").count() == 0
        return shown

    (place,) = viewed.document["streams"]
    await says("does not open its grant", streams=[{**place, "k0": bytes(32).hex()}])
    await says("was not made by your gateway", streams=[{**place, "k": bytes(16).hex()}])
    await says("does not hold this view's readings", streams=[{**place, "s": bytes(16).hex()}])
    await says("refuses this view's credentials", s="wrong")
    await says("does not answer", e="http://127.0.0.1:1025")
    await says("damaged or of another version", v=2)
    await phone.set_offline(True)
    shown = await opened(phone, as_file(tmp_path, template, viewed.document))
    await shown.trouble("offline")
    await phone.set_offline(False)
    await expect(shown.page.locator("#trouble")).to_be_hidden()

    home = viewed.home
    chunk = sorted(key for key in home.objects if "/chunk/" in key)[-2]
    page = names.page(home.id, chunk.split("/")[3])  # which a reader prefers, where that day is over
    key = page if page in home.objects else chunk
    home.objects[key] = home.objects[key][:-1] + bytes([home.objects[key][-1] ^ 1])
    await viewed.send()
    await says("was not made by your gateway")


async def test_a_store_without_the_rule(
    phone: BrowserContext, viewed: Viewed, template: str, tmp_path: Path
) -> None:
    """Of a store that lets other pages read alone, the page says what it lacks."""
    server = viewed.server
    client = Session().client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )

    def allow(origin: str) -> None:
        rule: CORSRuleTypeDef = {"AllowedOrigins": [origin], "AllowedMethods": ["GET"]}
        client.put_bucket_cors(Bucket=BUCKET, CORSConfiguration={"CORSRules": [rule]})

    with closing(client):
        try:
            allow("http://other.example")
            shown = await opened(phone, as_file(tmp_path, template, viewed.document))
            await shown.trouble("It needs a CORS rule")
            allow("*")
            shown = await opened(phone, as_file(tmp_path, template, viewed.document))
            await expect(shown.page.locator("#trouble")).to_be_hidden()
            assert shown.problems == []
        finally:
            client.delete_bucket_cors(Bucket=BUCKET)
