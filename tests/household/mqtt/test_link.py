"""Staying connected: how long it waits, what it says meanwhile, and that nothing ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.control.client import ControlClient
from gateway.errors import Unavailable, UsageError
from gateway.household.mqtt.configuration import HomeBroker, MqttSection, UtilityBroker
from gateway.household.mqtt.kept import Kept
from gateway.household.mqtt.link import Link, together
from gateway.household.mqtt.service import Mqtt, price_now
from gateway.mqtt.broker import Access, Connection, Retained, connected
from gateway.provider.prices import Price
from tests.support.clock import FakeClock
from tests.support.mosquitto import Mosquitto
from tests.support.servers import wait_for

WILL = Retained("home/status", b"offline")


class Sleeps(FakeClock):
    """A clock that passes at once, remembers how long was slept, and stands still after `most` sleeps."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._most = most

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) >= self._most:
            await asyncio.Event().wait()
        self.pass_s(seconds)
        await asyncio.sleep(0)


@asynccontextmanager
async def linked(
    clock: FakeClock, access: Callable[[], Access], serve: Callable[[Connection], object]
) -> AsyncIterator[Link]:
    async def reach() -> tuple[Access, Retained]:
        return access(), WILL

    async def go(connection: Connection) -> None:
        serve(connection)
        await connection.receive()

    link = Link("the broker", clock, reach, go)
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(wait_for, condition, 20)


async def test_waits_grow_to_a_minute_and_are_not_the_same_for_all(caplog: pytest.LogCaptureFixture) -> None:
    clock = Sleeps(12)

    def access() -> Access:
        raise Unavailable("no gateway answers")

    async with linked(clock, access, lambda _: None) as link:
        await until(lambda: len(clock.slept) >= 12)
        assert link.status.fault == "no gateway answers"
        assert not link.status.connected
    for number, slept in enumerate(clock.slept):
        longest = min(2.0**number, 60)
        assert 0.75 * longest <= slept <= longest
    assert len(set(clock.slept)) > 6
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "the broker: no gateway answers"
    assert len(lines) < 12  # once a minute, with a count
    assert "times since the last such line" in lines[1]


async def test_after_a_connection_that_lasted_the_next_try_comes_soon(home_broker: Mosquitto) -> None:
    clock = FakeClock()
    served: list[Connection] = []
    access = Access("127.0.0.1", home_broker.port, False, "one")
    async with linked(clock, lambda: access, served.append) as link:
        for expected in (1, 2, 4, 1):
            await until(lambda: link.status.connected)
            if expected == 1 and len(served) > 1:
                clock.pass_s(61)  # this connection lasts
            async with connected(access):  # under the same client id: the broker ends the other
                await clock.asleep()
            assert link.status.fault == f"{home_broker.url}: the connection broke"
            clock.pass_s(0.74 * expected)
            assert len(clock._sleepers) == 1
            clock.pass_s(0.26 * expected)
        await until(lambda: len(served) == 5)


async def test_a_bug_and_a_wrong_file_are_faults_and_it_is_tried_again(
    home_broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Sleeps(3)
    ways = iter(["file", "bug", "good"])

    def access() -> Access:
        if next(ways) == "file":
            raise UsageError("the key is missing")
        return Access("127.0.0.1", home_broker.port, False, "one")

    def serve(connection: Connection) -> None:
        if len(clock.slept) == 1:
            raise ZeroDivisionError

    async with linked(clock, access, serve) as link:
        await until(lambda: len(clock.slept) == 2)
        await until(lambda: link.status.connected)
        assert link.status.fault is None
    told = [record.getMessage() for record in caplog.records]
    assert "the broker: the key is missing" in told
    assert "the broker: this is a bug" in told


async def test_what_runs_together_ends_together() -> None:
    ended = asyncio.Event()

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fails() -> None:
        raise Unavailable("over")

    with pytest.raises(Unavailable, match="over"):
        await together(other(), fails())
    assert ended.is_set()


def test_what_is_kept_is_there_after_a_restart_and_damage_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "kept.json"
    kept = Kept(path)
    kept.put("a", [1])
    kept.put("b", "c")
    kept.drop("a", "never")
    assert (Kept(path).names, Kept(path).get("b")) == (("b",), "c")
    assert json.loads(path.read_bytes()) == {"b": "c"}
    for damage in (b"", b"[]", b"\xff"):
        path.write_bytes(damage)
        assert Kept(path).names == ()
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be written"):
        Kept(tmp_path / "file" / "kept.json").put("a", 1)


async def test_both_brokers_are_served_and_the_utilitys_fault_is_told_on_the_own(
    home_broker: Mosquitto, tmp_path: Path
) -> None:
    nowhere = ControlClient(tmp_path / "none.sock")

    async def accept(_: bytes) -> None: ...

    section = MqttSection(
        home=HomeBroker(url=home_broker.url),
        utility=UtilityBroker(url="mqtts://127.0.0.1:9", certificate="/none", key="/none"),
    )
    clock = FakeClock()
    mqtt = Mqtt.build(section, nowhere, accept, price_now(lambda: None, clock), tmp_path, clock)
    async with mqtt.running():
        await until(lambda: mqtt.status["home"].connected and mqtt.status["utility"].fault is not None)
        assert mqtt.home is not None
        assert "no gateway answers" in mqtt.home._problems()[0]
    assert not mqtt.status["home"].connected
    assert (
        Mqtt.build(MqttSection(), nowhere, accept, price_now(lambda: None, clock), tmp_path, clock).status
        == {}
    )


class Rates:
    """See `gateway.household.money.Rates`."""

    currency, zone, lanes, terms = "EUR", "UTC", ("import",), None

    def prices(self, lane: str, from_ms: int, until_ms: int) -> list[Price]:
        if from_ms < 1000:
            raise UsageError("the tariff begins later")
        return [Price(from_ms, until_ms, Decimal("0.25"))] if from_ms < 2000 else []


async def test_the_present_price_is_that_of_energy_drawn_now() -> None:
    for wall_s, expected in ((0.5, None), (1.5, (Decimal("0.25"), "EUR")), (2.5, None)):
        assert await price_now(Rates, FakeClock(wall_s))() == expected
    assert await price_now(lambda: None, FakeClock())() is None
