"""The utility's broker, over a real Mosquitto with mutual TLS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import Refused, Unavailable
from gateway.host.clock import SystemClock
from gateway.household.mqtt.configuration import UtilityBroker
from gateway.household.mqtt.utility import MAX_COMMAND, Utility
from gateway.mqtt import topics
from gateway.mqtt.broker import MAX_PACKET, Access, Connection, connected
from tests.household.mqtt.conftest import KID
from tests.household.mqtt.gateway import STREAM, FakeGateway
from tests.support.mosquitto import UTILITY, Certificate, UtilityMosquitto
from tests.support.servers import wait_for

_DEADLINE_S = 20
PROVIDER = "bb" * 16


def section(server: UtilityMosquitto, own: Certificate) -> UtilityBroker:
    return UtilityBroker(
        url=server.url, ca=server.certificates.ca, certificate=str(own.certificate), key=str(own.key)
    )


@asynccontextmanager
async def utility_client(server: UtilityMosquitto, name: str = UTILITY) -> AsyncIterator[Connection]:
    own = server.certificates.issue(name, file=f"{name}-client")
    access = Access(
        "127.0.0.1",
        server.port,
        True,
        "any",
        ca=server.certificates.ca,
        certificate=own.certificate,
        key=own.key,
    )
    async with connected(access) as connection:
        yield connection


class Inbox:
    """The price series that came."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.away = False
        self.asked = 0

    async def accept(self, data: bytes) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable("the gateway does not answer for the cards")
        if not data.startswith(b"good"):
            raise Refused("the price series is not signed")
        self.taken.append(data)


@asynccontextmanager
async def running(
    server: UtilityMosquitto, own: Certificate, gateway: FakeGateway, inbox: Inbox, folder: Path
) -> AsyncIterator[Utility]:
    utility = Utility(
        section(server, own), gateway, inbox.accept, folder, SystemClock("host"), interval_s=0.05
    )
    task = asyncio.create_task(utility.run())
    try:
        yield utility
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(wait_for, condition, _DEADLINE_S)


async def take(connection: Connection, topic: str) -> bytes:
    """The next message at a topic; those of others are passed over."""
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            message = await connection.receive()
            connection.acknowledge(message)
            if message.topic == topic:
                return message.payload


async def test_commands_and_prices_come_in_and_each_receipt_goes_out_once(
    utility_broker: UtilityMosquitto, tmp_path: Path
) -> None:
    own = utility_broker.certificates.issue(KID)
    gateway, inbox = FakeGateway(), Inbox()
    async with utility_client(utility_broker) as utility:
        await utility.subscribe([f"gw1/{KID}/#"])
        await utility.publish(topics.price(PROVIDER), b"good prices, retained", retain=True)
        await utility.publish(topics.command(KID), b"good, and retained by mistake", retain=True)
        async with running(utility_broker, own, gateway, inbox, tmp_path / "state"):
            assert await take(utility, topics.status(KID)) == b"online"
            await utility.publish(topics.command(KID), b"good 1")
            first = await take(utility, topics.receipt(KID))
            assert first == gateway.known[0].receipt
            gateway.learn(gateway.known[0].id, receipt=b"another state of it")
            assert await take(utility, topics.receipt(KID)) == b"another state of it"
            noted = tmp_path / "state" / "receipts.json"
            await until(lambda: hashlib.sha256(b"another state of it").hexdigest() in noted.read_text())
            await until(lambda: inbox.taken == [b"good prices, retained"])
            assert gateway.taken == [b"good 1"]  # the retained one, though first, never came
        assert await take(utility, topics.status(KID)) == b"offline"
        # What comes while this program is away is kept, and receipts are not sent again.
        await utility.publish(topics.command(KID), b"good 2")
        async with running(utility_broker, own, gateway, inbox, tmp_path / "state"):
            assert await take(utility, topics.receipt(KID)) == gateway.known[0].receipt
            assert gateway.taken == [b"good 1", b"good 2"]


async def test_a_command_waits_at_the_broker_until_the_gateway_answers(
    utility_broker: UtilityMosquitto, tmp_path: Path
) -> None:
    own = utility_broker.certificates.issue(KID)
    gateway, inbox = FakeGateway(), Inbox()
    async with utility_client(utility_broker) as utility:
        async with running(utility_broker, own, gateway, inbox, tmp_path / "state") as served:
            await until(lambda: served.status.connected)
            gateway.away = inbox.away = True
            await utility.publish(topics.command(KID), b"good 1")
            await until(lambda: gateway.asked >= 3)
            gateway.away = False
            await until(lambda: gateway.taken == [b"good 1"])
            await utility.publish(topics.price(PROVIDER), b"good prices")
            await until(lambda: inbox.asked >= 3)
            await utility.publish(topics.command(KID), b"good 2")  # waits behind the prices
        inbox.away = False
        async with running(utility_broker, own, gateway, inbox, tmp_path / "state"):
            await until(lambda: inbox.taken == [b"good prices"] and gateway.taken[-1] == b"good 2")
        assert set(gateway.taken) == {b"good 1", b"good 2"}


async def test_receipts_and_chunks_go_on_after_the_broker_was_away(
    utility_broker: UtilityMosquitto, tmp_path: Path
) -> None:
    own = utility_broker.certificates.issue(KID)
    gateway, inbox = FakeGateway(loads=[STREAM]), Inbox()
    chunk = f"v1/{STREAM}/chunk/2099-11-22/{{:016x}}.cose"
    for number in range(5):
        gateway.objects[chunk.format(number)] = b"closed before the grant was seen"
    async with running(utility_broker, own, gateway, inbox, tmp_path / "state") as served:
        async with utility_client(utility_broker) as utility:
            await utility.subscribe([f"gw1/{KID}/+", f"gw1/{KID}/chunk/+"])
            kept = tmp_path / "state" / "chunks.json"
            await until(kept.exists)
            for number in range(5, 10):
                gateway.objects[chunk.format(number)] = b"chunk %d" % number
            for number in range(5, 8):
                assert await take(utility, topics.chunk(KID, STREAM)) == b"chunk %d" % number
        utility_broker.stop()
        gateway.learn("1")
        gateway.objects[chunk.format(10)] = b"chunk 10"
        gateway.objects |= {
            chunk.replace(STREAM, other).format(0): b"" for other in ("dd" * 16, "ee" * 16, "ff" * 16)
        }
        await until(lambda: not served.status.connected and served.status.fault is not None)
        assert "Connection refused" in (served.status.fault or "") or "broke" in (served.status.fault or "")
        await asyncio.to_thread(utility_broker.start)
        async with utility_client(utility_broker) as utility:
            await utility.subscribe([f"gw1/{KID}/#"])
            assert await take(utility, topics.receipt(KID)) == gateway.known[0].receipt
            gateway.objects[chunk.format(11)] = b"chunk 11"
            while await take(utility, topics.chunk(KID, STREAM)) != b"chunk 11":
                pass
            assert set(json.loads(kept.read_bytes())) == {STREAM}  # no load was granted of the others


async def test_what_is_forged_foreign_or_too_large_is_dropped_and_the_connection_stays(
    utility_broker: UtilityMosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = utility_broker.certificates.issue(KID)
    gateway, inbox = FakeGateway(), Inbox()
    caplog.set_level(logging.INFO)
    async with utility_client(utility_broker) as utility:
        await utility.subscribe([f"gw1/{KID}/status"])
        async with running(utility_broker, own, gateway, inbox, tmp_path / "state"):
            assert await take(utility, topics.status(KID)) == b"online"
            await utility.publish(topics.command(KID), b"forged")
            await utility.publish(topics.command(KID), b"good" * MAX_COMMAND)
            await utility.publish(topics.command(KID), b"")
            await utility.publish(topics.price(PROVIDER), b"\xff" * 100)
            await utility.publish(topics.price(PROVIDER), b"good" + bytes(MAX_PACKET))
            await utility.publish("gw1/price/not\N{SNOWMAN}a-kid", b"forged")
            await utility.publish(topics.command(KID), b"good at last")
            await until(lambda: gateway.taken[-1:] == [b"good at last"])
            assert gateway.taken == [b"forged", b"", b"good at last"]
            assert inbox.taken == []
            await utility.publish("gw1/mark", b"")
        assert await take(utility, topics.status(KID)) == b"offline"
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [
        f"the utility's broker: dropped what came at '{topics.command(KID)}': "
        "the command: its signature is not by a known provider"
    ]  # the others within the same minute are counted in a later line
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_revoked_certificate_ends_the_connection_and_the_status_says_so(
    utility_broker: UtilityMosquitto, tmp_path: Path
) -> None:
    own = utility_broker.certificates.issue(KID)
    gateway = FakeGateway()
    async with running(utility_broker, own, gateway, Inbox(), tmp_path / "state") as served:
        await until(lambda: served.status.connected)
        await asyncio.to_thread(utility_broker.revoke, own)
        await until(lambda: "revoked" in (served.status.fault or ""))
        assert served.status.fault == (
            f"{utility_broker.url} refuses this client's certificate: it is revoked"
        )
        assert not served.status.connected


async def test_a_certificate_for_another_gateway_gets_and_gives_nothing(
    utility_broker: UtilityMosquitto, tmp_path: Path
) -> None:
    own = utility_broker.certificates.issue("ff" * 16)
    gateway = FakeGateway()
    gateway.learn("1")
    async with utility_client(utility_broker) as utility:
        await utility.subscribe([f"gw1/{KID}/#"])
        async with running(utility_broker, own, gateway, Inbox(), tmp_path / "state") as served:
            await until(lambda: served.status.fault is not None)
            assert served.status.fault == (
                f"{utility_broker.url} takes no message at {topics.status(KID)}: its rules do not allow it"
            )
            await utility.publish(topics.command(KID), b"good 1")
            await utility.publish(topics.status(KID), b"a mark")
            assert await take(utility, topics.status(KID)) == b"a mark"
    assert gateway.taken == []


def test_the_utilitys_broker_is_reached_over_tls_and_with_a_certificate_only() -> None:
    with pytest.raises(ValueError, match="over TLS only"):
        UtilityBroker(url="mqtt://h", certificate="/c", key="/k")
    with pytest.raises(ValueError, match="needs certificate and key"):
        UtilityBroker(url="mqtts://h")
    with pytest.raises(ValueError, match="needs both certificate and key"):
        UtilityBroker(url="mqtts://h", certificate="/c")
