"""What a home's pages take: `python -m tests.bench.household`.

A simulated meter, a gateway with its root in software and a folder as its store, and the household's daemon
are processes of their own. One browser's part is played here: the first page and all that it refers to; the
page Now, followed for a while before any other page is opened; then the other pages, and a while without any.
Links are of a minute, so that the home has a history meanwhile: the page sums up the day each minute, and has
had one to sum up before 150 s are over.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

from aiohttp import ClientSession, CookieJar

PASSWORD = "a short sentence"
_TICKS = os.sysconf("SC_CLK_TCK")
_READY_S = 60
_MODULES = (
    "gateway.cli.main, gateway.cli.household, gateway.household.server, gateway.household.home, "
    "encodings.idna"  # which Python itself loads as the server begins to listen
)
_PAGES = ("/now", "/today", "/history", "/history?kind=year", "/bills")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def environment(folder: Path) -> dict[str, str]:
    """One in which processes run with their modules compiled, as installed ones do."""
    compiled = {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    found = {**os.environ, **compiled}
    subprocess.run([sys.executable, "-c", f"import {_MODULES}"], env=found, check=True)
    return found


@asynccontextmanager
async def program(folder: Path, compiled: dict[str, str], *arguments: str) -> AsyncIterator[int]:
    """A `gateway` command as a process until the block ends; gives its id."""
    command: list[str | Path] = [Path(sys.executable).with_name("gateway"), *arguments]
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=compiled, stdout=log, stderr=log
        )
    try:
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def memory(pid: int) -> str:
    """Resident memory of a process, its proportional share of that (pages that several processes have mapped
    are divided among them), and the anonymous part."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {
        name: int(kib) / 1024 for name, kib in re.findall(r"^(Rss|Pss|Anonymous):\s+(\d+)", rollup, re.M)
    }
    return (
        f"{found['Rss']:.0f} MiB resident, its share {found['Pss']:.0f} MiB, "
        f"of which {found['Anonymous']:.0f} MiB are anonymous"
    )


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def log_in(browser: ClientSession, url: str, folder: Path) -> None:
    """Choose the first password, once the pages answer."""
    async with asyncio.timeout(_READY_S):
        while True:
            with suppress(OSError):
                async with browser.get(f"{url}/welcome") as answer:
                    form = re.search(r'name="form" value="(\w+)"', await answer.text())
                    break
            await asyncio.sleep(0.1)
    assert form is not None
    code = (folder / "household/setup-code").read_text()
    fields = {"form": form[1], "code": code, "password": PASSWORD}
    async with browser.post(f"{url}/welcome", data=fields, headers={"Origin": url}) as answer:
        assert answer.history[0].status == 303


async def first_page(browser: ClientSession, url: str) -> tuple[int, int]:
    """Bytes of the page Now and all that it refers to, compressed where it is, and how many files that is."""
    total, seen = 0, ["/now"]
    for path in seen:
        async with browser.get(f"{url}{path}", headers={"Accept-Encoding": "gzip"}) as answer:
            body = await answer.read()
            total += int(answer.headers.get("Content-Length", len(body)))
            if path == "/now":
                seen += sorted(set(re.findall(r'(?:href|src)="(/assets/[^"#]+)', body.decode())))
    return total, len(seen)


async def measure(seconds: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder, meter, page = Path(name), free_port(), free_port()
        (folder / "gateway.toml").write_text(f"""
gateway = {{ state = "state", socket = "s" }}
clock = {{ source = "host" }}
trust = {{ root = "software" }}
stream = {{ unit_ms = 1000, link_units = 60, chunk_units = 20 }}
store = {{ url = "{folder}/store" }}
[[meter]]
name = "main"
profile = "eastron-sdm630"
tcp = {{ host = "127.0.0.1", port = {meter} }}
""")
        (folder / "store").mkdir()
        (folder / "household.toml").write_text(f"""
household = {{ state = "household", socket = "s" }}
listen = {{ host = "127.0.0.1", port = {page}, tls = false }}
""")
        compiled = environment(folder)
        url = f"http://127.0.0.1:{page}"
        async with (
            program(folder, compiled, "simulate", "modbus", "--port", str(meter)),
            program(folder, compiled, "run", "--config", "gateway.toml") as gateway,
            program(folder, compiled, "household", "--config", "household.toml") as household,
            ClientSession(cookie_jar=CookieJar(unsafe=True), auto_decompress=False) as browser,
        ):
            await log_in(browser, url, folder)
            print(f"started: {memory(household)}")
            size, files = await first_page(browser, url)
            print(f"first page: {size / 1000:.0f} kB in {files} files")
            followed = _follow(browser, f"{url}/now/events", seconds)
            await _share("with one page open", followed, household, gateway)
            print(f"with one page open: {memory(household)}")
            for path in _PAGES:
                times = []
                for _ in range(20):
                    begin = time.perf_counter()
                    async with browser.get(f"{url}{path}") as answer:
                        await answer.read()
                        assert answer.status == 200
                    times.append(time.perf_counter() - begin)
                print(f"{path}: {median(times) * 1000:.1f} ms, the first time {times[0] * 1000:.0f} ms")
            print(f"after all pages: {memory(household)}")
            await _share("with no page open", asyncio.sleep(seconds), household, gateway)
            print(f"at the end: {memory(household)}")


async def _share(what: str, work: Awaitable[None], *pids: int) -> None:
    """Print what part of a core the household's process and the gateway's take meanwhile."""
    before, begin = [cpu_s(pid) for pid in pids], time.monotonic()
    await work
    shares = [
        100 * (cpu_s(pid) - was) / (time.monotonic() - begin) for pid, was in zip(pids, before, strict=True)
    ]
    print(f"{what}: the pages {shares[0]:.2f} % of a core, the gateway {shares[1]:.2f} %")


async def _follow(browser: ClientSession, url: str, seconds: int) -> None:
    """Read the events of the page Now for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), browser.get(url) as answer:
            async for _ in answer.content:
                pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=int, default=150, help="how long the page is followed, and how long none is open"
    )
    asyncio.run(measure(parser.parse_args().seconds))
