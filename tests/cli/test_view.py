"""`gateway view`: what it writes, prints and refuses. A browser opens such pages in tests/household."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import main
from gateway.household.view import CORS_RULE, PLACEHOLDER
from gateway.store.memory import MemoryBucket
from tests.support.home import LINK_UNITS, Home
from tests.support.serving import serving

Run = Callable[..., Any]
SECRET = "a-secret-that-may-only-read"
TEMPLATE = b'<!doctype html><script type="application/json">' + PLACEHOLDER + b"</script>"


@pytest.fixture(autouse=True)
def zurich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Home]:
    """A gateway that answers, and says that its store is a bucket whose credentials may only read."""
    (tmp_path / "gateway.toml").write_text(
        f"""
        gateway = {{ state = "{tmp_path}/state", socket = "{tmp_path}/s" }}
        trust = {{ root = "software" }}
        store = {{ url = "s3://meters/at/home", endpoint = "http://127.0.0.1:9", region = "here" }}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1", port = 1 }}
        """
    )
    credentials = tmp_path / "view.s3"
    credentials.write_text(f"access_key_id=reader\nsecret_access_key={SECRET}\n")
    credentials.chmod(0o600)
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))
    monkeypatch.setattr("gateway.cli.view.open_bucket", lambda location: MemoryBucket({}))
    monkeypatch.setattr("gateway.cli.view.template", lambda: TEMPLATE)
    async with Home(tmp_path) as home, serving(home, tmp_path / "s"):
        yield home


@pytest.fixture
def gateway(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in a thread of its own; its exit code, stdout and stderr."""

    async def run(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = await asyncio.to_thread(main, list(args))
        out, err = capfd.readouterr()
        return code, out, err

    return run


async def test_a_view_in_a_file_from_beginning_to_end(home: Home, gateway: Run, tmp_path: Path) -> None:
    await home.runs(3 * LINK_UNITS)
    out = tmp_path / "anna.html"
    new = ("view", "new", "phone of Anna", "--credentials", str(tmp_path / "view.s3"), "--out", str(out))
    code, said, err = await gateway(*new, "--granularity", "10s", "--endpoint", "https://s3.example.org")
    assert (code, err) == (0, "")
    (record,) = await home.ledger.grants()
    begin, stream = "2026-05-28T22:", (await home.stream()).id.hex()
    opens, where, revoked = said.splitlines()
    assert opens.startswith(f"phone of Anna opens 10s sums of import, export from {begin}")
    assert opens.endswith(", at the meter main")
    assert where == f"written to {out}; whoever has this file can open them"
    assert revoked == "revoke it with: gateway view revoke 'phone of Anna'"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before, _, rest = TEMPLATE.partition(PLACEHOLDER)
    page = out.read_bytes()
    document = json.loads(page.removeprefix(before).removesuffix(rest))
    assert {key: document[key] for key in ("e", "b", "r", "a", "s", "zone")} == {
        "e": "https://s3.example.org",
        "b": "meters/at/home",
        "r": "here",
        "a": "reader",
        "s": SECRET,
        "zone": "Europe/Zurich",
    }
    assert [(one["s"], one["g"]) for one in document["streams"]] == [(stream, record.id.hex())]
    assert not any(secret in said for secret in (SECRET, document["streams"][0]["k0"]))

    listed = (await gateway("view", "list"))[1]
    assert listed.startswith("phone of Anna\n  10s sums of import, export from 2026-05-28T22:")
    assert "your own (phone of Anna)" in (await gateway("grant", "list"))[1]
    (shown,) = json.loads((await gateway("view", "list", "--json"))[1])
    assert (shown["name"], shown["grants"][0]["own"]) == ("phone of Anna", True)
    code, _, err = await gateway(*new)
    assert (code, f"{out} is there already" in err) == (2, True)
    code, _, err = await gateway(*new[:-1], str(tmp_path / "other.html"))
    assert (code, "there is a view called 'phone of Anna' already" in err) == (2, True)

    code, said, _ = await gateway("view", "revoke", "phone of Anna")
    assert (code, said.splitlines()[0]) == (
        0,
        "the view phone of Anna is revoked: it opens nothing that is sealed from now on",
    )
    assert (await gateway("view", "list"))[1] == (
        "There is no view: `gateway view new` makes one.\nrevoked views, which --all shows: 1\n"
    )
    assert "; revoked from 2026-05-28T22:" in " ".join(
        (await gateway("view", "list", "--all"))[1].split("\n    ")
    )
    code, _, err = await gateway("view", "revoke", "phone of Anna")
    assert (code, err) == (
        2,
        "gateway: there is no open view called 'phone of Anna': `gateway view list --all` shows all views\n",
    )


@pytest.mark.parametrize("ending", ["svg", "png"])
async def test_a_link_and_its_code(home: Home, gateway: Run, tmp_path: Path, ending: str) -> None:
    await home.runs(3 * LINK_UNITS)
    code_file = tmp_path / f"code.{ending}"
    new = ("view", "new", "tablet", "--credentials", str(tmp_path / "view.s3"), "--granularity", "10s")
    link = ("--link", "https://example.org/page.html")
    code, out, _ = await gateway(*new, *link, "--qr", str(code_file), "--language", "de")
    assert code == 0
    (url,) = [line for line in out.splitlines() if line.startswith("https://")]
    document = json.loads(base64.urlsafe_b64decode(url.partition("#")[2] + "=="))
    assert (document["name"], document["s"], document["lang"]) == ("tablet", SECRET, "de")
    assert stat.S_IMODE(code_file.stat().st_mode) == 0o600
    assert code_file.read_bytes()[:5] in (b"<?xml", b"\x89PNG\r")
    await gateway("view", "revoke", "tablet")
    code, out, _ = await gateway(*new, *link, "--json")
    assert json.loads(out)["link"].startswith("https://example.org/page.html#")


async def test_what_is_not_made(home: Home, gateway: Run, tmp_path: Path) -> None:
    keys, out = ("--credentials", str(tmp_path / "view.s3")), ("--out", str(tmp_path / "v.html"))
    new = ("view", "new", "x")
    for args, sentence in (
        ((*new, *keys), "a view is a file or a link"),
        ((*new, *keys, *out, "--link", "https://example.org"), "a view is a file or a link"),
        ((*new, *keys, "--link", "javascript:alert(1)"), "is not the address of a page"),
        ((*new, *keys, *out, "--qr", "x.svg"), "--qr draws the link"),
        ((*new, *keys, "--link", "https://example.org", "--qr", "x.gif"), "--qr draws the link"),
        ((*new, *keys, "--out", str(tmp_path / "absent" / "v.html")), "is not there"),
        ((*new, *out, "--credentials", str(tmp_path / "absent")), "cannot be read from"),
        ((*new, *keys, *out, "--zone", "Mars"), "time zone 'Mars' is not in the IANA list"),
        ((*new, *keys, *out, "--endpoint", "example.org"), "endpoint"),
    ):
        code, _, err = await gateway(*args)
        assert (code, sentence in err) == (2, True), err
    assert await home.ledger.grants() == []
    await home.runs(3 * LINK_UNITS)
    (tmp_path / "view.s3").chmod(0o644)
    code, _, err = await gateway(*new, *keys, *out)
    assert (code, "is open to every user of this machine" in err) == (2, True)
    assert SECRET not in err
    assert await home.ledger.grants() == []


async def test_a_file_that_cannot_be_written_leaves_no_open_view(
    home: Home, gateway: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await home.runs(3 * LINK_UNITS)

    def full(path: Path, data: bytes, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.cli.view.write_durably", full)
    new = ("view", "new", "x", "--granularity", "10s", "--credentials", str(tmp_path / "view.s3"))
    code, _, err = await gateway(*new, "--out", str(tmp_path / "x.html"))
    assert (code, "No space left on device; the view was revoked" in err) == (2, True)
    assert [one.revoked_from is None for one in await home.ledger.grants()] == [False]


async def test_what_is_to_be_set_at_the_store(home: Home, gateway: Run) -> None:
    code, _, err = await gateway("view", "policy")
    assert (code, "no stream has begun yet" in err) == (4, True)
    await home.runs(3 * LINK_UNITS)
    prefix = f"at/home/v1/{(await home.stream()).id.hex()}/*"
    code, out, _ = await gateway("view", "policy")
    assert code == 0
    assert f'"arn:aws:s3:::meters/{prefix}"' in out
    assert f'"s3:prefix": [\n            "{prefix}"' in out
    assert f'"Read:meters/{prefix}",\n    "List:meters/{prefix}"' in out
    assert "access_key_id=ACCESS_KEY_ID\nsecret_access_key=SECRET_ACCESS_KEY\n" in out
    assert json.dumps({"CORSRules": [CORS_RULE]})[:40] in out
    found = json.loads((await gateway("view", "policy", "--json"))[1])
    assert found["policy"]["Statement"][0]["Resource"] == [f"arn:aws:s3:::meters/{prefix}"]
    assert found["cors"] == CORS_RULE


async def test_the_page_without_data(home: Home, gateway: Run, tmp_path: Path) -> None:
    assert (await gateway("view", "page", str(tmp_path / "page.html")))[0] == 0
    assert (tmp_path / "page.html").read_bytes() == TEMPLATE.replace(PLACEHOLDER, b"null")
