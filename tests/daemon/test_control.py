"""The control socket: every endpoint, and a sentence of some kind for whatever is asked amiss."""

from __future__ import annotations

import base64
import grp
import io
import json
import os
import pwd
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.chain.layout import Layout
from gateway.chain.prices import Rule, TimeOfUse
from gateway.chain.tariff import Tariff
from gateway.errors import UsageError
from gateway.wire.cose import digest
from gateway.wire.tariff import tariff_body
from tests.support.home import LINK_UNITS, Home
from tests.support.provider import Provider
from tests.support.serving import serving

JSON = dict[str, Any]


class Client:
    """Asks over the socket."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(
        self, method: str, path: str, body: object = None, data: bytes | io.BytesIO | None = None
    ) -> tuple[int, Any]:
        async with self._session.request(method, f"http://gateway{path}", json=body, data=data) as response:
            return response.status, await response.json()

    async def error(
        self, method: str, path: str, body: object = None, data: bytes | io.BytesIO | None = None
    ) -> tuple[str, str]:
        """The kind and the sentence of a refusal."""
        status, answer = await self.ask(method, path, body, data)
        assert answer.keys() == {"error", "kind"}
        assert status == (503 if answer["kind"] == "unavailable" else 400)
        return answer["kind"], answer["error"]


@asynccontextmanager
async def asking(home: Home, path: Path) -> AsyncIterator[Client]:
    connector = aiohttp.UnixConnector(str(path))
    async with serving(home, path), aiohttp.ClientSession(connector=connector) as session:
        yield Client(session)


def wish(home: Home, provider: Provider, **changes: object) -> JSON:
    return {
        "kind": "windows",
        "cards": [card(provider)],
        "granularity": "10s",
        "zone": "UTC",
        "lanes": None,
        "purpose": "tests",
        "from_ms": None,
        "until_ms": None,
        "meter": None,
        "tariff": None,
        "confirmed": False,
        "fingerprints": [provider.card.fingerprint],
    } | changes


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def card(provider: Provider, **changes: object) -> str:
    return encoded(provider.card_bytes(**changes))


async def made(client: Client, wished: JSON) -> JSON:
    """The one grant that a wish gives."""
    status, answer = await client.ask("POST", "/grants", wished)
    assert (status, answer["consent"]) == (201, {"provider": [], "pooled": []})
    (grant,) = answer["grants"]
    return dict(grant)


def tariff(*prices: int) -> str:
    """Import, of one price or of a price for each day of the week."""
    rules = tuple(Rule(price, (day,)) for day, price in enumerate(prices)) or (Rule(30),)
    body = tariff_body(Tariff("EUR", 2, "UTC", 900_000, {"import": TimeOfUse(rules)}))
    return base64.b64encode(body).decode()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "s"


@pytest.mark.parametrize("umask", [0, 0o077])
@pytest.mark.parametrize(("group", "mode"), [("its user's", 0o660), ("of all users", 0o600), (None, 0o600)])
async def test_only_its_user_and_a_group_of_its_own_can_open_the_socket(
    home: Home, path: Path, monkeypatch: pytest.MonkeyPatch, umask: int, group: str | None, mode: int
) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name

    def named(gid: int) -> grp.struct_group:
        if group is None:
            raise KeyError(gid)
        return grp.struct_group([user if group == "its user's" else "users", "x", gid, []])

    monkeypatch.setattr(grp, "getgrgid", named)
    before = os.umask(umask)
    try:
        async with home, asking(home, path):
            assert stat.S_IMODE(path.stat().st_mode) == mode
        async with home, asking(home, path):  # what an earlier run left behind is replaced
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


async def test_a_socket_that_cannot_be_made_gets_a_sentence(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with home:
        with pytest.raises(UsageError, match=r"the control socket .* cannot be opened: "):
            await home.session._control.serve(tmp_path / "file" / "s")


async def test_held_registers_are_shown_and_decided_on(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        (meter,) = (await client.ask("GET", "/status"))[1]["meters"]
        assert "hold" not in meter
        believed_ms = home.clock.wall() // 10**6
        imported, exported, power = home.shown["main"]
        for _ in range(3):
            home.clock.pass_s(1)
            home.deliver((10**13, exported, power))
        await home.commit()
        now_ms = home.clock.wall() // 10**6
        (meter,) = (await client.ask("GET", "/status"))[1]["meters"]
        hold = meter["hold"]
        assert (hold["kind"], hold["command"]) == ("rose", "gateway meters accept main")
        assert hold["since_ms"] == (believed_ms + 1000) // 1000 * 1000
        assert hold["registers"][0] == {
            "lane": "import",
            "believed_mwh": imported,
            "believed_ms": believed_ms,
            "first_mwh": 10**13,
            "first_ms": believed_ms + 1000,
            "latest_mwh": 10**13,
            "latest_ms": now_ms,
            "counts_mwh": {"exchange": 0, "correction": 10**13 - imported, "before": 0},
        }
        place = "/meters/main/accept"
        seen = {"import": 10**13, "export": exported}
        wished = {"choice": "exchange", "seen_mwh": seen}
        assert await client.error("POST", "/meters/attic/accept", wished) == (
            "usage",
            "there is no meter 'attic'; the meters are main",
        )
        for body, sentence in (
            ({"choice": "exchange"}, 'the request lacks "seen_mwh"'),
            (wished | {"choice": "both"}, 'the request\'s "choice" is invalid'),
            (wished | {"more": 1}, 'the request has an unknown field "more"'),
            ([], "the request is not a JSON object"),
            (wished | {"seen_mwh": {}}, "meter main: its registers have changed since they were shown"),
        ):
            kind, said = await client.error("POST", place, body)
            assert (kind, said[: len(sentence)]) == ("usage", sentence)
        assert (await client.error("POST", place, data=b"{"))[1] == "the request is not JSON"
        status, answer = await client.ask("POST", place, wished)
        assert status == 200
        assert "the owner accepted another meter" in answer["decision"]
        assert "hold" not in answer["meter"]
        assert (await client.error("POST", place, wished))[1].startswith("meter main: no reading is held")


async def test_status_before_anything_was_read(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
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
            "errors": 0,
        }
        assert answer["meters"] == [
            {
                "meter": "main",
                "read_ms": None,
                "meter_ahead_ms": None,
                "error": None,
                "held": None,
                "sealing": False,
                "read_errors": 0,
                "readings_sealed": 0,
                "stream": None,
            }
        ]
        assert await client.ask("GET", "/grants") == (200, [])
        code, sentence = await client.error("POST", "/grants", wish(home, Provider(home.clock.now_ms)))
        assert (code, sentence.startswith("no stream has begun yet")) == ("unavailable", True)


async def test_status_of_a_gateway_at_work(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
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
        assert meter.pop("meter_ahead_ms") is None
        assert meter.pop("held") is None
        assert meter == {
            "meter": "main",
            "read_ms": None,
            "sealing": False,
            "read_errors": 0,
            "readings_sealed": position.next_unit - stream.start,
            "stream": stream.id.hex(),
            "start_ms": stream.start * 1000,
            "sealed_until_ms": position.next_unit * 1000,
            "chunked_until_ms": position.last.end * 1000,
            "chunks": position.last.seq + 1,
        }


async def test_a_stream_is_shown_once_it_is_in_the_ledger(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        home.reads()
        await home.commit()
        home.clock.pass_s(2 * LINK_UNITS)
        home.reads()
        home.database.fuse.set(0, None)
        await home.commit()
        home.mend()
        _, answer = await client.ask("GET", "/status")
        (meter,) = answer["meters"]
        assert "disk is full" in meter["error"]
        assert meter["stream"] is None
        assert "start_ms" not in meter
        await home.commit()
        _, answer = await client.ask("GET", "/status")
        (meter,) = answer["meters"]
        assert meter["error"] is None
        assert meter["stream"] == (await home.stream()).id.hex()


async def test_a_grant_is_made_shown_and_revoked(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        await home.runs(3 * LINK_UNITS)
        stream, provider = await home.stream(), Provider(home.clock.now_ms, "Überlandwerk")
        until_ms = home.clock.now_ms + 3_600_000
        wished = wish(home, provider, from_ms=stream.start * 1000, until_ms=until_ms, lanes=["export"])
        grant = await made(client, wished)
        (record,) = await home.ledger.grants()
        assert grant == {
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
            "tariff": None,
            "partner": None,
            "k_min": None,
        }
        assert record.next_window >= 6
        assert await client.ask("GET", "/grants") == (200, [grant])
        position = await home.ledger.position(stream)
        revoked = grant | {"revoked_from_ms": position.next_unit * 1000}
        for _ in range(2):
            assert await client.ask("DELETE", f"/grants/{grant['id']}") == (200, revoked)
        assert await client.ask("GET", "/grants") == (200, [revoked])


async def test_the_households_own_grant_is_made_at_once_and_marked(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        await home.runs(3 * LINK_UNITS)
        keys = Provider(home.clock.now_ms, "the page")
        own = wish(home, keys, cards=[card(keys, role="household")], granularity="1s", fingerprints=[])
        status, answer = await client.ask("POST", "/grants", own | {"own": True})
        (grant,) = answer["grants"]
        assert (status, grant["own"], grant["provider"]) == (201, True, "the page")
        assert answer["consent"] == {"provider": [], "pooled": []}
        assert await client.ask("GET", "/grants") == (200, [grant])
        for refused in (own, wish(home, keys, own=True)):
            kind, sentence = await client.error("POST", "/grants", refused)
            assert (kind, sentence[:24]) == ("usage", "the card of 'the page' h")
        assert len(await home.ledger.grants()) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"own": 1}, "own"),
        ({"cards": ["not base64!"]}, "cards.0"),
        ({"cards": None}, "cards"),
        ({"cards": 7}, "cards"),
        ({"cards": [None]}, "cards.0"),
        ({"kind": "all"}, "kind"),
        ({"kind": []}, "kind"),
        ({"tariff": 7}, "tariff"),
        ({"tariff": "not base64!"}, "tariff"),
        ({"granularity": "10s", "from_ms": "soon"}, "from_ms"),
        ({"granularity": 10}, "granularity"),
        ({"from_ms": [1]}, "from_ms"),
        ({"from_ms": 1.0}, "from_ms"),
        ({"until_ms": {}}, "until_ms"),
        ({"from_ms": float("inf")}, "from_ms"),
        ({"until_ms": float("nan")}, "until_ms"),
        ({"until_ms": True}, "until_ms"),
        ({"lanes": 7}, "lanes"),
        ({"lanes": "import"}, "lanes"),
        ({"meter": {}}, "meter"),
        ({"confirmed": 1}, "confirmed"),
    ],
)
async def test_a_request_that_is_wrong_in_a_field(home: Home, path: Path, changes: JSON, field: str) -> None:
    async with home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        wanted = wish(home, Provider(home.clock.now_ms), **changes)
        kind, said = await client.error("POST", "/grants", wanted)
        assert kind == "usage"
        assert said.startswith(f'the grant request\'s "{field}" is invalid: ')
        assert await home.ledger.grants() == []


async def test_a_request_that_lacks_a_field_or_has_one_more(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        whole = wish(home, Provider(home.clock.now_ms))
        for field in whole:
            lacking = {name: value for name, value in whole.items() if name != field}
            sentence = f'the grant request lacks "{field}"'
            assert await client.error("POST", "/grants", lacking) == ("usage", sentence)
        more = whole | {"granularty": "1s"}
        sentence = 'the grant request has an unknown field "granularty"'
        assert await client.error("POST", "/grants", more) == ("usage", sentence)
        assert await home.ledger.grants() == []


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        *((body, "is not JSON") for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000)),
        *((body, "is not a JSON object") for body in (b"[]", b"7", b'"x"', b"null")),
        (b"{}", 'lacks "kind"'),
        (b'{"cards": NaN}', 'lacks "kind"'),
    ],
)
async def test_a_body_that_is_no_request(home: Home, path: Path, body: bytes, sentence: str) -> None:
    async with home, asking(home, path) as client:
        found = await client.error("POST", "/grants", data=body)
        assert found == ("usage", f"the grant request {sentence}")


async def test_a_body_in_an_unknown_charset_is_no_request(home: Home, path: Path) -> None:
    connector = aiohttp.UnixConnector(str(path))
    headers = {"Content-Type": "application/json; charset=nope"}
    async with (
        home,
        serving(home, path),
        aiohttp.ClientSession(connector=connector) as session,
        session.post("http://gateway/grants", data=b"{}", headers=headers) as response,
    ):
        assert response.status == 400
        assert (await response.json())["error"] == "the grant request is not JSON"


async def test_a_wish_that_cannot_be_granted(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        signed = provider.card_bytes()
        changed = signed[:200] + bytes([signed[200] ^ 1]) + signed[201:]
        other = Provider(home.clock.now_ms).card_bytes()
        far = 10**30
        cases: list[tuple[JSON, str, str]] = [
            ({"granularity": "often"}, "usage", "granularity 'often': it must be"),
            ({"granularity": "\ud800"}, "usage", "granularity"),
            ({"granularity": "day", "zone": "\ud800"}, "usage", "time zone"),
            ({"purpose": "\ud800"}, "usage", "purpose"),
            ({"granularity": "99999999h"}, "usage", "beyond the year 9998"),
            ({"lanes": ["gas"]}, "usage", "the meter main has no lane gas: use import"),
            ({"lanes": []}, "usage", "they must be some of"),
            ({"purpose": "a\x1bb"}, "usage", "purpose"),
            ({"meter": "cellar"}, "usage", "meter 'cellar' has no stream; meters with a stream: main"),
            ({"until_ms": 0}, "usage", "ends before its first window"),
            ({"until_ms": -far}, "usage", "ends before its first window"),
            ({"from_ms": far}, "usage", "beyond the year 9998"),
            ({"until_ms": far}, "usage", "beyond the year 9998"),
            ({"from_ms": far, "granularity": "day"}, "usage", "outside the calendar"),
            ({"until_ms": far, "granularity": "month"}, "usage", "outside the calendar"),
            ({"cards": [encoded(changed)]}, "refused", "the card"),
            (
                {"cards": [base64.b64encode(signed[:-1]).decode()]},
                "refused",
                "the card is not CBOR, or was cut",
            ),
            (
                {"cards": [base64.b64encode(signed[:-64] + other[-64:]).decode()]},
                "refused",
                "the signature of the",
            ),
            ({"cards": [card(provider, role="gateway")]}, "usage", "needs a provider's"),
            (
                {
                    "cards": [card(provider, xwing_key=bytes(1216))],
                    "fingerprints": [replace(provider.card, xwing_key=bytes(1216)).fingerprint],
                },
                "refused",
                "X-Wing",
            ),
            ({"cards": []}, "usage", "a load is granted to two parties"),
            ({"cards": [card(provider)] * 2}, "usage", "a load is granted to two parties"),
            ({"kind": "load"}, "usage", "a load is granted to two parties"),
            ({"kind": "load", "cards": [card(provider)] * 2}, "usage", "must be two parties"),
            ({"kind": "bill"}, "usage", "a bill has a tariff"),
            ({"kind": "raw"}, "usage", "a raw grant opens whole links of 1min"),
            ({"tariff": tariff()}, "usage", "a bill has a tariff"),
            (
                {"kind": "bill", "tariff": encoded(b"\xa0")},
                "refused",
                "the tariff: currency is",
            ),
        ]
        for changes, code, sentence in cases:
            found, said = await client.error("POST", "/grants", wish(home, provider, **changes))
            assert (found, sentence in said) == (code, True), (changes, said)
        home.clock.is_trusted = False
        assert (await client.error("POST", "/grants", wish(home, provider)))[0] == "unavailable"
        home.clock.is_trusted = True
        home.root.fail_after(0)
        assert (await client.error("POST", "/grants", wish(home, provider)))[0] == "unavailable"
        home.mend()
        home.database.fuse.set(0)
        assert (await client.error("POST", "/grants", wish(home, provider)))[0] == "unavailable"
        home.mend()
        assert await home.ledger.grants() == []
        assert (await client.ask("POST", "/grants", wish(home, provider, from_ms=-far)))[0] == 201


async def test_a_grant_that_is_none_is_not_revoked(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        for id_, sentence in (
            ("zz", "'zz' is not a grant's id: expected 32 hexadecimal digits"),
            ("abcd", "there is no grant abcd; `gateway grant list` shows all grants"),
            ("00" * 16, "there is no grant 0000"),
        ):
            code, said = await client.error("DELETE", f"/grants/{id_}")
            assert (code, sentence in said) == ("usage", True)


async def test_what_it_does_not_take(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        for method, place, data, status in (
            ("GET", "/", None, 404),
            ("GET", "/grants/" + "00" * 16, None, 405),
            ("PUT", "/grants", None, 405),
            ("POST", "/grants", io.BytesIO(b" " * 2**21), 413),
        ):
            found, answer = await client.ask(method, place, data=data)
            assert (found, answer["kind"]) == (status, "usage")
            assert answer["error"].startswith(f"the gateway does not accept {method} {place}: ")


async def test_several_meters_must_be_told_apart(tmp_path: Path, path: Path) -> None:
    async with Home(tmp_path, meters=("main", "garage")) as home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        provider = Provider(home.clock.now_ms)
        code, said = await client.error("POST", "/grants", wish(home, provider))
        assert (code, said) == ("usage", "there are several meters; choose one with --meter: garage, main")
        grant = await made(client, wish(home, provider, meter="garage"))
        assert grant["meter"] == "garage"


async def test_days_are_shown_with_their_zone(tmp_path: Path, path: Path) -> None:
    async with (
        Home(tmp_path, layout=Layout(3_600_000, 24), chunk_units=24) as home,
        asking(home, path) as client,
    ):
        await home.runs(30)
        wished = wish(home, Provider(home.clock.now_ms), granularity="day", zone="Europe/Berlin")
        grant = await made(client, wished)
        assert (grant["granularity"], grant["zone"]) == ("day", "Europe/Berlin")
        assert grant["from_ms"] % 86_400_000 == 22 * 3_600_000  # midnight, in summer


async def test_no_answer_shows_a_secret(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        grant = await made(client, wish(home, Provider(home.clock.now_ms)))
        (record,) = await home.ledger.grants()
        k_0 = home.session._rings[record.stream].vault.open(record.key, b"grant/" + record.id)
        shown = json.dumps([grant, (await client.ask("GET", "/status"))[1], repr(record)])
        for secret in (k_0, record.key):
            assert secret.hex() not in shown
            assert base64.b64encode(secret).decode() not in shown


async def test_what_the_consent_check_finds_needs_a_confirmation(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        one, other = Provider(home.clock.now_ms, "One"), Provider(home.clock.now_ms, "Other")
        first = await made(client, wish(home, one, granularity="15s"))
        nothing = {"meter": "main", "provider": [], "pooled": []}
        assert await client.ask("GET", "/consent") == (200, [nothing])
        wished = wish(home, one, granularity="10s")
        status, answer = await client.ask("POST", "/grants", wished)
        assert (status, answer["grants"], answer["consent"]["pooled"]) == (200, [], [])
        sentences = answer["consent"]["provider"]
        assert ["One learns 5s sums of import at" in sentences[0], "of export at" in sentences[1]] == [
            True
        ] * 2
        assert all(
            f'15s sums of import, export for "tests" (grant {first["id"][:8]})' in s for s in sentences
        )
        assert len(await home.ledger.grants()) == 1
        status, answer = await client.ask("POST", "/grants", wish(home, other, granularity="10s"))
        assert (status, answer["grants"], answer["consent"]["provider"]) == (200, [], [])
        assert answer["consent"]["pooled"][0].startswith("One and Other together learn 5s sums of import at")
        assert f"(grant {first['id'][:8]})" in answer["consent"]["pooled"][0]
        status, answer = await client.ask("POST", "/grants", wished | {"confirmed": True})
        assert (status, len(answer["grants"]), len(answer["consent"]["provider"])) == (201, 1, 2)
        (_, (consent,)) = await client.ask("GET", "/consent")
        assert consent == {"meter": "main", "provider": answer["consent"]["provider"], "pooled": []}


async def test_the_first_grant_to_a_card_needs_its_fingerprint(home: Home, path: Path) -> None:
    """Whatever else is confirmed; the second one does not, for whichever meter and after a revocation."""
    async with home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        one, impostor = (Provider(home.clock.now_ms, "Stadtwerk") for _ in range(2))
        theirs, wrong = one.card.fingerprint, impostor.card.fingerprint
        assert len(theirs.replace("-", "")) == 32
        wished = wish(home, one, fingerprints=[], confirmed=True)
        stranger = {"name": "Stadtwerk", "fingerprint": theirs, "namesake": False}
        for changes in ({}, {"dry_run": True}):
            status, answer = await client.ask("POST", "/grants", wished | changes)
            assert (status, answer["grants"], answer["strangers"]) == (200, [], [stranger])
        for given in (wrong, theirs[:-5], theirs[:-1] + ("0" if theirs[-1] != "0" else "1"), ""):
            kind, said = await client.error("POST", "/grants", wished | {"fingerprints": [given]})
            assert (kind, "fingerprint" in said) == ("usage", True)
        assert await home.ledger.grants() == []
        spoken = theirs.replace("-", " ").upper()
        status, answer = await client.ask("POST", "/grants", wished | {"fingerprints": [spoken]})
        assert (status, answer["strangers"]) == (201, [])
        await client.ask("DELETE", f"/grants/{answer['grants'][0]['id']}")
        assert (await client.ask("POST", "/grants", wished))[0] == 201
        # The same name on other keys is not the same party.
        _, answer = await client.ask("POST", "/grants", wish(home, impostor, fingerprints=[], confirmed=True))
        assert answer["grants"] == []
        assert answer["strangers"] == [stranger | {"fingerprint": wrong, "namesake": True}]


async def test_a_load_is_a_pair(home: Home, path: Path) -> None:
    async with home, asking(home, path) as client:
        await home.runs(2 * LINK_UNITS)
        centre, service = (Provider(home.clock.now_ms, name) for name in ("Centre", "Service"))
        known = [one.card.fingerprint for one in (centre, service)]
        wished = wish(home, centre, kind="load", cards=[card(centre), card(service)], fingerprints=known)
        status, answer = await client.ask("POST", "/grants", wished)
        assert (status, answer["grants"], answer["consent"]["provider"]) == (200, [], [])
        assert len(answer["consent"]["pooled"]) == 2
        for told in answer["consent"]["pooled"]:
            assert told.startswith("Centre and Service together learn 10s sums of ")
            assert told.endswith(", the two halves of a load")
        status, answer = await client.ask("POST", "/grants", wished | {"confirmed": True})
        assert status == 201
        first, second = answer["grants"]
        assert (first["provider"], first["partner"]) == ("Centre", None)
        assert (second["provider"], second["partner"]) == ("Service", first["id"])
        assert all(first[name] == second[name] for name in ("kind", "from_ms", "until_ms", "lanes"))


async def test_a_bill_is_granted_with_its_tariff(tmp_path: Path, path: Path) -> None:
    async with (
        Home(tmp_path, layout=Layout(900_000, 96), chunk_units=96) as home,
        asking(home, path) as client,
    ):
        await home.runs(100)
        wished = wish(home, Provider(home.clock.now_ms), kind="bill", granularity="month", tariff=tariff())
        grant = await made(client, wished)
        assert grant["lanes"] == ["import"]
        assert grant["tariff"] == digest(base64.b64decode(tariff())).hex()
        for confirmed in (False, True):
            isolating = wished | {"tariff": tariff(0, 0, 0, 9, 0, 0, 0), "granularity": "168h"}
            code, said = await client.error("POST", "/grants", isolating | {"confirmed": confirmed})
            assert (code, " decide nine tenths of this tariff's bill for 168h" in said) == ("usage", True)
        assert len(await home.ledger.grants()) == 1
