"""How long a view takes to show a year on a slow phone: `python -m tests.household.web.year`, some minutes.

A simulated home of 400 days (quarter hours, two lanes) in SeaweedFS, read by Debian's Chromium with its CPU
slowed down 6 times, 50 ms and 10 Mbit/s away. Each run begins with an empty cache. Printed are the medians of
the time until the day is shown, and from the tap on "year" until all of the year is.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.async_api import Browser, async_playwright

import hatch_build
from gateway.control.documents import NewGrant
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.grants import own_grants
from gateway.provider.identity import new_identity, open_identity
from gateway.simulate.history import Home, fill
from gateway.simulate.seasons import SeasonalHome
from gateway.store.opening import open_bucket
from gateway.stream.reader import StreamReader
from tests.registrar.page.test_browser import ARGUMENTS, CHROMIUM
from tests.support.servers import BUCKET, S3Server, seaweedfs

DAYS, RUNS = 400, 5
ZONE = "Europe/Berlin"
SLOWER = 6
# Taps on "year", and gives the ms until the frame after the one in which all of it was drawn. The page looks
# itself: the browser's driver would look every half second.
TAP = """() => new Promise((shown) => {
  const chart = document.getElementById("chart");
  const began = performance.now();
  const drawn = () => requestAnimationFrame(() => shown(performance.now() - began));
  const watching = new MutationObserver(() => chart.ariaBusy || requestAnimationFrame(drawn));
  watching.observe(chart, { attributeFilter: ["aria-busy"] });
  document.querySelector("#spans [data-span=year]").click();
})"""
NETWORK = {"offline": False, "latency": 50, "downloadThroughput": 1.25e6, "uploadThroughput": 1.25e6}


async def made(folder: Path, server: S3Server) -> dict[str, Any]:
    """The document of a view of a home that was simulated until today."""
    os.environ |= {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    end = datetime.now(UTC).date()
    first = end - timedelta(days=DAYS)
    card = new_identity(folder / "view", "view", unix_ms(SystemClock("host")))
    from_ms = int(SeasonalHome(1, ZONE).seconds_of(first)[0]) * 1000
    wanted = NewGrant("windows", "15min", ZONE, ("import", "export"), "view", from_ms, None)
    home = Home(folder / "home", 1, ZONE, "eastron-sdm630", 60, first, end)
    past = await fill(home, server.location(), [(card, wanted)])
    bucket = open_bucket(server.location())
    try:
        reader = await StreamReader.open(bucket, past.stream, past.signer)
        (held,) = await own_grants(reader, open_identity(folder / "view"))
    finally:
        await bucket.aclose()
    stream = {"s": past.stream.hex(), "k": past.signer.hex(), "g": held.grant.id.hex(), "k0": held.k_0.hex()}
    keys = {"a": server.access_key, "s": server.secret_key}
    where = {"zone": ZONE, "e": server.endpoint, "b": BUCKET, "r": "us-east-1"}
    return {"v": 1, "name": "view", **where, **keys, "streams": [{**stream, "name": "main"}]}


async def timed(browser: Browser, address: str) -> list[float]:
    """The seconds until the day and the year are shown."""
    context = await browser.new_context(viewport={"width": 390, "height": 844})
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    await session.send("Network.enable")
    await session.send("Network.emulateNetworkConditions", NETWORK)
    await session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    began = time.monotonic()
    await page.goto(address)
    await page.locator("#state:has-text('Sealed')").wait_for()
    shown = [time.monotonic() - began]
    shown.append(await page.evaluate(TAP) / 1000)
    await context.close()
    return shown


async def main() -> None:
    with TemporaryDirectory() as name, seaweedfs(Path(name) / "seaweedfs") as server:
        folder = Path(name)
        document = await made(folder, server)
        hatch_build.build()
        template = (hatch_build.BUILT / "view.html").read_text("utf-8")
        (folder / "view.html").write_text(template.replace("{{view}}", json.dumps(document)), "utf-8")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
            runs = [await timed(browser, (folder / "view.html").as_uri()) for _ in range(RUNS)]
            await browser.close()
    for what, times in zip(("the day", "the year"), zip(*runs, strict=True), strict=True):
        print(f"{what}: {statistics.median(times):.2f} s")


if __name__ == "__main__":
    asyncio.run(main())
