"""Notices over real brokers, real stores and a webhook: what is heard, what is refused, and what is told."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from boto3.session import Session

from gateway.bench.seaweedfs import free_ports
from gateway.centre import notices
from gateway.centre.hints import Hints
from gateway.centre.notices import Broker, Webhook, heeding, read_sources
from gateway.errors import UsageError
from gateway.mqtt import topics
from gateway.mqtt.broker import Access, Connection, connected
from gateway.store.opening import open_bucket
from gateway.wire import names
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed
from tests.stream.stream import random_readings
from tests.support.mosquitto import DESK, Mosquitto, UtilityMosquitto
from tests.support.servers import BUCKET, S3Server, minio, minio_binary, seaweedfs, wait_for

KID = "0123456789abcdef" * 2
STREAM, OTHER = secrets.token_bytes(16), secrets.token_bytes(16)


async def until(condition: Any) -> None:
    assert await asyncio.to_thread(wait_for, condition, 30)


@asynccontextmanager
async def listener(secret: bytes | None) -> AsyncIterator[tuple[str, Hints]]:
    """A webhook's address, and what is heard there."""
    hints = Hints()
    hints.expect([STREAM, OTHER])
    with ExitStack() as ports:
        port = free_ports(ports)["s3"]
        async with heeding([Webhook("127.0.0.1", port, secret)], hints, pytest.fail):
            yield f"http://127.0.0.1:{port}/", hints


async def test_a_webhook_hears_whoever_knows_the_secret() -> None:
    body = json.dumps({"event_type": "create", "key": f"/buckets/meters/{names.head(STREAM)}"}).encode()
    async with listener(b"open sesame") as (url, hints), ClientSession() as session:
        for shown in (
            None,
            "",
            "Bearer",
            "Bearer open sesam",
            "Bearer open sesame2",
            "open sesame",
            "Bearer \u00e9",
        ):
            headers = {} if shown is None else {"Authorization": shown}
            async with session.post(url, data=body, headers=headers) as answer:
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert not hints._heard
        async with session.post(
            f"{url}any/path", data=body, headers={"Authorization": "Bearer open sesame"}
        ) as answer:
            assert (answer.status, await answer.read()) == (204, b"")
    assert list(hints._heard) == [STREAM]


async def test_a_webhook_takes_whatever_comes(caplog: pytest.LogCaptureFixture) -> None:
    async with listener(None) as (url, hints), ClientSession() as session:
        for body, status in ((b"", 204), (b"\xff" * 16_384, 204), (b" " * 16_385, 413), (b"{", 204)):
            async with session.post(url, data=body) as answer:
                assert answer.status == status
        async with session.get(url) as answer:
            assert answer.status == 405
        async with session.post(url, data=b"no gzip", headers={"Content-Encoding": "gzip"}) as answer:
            assert answer.status == 400
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].strip("/")))
        writer.write(b"\x00\xff no HTTP\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        async with session.post(url, data=OTHER.hex()) as answer:
            assert answer.status == 204
        assert list(hints._heard) == [OTHER]
        assert not caplog.records
        port = int(url.split(":")[2].strip("/"))
        with pytest.raises(
            UsageError, match=f"cannot be listened for at 127.0.0.1, port {port}: Address already"
        ):
            async with heeding([Webhook("127.0.0.1", port)], hints, pytest.fail):
                pass


def test_sources_are_read_or_refused_with_a_sentence(tmp_path: Path) -> None:
    password, empty = tmp_path / "password", tmp_path / "empty"
    for path, content in ((password, b"open sesame\n"), (empty, b"\n")):
        path.touch(0o600)
        path.write_bytes(content)
    (first, hook) = read_sources(
        ["mqtt://me@127.0.0.1/store/meters", "http://127.0.0.1:8091/", "mqtt://me@127.0.0.1:1883"],
        secret=password,
    )
    assert isinstance(first, Broker)
    assert (first.access.url, first.access.username, first.access.password) == (
        "mqtt://127.0.0.1:1883",
        "me",
        "open sesame",
    )
    assert first.topics == ("store/meters", "gw1/+/chunk/+")
    assert hook == Webhook("127.0.0.1", 8091, b"open sesame")
    assert "sesame" not in repr((first, hook))
    assert read_sources(["http://[::1]:8091"]) == (Webhook("::1", 8091),)
    for url, more, sentence in (
        ("ftp://127.0.0.1", {}, "--notices ftp://127.0.0.1: expected mqtts://HOST, "),
        ("mqtt://", {}, "expected mqtts://HOST"),
        ("mqtts://[::1", {}, r"--notices mqtts://\[::1: expected mqtts://HOST, "),
        ("mqtt://host:0", {}, "expected"),
        ("mqtt://host:99999", {}, "expected"),
        ("mqtt://host/a#b", {}, "expected"),
        ("http://127.0.0.1", {}, "expected"),
        ("http://127.0.0.1:80/path", {}, "expected"),
        ("http://me@127.0.0.1:80/", {}, "expected"),
        ("http://10.0.0.1:80/", {}, "whoever reaches it could post there"),
        ("http://example.org:80/", {}, "whoever reaches it could post there"),
        ("mqtt://me:secret@host", {}, "holds a password: name a file that has it with --notices-secret"),
        ("mqtt://me@host", {}, "name a file with this user's password"),
        ("mqtt://host", {"secret": password}, "the secret of notices is for a broker's user or a webhook"),
        ("mqtt://host", {"ca": password}, "certificates of notices are for a broker over TLS"),
        ("mqtts://host", {"ca": password}, "holds no certificates"),
        ("mqtts://host", {"key": password}, "takes both a certificate and its key"),
        ("mqtts://host", {"certificate": password, "key": password}, "are no certificate"),
        ("http://127.0.0.1:80/", {"secret": empty}, "does not hold a secret"),
        ("http://127.0.0.1:80/", {"secret": tmp_path / "none"}, "cannot be read"),
    ):
        with pytest.raises(UsageError, match=sentence) as raised:
            read_sources([url], **more)
        assert "sesame" not in str(raised.value)
        assert "me:secret" not in str(raised.value)


async def test_a_broker_that_goes_is_told_once_and_once_more_when_it_is_back(
    home_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And garbage, a flood and what is too large end nothing."""
    monkeypatch.setattr(notices, "_AGAIN_S", 0.05)
    tries, told, hints = 0, list[str](), Hints()
    hints.expect([STREAM, OTHER])
    opened = Connection.open

    async def counted(self: Connection) -> None:
        nonlocal tries
        tries += 1
        await opened(self)

    monkeypatch.setattr(Connection, "open", counted)
    sources = read_sources([f"{home_broker.url}/store/+"])
    access = Access("127.0.0.1", home_broker.port, False, "store")

    def subscribed() -> int:
        return home_broker.log.count("Sending SUBACK to gateway-centre-")

    async with heeding(sources, hints, told.append):
        await until(lambda: subscribed() == 1)
        async with connected(access) as store:
            for said in (b"", b"\xff" * 1000, b"{" * 1_000_000, b"x" * 3_000_000, OTHER):
                await store.publish("store/meters", said)
            await asyncio.gather(
                *(store.publish("store/meters", secrets.token_hex(16).encode()) for _ in range(500))
            )
            await store.publish("elsewhere", STREAM.hex().encode())
            assert not hints._heard
            await store.publish("store/meters", json.dumps({"Key": f"meters/{names.head(OTHER)}"}).encode())
            await until(lambda: hints._heard)
        assert list(hints._heard) == [OTHER]
        assert told == []
        home_broker.stop()
        before = tries
        await until(lambda: tries > before + 3)
        (gone,) = told
        assert gone.startswith(f"{home_broker.url}: the connection broke")
        assert gone.endswith("; no notices come from there now, and the looks at all homes go on")
        home_broker.start()
        await until(lambda: subscribed() == 2)
        async with connected(access) as store:
            await store.publish("store/meters", STREAM.hex().encode())
        await until(lambda: len(hints._heard) == 2)
        assert told[1:] == [f"{home_broker.url}: connected; notices come again"]


async def test_a_utilitys_broker_opens_to_a_certificate(
    utility_broker: UtilityMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the chunks that gateways send, of which the topic names the stream."""
    monkeypatch.setattr(notices, "_AGAIN_S", 0.05)
    issue = utility_broker.certificates.issue
    desk, gateway, ca = issue(DESK), issue(KID), utility_broker.certificates.ca
    hints = Hints()
    hints.expect([STREAM])
    told: list[str] = []
    async with heeding(read_sources([utility_broker.url], ca=ca), hints, told.append):
        await until(lambda: told)
    assert told == [
        f"{utility_broker.url} wants a certificate: set `certificate` and `key`; no notices come from there"
        " now, and the looks at all homes go on"
    ]
    sources = read_sources([utility_broker.url], ca=ca, certificate=desk.certificate, key=desk.key)
    access = Access(
        "127.0.0.1", utility_broker.port, True, KID, ca=ca, certificate=gateway.certificate, key=gateway.key
    )
    async with heeding(sources, hints, pytest.fail), connected(access) as sender:
        await until(lambda: f"Sending SUBACK to {DESK}" in utility_broker.log)
        await sender.publish(topics.chunk(KID, STREAM.hex()), b"\xd2\x84")
        await until(lambda: hints._heard)


@dataclass
class Following:
    """`gateway centre ingest --follow` as a process."""

    process: asyncio.subprocess.Process

    async def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 60))
        return found


@asynccontextmanager
async def following(street: Neighbourhood, *words: object) -> AsyncIterator[Following]:
    """It looks at all homes once, and not again while the test runs."""
    listed = [
        f"{one.listed.stream.hex()},{one.listed.signer.hex()},{one.listed.grant.hex()},{one.region}\n"
        for one in street.listing
    ]
    homes = street.folder / "homes.csv"
    homes.write_text("stream,signer,grant,region\n" + "".join(listed))
    own = ["ingest", street.folder / "data", "--key", street.centre.folder, "--homes", homes, "--json"]
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("gateway"),
        "centre",
        *(str(word) for word in (*own, "--follow", "--every", "2min", *words)),
        stdout=subprocess.PIPE,
    )
    try:
        yield Following(process)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_list_that_is_wrong_for_a_while_does_not_end_the_looks(tmp_path: Path) -> None:
    """As it is while it is being saved."""
    street = Neighbourhood.new(tmp_path)
    for _ in range(3):
        street.joins(sealed(120))
    await street.store()
    async with following(street, "--store", tmp_path / "store", "--every", "1s") as centre:
        assert (await centre.line())["windows"] == 6
        whole = (tmp_path / "homes.csv").read_text()
        (tmp_path / "homes.csv").write_text(whole[:-30])
        street.homes[2].seal(random_readings(120))
        await street.store()
        found = [await centre.line()]
        while not found[-1]["windows"]:
            found.append(await centre.line())
        assert found[-1]["homes"] == 3
        assert found[-1]["homes_with_new_windows"] == 1


async def followed(
    street: Neighbourhood, server: S3Server, monkeypatch: pytest.MonkeyPatch, ready: Any, *words: object
) -> None:
    """What homes publish into a store is taken in as it gives notice of it, and the load is the truth."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    for _ in range(3):
        street.joins(sealed(120))
    street.bucket = bucket = open_bucket(server.location())
    sent: set[tuple[str, bytes]] = set()

    async def publish() -> None:
        for home in street.homes:
            head = names.head(home.id)
            for key, data in sorted(home.objects.items(), key=lambda one: one[0] == head):  # the head last
                if (key, data) not in sent:
                    await bucket.put(key, data, replace=True)
                    sent.add((key, data))

    try:
        await publish()
        where = ["--store", f"s3://{BUCKET}", "--endpoint", server.endpoint, "--region", "us-east-1"]
        async with following(street, *where, *words) as centre:
            whole = await centre.line()
            assert (whole["notified"], whole["windows"], whole["homes"]) == (False, 6, 3)
            await until(ready)
            street.homes[1].seal(random_readings(120))
            await publish()
            windows = 0
            while windows < 2:  # a look may come between a home's objects
                some = await centre.line()
                assert (some["notified"], some["homes_with_new_windows"]) == (True, 1)
                assert (some["complete_until"], some["passed_over"]) == (None, [])
                windows += some["windows"]
            assert windows == 2
        for number in (0, 2):
            street.homes[number].seal(random_readings(120))
        await publish()
        assert (await street.takes_in()).windows == 4
        found = await street.load(minutes(*range(5)))
        assert found.sums.tolist() == street.truth(found.windows)
    finally:
        await bucket.aclose()


@pytest.mark.slow
async def test_minios_notifications_come_over_mqtt(
    home_broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not minio_binary().exists() and os.environ.get("GATEWAY_REQUIRE_MINIO") != "1":
        pytest.skip("MinIO is not built: run provisioning/minio.sh (4 to 5 minutes, once)")
    settings = {
        "MINIO_NOTIFY_MQTT_ENABLE_CENTRE": "on",
        "MINIO_NOTIFY_MQTT_BROKER_CENTRE": f"tcp://127.0.0.1:{home_broker.port}",
        "MINIO_NOTIFY_MQTT_TOPIC_CENTRE": "store/meters",
        "MINIO_NOTIFY_MQTT_QOS_CENTRE": "1",
        "MINIO_NOTIFY_MQTT_QUEUE_DIR_CENTRE": str(tmp_path / "queue"),
    }
    with minio(tmp_path / "minio", **settings) as server:
        client = Session().client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
        )
        heads = {"Key": {"FilterRules": [{"Name": "suffix", "Value": "/head.cose"}]}}
        queue: Any = {
            "QueueArn": "arn:minio:sqs::CENTRE:mqtt",
            "Events": ["s3:ObjectCreated:*"],
            "Filter": heads,
        }
        with closing(client):
            client.put_bucket_notification_configuration(
                Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": [queue]}
            )
        await followed(
            Neighbourhood.new(tmp_path),
            server,
            monkeypatch,
            lambda: "Sending SUBACK to gateway-centre-" in home_broker.log,
            "--notices",
            f"{home_broker.url}/store/meters",
        )


@pytest.mark.slow
async def test_seaweedfs_posts_to_the_webhook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("open sesame\n")
    with ExitStack() as ports:
        url = f"http://127.0.0.1:{free_ports(ports)['s3']}/"
        (tmp_path / "weed").mkdir()
        (tmp_path / "weed" / "notification.toml").write_text(
            f"""
            [notification.webhook]
            enabled = true
            endpoint = "{url}"
            bearer_token = "open sesame"
            event_types = ["create", "update"]
            path_prefixes = ["/buckets/{BUCKET}/"]
            """
        )
        with seaweedfs(tmp_path / "weed") as server:
            await followed(
                Neighbourhood.new(tmp_path),
                server,
                monkeypatch,
                lambda: True,
                "--notices",
                url,
                "--notices-secret",
                secret,
            )


@pytest.mark.slow
async def test_a_chunk_that_a_gateway_sends_live_is_a_hint(
    utility_broker: UtilityMosquitto, tmp_path: Path
) -> None:
    street, issue = Neighbourhood.new(tmp_path), utility_broker.certificates.issue
    for _ in range(2):
        street.joins(sealed(60))
    await street.store()
    desk, gateway, ca = issue(DESK), issue(KID), utility_broker.certificates.ca
    access = Access(
        "127.0.0.1", utility_broker.port, True, KID, ca=ca, certificate=gateway.certificate, key=gateway.key
    )
    files = ["--notices-ca", ca, "--notices-certificate", desk.certificate, "--notices-key", desk.key]
    store = ["--store", street.folder / "store", "--notices", utility_broker.url]
    async with following(street, *store, *files) as centre, connected(access) as sender:
        assert (await centre.line())["windows"] == 2
        await until(lambda: f"Sending SUBACK to {DESK}" in utility_broker.log)
        home = street.homes[0]
        for one in street.homes:
            one.seal(random_readings(60))
        await street.store()
        await sender.publish(topics.chunk(KID, home.id.hex()), home.objects[home.chunks[-1]])
        some = await centre.line()
        assert (some["notified"], some["windows"], some["homes"]) == (True, 1, 1)
