"""A view in a real browser, Debian's Chromium, against real stores: it opens a year of the home from a file,
and nothing that is sealed after it was revoked."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
from boto3.session import Session
from botocore.config import Config
from playwright.async_api import BrowserContext, Page, async_playwright, expect

from gateway.chain.layout import Layout
from gateway.cli.main import main
from tests.registrar.page.test_browser import ARGUMENTS, CHROMIUM
from tests.support.home import MEMORY, Home
from tests.support.readers import read_only
from tests.support.servers import BUCKET, S3Server
from tests.support.serving import serving

pytestmark = pytest.mark.slow

UNIT_S, HOUR, DAY = 900, 4, 96
ZONE = ZoneInfo("Europe/Berlin")


@dataclass
class Mirror:
    """A home's store, a folder, as it lies in a bucket at a server."""

    server: S3Server
    folder: Path
    prefix: str
    sent: dict[str, bytes] = field(default_factory=dict)

    def send(self) -> None:
        """Put what is new."""
        client = Session().client(
            "s3",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
            config=Config(max_pool_connections=16, s3={"addressing_style": "path"}),
        )
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        found = {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}

        def put(key: str) -> None:
            client.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}", Body=found[key])

        with closing(client), ThreadPoolExecutor(16) as threads:
            list(threads.map(put, [key for key, data in found.items() if self.sent.get(key) != data]))
        self.sent = found


class Year:
    """A home whose past year is in a bucket, and the files of its gateway."""

    def __init__(self, home: Home, mirror: Mirror) -> None:
        self.home = home
        self.mirror = mirror
        self.folder = home.folder
        self._luck = random.Random(3)

    async def live(self, units: int) -> None:
        """Time passes, and the meter is read."""
        luck = self._luck.randrange
        for unit in range(units):
            self.home.reads(UNIT_S, luck(900_000), luck(300_000), luck(4000))
            if unit % DAY == 0:
                await self.home.commit()
        await self.home.commit()

    async def send(self) -> None:
        await self.home.publish()
        await asyncio.to_thread(self.mirror.send)

    async def end(self) -> int:
        """The unit at which the last chunk ends."""
        last = (await self.home.ledger.position(await self.home.stream())).last
        assert last is not None
        return last.end

    async def kwh(self, end: int) -> list[float]:
        """Import and export from the beginning of last year, or of the stream, to unit `end`."""
        last_year = datetime.fromtimestamp(time.time(), ZONE).year - 1
        shown = {unit: one[-1] for (_, unit), one in self.home.read.items()}
        first = (await self.home.stream()).start
        first = max(int(datetime(last_year, 1, 1, tzinfo=ZONE).timestamp()) // UNIT_S, first)
        return [(shown[end - 1][lane] - shown[first - 1][lane]) / 1e6 for lane in (0, 1)]

    async def prepare(self) -> None:
        """The configuration, and credentials that may only read."""
        url = f"s3://{BUCKET}/{self.mirror.prefix}"
        streams = [(await self.home.stream()).id]
        keys = await asyncio.to_thread(read_only, self.mirror.server, url, streams)
        for name, pair in (("view.s3", keys), ("s3", self.mirror.server)):
            (self.folder / name).touch(mode=0o600)
            (self.folder / name).write_text(
                f"access_key_id={pair.access_key}\nsecret_access_key={pair.secret_key}\n"
            )
        (self.folder / "gateway.toml").write_text(
            f"""
            gateway = {{ state = "{self.folder}/state", socket = "{self.folder}/s" }}
            trust = {{ root = "software" }}
            [store]
            url = "{url}"
            endpoint = "{self.mirror.server.endpoint}"
            region = "us-east-1"
            credentials = "{self.folder}/s3"
            [[meter]]
            name = "main"
            profile = "eastron-sdm630"
            tcp = {{ host = "127.0.0.1", port = 1 }}
            """
        )


async def gateway(*args: str) -> None:
    assert await asyncio.to_thread(main, list(args)) == 0


@asynccontextmanager
async def phone(requests: list[str], problems: list[str]) -> AsyncIterator[BrowserContext]:
    """A browser with a phone's screen, in another time zone than the home's."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = await browser.new_context(
            viewport={"width": 390, "height": 844}, locale="en-GB", timezone_id="America/New_York"
        )
        context.on("request", lambda request: requests.append(request.url))
        context.on("console", lambda line: problems.append(line.text))
        context.on("weberror", lambda error: problems.append(str(error.error)))
        try:
            yield context
        finally:
            await browser.close()


async def two_years(page: Page) -> list[float]:
    """Import and export of this year and the last, kWh, as the page shows them."""
    await expect(page.locator("#state")).to_contain_text("Sealed by your gateway")
    await page.get_by_role("button", name="Year", exact=True).click()
    sums = [0.0, 0.0]
    for there in ("Earlier", "Later"):
        await expect(page.locator("#chart")).not_to_have_attribute("aria-busy", "true")
        texts = await page.locator("#totals dd").all_inner_texts()
        shown = [float(text.replace(",", "").split()[0]) for text in texts] or [0.0, 0.0]
        sums = [a + b for a, b in zip(sums, shown, strict=True)]
        await page.get_by_role("button", name=there).click()
    return sums


async def only_one_goes_on(year: Year, revoked: Page, other: Page) -> None:
    """Time goes on; one of two views was revoked."""
    (record,) = [one for one in await year.home.ledger.grants() if one.revoked_from is not None]
    assert record.revoked_from is not None
    await year.live(2 * HOUR)
    await year.send()
    assert await year.end() >= record.revoked_from + HOUR
    await revoked.reload()
    await expect(revoked.locator("#trouble")).to_contain_text("This view was revoked")
    assert await two_years(revoked) == pytest.approx(await year.kwh(record.revoked_from), abs=0.11)
    await other.reload()
    assert await two_years(other) == pytest.approx(await year.kwh(await year.end()), abs=0.11)


@pytest.mark.parametrize("kind", ["seaweedfs", "minio"])
async def test_a_phone_opens_a_year_and_nothing_after_its_view_was_revoked(
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server: S3Server = request.getfixturevalue(kind)
    layout, begin_s = Layout(UNIT_S * 1000, DAY), time.time() - 380 * 86_400 - 5400
    requests: list[str] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        file, bare, socket = folder / "anna.html", folder / "page.html", folder / "s"
        monkeypatch.setenv("GATEWAY_CONFIG", str(folder / "gateway.toml"))
        made = ("--credentials", str(folder / "view.s3"), "--zone", str(ZONE), "--language", "en")
        link = ("--link", "https://example.org/page.html", "--qr", str(folder / "code.svg"))
        async with Home(folder, layout=layout, chunk_units=DAY, start_s=begin_s) as home:
            year = Year(home, Mirror(server, folder / "store", f"view/{kind}"))
            await year.live(379 * DAY)
            home.chunk_units = HOUR  # which would be many objects for all of the time
            await home.crashes_and_starts()
            await year.live(DAY)
            await year.prepare()
            async with serving(home, socket):
                await gateway("view", "policy", "--set-cors", "--json")
                assert json.loads(capfd.readouterr().out)["cors_set"] == (kind == "seaweedfs")
                await gateway("view", "new", "phone of Anna", *made, "--out", str(file))
                await gateway("view", "page", str(bare))
                capfd.readouterr()
                await gateway("view", "new", "tablet", *made, *link)
                (shown,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("https")]
            await year.send()
            expected = pytest.approx(await year.kwh(await year.end()), abs=0.11)

            async with phone(requests, problems) as context:
                page, tablet = await context.new_page(), await context.new_page()
                await page.goto(file.as_uri())
                assert await two_years(page) == expected
                await expect(page.locator("#trouble")).to_be_hidden()
                # The same by a link: what it says leaves the address before anything is asked.
                await tablet.goto(f"{bare.as_uri()}#{shown.partition('#')[2]}")
                assert await two_years(tablet) == expected
                assert tablet.url == bare.as_uri()
                async with serving(home, socket):
                    await gateway("view", "revoke", "phone of Anna")
                await only_one_goes_on(year, page, tablet)
    hosts = {urlsplit(one).netloc for one in requests if urlsplit(one).scheme.startswith("http")}
    assert hosts == {urlsplit(server.endpoint).netloc}
    # Chromium notes each object that is not there: a page of a month that is not over, say.
    assert {line for line in problems if "404 (Not Found)" not in line} == set()
