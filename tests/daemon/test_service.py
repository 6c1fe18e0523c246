"""The gateway as a whole in one process, time driven by the test: a simulated meter on real Modbus, a
software root, a directory as its store."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient

from gateway.control.client import ControlClient
from gateway.control.documents import Status
from gateway.daemon.regained import Regained
from gateway.daemon.sealer import Sealer
from gateway.daemon.service import Daemon
from gateway.daemon.takeover import StoreRead, Takeover
from gateway.daemon.watchdog import HUNG_S
from gateway.errors import GatewayError, LedgerError, RolledBack, TrustError, UsageError
from gateway.host.systemd import Notifier
from gateway.simulate import modbus
from gateway.simulate.home import Home as Household
from gateway.store.directory import DirectoryBucket
from gateway.wire import names
from tests.meters.bench import modbus_model
from tests.support.clock import START_S, FakeClock
from tests.support.commanded import Utility
from tests.support.faulty import FaultyBucket
from tests.support.running import Gateway
from tests.support.stored import Stored

NOON_S = START_S // 86_400 * 86_400 + 43_200  # the sun shines
PROFILE = "eastron-sdm630"


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


async def test_a_providers_command_reaches_the_meter(gateway: Gateway) -> None:
    utility = Utility(gateway.clock.now_ms)
    (gateway.folder / "utility.cose").write_bytes(utility.card_bytes())
    with gateway.file.open("a") as file:
        file.write('switch = { coil = 5 }\n[[commands]]\nfrom = "./utility.cose"\nreconnect = "allow"\n')
    await gateway.start()
    await gateway.lives(70)
    client = ControlClient(gateway.folder / "s")
    (meter,) = (await client.status()).meters
    now_ms = gateway.clock.now_ms
    command = utility.command(bytes.fromhex(meter.stream or ""), "reconnect", now_ms)
    sent = await client.command(utility.signs(command))
    async with asyncio.timeout(20):
        while sent.state == "waits":
            (sent,) = await client.commands()
    assert (sent.state, sent.switch) == ("done", "connected")
    place = gateway.config.meter[0].tcp
    assert place is not None
    async with AsyncModbusTcpClient("127.0.0.1", port=place.port or 0) as other:
        assert (await other.read_coils(4, count=3)).bits[:3] == [False, True, False]
    await gateway.stop()


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
    assert heard == ["WATCHDOG=1", "WATCHDOG=1", "READY=1", "STOPPING=1"]


async def test_its_watchdog_is_fed_while_a_tpm_that_is_not_ready_is_waited_for(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a set-up the watchdog runs before the root is open."""
    fed: list[int] = []

    async def wait(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setattr(Notifier, "notify", lambda _, state: fed.append(gateway.clock.now_ms))
    monkeypatch.setattr("gateway.daemon.service.open_root", wait)
    began = gateway.clock.now_ms
    daemon = Daemon(gateway.config, gateway.clock)
    running = asyncio.create_task(daemon.run())
    for _ in range(30):
        await gateway.clock.asleep(2)  # the simulated meter is the other
        gateway.clock.pass_s(30)
    await gateway.clock.asleep(2)
    assert fed == [began + 30_000 * n for n in range(20)], "not for ever: it may hang"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_its_watchdog_is_fed_until_a_line_has_hung_for_minutes(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[int] = []
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.setattr(
        "gateway.host.systemd.Notifier.notify", lambda _, state: fed.append(gateway.clock.now_ms)
    )
    gateway.parts += 2  # what feeds it, and what asks the ledger
    await gateway.start()
    await gateway.lives(70)
    hangs, mended = asyncio.Event(), asyncio.Event()

    async def hang(_: Sealer) -> None:
        hangs.set()
        await mended.wait()

    monkeypatch.setattr("gateway.daemon.sealer.Sealer.seal_gathered", hang)
    gateway.parts -= 1
    while not hangs.is_set():
        await gateway.lives(1)
    began = gateway.clock.now_ms
    await gateway.lives(HUNG_S + 60)
    assert began + HUNG_S * 1000 - 10_000 <= max(fed) <= began + HUNG_S * 1000
    assert len(fed) > (HUNG_S + 70) // 10 - 2
    mended.set()
    await gateway.stop()


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert "chunks were taken over from the store" in log[0]


_COMPARED = 2  # calls of the store before the gateway knows that it is behind


async def rolled_back(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> tuple[FaultyBucket, Stored]:
    """A ledger older than the store: the bucket that the gateway will open, and what it holds."""
    await gateway.start()
    await gateway.lives(70)
    shutil.copytree(gateway.state, gateway.folder / "copy")
    await gateway.lives(70)
    await gateway.stop()
    before = await gateway.check()
    shutil.rmtree(gateway.state)
    (gateway.folder / "copy").rename(gateway.state)
    bucket = FaultyBucket(DirectoryBucket(gateway.store))
    monkeypatch.setattr("gateway.daemon.service.open_bucket", lambda _: bucket)
    return bucket, before


async def waits(gateway: Gateway) -> Status:
    """The gateway's status in the midst of a take-over."""
    client = ControlClient(gateway.folder / "s")
    assert await client.grants() == ()
    status = await client.status()
    assert status.store.error is not None
    assert status.store.error.startswith("the ledger was rolled back: ")
    assert "; taking the store's chain over has to wait: " in status.store.error
    return status


@pytest.mark.slow
@pytest.mark.parametrize("calls", [_COMPARED, _COMPARED + 1, _COMPARED + 4])
async def test_reading_and_sealing_go_on_while_a_take_over_waits_for_a_store_that_hangs(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """It never answers one request; status says which, and a stop is heard."""
    bucket, before = await rolled_back(gateway, monkeypatch)
    began = NOON_S + 140
    bucket.hangs_after = calls
    gateway.parts -= 1  # the publisher never rests
    await gateway.start()
    await gateway.lives(120)
    client = ControlClient(gateway.folder / "s")
    assert await client.grants() == ()
    status = await client.status()
    assert status.store.error is not None
    assert "the ledger was rolled back: " in status.store.error
    assert "; the store has not answered since 20" in status.store.error
    (meter,) = status.meters
    assert meter.read_ms is not None
    assert meter.read_ms // 1000 == began + 120
    assert meter.sealed_until_ms is not None
    assert meter.sealed_until_ms // 1000 > began + 110
    await gateway.stop()
    bucket.hangs_after = None
    gateway.parts += 1
    await gateway.start()
    await gateway.lives(130)
    await gateway.stop()
    await read_since(gateway, before, began)


async def read_since(gateway: Gateway, before: Stored, unit: int) -> Stored:
    """The store's chain goes on after `before`, exact to the mWh, and every unit from `unit` on was read."""
    after = await gateway.check()
    assert after.chunks[: len(before.chunks)] == before.chunks
    assert after.d["count"][unit - after.start :].all()
    async with gateway.ledger() as ledger:
        log = [entry.detail for entry in await ledger.audit_log(100) if entry.what == "rollback"]
    assert len(log) == 1
    return after


@pytest.mark.slow
async def test_reading_and_sealing_go_on_while_a_take_over_waits_for_the_store(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an hour, in which the store answers a little more each time."""
    bucket, before = await rolled_back(gateway, monkeypatch)
    began = NOON_S + 140
    bucket.fuse.set(_COMPARED, None)
    await gateway.start()
    for times in range(6):
        await gateway.lives(600)
        (meter,) = (await waits(gateway)).meters
        assert meter.error is None
        assert meter.read_ms is not None
        assert meter.read_ms // 1000 == began + 600 * (times + 1)
        assert meter.sealed_until_ms is not None
        assert meter.sealed_until_ms // 1000 > began + 600 * (times + 1) - 10
        bucket.fuse.set(times, None)
    assert bucket.puts == []
    bucket.fuse.set(None)
    await gateway.lives(130)
    await gateway.stop()
    after = await read_since(gateway, before, began)
    assert after.end >= began + 3700


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 1, 33])
async def test_stopped_while_a_take_over_waits_it_ends_in_order(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """What was read is durable, and the next run's take-over does not lose it."""
    bucket, before = await rolled_back(gateway, monkeypatch)
    began = NOON_S + 140
    bucket.fuse.set(_COMPARED, None)
    await gateway.start()
    await gateway.lives(seconds)
    await gateway.stop()
    async with gateway.ledger() as ledger:
        (stream,) = await ledger.streams()
        assert (await ledger.position(stream)).next_unit == began + seconds + 1
    bucket.fuse.set(None)
    await gateway.start()
    await gateway.lives(70)
    await gateway.stop()
    await read_since(gateway, before, began)


@pytest.mark.slow
async def test_stopped_as_the_ledger_is_replaced_it_first_makes_durable_what_was_dropped(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, before = await rolled_back(gateway, monkeypatch)
    began = NOON_S + 140
    bucket.fuse.set(_COMPARED, None)
    await gateway.start()
    await gateway.lives(62)  # the next time that the store is asked comes a second later
    apply = Takeover.apply

    async def stopped(takeover: Takeover, read: StoreRead) -> Regained:
        gateway.daemon.stop()
        await asyncio.sleep(0)
        return await apply(takeover, read)

    monkeypatch.setattr(Takeover, "apply", stopped)
    bucket.fuse.set(None)
    gateway.clock.pass_s(1)
    assert gateway.task is not None
    await gateway.task
    async with gateway.ledger() as ledger:
        (stream,) = await ledger.streams()
        assert (await ledger.position(stream)).next_unit >= began + 62 + 1
        assert [entry for entry in await ledger.audit_log(100) if entry.what == "rollback"]
    monkeypatch.undo()
    await gateway.start()
    await gateway.lives(70)
    await gateway.stop()
    after = await read_since(gateway, before, began + 64)
    assert after.d["count"][began - after.start : began + 63 - after.start].all()


@pytest.mark.slow
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
    with pytest.raises(RolledBack, match="taking the store's chain over did not resolve this"):
        await gateway.start()


async def test_a_second_one_on_the_same_state_leaves_the_first_alone(gateway: Gateway) -> None:
    await gateway.start()
    second = Daemon(gateway.config, FakeClock())
    with pytest.raises(LedgerError, match="another gateway is running"):
        await second.run()
    _, writer = await asyncio.open_unix_connection(gateway.folder / "s")
    writer.close()
    await writer.wait_closed()
    await gateway.lives(70)


async def test_a_second_one_with_another_state_on_the_same_socket_is_refused(gateway: Gateway) -> None:
    await gateway.start()
    await gateway.lives(100)
    text = gateway.file.read_text()
    gateway.file.write_text(text.replace('state = "state"', 'state = "another"'))
    second = Daemon(gateway.config, FakeClock())
    with pytest.raises(UsageError, match=r"another gateway answers at the control socket .*/s: stop it, or"):
        await second.run()
    async with gateway.ledger("another") as ledger:
        assert await ledger.last_incarnation() is None  # it drew none
    status = await ControlClient(gateway.folder / "s").status()
    assert status.meters[0].chunks > 0
    await gateway.stop()
    third = Daemon(gateway.config, gateway.clock)  # the socket that the first one left is replaced
    running = asyncio.create_task(third.run())
    await gateway.clock.asleep(5)
    assert (await ControlClient(gateway.folder / "s").status()).meters[0].chunks == 0
    third.stop()
    await running


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


@pytest.mark.slow
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
