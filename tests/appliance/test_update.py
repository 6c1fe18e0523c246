"""What is installed from a feed, over HTTP and from a folder, and what is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientTimeout, web
from hypothesis import given
from hypothesis import strategies as st

from gateway.appliance import feed as feeds
from gateway.appliance import release as releases
from gateway.appliance.feed import LATEST, LATEST_SIGNATURE, Latest
from gateway.appliance.journal import STATUS, TRIAL, Journal, Known, ReleaseNote
from gateway.appliance.rauc import Slots
from gateway.appliance.release import Release
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from tests.appliance.releases import BUNDLE, NEW, OLD, Machine
from tests.appliance.test_release import HASHES, RELEASES
from tests.support.clock import FakeClock


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Server:
    """The machine's feed over HTTP. Each of the first answers with the bundle breaks off after so many bytes,
    as `cuts` says; `ranges` is whether it knows what a range is."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.url = ""
        self.cuts: list[int] = []
        self.ranges = True
        self.asked: list[str | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = self.machine.feed / request.match_info["name"]
        if not path.exists():
            raise web.HTTPNotFound
        data, start = path.read_bytes(), 0
        if path.suffix != ".raucb":
            return web.Response(body=data)
        asked = request.headers.get("Range")
        self.asked.append(asked)
        headers = {}
        if asked is not None and self.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        response = web.StreamResponse(status=206 if headers else 200, headers=headers)
        response.content_length = len(data) - start
        await response.prepare(request)
        cut = self.cuts.pop(0) if self.cuts else len(data)
        await response.write(data[start : start + cut])
        if cut < len(data) - start:
            assert request.transport is not None
            request.transport.close()
        return response


@pytest.fixture
async def server(machine: Machine) -> AsyncIterator[Server]:
    served = Server(machine)
    app = web.Application()
    app.router.add_get("/rpi4/{name}", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/rpi4/"
    yield served
    await runner.cleanup()


def nothing(*_: object) -> None:
    pass


async def installs(machine: Machine, clock: FakeClock, feed: str) -> Release | None:
    """Install, and let the time pass for which a download waits."""
    task = asyncio.create_task(machine.updater(clock).install(feed, nothing, nothing))
    while not task.done():
        waiting = asyncio.create_task(clock.asleep())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        clock.pass_s(60)
    return await task


@given(RELEASES, st.integers(1, feeds.MOST_BUNDLE), HASHES, st.integers(0), st.integers(1, 255))
def test_latest_json_comes_back_as_it_was_or_is_refused(
    release: Release, size: int, sha256: str, at: int, change: int
) -> None:
    latest = Latest(release, "gateway-1.raucb", size, sha256)
    data = bytearray(latest.encode())
    assert Latest.decode(bytes(data)) == latest
    with pytest.raises(Refused):
        Release.decode(bytes(data))
    with pytest.raises(Refused):
        Latest.decode(release.encode())
    data[at % len(data)] ^= change
    with contextlib.suppress(Refused):
        assert Latest.decode(bytes(data)) != latest


@pytest.mark.parametrize("name", ["../x.raucb", "x", ".raucb", "a/b.raucb", "x.raucb\n", ""])
def test_a_bundle_lies_in_the_feed_itself(name: str) -> None:
    with pytest.raises(UsageError, match="the name of a bundle"):
        Latest(NEW, name, 1, "1" * 64)


async def test_a_newer_release_is_installed_and_tried(
    machine: Machine, server: Server, clock: FakeClock
) -> None:
    latest = machine.publishes(NEW)
    updater = machine.updater(clock)
    assert await updater.check(server.url) == latest
    note = ReleaseNote.of(NEW)
    assert updater.known() == Known(checked_ms=clock.now_ms, available=note)

    seen: list[tuple[int, int]] = []
    assert await updater.install(server.url, lambda *step: seen.append(step), nothing) == NEW
    assert seen[-1] == (len(BUNDLE), len(BUNDLE))
    assert seen == sorted(seen)
    assert machine.rauc.installed == [BUNDLE]
    assert updater.known().installed == note
    assert [path.name for path in machine.place.folder.iterdir()] == [STATUS]
    # Once more, it is neither downloaded nor written again.
    assert await updater.install(server.url, nothing, nothing) == NEW
    assert machine.rauc.installed == [BUNDLE]

    assert not machine.place.restart.exists()
    await updater.restart(("store",))
    assert machine.place.restart.exists()
    assert (machine.place.folder / TRIAL).exists()
    known = updater.known()
    assert known.installed is None
    assert known.trying is not None
    assert (known.trying.release, known.trying.slot, known.trying.expected) == (note, "B", ("store",))

    # While it is on trial, the other slot stays as it is.
    machine.rauc.state = Slots("B", "B")
    machine.runs(NEW)
    machine.publishes(replace(NEW, version="2027.1.0"))
    with pytest.raises(Unavailable, match="is still on trial"):
        await updater.install(server.url, nothing, nothing)
    assert machine.rauc.installed == [BUNDLE]


async def test_from_a_folder_nothing_is_copied(machine: Machine, clock: FakeClock) -> None:
    machine.publishes(NEW)
    assert await machine.updater(clock).install(str(machine.feed), nothing, nothing) == NEW
    assert machine.rauc.installed == [BUNDLE]
    assert (machine.feed / "gateway.raucb").exists()


async def test_what_cannot_be_the_bundle_is_not_read(
    machine: Machine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_ends(path: Path) -> str:
        raise AssertionError(path)

    machine.publishes(NEW)
    monkeypatch.setattr(feeds, "file_digest", never_ends)
    (machine.feed / "gateway.raucb").unlink()
    (machine.feed / "gateway.raucb").symlink_to("/dev/zero")
    with pytest.raises(Refused, match="is not the one that its latest"):
        await machine.updater(clock).install(str(machine.feed), nothing, nothing)


@pytest.mark.parametrize(
    ("release", "said"),
    [
        (replace(NEW, machine="rpi5"), "is for the machine rpi5, and this is rpi4"),
        (replace(NEW, epoch=6), "has epoch 6, and gateway-2026.11.1, which runs, has 7"),
        (OLD, None),
        (replace(OLD, version="2026.10.9"), None),
        (replace(OLD, version="2026.11.0", epoch=9), None),
    ],
)
async def test_what_is_not_for_this_machine_is_not_installed(
    machine: Machine, clock: FakeClock, release: Release, said: str | None
) -> None:
    machine.publishes(release)
    updater = machine.updater(clock)
    if said is None:
        assert await updater.install(str(machine.feed), nothing, nothing) is None
        assert updater.known() == Known(checked_ms=clock.now_ms)
    else:
        with pytest.raises(Refused, match=said):
            await updater.install(str(machine.feed), nothing, nothing)
        assert said in str(updater.known().error)
    assert machine.rauc.installed == []


def _other_key(machine: Machine) -> None:
    other = Machine(machine.folder / "other")
    data = (machine.feed / LATEST).read_bytes()
    (machine.feed / LATEST_SIGNATURE).write_bytes(releases.sign(other.key, data))


def _of_the_release(machine: Machine) -> None:
    (machine.feed / LATEST).write_bytes(NEW.encode())
    (machine.feed / LATEST_SIGNATURE).write_bytes(releases.sign(machine.key, NEW.encode()))


def _changed(machine: Machine) -> None:
    data = (machine.feed / LATEST).read_bytes()
    (machine.feed / LATEST).write_bytes(data.replace(b'"epoch":7', b'"epoch":9'))


def _huge(machine: Machine) -> None:
    (machine.feed / LATEST).write_bytes(b" " * 10_000_000)


def _bundle(machine: Machine) -> None:
    (machine.feed / "gateway.raucb").write_bytes(BUNDLE[:-1] + b"x")


@pytest.mark.parametrize("over_http", [False, True])
@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (_other_key, "not signed by the update key"),
        (_changed, "not signed by the update key"),
        (_of_the_release, "has no bundle"),
        (_huge, "more than"),
        (_bundle, "is not the one that its latest.json describes"),
    ],
)
async def test_what_is_forged_is_not_installed(
    machine: Machine,
    server: Server,
    clock: FakeClock,
    forge: Callable[[Machine], None],
    said: str,
    over_http: bool,
) -> None:
    machine.publishes(NEW)
    forge(machine)
    with pytest.raises(Refused, match=said):
        await installs(machine, clock, server.url if over_http else str(machine.feed))
    assert machine.rauc.installed == []
    assert [path.name for path in machine.place.folder.iterdir()] == [STATUS]
    assert (machine.feed / "gateway.raucb").exists()


@pytest.mark.parametrize("missing", [LATEST, LATEST_SIGNATURE, "gateway.raucb"])
async def test_what_is_missing_is_named(
    machine: Machine, server: Server, clock: FakeClock, missing: str
) -> None:
    machine.publishes(NEW)
    (machine.feed / missing).unlink()
    for feed in (server.url, str(machine.feed)):
        with pytest.raises(Unavailable, match=missing.replace(".", r"\.")):
            await installs(machine, clock, feed)
    assert machine.rauc.installed == []


async def test_a_feed_that_never_ends_its_manifest_is_given_up(
    machine: Machine, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()

    async def begin(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await over.wait()
        return response

    monkeypatch.setattr(feeds, "_SMALL_TIMEOUT", ClientTimeout(total=0.2))
    app = web.Application()
    app.router.add_get("/{name}", begin)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with pytest.raises(Unavailable, match="cannot be read"):
        await machine.updater(clock).check(f"http://127.0.0.1:{runner.addresses[0][1]}")
    over.set()
    await runner.cleanup()


@pytest.mark.parametrize("address", ["https://anna:hush@x/y", "https://x/y?key=hush", "https://x#hush"])
async def test_no_password_of_an_address_is_in_the_status(
    machine: Machine, clock: FakeClock, address: str
) -> None:
    updater = machine.updater(clock)
    with pytest.raises(UsageError, match="'@', '\\?' or '#'") as error:
        await updater.check(address)
    assert "hush" not in str(error.value)
    assert "hush" not in (machine.place.folder / STATUS).read_text()


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_download_goes_on_where_it_broke_off(
    machine: Machine, server: Server, clock: FakeClock, ranges: bool
) -> None:
    machine.publishes(NEW)
    server.cuts, server.ranges = [1000, 300_000, 5], ranges
    if not ranges:
        server.cuts = [1000, 300_000]
    assert await installs(machine, clock, server.url) == NEW
    assert machine.rauc.installed == [BUNDLE]
    assert server.asked[0] is None
    assert len(server.asked) == (4 if ranges else 3)
    assert None not in server.asked[1:]


async def test_a_download_that_brings_nothing_waits_for_the_next_time(
    machine: Machine, server: Server, clock: FakeClock
) -> None:
    latest = machine.publishes(NEW)
    server.cuts = [1000, 0]
    with pytest.raises(Unavailable):
        await installs(machine, clock, server.url)
    part = machine.place.folder / f"{latest.sha256}.raucb"
    assert part.stat().st_size == 1000
    assert "cannot be read" in str(machine.updater(clock).known().error)
    server.asked.clear()
    assert await installs(machine, clock, server.url) == NEW
    assert server.asked == ["bytes=1000-"]
    assert machine.rauc.installed == [BUNDLE]
    assert machine.updater(clock).known().error is None


async def test_what_is_left_of_another_bundle_is_removed(
    machine: Machine, server: Server, clock: FakeClock
) -> None:
    machine.publishes(NEW)
    (machine.place.folder / f"{'0' * 64}.raucb").write_bytes(b"old")
    assert await installs(machine, clock, server.url) == NEW
    assert [path.name for path in machine.place.folder.iterdir()] == [STATUS]


async def test_a_longer_bundle_than_announced_does_not_fill_the_card(
    machine: Machine, server: Server, clock: FakeClock
) -> None:
    machine.publishes(NEW)
    (machine.feed / "gateway.raucb").write_bytes(BUNDLE * 20)
    assert await installs(machine, clock, server.url) == NEW
    assert machine.rauc.installed == [BUNDLE]


async def test_a_bundle_that_rauc_refuses_is_not_tried(machine: Machine, clock: FakeClock) -> None:
    machine.publishes(NEW)
    machine.rauc.fault = "RAUC did not install it"
    updater = machine.updater(clock)
    with pytest.raises(GatewayError, match="RAUC did not install it"):
        await updater.install(str(machine.feed), nothing, nothing)
    assert updater.known().error == "RAUC did not install it"
    assert updater.known().installed is None
    with pytest.raises(Unavailable, match="no release is installed"):
        await updater.restart(())
    assert not machine.place.restart.exists()


async def test_a_disk_without_room_is_said(
    machine: Machine, server: Server, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.publishes(NEW)
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage)
    with pytest.raises(Unavailable, match="no room for the bundle"):
        await installs(machine, clock, server.url)


class _Usage:
    free = 64 * 2**20


async def test_another_machine_says_that_it_has_no_image(machine: Machine, clock: FakeClock) -> None:
    machine.publishes(NEW)
    (machine.place.boot / "release.json").unlink()
    with pytest.raises(UsageError, match="does not run the appliance's image"):
        await machine.updater(clock).check(str(machine.feed))


def test_a_damaged_journal_is_begun_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for text in ("", "{", '{"checked_ms": "x"}'):
        (tmp_path / STATUS).write_text(text)
        assert journal.read() == Known()
    assert journal.note(error="x") == Known(error="x") == journal.read()
    assert (tmp_path / STATUS).stat().st_mode & 0o777 == 0o644
