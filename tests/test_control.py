"""The control socket: every endpoint, and a sentence with an exit code for whatever is asked amiss."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.chain.layout import Layout
from gateway.errors import UsageError
from tests.home import LINK_UNITS, Home
from tests.provider import Provider

JSON = dict[str, Any]


class Client:
    """Asks over the socket."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self, method: str, path: str, body: object = None, data: bytes | None = None
    ) -> tuple[int, Any]:
        async with self._session.request(method, f"http://gateway{path}", json=body, data=data) as response:
            return response.status, await response.json()

    async def error(
        self, method: str, path: str, body: object = None, data: bytes | None = None
    ) -> tuple[int, str]:
        """The exit code and the sentence of a refusal."""
        status, answer = await self.ask(method, path, body, data)
        assert answer.keys() == {"error", "exit_code"}
        assert status == (503 if answer["exit_code"] == 4 else 400)
        return answer["exit_code"], answer["error"]


@asynccontextmanager
async def serving(home: Home, path: Path) -> AsyncIterator[Client]:
    task = asyncio.create_task(home.session._control.serve(path))
    try:
        async with asyncio.timeout(20):
            while not await connects(path):
                assert not task.done()
                await asyncio.sleep(0)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            yield Client(session)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def connects(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def wish(home: Home, provider: Provider, **changes: object) -> JSON:
    return {
        "card": base64.b64encode(provider.card_bytes()).decode(),
        "granularity": "10s",
        "zone": "UTC",
        "lanes": None,
        "purpose": "tests",
        "from_ms": None,
        "until_ms": None,
        "meter": None,
    } | changes


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "s"


async def test_only_its_user_can_open_the_socket(home: Home, path: Path) -> None:
    before = os.umask(0)
    try:
        async with home, serving(home, path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with home, serving(home, path):  # what an earlier run left behind is replaced
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_a_socket_that_cannot_be_made_gets_a_sentence(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with home:
        with pytest.raises(UsageError, match=r"the control socket .* cannot be opened: "):
            await home.session._control.serve(tmp_path / "file" / "s")


async def test_status_before_anything_was_read(home: Home, path: Path) -> None:
    async with home, serving(home, path) as client:
        home.clock.is_trusted = False
        status, answer = await client.ask("GET", "/status")
        assert status == 200
        assert answer["clock_trusted"] is False
        assert answer["assurance"] == "software"
        assert answer["incarnation"] == await home.ledger.last_incarnation()
        assert answer["store"] == {
            "url": str(home.folder / "store"),
            "answered_ms": None,
            "error": None,
            "waiting": 0,
        }
        assert answer["meters"] == [{"meter": "main", "read_ms": None, "error": None, "stream": None}]
        assert await client.ask("GET", "/grants") == (200, [])
        code, sentence = await client.error("POST", "/grants", wish(home, Provider(home.clock.now_ms)))
        assert (code, sentence.startswith("no stream has begun yet")) == (4, True)


async def test_status_of_a_gateway_at_work(home: Home, path: Path) -> None:
    async with home, serving(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        await home.publish()
        home.bucket.away = True
        await home.runs(LINK_UNITS)
        await home.publish()
        home.reads()
        home.database.fuse.set(0)
        await home.commit()
        _, answer = await client.ask("GET", "/status")
        stream = await home.stream()
        position = await home.ledger.position(stream)
        assert position.last is not None
        assert answer["store"]["error"] == "the store does not answer"
        assert answer["store"]["waiting"] == await home.ledger.backlog() > 0
        (meter,) = answer["meters"]
        assert "disk is full" in meter.pop("error")
        assert meter == {
            "meter": "main",
            "read_ms": None,
            "stream": stream.id.hex(),
            "start_ms": stream.start * 1000,
            "sealed_until_ms": position.next_unit * 1000,
            "chunked_until_ms": position.last.end * 1000,
            "chunks": position.last.seq + 1,
        }


async def test_a_grant_is_made_shown_and_revoked(home: Home, path: Path) -> None:
    async with home, serving(home, path) as client:
        await home.runs(3 * LINK_UNITS)
        stream, provider = await home.stream(), Provider(home.clock.now_ms, "Überlandwerk")
        until_ms = home.clock.now_ms + 3_600_000
        wished = wish(home, provider, from_ms=stream.start * 1000, until_ms=until_ms, lanes=["export"])
        status, made = await client.ask("POST", "/grants", wished)
        assert status == 201
        (record,) = await home.ledger.grants()
        assert made == {
            "id": record.id.hex(),
            "stream": stream.id.hex(),
            "meter": "main",
            "provider": "Überlandwerk",
            "provider_kid": provider.card.kid.hex(),
            "kind": "windows",
            "granularity": "10s",
            "zone": "UTC",
            "lanes": ["export"],
            "purpose": "tests",
            "from_ms": stream.start * 1000,
            "until_ms": until_ms // 10_000 * 10_000,
            "revoked_from_ms": None,
            "windows_served": record.next_window,
            "issued_ms": home.clock.now_ms,
            "serial": 1,
        }
        assert record.next_window >= 6
        assert await client.ask("GET", "/grants") == (200, [made])
        position = await home.ledger.position(stream)
        revoked = made | {"revoked_from_ms": position.next_unit * 1000}
        for _ in range(2):
            assert await client.ask("DELETE", f"/grants/{made['id']}") == (200, revoked)
        assert await client.ask("GET", "/grants") == (200, [revoked])


@pytest.mark.parametrize(
    "changes",
    [
        {"card": "not base64!"},
        {"card": None},
        {"card": 7},
        {"granularity": "10s", "from_ms": "soon"},
        {"from_ms": [1]},
        {"until_ms": {}},
        {"from_ms": float("inf")},
        {"until_ms": float("nan")},
        {"lanes": 7},
    ],
)
async def test_a_wish_that_is_none(home: Home, path: Path, changes: JSON) -> None:
    async with home, serving(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        wished = wish(home, Provider(home.clock.now_ms), **changes)
        assert await client.error("POST", "/grants", wished) == (
            2,
            "this is no wish for a grant that this gateway understands",
        )
        assert await home.ledger.grants() == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'"x"', b"\xff\xfe", b"{}", b"[" * 100_000, b'{"card": NaN}']
)
async def test_a_body_that_is_no_wish(home: Home, path: Path, body: bytes) -> None:
    async with home, serving(home, path) as client:
        code, sentence = await client.error("POST", "/grants", data=body)
        assert (code, sentence) == (2, "this is no wish for a grant that this gateway understands")


async def test_a_wish_that_cannot_be_granted(home: Home, path: Path) -> None:
    async with home, serving(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        signed = provider.card_bytes()
        changed = signed[:200] + bytes([signed[200] ^ 1]) + signed[201:]
        other = Provider(home.clock.now_ms).card_bytes()
        far = 10**30
        cases: list[tuple[JSON, int, str]] = [
            ({"granularity": "often"}, 2, "granularity 'often': right would be"),
            ({"granularity": "\ud800"}, 2, "granularity"),
            ({"granularity": "day", "zone": "\ud800"}, 2, "time zone"),
            ({"granularity": "99999999h"}, 2, "beyond the year 9998"),
            ({"lanes": ["gas"]}, 2, "lanes gas: the meter main gives"),
            ({"lanes": []}, 2, "right would be some of"),
            ({"lanes": "import"}, 2, "the meter main gives"),
            ({"purpose": "a\x1bb"}, 2, "purpose"),
            ({"purpose": "\ud800"}, 2, "purpose"),
            ({"meter": "cellar"}, 2, "meter 'cellar' has no stream; those that have: main"),
            ({"meter": {}}, 2, "has no stream"),
            ({"until_ms": 0}, 2, "ends before its first window"),
            ({"until_ms": -far}, 2, "ends before its first window"),
            ({"from_ms": far}, 2, "beyond the year 9998"),
            ({"until_ms": far}, 2, "beyond the year 9998"),
            ({"from_ms": far, "granularity": "day"}, 2, "outside the calendar"),
            ({"until_ms": far, "granularity": "month"}, 2, "outside the calendar"),
            ({"card": base64.b64encode(changed).decode()}, 5, "the card"),
            ({"card": base64.b64encode(signed[:-1]).decode()}, 5, "the card is not CBOR, or was cut short"),
            ({"card": base64.b64encode(signed[:-64] + other[-64:]).decode()}, 5, "the signature of the card"),
            (
                {"card": base64.b64encode(provider.card_bytes(role="gateway")).decode()},
                2,
                "goes to a provider",
            ),
            ({"card": base64.b64encode(provider.card_bytes(xwing_key=bytes(1216))).decode()}, 5, "X-Wing"),
        ]
        for changes, code, sentence in cases:
            found, said = await client.error("POST", "/grants", wish(home, provider, **changes))
            assert (found, sentence in said) == (code, True), (changes, said)
        home.clock.is_trusted = False
        assert (await client.error("POST", "/grants", wish(home, provider)))[0] == 4
        home.clock.is_trusted = True
        home.root.fail_after(0)
        assert (await client.error("POST", "/grants", wish(home, provider)))[0] == 4
        home.mend()
        home.database.fuse.set(0)
        assert (await client.error("POST", "/grants", wish(home, provider)))[0] == 4
        home.mend()
        assert await home.ledger.grants() == []
        assert (await client.ask("POST", "/grants", wish(home, provider, from_ms=-far)))[0] == 201


async def test_a_grant_that_is_none_is_not_revoked(home: Home, path: Path) -> None:
    async with home, serving(home, path) as client:
        for id_, sentence in (
            ("zz", "'zz' is no grant's id: 32 hexadecimal digits"),
            ("abcd", "there is no grant abcd; `gateway grant list` shows those there are"),
            ("00" * 16, "there is no grant 0000"),
        ):
            code, said = await client.error("DELETE", f"/grants/{id_}")
            assert (code, sentence in said) == (2, True)


async def test_several_meters_must_be_told_apart(tmp_path: Path, path: Path) -> None:
    async with Home(tmp_path, meters=("main", "garage")) as home, serving(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        code, said = await client.error("POST", "/grants", wish(home, provider))
        assert (code, said) == (2, "there are several meters; say which with --meter: garage, main")
        status, made = await client.ask("POST", "/grants", wish(home, provider, meter="garage"))
        assert (status, made["meter"]) == (201, "garage")


async def test_days_are_shown_with_their_zone(tmp_path: Path, path: Path) -> None:
    async with (
        Home(tmp_path, layout=Layout(3_600_000, 24), chunk_units=24) as home,
        serving(home, path) as client,
    ):
        await home.runs(30)
        wished = wish(home, Provider(home.clock.now_ms), granularity="day", zone="Europe/Berlin")
        _, made = await client.ask("POST", "/grants", wished)
        assert (made["granularity"], made["zone"]) == ("day", "Europe/Berlin")
        assert made["from_ms"] % 86_400_000 == 22 * 3_600_000  # midnight, in summer


async def test_no_answer_shows_a_secret(home: Home, path: Path) -> None:
    async with home, serving(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        _, made = await client.ask("POST", "/grants", wish(home, Provider(home.clock.now_ms)))
        (record,) = await home.ledger.grants()
        k_0 = home.session._rings[record.stream].vault.open(record.key, b"grant/" + record.id)
        shown = json.dumps([made, (await client.ask("GET", "/status"))[1], repr(record)])
        for secret in (k_0, record.key):
            assert secret.hex() not in shown
            assert base64.b64encode(secret).decode() not in shown
