"""The household's own broker, over a real Mosquitto, as Home Assistant sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.control.commands import Act
from gateway.errors import BrokerDenied
from gateway.host.clock import SystemClock
from gateway.household.mqtt.configuration import HomeBroker
from gateway.household.mqtt.home import Home
from gateway.mqtt.broker import Access, Connection, connected
from tests.household.mqtt.conftest import KID
from tests.household.mqtt.gateway import READ, FakeGateway
from tests.support.mosquitto import Mosquitto, mosquitto
from tests.support.servers import wait_for

_DEADLINE_S = 20
GATEWAY = f"homeassistant/device/gw1_{KID}/config"
MAIN = f"homeassistant/device/gw1_{KID}_main/config"


@dataclass
class Seen:
    """What a client that subscribes to everything has seen, like Home Assistant."""

    connection: Connection
    now: dict[str, bytes] = field(default_factory=dict)
    """The last message of each topic; none of those that were emptied."""
    history: list[tuple[str, bytes]] = field(default_factory=list)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_DEADLINE_S):
            while not condition():
                message = await self.connection.receive()
                self.connection.acknowledge(message)
                self.history.append((message.topic, message.payload))
                self.now[message.topic] = message.payload
                if not message.payload:
                    del self.now[message.topic]

    def json(self, topic: str) -> Any:
        return json.loads(self.now.get(topic, b"{}"))


def access(server: Mosquitto, client_id: str) -> Access:
    return Access("127.0.0.1", server.port, False, client_id)


@asynccontextmanager
async def watching(server: Mosquitto) -> AsyncIterator[Seen]:
    async with connected(access(server, "home-assistant")) as connection:
        await connection.subscribe(["#"])
        yield Seen(connection)


@asynccontextmanager
async def running(
    server: Mosquitto, gateway: FakeGateway, folder: Path, section: HomeBroker | None = None
) -> AsyncIterator[Home]:
    async def price() -> tuple[Decimal, str]:
        return Decimal("0.3141"), "EUR"

    home = Home(
        section or HomeBroker(url=server.url),
        gateway,
        folder,
        SystemClock("host"),
        price=price,
        problems=lambda: ("the utility's broker: away",),
        interval_s=0.05,
        act_interval_s=0.05,
    )
    task = asyncio.create_task(home.run())
    try:
        yield home
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_home_assistant_finds_the_gateway_and_its_meters_and_sees_each_change(
    home_broker: Mosquitto, tmp_path: Path
) -> None:
    gateway = FakeGateway(store_error="no route to host")
    async with watching(home_broker) as seen:
        async with running(home_broker, gateway, tmp_path):
            await seen.until(lambda: "gateway/meter/main/state" in seen.now)
            assert seen.json("gateway/state") == {
                "running": "ON",
                "problem": "ON",
                "problems": ["the store: no route to host", "the utility's broker: away"],
                "price": 0.3141,
                "limit": None,
            }
            assert seen.json("gateway/meter/main/state") == {
                "import": 1234.56789,
                "export": 0.0,
                "power": -412,
                "held": "OFF",
                "reason": "",
            }
            assert seen.now["gateway/status"] == seen.now["gateway/meter/main/status"] == b"online"
            assert set(seen.json(GATEWAY)["components"]) == {"running", "problem", "limit", "price"}
            assert set(seen.json(MAIN)["components"]) == {"import", "export", "power", "held"}

            gateway.held = "since 12:00 its register fell"
            gateway.learn("1", state="running", limit_w=4200)
            gateway.learn("2", state="running", limit_w=6000)
            gateway.learn("3", state="ended", limit_w=100)
            await seen.until(lambda: seen.json("gateway/state")["limit"] == 4200)
            await seen.until(lambda: seen.json("gateway/meter/main/state")["held"] == "ON")
            gateway.away = True
            await seen.until(lambda: seen.now["gateway/meter/main/status"] == b"offline")
            await seen.until(lambda: seen.json("gateway/state")["running"] == "OFF")
            gateway.away = False
            await seen.until(lambda: seen.json("gateway/state")["running"] == "ON")
        await seen.until(lambda: seen.now["gateway/status"] == b"offline")
    async with watching(home_broker) as later:  # all of it is retained, the will too
        await later.until(lambda: set(later.now) == set(seen.now))
        assert later.now == seen.now


async def test_what_is_gone_is_withdrawn_and_what_is_not_known_yet_stays(
    home_broker: Mosquitto, tmp_path: Path
) -> None:
    gateway = FakeGateway(meters={"main": dict(READ), "pv": dict(READ)})
    pv = MAIN.replace("main", "pv")
    async with watching(home_broker) as seen:
        async with running(home_broker, gateway, tmp_path):
            await seen.until(lambda: "gateway/meter/pv/state" in seen.now)
        # After a restart: one meter is gone, and the other has not been read yet.
        gateway.meters = {"main": None}
        async with running(home_broker, gateway, tmp_path):
            await seen.until(lambda: not [topic for topic in seen.now if "pv" in topic])
            assert set(seen.json(MAIN)["components"]) == {"import", "export", "power", "held"}
            assert seen.json("gateway/meter/main/state")["import"] is None
            assert seen.now["gateway/meter/main/status"] == b"offline"
            assert (pv, b"") in seen.history
            # It is read, and exports no longer: that entity is removed, by its platform alone.
            gateway.meters = {"main": {"import": 5}}
            await seen.until(lambda: "export" not in seen.json(MAIN)["components"])
        removals = [json.loads(payload)["components"] for topic, payload in seen.history if topic == MAIN]
        assert removals[-2]["export"] == {"platform": "sensor"}
        assert set(removals[-1]) == {"import", "held"}


async def test_when_home_assistant_starts_or_the_broker_comes_back_all_is_announced_again(
    tmp_path: Path,
) -> None:
    with mosquitto(tmp_path / "broker", "allow_anonymous true", "persistence false") as server:
        gateway = FakeGateway()
        async with running(server, gateway, tmp_path) as home:
            async with watching(server) as seen:
                await seen.until(lambda: "gateway/meter/main/state" in seen.now)
                seen.now.clear()
                await seen.connection.publish("homeassistant/status", b"online")
                await seen.until(lambda: {GATEWAY, MAIN, "gateway/meter/main/state"} <= set(seen.now))
                assert home.status.connected
                await asyncio.to_thread(server.restart)  # it forgets everything
            async with watching(server) as seen:
                await seen.until(lambda: {GATEWAY, MAIN, "gateway/meter/main/state"} <= set(seen.now))


async def test_an_act_is_published_once_and_reported(home_broker: Mosquitto, tmp_path: Path) -> None:
    gateway = FakeGateway()
    async with watching(home_broker) as seen, running(home_broker, gateway, tmp_path):
        await seen.until(lambda: "gateway/state" in seen.now)
        act = Act(topic="home/relay/set", payload="OFF")
        gateway.learn("1", state="waits", act=act)
        await seen.until(lambda: "home/relay/set" in seen.now)
        gateway.learn("2", state="running", limit_w=1)
        await seen.until(lambda: seen.json("gateway/state")["limit"] == 1)
        assert gateway.acts == [act]
        assert [payload for topic, payload in seen.history if topic == act.topic] == [b"OFF"]


async def test_what_the_broker_refuses_is_a_fault_with_a_sentence(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic readwrite homeassistant/#\ntopic write gateway/status\n")
    rules.chmod(0o600)
    gateway = FakeGateway()
    with mosquitto(tmp_path / "broker", "allow_anonymous true", f"acl_file {rules}") as server:
        async with running(server, gateway, tmp_path) as home:
            assert await asyncio.to_thread(wait_for, lambda: home.status.fault is not None, _DEADLINE_S)
            assert home.status.connected
            assert home.status.fault == (
                f"{server.url} takes no message at gateway/state: its rules do not allow it"
            )


@pytest.mark.parametrize("wrong", ["http://h", "mqtt://user:secret@h", "mqtt://h:0", "mqtt://h/x", "h:1883"])
def test_an_address_is_checked(wrong: str) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        HomeBroker(url=wrong)
    assert "holds a login" in str(caught.value) or "must be an address" in str(caught.value)


async def test_a_broker_that_refuses_a_subscription_gets_all_the_same_what_is_retained(
    home_broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(home_broker) as seen:

        async def refuses(*_: object, **__: object) -> None:  # as others than Mosquitto do
            raise BrokerDenied("the broker refuses the subscription of homeassistant/status")

        monkeypatch.setattr(Connection, "subscribe", refuses)
        async with running(home_broker, FakeGateway(), tmp_path) as home:
            await seen.until(lambda: MAIN in seen.now)
            assert home.status.fault == "the broker refuses the subscription of homeassistant/status"
            assert home.status.connected
