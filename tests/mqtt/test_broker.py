"""A connection to a real Mosquitto: what is acknowledged, refused, kept, and how a connection ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from socket import create_server

import pytest

from gateway.errors import BrokerDenied, BrokerUnavailable, UsageError
from gateway.mqtt import topics
from gateway.mqtt.broker import RECEIVED_AT_ONCE, Access, Connection, Message, Retained, connected
from tests.support.mosquitto import UTILITY, Certificate, Certificates, Mosquitto, UtilityMosquitto, mosquitto
from tests.support.servers import wait_for

KID = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2


def plain(server: Mosquitto, client_id: str = "one", session_s: int = 0) -> Access:
    return Access("127.0.0.1", server.port, False, client_id, session_s=session_s)


def secure(server: UtilityMosquitto, own: Certificate, client_id: str = "one", session_s: int = 0) -> Access:
    return Access(
        "127.0.0.1",
        server.port,
        True,
        client_id,
        ca=server.certificates.ca,
        certificate=own.certificate,
        key=own.key,
        session_s=session_s,
    )


async def test_what_is_published_arrives_and_a_will_is_published_at_the_end(home_broker: Mosquitto) -> None:
    async with connected(plain(home_broker, "watcher")) as watcher:
        await watcher.subscribe(["home/#"])
        async with connected(plain(home_broker), Retained("home/status", b"offline")) as connection:
            await connection.publish("home/status", b"online", retain=True)
            await connection.publish("home/a", b"\x00\xff")
        seen = [await watcher.receive() for _ in range(3)]
    assert [(one.topic, one.payload) for one in seen] == [
        ("home/status", b"online"),
        ("home/a", b"\x00\xff"),
        ("home/status", b"offline"),
    ]
    async with connected(plain(home_broker, "later")) as later:
        await later.subscribe(["home/#"])
        kept = await later.receive()
    assert (kept.topic, kept.payload, kept.retained) == ("home/status", b"offline", True)


async def test_what_was_not_acknowledged_comes_again_and_what_comes_while_away_is_kept(
    home_broker: Mosquitto,
) -> None:
    away = plain(home_broker, "away", session_s=600)
    async with connected(plain(home_broker, "sender")) as sender:
        async with connected(away) as connection:
            await connection.subscribe(["to/me"])
            await sender.publish("to/me", b"1")
            await sender.publish("to/me", b"2")
            connection.acknowledge(await connection.receive())
            assert (await connection.receive()).payload == b"2"  # and not acknowledged
        await sender.publish("to/me", b"3")
        home_broker.restart()
    async with connected(away) as connection:
        assert [(await connection.receive()).payload for _ in range(2)] == [b"2", b"3"]


async def test_only_so_much_waits_here_and_the_rest_comes_with_the_next_connection(
    home_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.mqtt.broker.MAX_WAITING_BYTES", 4 * 600)
    access, seen, rounds = plain(home_broker, "slow", session_s=600), set[bytes](), 0
    sent = {b"%d" % number for number in range(3 * RECEIVED_AT_ONCE)}
    async with connected(plain(home_broker, "sender")) as sender, connected(access) as connection:
        await connection.subscribe(["to/me"])
        for payload in sent:
            await sender.publish("to/me", payload)
    while seen != sent:
        rounds += 1
        with suppress(BrokerUnavailable):
            async with connected(access) as connection:
                if rounds == 1:
                    assert await asyncio.to_thread(wait_for, lambda: connection._more, 20)
                while seen != sent:
                    message = await connection.receive()
                    assert connection._received.qsize() <= 4
                    seen.add(message.payload)
                    connection.acknowledge(message)
    assert rounds > 1


async def test_what_may_be_lost_and_is_too_much_ends_no_connection(
    home_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[Message] = []
    queue = Connection._queue
    monkeypatch.setattr("gateway.mqtt.broker.MAX_WAITING_BYTES", 4 * 600)

    def counted(self: Connection, message: Message) -> None:
        came.append(message)
        queue(self, message)

    monkeypatch.setattr(Connection, "_queue", counted)
    async with connected(plain(home_broker, "sender")) as sender, connected(plain(home_broker)) as connection:
        await connection.subscribe(["much"], qos=0)
        await connection.subscribe(["mark"])
        for number in range(20):
            await sender.publish("much", b"%d" % number)
        assert await asyncio.to_thread(wait_for, lambda: len(came) == 20, 20)
        kept = [await connection.receive() for _ in range(4)]
        assert [(one.payload, one.qos) for one in kept] == [(b"%d" % number, 0) for number in range(4)]
        waiting = asyncio.create_task(connection.receive())
        await sender.publish("mark", b"")
        assert (await waiting).topic == "mark"


async def test_a_broker_that_ends_fails_whoever_waits_and_nothing_is_sent_later(
    home_broker: Mosquitto,
) -> None:
    async with connected(plain(home_broker)) as connection:
        waiting = asyncio.ensure_future(connection.receive())
        home_broker.stop()
        with pytest.raises(BrokerUnavailable, match=f"{home_broker.url}: the connection broke"):
            await waiting
        with pytest.raises(BrokerUnavailable):
            await connection.publish("late", b"x", retain=True)
        with pytest.raises(BrokerUnavailable, match="Connection refused"):
            async with connected(plain(home_broker)):
                pass
        home_broker.start()
    async with connected(plain(home_broker, "watcher")) as watcher:
        await watcher.subscribe(["#"])
        await watcher.publish("mark", b"")
        assert (await watcher.receive()).topic == "mark"  # and nothing retained before it


async def test_a_publish_that_the_rules_forbid_is_an_error_and_a_subscription_that_they_forbid_is_silent(
    utility_broker: UtilityMosquitto,
) -> None:
    own, other = utility_broker.certificates.issue(KID), utility_broker.certificates.issue(OTHER)
    utility = utility_broker.certificates.issue(UTILITY)
    async with (
        connected(secure(utility_broker, own)) as connection,
        connected(secure(utility_broker, other)) as stranger,
        connected(secure(utility_broker, utility)) as sender,
    ):
        await connection.subscribe([topics.command(KID), topics.PRICES])
        await stranger.subscribe([topics.command(KID), topics.command(OTHER), "gw1/#"])  # all granted
        for forbidden in (topics.command(KID), topics.receipt(OTHER), topics.price(OTHER), "elsewhere"):
            with pytest.raises(BrokerDenied, match=f"takes no message at {forbidden}: its rules"):
                await connection.publish(forbidden, b"forged")
        await sender.publish(topics.command(KID), b"to the one")
        await sender.publish(topics.command(OTHER), b"to the other")
        await sender.publish(topics.price(OTHER), b"to all")
        assert [(await connection.receive()).payload for _ in range(2)] == [b"to the one", b"to all"]
        # Whoever subscribes twice to a topic gets it twice: by command(OTHER) and by gw1/#.
        seen = {(await stranger.receive()).topic for _ in range(3)}
        assert seen == {topics.command(OTHER), topics.price(OTHER)}


async def test_a_client_that_takes_anothers_id_takes_nothing(utility_broker: UtilityMosquitto) -> None:
    own, thief = utility_broker.certificates.issue(KID), utility_broker.certificates.issue(OTHER)
    utility = utility_broker.certificates.issue(UTILITY)
    async with (
        connected(secure(utility_broker, own, f"gw1-{KID}", session_s=600)) as connection,
        connected(secure(utility_broker, thief, f"gw1-{KID}", session_s=600)) as stranger,
        connected(secure(utility_broker, utility)) as sender,
    ):
        await stranger.subscribe([topics.command(KID), topics.test(OTHER)])
        await connection.subscribe([topics.command(KID)])
        await sender.publish(topics.command(KID), b"for one alone")
        assert (await connection.receive()).payload == b"for one alone"
        await stranger.publish(topics.test(OTHER), b"mark")
        assert (await stranger.receive()).payload == b"mark"


async def test_each_refusal_of_a_certificate_has_its_sentence(
    utility_broker: UtilityMosquitto, tmp_path: Path
) -> None:
    own = utility_broker.certificates.issue(KID)
    access = secure(utility_broker, own)
    foreign = Certificates(tmp_path / "foreign", "another CA")
    alien = foreign.issue(KID)
    cases = [
        (replace(access, ca=foreign.ca), "certificate is not trusted: .*; check `ca`"),
        (
            replace(access, certificate=None, key=None),
            "wants a certificate",
        ),
        (secure(utility_broker, alien), "refuses this client's certificate: it does not know who signed it"),
    ]
    for wrong, sentence in cases:
        with pytest.raises(BrokerDenied, match=sentence):
            async with connected(wrong):
                pass
    with pytest.raises(UsageError, match="are no certificate"):
        async with connected(replace(access, key=alien.key)):
            pass
    with pytest.raises(UsageError, match="holds no certificates"):
        async with connected(replace(access, ca=own.key)):
            pass
    async with connected(access) as connection:
        utility_broker.revoke(own)
        with pytest.raises(BrokerUnavailable):
            await connection.receive()
    with pytest.raises(BrokerDenied, match="refuses this client's certificate: it is revoked"):
        async with connected(access):
            pass


async def test_a_login_is_checked(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "broker", "allow_anonymous false") as server:
        wrong = replace(plain(server), username="me", password="wrong")
        with pytest.raises(BrokerDenied, match="its rules do not allow it"):
            async with connected(wrong):
                pass


async def test_a_dead_port_and_a_broker_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.mqtt.broker._ANSWER_S", 0.2)
    with create_server(("127.0.0.1", 0)) as silent:  # the kernel connects, and nobody reads
        port = silent.getsockname()[1]
        with pytest.raises(BrokerUnavailable, match=r"did not confirm the connection within 0\.2 s"):
            async with connected(Access("127.0.0.1", port, False, "one")):
                pass
    with pytest.raises(BrokerUnavailable, match="Connection refused"):
        async with connected(Access("127.0.0.1", port, False, "one")):
            pass


_QOS_2 = b"\x34\x06\x00\x01a\x00\x01\x00"  # at topic a, number 1


@pytest.mark.parametrize("sent", [b"\x32\xff\xff\xff\x7f", _QOS_2], ids=["256 MiB", "QoS 2"])
async def test_a_broker_that_would_fill_the_memory_is_left(sent: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x20\x03\x00\x00\x00" + sent)  # CONNACK
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server, asyncio.timeout(10):
        access = Access("127.0.0.1", server.sockets[0].getsockname()[1], False, "one")
        async with connected(access) as connection:
            with pytest.raises(BrokerUnavailable, match="the connection broke"):
                await connection.receive()
