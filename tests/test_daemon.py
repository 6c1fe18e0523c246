"""The gateway as a whole in one process, time driven by the test: a simulated meter on real Modbus, a
software root, a directory as its store."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.config import Config
from gateway.daemon import Daemon
from gateway.errors import GatewayError, LedgerError, RolledBack, TrustError, UsageError
from gateway.ledger.ledger import Ledger
from gateway.simulate import modbus
from gateway.simulate.household import Home as Household
from gateway.store.directory import DirectoryBucket
from gateway.trust.root import open_root
from gateway.wire import names
from tests.clock import START_S, FakeClock
from tests.meters.bench import modbus_model
from tests.stored import Stored, read_stored

NOON_S = START_S // 86_400 * 86_400 + 43_200  # the sun shines
PROFILE = "eastron-sdm630"


class Gateway:
    """A daemon on the files in `folder`; `live` lets time pass."""

    def __init__(self, folder: Path, clock: FakeClock, port: int) -> None:
        self.folder = folder
        self.clock = clock
        self.store = folder / "store"
        self.store.mkdir(exist_ok=True)
        self.file = folder / "gateway.toml"
        self.file.write_text(
            f"""
            gateway = {{ state = "state", socket = "s", commit_seconds = 5 }}
            clock = {{ source = "host" }}
            trust = {{ root = "software" }}
            stream = {{ unit_ms = 1000, link_units = 60, chunk_units = 20 }}
            store = {{ url = "{self.store}" }}
            [[meter]]
            name = "main"
            profile = "{PROFILE}"
            tcp = {{ host = "127.0.0.1", port = {port} }}
            """
        )
        self.daemon = Daemon(self.config, clock)
        self.task: asyncio.Task[None] | None = None

    @property
    def config(self) -> Config:
        return Config.load(self.file)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    async def start(self) -> None:
        self.daemon = Daemon(self.config, self.clock)
        self.task = asyncio.create_task(self.daemon.run())
        await self.rests()

    async def rests(self) -> None:
        """Wait until meter, reader, sealer and publisher all sleep; raises what ended the gateway."""
        assert self.task is not None
        resting = asyncio.create_task(self.clock.asleep(4))
        await asyncio.wait({self.task, resting}, return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            resting.cancel()
            await asyncio.gather(resting, return_exceptions=True)
            await self.task
        await resting

    async def lives(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.pass_s(1)
            await self.rests()

    async def stop(self) -> None:
        self.daemon.stop()
        if self.task is not None:
            await self.task

    async def ends(self) -> None:
        """However it goes."""
        self.daemon.stop()
        if self.task is not None:
            await asyncio.gather(self.task, return_exceptions=True)

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        ledger = await Ledger.open(self.state / "ledger.sqlite", reading=True)
        try:
            yield ledger
        finally:
            await ledger.close()

    async def stored(self) -> Stored:
        root = await open_root("software", self.state / "trust", "")
        async with self.ledger() as ledger:
            (stream,) = await ledger.streams()
        stored = await read_stored(DirectoryBucket(self.store), root, stream.id)
        await root.aclose()
        return stored

    async def check(self) -> Stored:
        """The store's chain is whole, and equals what the meter showed, to the mWh."""
        stored = await self.stored()
        lines = [json.loads(line) for line in (self.folder / "truth").read_text().splitlines()]
        shown = {line["unit"]: line for line in lines}
        counted = [stored.start + int(i) for i in stored.d["count"].nonzero()[0]]
        before = counted[0]
        for unit in counted[1:]:
            for lane in ("import", "export"):
                rise = shown[unit][f"{lane}_mwh"] - shown[before][f"{lane}_mwh"]
                assert stored.total(lane, before + 1, unit + 1) == rise
            assert stored.total("power", unit, unit + 1) == shown[unit]["power_w"]
            before = unit
        return stored


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    clock = FakeClock(NOON_S + 0.5)  # in the midst of the seconds
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    simulated = asyncio.create_task(
        modbus.serve(
            Household(7, NOON_S),
            modbus_model(PROFILE),
            "127.0.0.1",
            0,
            clock,
            tmp_path / "truth",
            port.set_result,
        )
    )
    try:
        found = Gateway(tmp_path, clock, await port)
        yield found
        await found.ends()
    finally:
        simulated.cancel()
        await asyncio.gather(simulated, return_exceptions=True)


async def test_a_meter_is_read_sealed_and_published(gateway: Gateway) -> None:
    await gateway.start()
    await gateway.lives(150)
    await gateway.stop()
    stored = await gateway.check()
    assert stored.end - stored.start >= 80
    assert stored.d["count"].all()
    assert stored.total("export", stored.start, stored.end) > 0


async def test_what_was_read_is_durable_when_it_stops(gateway: Gateway) -> None:
    await gateway.start()
    await gateway.lives(63)
    await gateway.stop()
    async with gateway.ledger() as ledger:
        (stream,) = await ledger.streams()
        assert (await ledger.position(stream)).next_unit == NOON_S + 63 + 1
    await gateway.start()
    await gateway.lives(60)
    await gateway.stop()
    assert (await gateway.check()).d["count"].all()


async def test_the_service_manager_hears_of_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(gateway.folder / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(gateway.folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000000")
        await gateway.start()
        await gateway.stop()
        heard = []
        while True:
            try:
                heard.append(manager.recv(100).decode())
            except BlockingIOError:
                break
    assert heard == ["WATCHDOG=1", "READY=1", "STOPPING=1"]


async def test_stopped_at_any_moment_it_ends_in_order(gateway: Gateway) -> None:
    """Whatever it is doing, also while it starts: no error, nothing left running, nothing lost."""
    await gateway.start()
    await gateway.lives(70)
    for turns in range(0, 240, 16):
        gateway.daemon.stop()
        assert gateway.task is not None
        await gateway.task
        gateway.daemon = Daemon(gateway.config, gateway.clock)
        gateway.task = asyncio.create_task(gateway.daemon.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        gateway.clock.pass_s(1)
        for _ in range(turns // 4):
            await asyncio.sleep(0)
    await gateway.stop()
    await gateway.start()
    await gateway.lives(60)
    await gateway.stop()
    await gateway.check()


async def test_a_store_that_is_away_loses_nothing_and_needs_no_hand(gateway: Gateway) -> None:
    await gateway.start()
    await gateway.lives(70)
    gateway.store.rename(gateway.folder / "away")
    await gateway.lives(120)
    (gateway.folder / "away").rename(gateway.store)
    await gateway.lives(70)
    await gateway.stop()
    stored = await gateway.check()
    assert stored.end >= NOON_S + 240
    assert stored.d["count"].all()


async def test_a_rolled_back_ledger_takes_the_stores_chain_over_and_goes_on(gateway: Gateway) -> None:
    await gateway.start()
    await gateway.lives(130)
    shutil.copytree(gateway.state, gateway.folder / "copy")
    await gateway.lives(95)
    await gateway.stop()
    before = await gateway.check()
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"):
        (gateway.state / name).unlink(missing_ok=True)
        if (gateway.folder / "copy" / name).exists():
            shutil.copy(gateway.folder / "copy" / name, gateway.state / name)
    gateway.store.rename(gateway.folder / "away")
    await gateway.start()
    await gateway.lives(60)
    (gateway.folder / "away").rename(gateway.store)
    await gateway.lives(130)
    await gateway.stop()
    after = await gateway.check()
    assert after.chunks[: len(before.chunks)] == before.chunks
    assert after.end >= NOON_S + 400
    async with gateway.ledger() as ledger:
        log = [entry.detail for entry in await ledger.audit_log(100) if entry.what == "rollback"]
    assert len(log) == 1
    assert "chunks of the store's chain were taken over" in log[0]


async def test_a_store_that_contradicts_itself_ends_it_instead_of_wearing_the_tpm(gateway: Gateway) -> None:
    """It has a chunk when it is asked for it, and not when it lists: no take-over settles that."""
    await gateway.start()
    await gateway.lives(130)
    shutil.copytree(gateway.state, gateway.folder / "copy")
    await gateway.lives(60)
    await gateway.stop()
    shutil.rmtree(gateway.state)
    (gateway.folder / "copy").rename(gateway.state)
    async with gateway.ledger() as ledger:
        (stream,) = await ledger.streams()
        last = (await ledger.position(stream)).last
    assert last is not None
    (gateway.store / names.head(stream.id)).unlink()
    for path in (gateway.store / names.chunks(stream.id)).rglob("*.cose"):
        if names.number_in(str(path)) >= last.end:  # a bucket in a directory lists no links
            path.rename(gateway.folder / path.name)
            path.symlink_to(gateway.folder / path.name)
    await gateway.start()
    with pytest.raises(RolledBack, match="what the store holds of its chain does not settle it"):
        await gateway.lives(200)


async def test_a_second_one_on_the_same_state_leaves_the_first_alone(gateway: Gateway) -> None:
    await gateway.start()
    second = Daemon(gateway.config, FakeClock())
    with pytest.raises(LedgerError, match="another gateway is running"):
        await second.run()
    _, writer = await asyncio.open_unix_connection(gateway.folder / "s")
    writer.close()
    await writer.wait_closed()
    await gateway.lives(70)


async def damaged_root(gateway: Gateway) -> None:
    (gateway.state / "trust" / "root.json").write_text("{}")


async def foreign_root(gateway: Gateway) -> None:
    shutil.rmtree(gateway.state / "trust")


async def damaged_ledger(gateway: Gateway) -> None:
    (gateway.state / "ledger.sqlite").write_bytes(b"no database" * 1000)


async def no_socket(gateway: Gateway) -> None:
    (gateway.folder / "s").unlink()
    (gateway.folder / "s").mkdir()


async def another_layout(gateway: Gateway) -> None:
    gateway.file.write_text(gateway.file.read_text().replace("unit_ms = 1000", "unit_ms = 500"))


@pytest.mark.parametrize(
    ("harm", "error", "sentence"),
    [
        (damaged_root, TrustError, "root.json is damaged: restore it from a backup"),
        (foreign_root, LedgerError, "does not open under this root"),
        (damaged_ledger, LedgerError, "file is not a database"),
        (no_socket, UsageError, "the control socket .*/s cannot be opened"),
        (another_layout, UsageError, "meter main: its stream was begun with unit_ms = 1000"),
    ],
)
async def test_what_keeps_it_from_running_is_a_sentence(
    gateway: Gateway, harm: object, error: type[GatewayError], sentence: str
) -> None:
    await gateway.start()
    await gateway.lives(70)
    await gateway.stop()
    await harm(gateway)  # type: ignore[operator]
    with pytest.raises(error, match=sentence):
        await gateway.start()
