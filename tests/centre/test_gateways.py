"""The whole way: gateways' objects in a real S3 store, taken in and added up, until the load is the truth."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import pytest

from gateway.centre.engine import DuckDB
from gateway.centre.homes import Home as Listing
from gateway.centre.ingest import ingest
from gateway.centre.query import load
from gateway.centre.state import State
from gateway.chain.layout import Layout
from gateway.cli.main import main
from gateway.control.documents import NewGrant
from gateway.host.clock import SystemClock
from gateway.provider.homes import Listed
from gateway.provider.identity import new_identity, open_identity
from gateway.provider.load import Windows
from gateway.provider.membership import join
from gateway.registrar.indexer import Indexer
from gateway.registrar.loads import LoadMemory, LoadService
from gateway.registrar.server import serving
from gateway.registrar.service import Registrar
from gateway.registry.client import RegistrarClient
from gateway.registry.documents import StreamsRequest
from gateway.store.bucket import Bucket
from gateway.store.opening import open_bucket
from gateway.wire import names
from gateway.wire.certificate import Certificate
from gateway.wire.cose import kid_of
from gateway.wire.signed import Signed
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed
from tests.stream.stream import Provider, random_readings
from tests.support.home import Home as Gateway
from tests.support.registrar import Holder, open_new, register
from tests.support.registrar import settings as registrar_settings
from tests.support.servers import S3Server

pytestmark = pytest.mark.slow

BEGIN_S = datetime(2026, 5, 28, 20, tzinfo=UTC).timestamp()
GRANULARITIES = ("30s", "1min", "5min", "15min")


async def test_the_load_of_running_gateways_is_the_truth(seaweedfs: S3Server, tmp_path: Path) -> None:
    """Three gateways of 30 s units, each with its root, ledger, sealer, issuer and publisher, of which one
    crashes and one comes late; loads of four granularities, granted by the household."""
    street = Neighbourhood.new(tmp_path)
    cards = [street.centre.card, street.service.card]
    listing: list[Listing] = []
    async with AsyncExitStack() as stack:
        store = street.bucket = open_bucket(seaweedfs.location(secrets.token_hex(4)))
        stack.push_async_callback(store.aclose)
        gateways = []
        for number in range(3):
            folder = tmp_path / f"home {number}"
            gateway = Gateway(folder, layout=Layout(30_000, 30), chunk_units=30, start_s=BEGIN_S)
            gateways.append(await stack.enter_async_context(gateway))
            await gateway.runs(35)  # the stream begins with a link
            stream = await gateway.stream()
            signer = kid_of(gateway.root.public_key)
            for granularity in GRANULARITIES:
                wanted = NewGrant("load", granularity, "UTC", ("import", "export"), "the street", None, None)
                (own, _), _ = await gateway.granter.new(
                    stream, cards, wanted, confirmed=True, fingerprints=[card.fingerprint for card in cards]
                )
                listing.append(Listing(Listed(stream.id, signer, own.record.id), "North"))
        for number, units in enumerate((60, 60, 40)):
            await gateways[number].runs(units, imported=7 + number, exported=3 * number)
        await gateways[1].crashes_and_starts()
        for number, units in enumerate((90, 90, 30)):
            await gateways[number].runs(units, imported=101 + number, exported=number)
        for gateway in gateways:
            await gateway.publish()
            async for key in gateway.bucket.list(""):
                await store.put(key, await gateway.bucket.get(key), replace=True)
        stored = [await gateway.stored() for gateway in gateways]
        state = State.open(tmp_path / "data", make=True)
        stack.callback(state.close)
        state.list_homes(listing)
        taken = await ingest(state, store, street.centre.identity, gateways[0].clock.now_ms)
        assert taken.passed_over == ()
        assert taken.windows == len(pq.ParquetDataset(tmp_path / "data" / "windows").read())
        begin = -(-(stored[0].start + 5) * 30_000 // 900_000) * 900_000
        for granularity in GRANULARITIES[::-1]:  # each is over the sets of the ones before
            windows = Windows.between(("import", "export"), begin, begin + 3_600_000, granularity)
            found = await load(state, DuckDB(), "North", windows, street.ask)
            assert found.problems == {}
            assert set(found.homes) == {2, 3}
            for i, (a, b) in enumerate(windows.times):
                inside = [one for one in stored if one.end * 30_000 >= b][: found.homes[i]]
                first, end = a // 30_000, b // 30_000
                truth = [sum(one.total(lane, first, end) for one in inside) for lane in windows.lanes]
                assert found.sums[i].tolist() == truth


@dataclass
class Town:
    """Registered gateways of a neighbourhood, their store, and the commands of the centre in it."""

    street: Neighbourhood
    server: S3Server
    root: str
    bucket: Bucket
    registrar: Registrar
    url: str
    holders: list[Holder]

    async def run(self, *words: object) -> int:
        return await asyncio.to_thread(main, ["centre", *map(str, words)])

    async def publishes(self) -> None:
        for home in self.street.homes:
            for key, data in home.objects.items():
                await self.bucket.put(key, data, replace=True)

    def ingest(self, *words: object) -> list[object]:
        place = ["--store", f"s3://meters/{self.root}", "--endpoint", self.server.endpoint]
        homes = self.street.folder / "homes.csv"
        listed = [
            f"{one.listed.stream.hex()},{one.listed.signer.hex()},{one.listed.grant.hex()},{one.region}\n"
            for one in self.street.listing
        ]
        homes.write_text("stream,signer,grant,region\n" + "".join(listed))
        return ["ingest", *self._own, *place, "--region", "us-east-1", "--homes", homes, *words]

    def load(self, *words: object) -> list[object]:
        times = ["--from", "2026-03-01T00:00Z", "--until", "2026-03-01T00:04Z", "--granularity", "1min"]
        return ["load", *self._own, *times, "--region", "North", *words]

    @property
    def _own(self) -> list[object]:
        return [self.street.folder / "data", "--key", self.street.centre.folder]

    async def lists(self, number: int, region: str = "North") -> None:
        """The gateway tells the registrar its stream."""
        holder, home = self.holders[number], self.street.homes[number]

        async def sign(item: Signed) -> bytes:
            return holder.sign(item)

        async with RegistrarClient(self.url) as client:
            _, card = await client.status()
            await client.login(holder.kid, card, time.time_ns() // 1_000_000, sign)
            descriptor = home.objects[names.descriptor(home.id)]
            await client.put_streams(
                StreamsRequest(descriptors=(descriptor,), region=region, tariff_zone="H4", listed=True)
            )


@pytest.fixture
async def town(seaweedfs: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    now_ms = time.time_ns() // 1_000_000
    centre, service = (
        Provider(tmp_path / name, new_identity(tmp_path / name, name, now_ms), open_identity(tmp_path / name))
        for name in ("centre", "service")
    )
    street, root = Neighbourhood(tmp_path, centre, service), secrets.token_hex(4)
    for seconds in (240, 240, 130):
        street.joins(sealed(seconds, 90, assurance="software"))
    chosen = registrar_settings(tmp_path / "state")
    async with AsyncExitStack() as stack:
        bucket = open_bucket(seaweedfs.location(root))
        stack.push_async_callback(bucket.aclose)
        clock = SystemClock("host")
        registrar = await stack.enter_async_context(open_new(chosen, clock))
        await LoadMemory(registrar.database).begin()
        loads = LoadService(registrar.database, bucket, service.folder, 2, clock)
        registrar = replace(registrar, loads=loads)
        url = await stack.enter_async_context(serving(registrar))
        holders: list[Holder] = []
        one = Town(street, seaweedfs, root, bucket, registrar, url, holders)
        for number, home in enumerate(street.homes):
            password = await registrar.accounts.add(f"household{number}", "household")
            holders.append(Holder("gateway", now_ms, key=home.signer.key))
            await register(registrar, f"household{number}", password, holders[-1])
            await one.lists(number)
        password = await registrar.accounts.add("operator", "provider")
        await join(
            street.centre.folder,
            street.centre.identity,
            url=url,
            ca=None,
            user="operator",
            password=password,
            registrar_kid=registrar.identity.card.kid,
            now_ms=now_ms,
        )
        await one.publishes()
        yield one


async def test_the_commands_of_a_centre(
    town: Town, scheduler: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take in, show in every form, a home that broke, one whose certificate was revoked, and the same sums on
    a Dask cluster."""
    street = town.street
    assert await town.run(*town.ingest()) == 0
    out, err = capsys.readouterr()
    end = "2026-03-01T00:02:00Z"
    assert (out, err) == (f"10 windows of 3 homes taken in; 3 of 3 homes have all until {end}\n", "")
    truth = street.truth(minutes(0, 1, 2)) + street.truth(minutes(2, 3, 4), (0, 1))

    assert await town.run(*town.load("--format", "csv", "--zone", "Asia/Tokyo")) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [[int(Decimal(one["import kWh"]) * 10**6)] for one in rows] == truth
    assert [(one["homes"], one["missing"]) for one in rows] == [
        ("3", "0"),
        ("3", "0"),
        ("2", "1"),
        ("2", "1"),
    ]
    late = street.homes[2].id.hex()
    reason = "taken in until 2026-03-01T00:02:00Z"
    said = "taken in until 2026-03-01T09:02:00+09:00"  # for people, in the zone of the tables
    assert err == f"stream {late} is missing in 2 of 4 windows: {said}\n"

    files = {form: street.folder / f"load.{form}" for form in ("json", "jsonl", "parquet", "table")}
    picture = street.folder / "load.svg"
    for form, path in files.items():
        assert await town.run(*town.load("--format", form, "--output", path, "--plot", picture)) == 0
    capsys.readouterr()
    document = json.loads(files["json"].read_text())
    assert [[one["import_mwh"]] for one in document["windows"]] == truth
    assert document["missing"] == [{"stream": late, "windows": 2, "reason": reason}]
    lines = [json.loads(line) for line in files["jsonl"].read_text().splitlines()]
    assert lines == document["windows"]
    table = pq.read_table(files["parquet"])
    assert [[one] for one in table["import_mwh"].to_pylist()] == truth
    assert table["homes"].to_pylist() == [3, 3, 2, 2]
    assert files["table"].read_text().splitlines()[0].split() == ["from", "import", "kWh", "homes", "missing"]
    assert "Load of North: 2 to 3 of 3 homes; windows: 1min" in picture.read_text()

    assert await town.run(*town.load("--format", "json", "--scheduler", scheduler)) == 0
    assert json.loads(capsys.readouterr().out) == document
    with monkeypatch.context() as patch:  # what was shown before needs no registrar
        patch.setattr("gateway.cli.centre.registrar.session", None)
        assert await town.run(*town.load("--format", "json")) == 0
    assert json.loads(capsys.readouterr().out) == document

    await _with_noise(town, truth, capsys)


async def _with_noise(town: Town, truth: list[list[int]], capsys: pytest.CaptureFixture[str]) -> None:
    """Windows of two homes have noise, and each form says so."""
    files = {form: town.street.folder / f"noise.{form}" for form in ("json", "jsonl", "parquet", "table")}
    picture = town.street.folder / "noise.svg"
    noise = ["--noise-below", 3, "--epsilon", 0.5, "--home-limit", 5000]
    for form, path in files.items():
        words = town.load(*noise, "--format", form, "--output", path, "--plot", picture)
        assert await town.run(*words) == 0
    _, err = capsys.readouterr()
    said = "2 windows have noise: each of their numbers takes epsilon 0.5, if no home changes its set by more"
    assert err.count(f"{said} than 5000 W\n") == len(files)
    assert "of 3 homes, with noise of epsilon 0.5" in picture.read_text()
    document = json.loads(files["json"].read_text())
    assert [one["epsilon"] for one in document["windows"]] == [None, None, 0.5, 0.5]
    assert document.keys() == {"region", "windows"}, "names no home"
    noisy = [[one["import_mwh"]] for one in document["windows"]]
    assert noisy[:2] == truth[:2]
    assert all(a != b for a, b in zip(noisy[2:], truth[2:], strict=True))
    assert [json.loads(line) for line in files["jsonl"].read_text().splitlines()] == document["windows"]
    table = pq.read_table(files["parquet"])
    assert [[one] for one in table["import_mwh"].to_pylist()] == noisy
    assert table["epsilon"].to_pylist() == [None, None, 0.5, 0.5]
    assert files["table"].read_text().splitlines()[0].split()[-2:] == ["missing", "epsilon"]
    assert await town.run(*town.load(*noise, "--format", "csv")) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [one["epsilon"] for one in rows] == ["", "", "0.5", "0.5"]
    assert await town.run(*town.load("--noise-below", 3)) == 2
    assert "--noise-below and --epsilon go together" in capsys.readouterr().err


async def test_homes_that_break_or_are_not_certified(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    """What `ingest` names and `load` leaves out, each with the reason."""
    street, late = town.street, town.street.homes[2].id.hex()
    assert await town.run(*town.ingest()) == 0
    capsys.readouterr()
    for home in street.homes:
        home.seal(random_readings(110))
    broken = street.homes[1]
    broken.objects[broken.chunks[-4]] = broken.objects[broken.chunks[-5]]
    for _ in range(2):
        street.joins(sealed(480, assurance="software"))
    for number in (3, 4):
        password = await town.registrar.accounts.add(f"household{number}", "household")
        town.holders.append(
            Holder("gateway", time.time_ns() // 1_000_000, key=street.homes[number].signer.key)
        )
        await register(town.registrar, f"household{number}", password, town.holders[-1])
    await town.lists(3)
    await town.publishes()
    assert await town.run(*town.ingest("--json")) == 5
    out, err = capsys.readouterr()
    passed = json.loads(out)["passed_over"]
    assert [(one["stream"], one["kind"]) for one in passed] == [(broken.id.hex(), "refused")]
    named, advice = err.splitlines()
    assert named == f"gateway: stream {broken.id.hex()}: {passed[0]['error']}"
    assert advice.startswith("gateway: 1 home is refused, and in no new sum until the store has again")
    later = ["--from", "2026-03-01T00:04Z", "--until", "2026-03-01T00:05Z"]
    assert await town.run(*town.load(*later, "--format", "json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [[one["import_mwh"]] for one in found["windows"]] == street.truth(minutes(4, 5), (0, 3))
    reasons = {one["stream"]: one["reason"] for one in found["missing"]}
    assert reasons == {
        broken.id.hex(): passed[0]["error"],
        late: "taken in until 2026-03-01T00:04:00Z",
        street.homes[4].id.hex(): "its gateway has no valid certificate",
    }

    assert await town.run(*town.load("--region", "West")) == 2
    assert capsys.readouterr().err == "gateway: no home of region 'West': expected one of North\n"
    future = ["--from", "2026-03-02", "--until", "2026-03-03", "--granularity", "1h", "--zone", "UTC"]
    assert await town.run(*town.load(*future)) == 4
    assert "no load of 'North': no home of the region is complete in it" in capsys.readouterr().err


async def test_homes_of_the_registrars_catalogue(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its region there, for ever the first; a home whose certificate is revoked is missing by
    name."""
    street = town.street
    indexer = Indexer(town.registrar.database, town.bucket, SystemClock("host"))
    await indexer.look([home.id for home in street.homes])
    words = [word for word in town.ingest("--json") if word != street.folder / "homes.csv"]
    words.insert(words.index("--homes") + 1, "registrar:")
    assert await town.run(*words) == 0
    assert json.loads(capsys.readouterr().out)["windows"] == 10
    assert await town.run(*town.load("--format", "json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["homes"] for one in found["windows"]] == [3, 3, 2, 2]

    await town.lists(0, "South")
    signed = await town.registrar.cards.present(town.holders[1].kid)
    certificate = Certificate.read(signed, town.registrar.identity.card.signing_key, "a certificate")
    await town.registrar.cards.revoke(certificate.serial)
    for home in street.homes:
        home.seal(random_readings(120))
    await town.publishes()
    assert await town.run(*words) == 0
    capsys.readouterr()
    assert await town.run(*town.load("--until", "2026-03-01T00:06Z", "--format", "json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["homes"] for one in found["windows"]] == [3, 3, 2, 2, 0, 0]
    assert "this set has homes of 1" in found["windows"][4]["problem"]
    (revoked,) = [one for one in found["missing"] if one["stream"] == street.homes[1].id.hex()]
    assert revoked == {
        "stream": street.homes[1].id.hex(),
        "windows": 2,
        "reason": "its gateway has no valid certificate",
    }


async def test_a_centre_follows_its_homes_and_may_be_killed(town: Town) -> None:
    """A look after the other, through an outage of the store, and while another process shows loads; what it
    was killed in counts once."""
    street = town.street
    words = [str(one) for one in town.ingest("--follow", "--every", "1s", "--json")]

    async def started() -> asyncio.subprocess.Process:
        gateway = Path(sys.executable).with_name("gateway")
        pipe = subprocess.PIPE
        return await asyncio.create_subprocess_exec(gateway, "centre", *words, stdout=pipe, stderr=pipe)

    async def line(process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout is not None
        found: dict[str, Any] = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        return found

    first = await started()
    try:
        assert (await line(first))["windows"] == 10
        assert await town.run(*town.load()) == 0
        for home in street.homes:
            home.seal(random_readings(60))
        await asyncio.to_thread(town.server.stop)
        try:
            assert first.stderr is not None
            outage = await asyncio.wait_for(first.stderr.readline(), 60)
            assert outage.startswith(b"gateway: ")
            assert town.server.endpoint.removeprefix("http://").encode() in outage
        finally:
            await asyncio.to_thread(town.server.start)
        await town.publishes()
        windows = 0
        while windows < 3:
            windows += (await line(first))["windows"]
        assert windows == 3
    finally:
        first.kill()
        await first.wait()
    second = await started()
    try:
        assert (await line(second))["windows"] == 0
    finally:
        second.send_signal(signal.SIGINT)
    assert await second.wait() == 130


async def test_a_centre_serves_its_pages(town: Town, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the regions that were taken in, asked of a real registrar; a broken home is a line on stdout. What
    would let others read them is refused."""
    street = town.street
    broken = street.homes[1]
    broken.objects[broken.chunks[-2]] = broken.objects[broken.chunks[-3]]
    await town.publishes()
    assert await town.run(*town.ingest()) == 5
    limits, password = street.folder / "limits.csv", street.folder / "password"
    limits.write_text("region,limit_kw\nNorth,12\nWest,3\n")
    password.touch(mode=0o600)
    password.write_text("a short sentence\n")
    words = ["serve", *town._own, "--limits", limits, "--password", password, "--port", "0"]
    capsys.readouterr()
    for wrong, sentence in (
        (("--host", "0.0.0.0"), "the pages at 0.0.0.0 would cross the network in clear"),
        (("--tls-key", limits), "TLS needs both --tls-certificate and --tls-key, or neither"),
        (("--granularity", "day"), "a load curve has windows of at most an hour"),
        (("--key", limits), "limits.csv"),
    ):
        assert await town.run(*words, *wrong) == 2
        assert sentence in capsys.readouterr().err
    gateway, pipe = Path(sys.executable).with_name("gateway"), subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        gateway, "centre", *map(str, words), stdout=pipe, stderr=pipe
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        warning, begun = [(await asyncio.wait_for(process.stderr.readline(), 60)).decode() for _ in range(2)]
        assert "a limit names region 'West', which has no home" in warning
        url = begun.split()[-1]
        alarm = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        assert (alarm["alarm"], alarm["stream"], alarm["over"]) == ("chain", broken.id.hex(), False)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            async with browser.get(f"{url}/healthz") as answer:
                assert (answer.status, await answer.json()) == (200, {"ok": True})
            async with browser.get(url) as answer:
                (form,) = re.findall(r'name="form" value="(\w+)"', await answer.text())
            fields = {"form": form, "password": "a short sentence"}
            async with browser.post(f"{url}/login", data=fields, headers={"Origin": url}) as answer:
                assert ">North</a>" in await answer.text()
            async with browser.get(f"{url}/region?name=North") as answer:
                assert "no home of the region is complete in it" in await answer.text()
    finally:
        process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert b"Traceback" not in await process.stderr.read()
