"""The whole story, by the commands that people type, on both S3 servers.

A household and two providers register; a provider asks, the household grants; a month with a solar roof is
read, billed, invoiced and proven; another provider has another granularity; a revocation; and what each of
them cannot read.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.servers import BUCKET, ROLE, S3Server, wait_for

pytestmark = pytest.mark.slow

GATEWAY = Path(sys.executable).with_name("gateway")
ZONE = "Europe/Berlin"
TARIFF = """
currency = "EUR"
zone = "Europe/Berlin"
[[import]]
price = "0.3215"
days = ["mon-fri"]
from = "06:00"
until = "22:00"
[[import]]
price = "0.2450"
[[export]]
price = "-0.0810"
[bill]
round = "0.01"
[[bill.line]]
name = "Standing charge"
amount = "0.4012"
per = "day"
[[bill.line]]
name = "TVA"
percent = "20"
"""


@dataclass
class Story:
    """The folder of a test, the store's keys for who owns the store, and the processes that run."""

    folder: Path
    server: S3Server
    root: str
    passwords: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.root}"

    def run(
        self, *command: object, stdin: str = "", code: int = 0, env: Mapping[str, str] | None = None
    ) -> str:
        """What a command prints, which ends with this exit code; on stdout, or where it fails on stderr."""
        done = subprocess.run(
            [GATEWAY, *map(str, command)],
            input=stdin,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "TZ": ZONE, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, (command, done.stdout[-2000:], done.stderr[-2000:])
        for password in (*self.passwords.values(), self.server.secret_key):
            assert password not in done.stdout + done.stderr
        return done.stderr if code else done.stdout

    def json(self, *command: object, **options: Any) -> Any:
        return json.loads(self.run(*command, "--json", **options))

    def owner(self) -> dict[str, str]:
        """The store's own keys."""
        return {
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
        }

    @contextmanager
    def running(self, *command: object, ready: Callable[[str], bool]) -> Iterator[Path]:
        """A command that goes on; its log, once that is as `ready` wants it."""
        log = self.folder / f"{command[0]}-{secrets.token_hex(3)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [GATEWAY, *map(str, command)],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "TZ": ZONE},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            assert wait_for(lambda: process.poll() is not None or ready(log.read_text()), 60), log.read_text()
            assert process.poll() is None, log.read_text()
            yield log
        finally:
            process.terminate()
            process.wait(20)


def registrar_of(story: Story) -> str:
    """The registrar's configuration, and its key, made."""
    keys = story.folder / "s3"
    keys.touch(mode=0o600)
    keys.write_text(f"access_key_id={story.server.access_key}\nsecret_access_key={story.server.secret_key}\n")
    (story.folder / "registrar.toml").write_text(
        f"""
        registrar = {{ name = "Registrar Nord", state = "registrar", software_roots = true }}
        listen = {{ port = 0 }}
        [store]
        url = "{story.url}"
        endpoint = "{story.server.endpoint}"
        region = "us-east-1"
        credentials = "s3"
        role = "{ROLE}"
        """
    )
    story.run("registrar", "init", "--config", "registrar.toml")
    return story.run("card", "show", "registrar/registrar.cose").split("fingerprint")[1].split()[0]


def account(story: Story, name: str, role: str) -> None:
    made = story.json("registrar", "account", "add", name, "--role", role, "--config", "registrar.toml")
    story.passwords[name] = made["password"]


def test_the_whole_story(tmp_path: Path, server: S3Server) -> None:  # noqa: PLR0915 - a story is long
    story = Story(tmp_path, server, f"story/{secrets.token_hex(6)}")
    (tmp_path / "tariff.toml").write_text(TARIFF)
    today = datetime.now(ZoneInfo(ZONE)).date()
    last_month = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    days = (today - last_month).days + 2
    history = (
        "simulate",
        "history",
        "--days",
        days,
        "--unit",
        "15min",
        "--store",
        story.url,
        "--endpoint",
        server.endpoint,
    )
    (past,) = story.json(
        *history, "--region", "us-east-1", "--state", "homes", "--zone", ZONE, env=story.owner()
    )
    stream, signer = past["stream"], past["signer"]
    config = tmp_path / past["folder"] / "gateway.toml"
    text = config.read_text()
    config.write_text(text.replace("store = { url", 'store = { credentials = "registrar", url'))
    home = ("--config", config)
    with ExitStack() as running:
        fingerprint = registrar_of(story)
        log = running.enter_context(
            story.running(
                "registrar", "serve", "--config", "registrar.toml", ready=lambda log: "http://" in log
            )
        )
        url = next(word for word in log.read_text().split() if word.startswith("http://")).rstrip(".,;")
        known = (url, "--fingerprint", fingerprint)
        for name, role in (("mueller", "household"), ("stadtwerk", "provider"), ("monthly", "provider")):
            account(story, name, role)

        # The household: it seals and waits, until it has registered and may send.
        running.enter_context(story.running("run", *home, ready=lambda log: "the gateway is running" in log))
        wrong = ("register", *known, "--user", "mueller", "--region", "north", "--listed", *home)
        assert "password" in story.run(*wrong, stdin="wrong\n", code=5)
        registered = story.json(*wrong, stdin=story.passwords["mueller"] + "\n")
        assert (registered["registrar"], registered["assurance"]) == ("Registrar Nord", "software")
        assert len(registered["notices"]) == 1  # the wrong password

        # The providers register, find the home, and ask.
        for name in ("stadtwerk", "monthly"):
            story.run("provider", "new", name, "--name", name.title())
            story.run(
                *("provider", "login", *known, "--key", name, "--user", name),
                stdin=story.passwords[name] + "\n",
            )
        begin = datetime.fromtimestamp(past["start_ms"] / 1000, UTC) + timedelta(days=1)
        since = ("--from", begin.strftime("%Y-%m-%d"))
        for what in (("--granularity", "15min"), ("--granularity", "month", "--bill", "tariff.toml")):
            story.run(
                *("provider", "request", "--key", "stadtwerk", "--region", "north", *what, *since),
                *("--lanes", "import,export", "--purpose", "Abrechnung"),
            )
        asking = ("provider", "request", "--key", "monthly", "--purpose", "a study")
        nobody = story.run(*asking, "--region", "south", "--granularity", "day", code=3)
        assert "lists no stream of region 'south'" in nobody
        # One stream that is not there: nobody is asked.
        unknown = ("--stream", stream, "--stream", "5f" * 16)
        assert "5f5f is not in" in story.run(*asking, *unknown, "--granularity", "day", code=2)
        assert "asked for nothing" in story.run("provider", "requests", "--key", "monthly")
        ask = ("provider", "request", "--key", "monthly", "--stream", stream, "--granularity", "day")
        story.run(*ask, "--zone", ZONE, "--purpose", "a study", *since)

        # The household sees who asks, verified, previews, grants and declines.
        asked = story.json("grant", "requests", *home)
        assert [(one["provider"], one["verified_by"]) for one in asked] == [
            ("Stadtwerk", "Registrar Nord"),
            ("Stadtwerk", "Registrar Nord"),
            ("Monthly", "Registrar Nord"),
        ]
        shown = story.run("grant", "new", "--request", asked[0]["id"], "--dry-run", *home)
        assert "verified by Registrar Nord" in shown
        for one in asked:
            story.run("grant", "new", "--request", one["id"], "--yes", *home)
        assert story.json("grant", "requests", *home) == []
        states = story.json("provider", "requests", "--key", "stadtwerk")
        assert [one["state"] for one in states] == ["granted", "granted"]

        # What was granted is read, from the registrar's store, with credentials that reach it alone.
        through = ("--store", "registrar:", "--max-age", "3d")
        by = ("--key", "stadtwerk", *through)
        assert wait_for(lambda: _readable(story, by, stream), 60)
        (found,) = story.json("provider", "streams", "--key", "stadtwerk", "--store", "registrar:")["streams"]
        assert (found["stream"], found["signer"], found["verified"]) == (stream, signer, True)
        read = story.json(
            "provider", "read", *by, "--all", "--where", "region=north", "--granularity", "1h", "--total"
        )
        elsewhere = ("--all", "--where", "region=south")
        assert "with region=south; it may be a quarter of an hour" in story.run(
            "provider", "read", *by, *elsewhere, code=3
        )
        (rows,) = (one["rows"] for one in read["homes"])
        assert len(rows) > 24 * (days - 3)
        one = (*by, "--stream", stream, "--signer", signer)
        sums = story.json("provider", "read", *one, "--granularity", "1h")["rows"]
        assert sums == rows
        assert sum(row["sums"]["import_mwh"] for row in sums) <= past["import_mwh"]
        assert any(row["sums"]["export_mwh"] for row in sums)
        story.run("provider", "read", *by, "--all", "--format", "parquet", "--output", "sums.parquet")
        story.run("provider", "read", *by, "--all", "--last", "7d", "--plot", "load.png", "--output", "x.csv")
        assert (tmp_path / "load.png").read_bytes()[:4] == b"\x89PNG"

        # The bill, from the bill's grant and from the windows, and the invoice.
        bills = story.json("provider", "bill", *one, "--tariff", "tariff.toml")["bills"]
        again = story.json("provider", "bill", *one, "--tariff", "tariff.toml", "--from-windows")["bills"]
        assert bills
        assert {b["from"]: b["amount"] for b in bills}.items() <= {
            b["from"]: cent(b["amount"]) for b in again
        }.items()
        (tmp_path / "invoice.toml").write_text(story.run("provider", "invoice", "--example"))
        story.run(
            *("provider", "invoice", *one, "--tariff", "tariff.toml", "--terms", "invoice.toml"),
            *("--out", "invoices", "--format", "xml", "--format", "pdf"),
        )
        assert list((tmp_path / "invoices").glob("*.xml"))

        # The dispute: a third party checks the evidence with neither store nor key.
        day = (begin + timedelta(days=2)).strftime("%Y-%m-%d")
        after = (begin + timedelta(days=3)).strftime("%Y-%m-%d")
        story.run("provider", "evidence", *one, "--from", day, "--until", after, "--output", "evidence.cose")
        story.run("dispute", "verify", "evidence.cose")
        data = bytearray((tmp_path / "evidence.cose").read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / "changed.cose").write_bytes(data)
        story.run("dispute", "verify", "changed.cose", code=5)

        # The other provider has days, and nothing finer, and sees no grant of the first.
        theirs = ("--key", "monthly", *through, "--stream", stream, "--signer", signer)
        daily = story.json("provider", "read", *theirs)["rows"]
        assert len(daily) >= days - 3
        assert "not granted" in story.run("provider", "read", *theirs, "--granularity", "15min", code=3)
        grants = story.json("provider", "grants", "--key", "monthly", "--store", "registrar:")
        assert len(grants["grants"]) == 1

        # Revoked: what comes after is closed, what was opened stays known.
        held = story.json("grant", "list", *home)
        (last,) = [grant for grant in held if grant["provider"] == "Monthly"]
        story.run("grant", "revoke", last["id"], *home)
        mine = ("provider", "grants", "--key", "monthly", "--store", "registrar:")
        assert wait_for(lambda: story.json(*mine)["grants"][0]["revoked"], 30)

        # The operator sees the attempts that were refused, and the catalogue.
        refused = story.json("registrar", "attempts", "--config", "registrar.toml")
        assert [one["kind"] for one in refused] == ["password"]
        (listed,) = story.json("registrar", "query", "--region", "north", "--config", "registrar.toml")
        assert listed["stream"] == stream


def _readable(story: Story, by: tuple[str, ...], stream: str) -> bool:
    """Whether the grants have come to the store."""
    time.sleep(0.2)
    found = story.json("provider", "grants", *by[:4])
    return len(found["grants"]) == 2


def cent(amount: str) -> str:
    """An amount to the cent, halves up."""
    return str(Decimal(amount).quantize(Decimal("0.01"), ROUND_HALF_UP))
