"""Trying the brokers for a person: a sentence for each step, and for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.household.mqtt.check import Finding, check
from gateway.household.mqtt.configuration import HomeBroker, MqttSection, UtilityBroker
from gateway.mqtt.broker import connected
from tests.household.mqtt.conftest import KID
from tests.household.mqtt.gateway import FakeGateway
from tests.household.mqtt.test_utility import section, utility_client
from tests.support.clock import FakeClock
from tests.support.mosquitto import Mosquitto, UtilityMosquitto, mosquitto


async def found(
    home: HomeBroker | None = None, utility: UtilityBroker | None = None, clock: FakeClock | None = None
) -> list[Finding]:
    mqtt = MqttSection(home=home, utility=utility)
    return [one async for one in check(mqtt, FakeGateway().status, clock or FakeClock())]


async def test_each_step_is_said(home_broker: Mosquitto, utility_broker: UtilityMosquitto) -> None:
    assert [one.part for one in await found()] == ["MQTT"]
    own = section(utility_broker, utility_broker.certificates.issue(KID))
    steps = await found(HomeBroker(url=home_broker.url), own)
    assert all(one.ok for one in steps)
    assert [one.sentence.partition(home_broker.url)[0] or one.sentence for one in steps[:2]] == [
        f"{home_broker.url} is reached without TLS: everybody in this network can read along",
        "connected to ",
    ]
    assert steps[2].sentence == "what was published at gateway/test came back"
    assert steps[5].sentence == f"connected to {utility_broker.url}"
    assert steps[6].sentence.startswith(f"what was published at gw1/{KID}/test came back")


async def test_a_command_that_waits_is_still_there_afterwards(utility_broker: UtilityMosquitto) -> None:
    own = section(utility_broker, utility_broker.certificates.issue(KID))
    async with connected(own.access(KID)) as connection:
        await connection.subscribe([f"gw1/{KID}/command"])
    async with utility_client(utility_broker) as utility:
        await utility.publish(f"gw1/{KID}/command", b"waits")
    assert all(one.ok for one in await found(utility=own))
    async with connected(own.access(KID)) as connection:
        assert (await connection.receive()).payload == b"waits"


async def test_what_is_wrong_is_said(
    utility_broker: UtilityMosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.household.mqtt.check._BACK_S", 0.3)
    rules = tmp_path / "rules"
    rules.write_text("topic write gateway/#\n")
    rules.chmod(0o600)
    with mosquitto(tmp_path / "broker", "allow_anonymous true", f"acl_file {rules}") as server:
        last = (await found(HomeBroker(url=server.url)))[-1]
        assert not last.ok
        assert last.sentence.endswith("its rules let this client write there, and not read")

    issued = utility_broker.certificates.issue("ff" * 16)
    (wrong,) = await found(utility=section(utility_broker, issued))
    assert (wrong.ok, wrong.part) == (False, "utility's broker")
    assert wrong.sentence.startswith(f"{issued.certificate} is for {'ff' * 16}, but this gateway is {KID}")

    own = utility_broker.certificates.issue(KID)
    (late,) = await found(utility=section(utility_broker, own), clock=FakeClock(4e9))
    assert "has expired on" in late.sentence
    utility_broker.revoke(own)
    assert (await found(utility=section(utility_broker, own)))[-1].sentence == (
        f"{utility_broker.url} refuses this client's certificate: it is revoked"
    )
    own.key.chmod(0o604)
    (opened,) = await found(utility=section(utility_broker, own))
    assert "is open to every user of this machine" in opened.sentence
