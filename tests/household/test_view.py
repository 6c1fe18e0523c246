"""Views: what their page can open, what it cannot, and what of them is kept."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import SeriesSection
from gateway.control.client import ControlClient
from gateway.errors import GatewayError, Refused, StoreDenied, Unavailable, UsageError
from gateway.household.view import (
    PLACEHOLDER,
    Access,
    View,
    check_credentials,
    new_view,
    policy,
    revoke_view,
    seaweedfs_identity,
    views,
)
from gateway.provider.grants import renewed
from gateway.provider.identity import generate_identity
from gateway.provider.query import Query
from gateway.provider.sums import Row, Sums
from gateway.store.location import Location
from gateway.store.memory import MemoryBucket
from gateway.stream.grants import check_grant
from gateway.stream.reader import StreamReader
from gateway.wire import names
from tests.support.home import LINK_UNITS, Home
from tests.support.serving import serving

ACCESS = Access("https://s3.example.org", "meters", "eu-central-1", "reader", "a read-only secret")
TEMPLATE = b'<script type="application/json" id="view">' + PLACEHOLDER + b"</script>"


@asynccontextmanager
async def asking(home: Home) -> AsyncIterator[ControlClient]:
    async with serving(home, home.folder / "s"):
        yield ControlClient(home.folder / "s")


async def made(home: Home, client: ControlClient, name: str = "phone of Anna", **wish: Any) -> View:
    wish = {"granularity": "10s", "zone": "Europe/Berlin", **wish}
    return await new_view(client, name, ACCESS, **wish)


async def opened(home: Home, stream: Mapping[str, str]) -> list[Row]:
    """What a phone opens of a stream in the store, with what is in the document alone."""
    reader = await StreamReader.open(home.bucket, bytes.fromhex(stream["s"]), bytes.fromhex(stream["k"]))
    await reader.refresh(home.clock.now_ms, 10**9)
    key = names.grant(reader.descriptor.stream, bytes.fromhex(stream["g"]))
    _, grant = check_grant(reader.descriptor, key, await home.bucket.get(key))
    held = await renewed(reader, grant, bytes.fromhex(stream["k0"]))
    nobody, _, _ = generate_identity("nobody", home.clock.now_ms)
    sums = await Sums.ask(reader, nobody, Query(), [held])
    async with aclosing(sums.rows()) as rows:
        return [row async for row in rows]


def truth(home: Home, row: Row, meter: str = "main") -> tuple[int, int]:
    """What the meter's registers rose by."""
    a, b = (home.layout.unit_at(int(moment.timestamp()) * 10**9) for moment in (row.start, row.end))
    before, last = home.read[meter, a - 1][-1], home.read[meter, b - 1][-1]
    return last[0] - before[0], last[1] - before[1]


async def test_its_document_opens_what_was_chosen_until_it_is_revoked(tmp_path: Path) -> None:
    async with Home(tmp_path, meters=("main", "pv")) as home, asking(home) as client:
        await home.runs(4 * LINK_UNITS)
        view = await made(home, client, from_ms=home.clock.now_ms - 60_000, language="de")
        document = dict(view.document)
        streams = document.pop("streams")
        assert document == {
            "v": 1,
            "name": "phone of Anna",
            "zone": "Europe/Berlin",
            "lang": "de",
            "e": "https://s3.example.org",
            "b": "meters",
            "r": "eu-central-1",
            "a": "reader",
            "s": "a read-only secret",
        }
        assert [one["name"] for one in streams] == ["main", "pv"]
        assert all(set(one) == {"s", "k", "g", "k0", "name"} for one in streams)
        await home.runs(2 * LINK_UNITS)
        await home.publish()
        for stream in streams:
            rows = await opened(home, stream)
            assert len(rows) > 10
            for row in rows:
                assert (row.sums["import"], row.sums["export"]) == truth(home, row, stream["name"])
        grants = await revoke_view(client, "phone of Anna")
        assert {one.id for one in grants} == {one.id for one in view.grants}
        await home.runs(4 * LINK_UNITS)
        await home.publish()
        ended_ms = grants[0].revoked_from_ms
        assert ended_ms is not None
        for stream in streams:
            assert (await opened(home, stream))[-1].end.timestamp() * 1000 <= ended_ms
        with pytest.raises(UsageError, match="there is no open view called 'phone of Anna'"):
            await revoke_view(client, "phone of Anna")


async def test_it_counts_in_no_consent_check_and_is_told_apart(tmp_path: Path) -> None:
    async with Home(tmp_path) as home, asking(home) as client:
        await home.runs(3 * LINK_UNITS)
        await made(home, client, granularity="1s", lanes=("power",))
        assert (await home.granter.consent(await home.stream(), [])).silent
        (grant,) = await client.grants()
        assert (grant.own, grant.provider) == (True, "phone of Anna")


async def test_its_secrets_are_in_no_text_but_the_page_and_the_link(tmp_path: Path) -> None:
    async with Home(tmp_path) as home, asking(home) as client:
        await home.runs(3 * LINK_UNITS)
        view = await made(home, client, "</script><script>alert(1)</script>")
        (stream,) = view.document["streams"]
        assert not any(secret in repr((view, ACCESS)) for secret in (stream["k0"], ACCESS.secret_key))
        page = view.page(TEMPLATE)
        assert page.count(b"<") == TEMPLATE.count(b"<")
        start, end = page.index(b">") + 1, page.rindex(b"<")
        assert json.loads(page[start:end]) == view.document
        link = view.link("https://example.org/page.html#before")
        place, _, data = link.partition("#")
        assert place == "https://example.org/page.html"
        assert json.loads(base64.urlsafe_b64decode(data + "==")) == view.document
        for other in (b"", TEMPLATE + PLACEHOLDER):
            with pytest.raises(GatewayError, match="built by another version"):
                view.page(other)
        # Nor anywhere on this machine: what opens the grant was thrown away.
        for path in tmp_path.rglob("*"):
            if path.is_file():
                data_there = path.read_bytes()
                assert bytes.fromhex(stream["k0"]) not in data_there
                assert stream["k0"].encode() not in data_there


async def test_a_name_belongs_to_one_open_view(tmp_path: Path) -> None:
    async with Home(tmp_path) as home, asking(home) as client:
        await home.runs(3 * LINK_UNITS)
        await made(home, client, " tablet ")
        with pytest.raises(UsageError, match="there is a view called 'tablet' already"):
            await made(home, client, "tablet")
        await made(home, client, "kitchen")
        await revoke_view(client, "tablet")
        await made(home, client, "tablet")
        listed = {
            one.name: [grant.revoked_from_ms is None for grant in one.grants] for one in await views(client)
        }
        assert sorted(listed) == ["kitchen", "tablet"]
        assert sorted(listed["tablet"]) == [False, True]
        assert all(one.open for one in await views(client))
        for name in ("", "  ", "a\nb", "ä" * 41):
            with pytest.raises(UsageError, match="a view's name has 1 to 80 printable characters"):
                await made(home, client, name)


async def test_all_of_it_is_made_or_nothing(tmp_path: Path) -> None:
    series = SeriesSection(name="weather", lanes=("temperature",))
    async with Home(tmp_path, meters=("main", "pv"), series=(series,)) as home, asking(home) as client:
        with pytest.raises(Unavailable, match="no stream has begun yet"):
            await made(home, client)
        home.session.series["weather"].put({"temperature": 20})
        await home.runs(3 * LINK_UNITS)
        home.session.series["weather"].put({"temperature": 21})
        await home.commit()
        with pytest.raises(UsageError, match="the meter weather has no lane import"):
            await made(home, client, meters=("main", "weather"), lanes=("import",))
        assert [one.revoked_from_ms is None for one in await client.grants()] == [False]
        with pytest.raises(
            UsageError, match="meter 'attic' has no stream; meters and series with a stream: main"
        ):
            await made(home, client, meters=("main", "attic"))
        with pytest.raises(UsageError, match="granularity"):
            await made(home, client, granularity="often")
        # By default of all meters, and of a series by its name.
        assert [one["name"] for one in (await made(home, client)).document["streams"]] == ["main", "pv"]
        weather = await made(home, client, "weather", meters=("weather",))
        assert [one.lanes for one in weather.grants] == [("temperature", "count")]


async def test_a_view_of_a_lost_ledger_is_shown_and_revoked(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        await home.runs(3 * LINK_UNITS)
        await home.publish()
        home.copies("before")
        async with asking(home) as client:
            await made(home, client)
        await home.runs(LINK_UNITS)
        await home.publish()
        await home.restores("before")
        await home.publishes_all()
        async with asking(home) as client:
            (listed,) = await views(client)
            assert (listed.name, listed.grants[0].own) == ("phone of Anna", False)
            await revoke_view(client, "phone of Anna")


def test_policies_allow_the_streams_and_nothing_else() -> None:
    streams = [bytes(16), b"\xab" * 16]
    first, last = f"v1/{'00' * 16}/", f"v1/{'ab' * 16}/"
    assert policy("s3://meters", streams)["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::meters/{first}*", f"arn:aws:s3:::meters/{last}*"],
        },
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": ["arn:aws:s3:::meters"],
            "Condition": {"StringLike": {"s3:prefix": [f"{first}*", f"{last}*"]}},
        },
    ]
    below = policy("s3://meters/of/home", streams[:1])["Statement"]
    assert below[0]["Resource"] == [f"arn:aws:s3:::meters/of/home/{first}*"]
    assert below[1]["Resource"] == ["arn:aws:s3:::meters"]
    assert below[1]["Condition"]["StringLike"]["s3:prefix"] == [f"of/home/{first}*"]
    assert seaweedfs_identity("s3://meters/of", streams[:1])["actions"] == [
        f"Read:meters/of/{first}*",
        f"List:meters/of/{first}*",
    ]


def test_how_a_phone_reads_a_store() -> None:
    keys = ("key", "secret")
    assert Access.of(Location.parse("s3://bucket/p", "https://a.example/", "here", *keys)) == Access(
        "https://a.example", "bucket/p", "here", *keys
    )
    assert (
        Access.of(Location.parse("s3://bucket", None, None, *keys)).endpoint
        == "https://s3.us-east-1.amazonaws.com"
    )
    inside = Location.parse("s3://bucket", "http://127.0.0.1:8333", None, *keys)
    assert Access.of(inside, "https://b.example").endpoint == "https://b.example"
    with pytest.raises(UsageError, match="is a folder of this machine"):
        Access.of(Location.parse("/var/lib/store"))
    with pytest.raises(UsageError, match="credentials of its own"):
        Access.of(Location.parse("s3://bucket"))


class Denying(MemoryBucket):
    """A store that refuses to be read."""

    async def get(self, key: str) -> bytes:
        raise StoreDenied("the store refuses")


async def test_credentials_may_read_and_not_write(tmp_path: Path) -> None:
    async with Home(tmp_path) as home:
        await home.runs(3 * LINK_UNITS)
        await home.publish()
        stream = (await home.stream()).id
        with pytest.raises(UsageError, match="these credentials may write to the store"):
            await check_credentials(home.bucket, [stream])
        key = names.descriptor(stream)
        only = {key: await home.bucket.get(key)}
        await check_credentials(MemoryBucket(only), [stream])
        await check_credentials(MemoryBucket({}), [stream])  # it is on its way
        with pytest.raises(UsageError, match="cannot read the view's streams: the store refuses"):
            await check_credentials(Denying(only), [stream])


async def test_an_object_that_the_gateway_did_not_sign_makes_no_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Home(tmp_path) as home, asking(home) as client:
        await home.runs(3 * LINK_UNITS)
        got = ControlClient.get_object

        async def forged(self: ControlClient, key: str) -> bytes:
            data = await got(self, key)
            return data[:-1] + bytes([data[-1] ^ 1]) if "/grant/" in key else data

        monkeypatch.setattr(ControlClient, "get_object", forged)
        with pytest.raises(Refused):
            await made(home, client)
        assert [one.open for one in await views(client)] == [False]
