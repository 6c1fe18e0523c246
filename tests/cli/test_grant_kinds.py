"""Bills, loads and raw links from the household's command to the provider's, on real parts."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.chain.layout import Layout
from gateway.cli.main import main
from gateway.wire.cose import kid_of
from gateway.wire.grant import read_grant_body
from tests.stream.stream import Provider
from tests.support.home import Home
from tests.support.serving import serving

pytestmark = pytest.mark.slow

TARIFF = """
currency = "EUR"
zone = "Europe/Zurich"
[[import]]
price = "0.3215"
days = ["mon", "tue", "wed", "thu", "fri"]
from = "06:00"
until = "22:00"
[[import]]
price = "0.2450"
[[export]]
price = "-0.0810"
"""
BEGIN_S = datetime(2026, 5, 28, 20, tzinfo=UTC).timestamp()
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def zurich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def gateway(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in a thread of its own; its exit code, stdout and stderr."""

    async def run(*args: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = await asyncio.to_thread(main, list(args))
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Home]:
    """Five days of quarter hours, in links of two hours, and a gateway that answers."""
    folder = tmp_path / "home"
    folder.mkdir()
    config = folder / "gateway.toml"
    config.write_text(
        f"""
        gateway = {{ state = "{folder}/state", socket = "{folder}/s" }}
        trust = {{ root = "software" }}
        store = {{ url = "{folder}/store" }}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1", port = 1 }}
        """
    )
    monkeypatch.setenv("GATEWAY_CONFIG", str(config))
    async with Home(folder, layout=Layout(900_000, 8), chunk_units=8, start_s=BEGIN_S) as home:
        for _ in range(2):
            await home.runs(240, imported=100_000)
            await home.crashes_and_starts()
        async with serving(home, folder / "s"):
            yield home


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    return Provider.new(tmp_path / "acme")


@pytest.fixture
def tariff(tmp_path: Path) -> Path:
    path = tmp_path / "tariff.toml"
    path.write_text(TARIFF)
    return path


def new(provider: Provider, *options: str) -> list[str]:
    card = str(provider.folder / "card.cose")
    known = ("--fingerprint", provider.card.fingerprint)
    return ["grant", "new", "--to", card, "--purpose", "tests", "--from", "2026-05-01", *known, *options]


async def read(home: Home, provider: Provider, what: str, *options: str) -> list[str]:
    """A provider's command about the home's stream."""
    await home.publish()
    return [
        *("provider", what, "--key", str(provider.folder), "--store", str(home.folder / "store")),
        *("--stream", (await home.stream()).id.hex(), "--signer", kid_of(home.root.public_key).hex()),
        *("--max-age", "99999d", *options),
    ]


async def test_a_bill(home: Home, provider: Provider, tariff: Path, gateway: Run) -> None:
    bill = ("--bill", str(tariff))  # days are those of the tariff's zone
    code, out, err = await gateway(*new(provider, *bill, "--granularity", "day"))
    assert (code, err) == (0, "")
    assert "may now open the bill of each day (Europe/Zurich) for import, export from 2026-05-29T00" in out
    shown = json.loads((await gateway("grant", "list", "--json"))[1])
    assert (shown[0]["kind"], len(shown[0]["tariff"]), shown[0]["windows_served"]) == ("bill", 64, 4)

    command = await read(home, provider, "bill", "--tariff", str(tariff))
    code, out, err = await gateway(*command)
    assert code == 0
    assert err == (
        f"grant {shown[0]['id'][:8]}... opens the bill of each day (Europe/Zurich) for import, export, "
        "from 2026-05-29T00:00:00+02:00\n"
    )
    heading, *rows = [line.split(maxsplit=5) for line in out.splitlines()]
    assert heading == ["from", "until", "amount", "quantum", "currency", "for"]
    assert rows[0][:2] == ["2026-05-29T00:00:00+02:00", "2026-05-30T00:00:00+02:00"]
    assert [row[3:] for row in rows] == [["0.01", "EUR", "import, export"]] * 4

    document = json.loads((await gateway(*command, "--json"))[1])
    assert [one["amount"] for one in document["bills"]] == [row[2] for row in rows]
    stored = await home.stored()
    for one in document["bills"]:
        a, b = (int(datetime.fromisoformat(one[name]).timestamp()) // 900 for name in ("from", "until"))
        due = Decimal(0)
        for unit in range(a, b):
            when = datetime.fromtimestamp(unit * 900)  # the tariff's zone is this machine's
            peak = when.weekday() < 5 and 6 <= when.hour < 22
            price = Decimal("0.3215") if peak else Decimal("0.2450")
            due += price * stored.total("import", unit, unit + 1)
            due -= Decimal("0.0810") * stored.total("export", unit, unit + 1)
        cents = (due / 10**4).quantize(Decimal(1), ROUND_HALF_UP if due > 0 else ROUND_HALF_DOWN)
        assert Decimal(one["amount"]) == cents / 100
        assert (one["quantum"], one["currency"]) == ("0.01", "EUR")
        assert len(one["amount"].partition(".")[2]) == 2


BILL = """
[bill]
round = "0.05"
[[bill.line]]
name = "Standing charge"
amount = "0.31"
per = "day"
[[bill.line]]
name = "VAT"
percent = "8.1"
"""


async def test_the_other_lines_of_a_bill(home: Home, provider: Provider, tariff: Path, gateway: Run) -> None:
    """They are the provider's: the household's tariff is the same without them."""
    assert (await gateway(*new(provider, "--bill", str(tariff), "--granularity", "day")))[0] == 0
    command = await read(home, provider, "bill", "--tariff", str(tariff))
    _, plain, _ = await gateway(*command)
    tariff.write_text(TARIFF + BILL)
    code, out, _ = await gateway(*command)
    assert code == 0
    bills, lines = out.split("\n\n")
    assert bills.split() == plain.split()
    rows = [line.split() for line in lines.splitlines()]
    assert rows[0] == ["from", "until", "line", "amount", "currency"]
    assert len(rows) == 1 + 4 * 4

    document = json.loads((await gateway(*command, "--json"))[1])
    for i, one in enumerate(document["bills"]):
        energy, charge, vat = (Decimal(line["amount"]) for line in one["lines"])
        assert [line["name"] for line in one["lines"]] == ["energy", "Standing charge", "VAT"]
        assert all(amount % Decimal("0.05") == 0 for amount in (energy, charge, vat))
        assert abs(energy - Decimal(one["amount"])) <= Decimal("0.025")
        assert charge == Decimal("0.30")
        assert abs(vat - (energy + charge) * Decimal("0.081")) <= Decimal("0.025")
        assert Decimal(one["total"]) == energy + charge + vat
        assert rows[4 * i + 4][-3:] == ["total", one["total"], "EUR"]

    tariff.write_text(TARIFF + BILL.replace('"day"', '"month"'))
    code, out, err = await gateway(*command)
    assert (code, out) == (2, "")
    assert "Standing charge is charged per month, and the billing period from 2026-05-29 00:00 until" in err
    tariff.write_text(TARIFF + BILL.replace('"8.1"', "8.1"))
    code, out, err = await gateway(*command)
    assert (code, out, err.startswith(f"gateway: {tariff}: bill: VAT: percent is 8.1;")) == (2, "", True)


async def test_a_dry_run_says_what_would_be_learnt_and_grants_nothing(
    home: Home, provider: Provider, tariff: Path, gateway: Run
) -> None:
    bill = ("--bill", str(tariff), "--granularity", "day", "--zone", "UTC", "--lanes", "import")
    code, out, _ = await gateway(*new(provider, *bill, "--dry-run"))
    assert code == 0
    assert out.splitlines() == [
        "ACME Energy would be able to open the bill of each day (UTC) for import from "
        "2026-05-29T00:00:00+00:00, at the meter main, for: tests",
        "nothing beyond what the grant opens by itself",
        "each bill says at most 8.2 bits: it is one of some 285 amounts",  # 400 W: 2.84 EUR on a weekday
        "Nothing was granted: this was a dry run.",
    ]
    assert (await gateway(*new(provider, "--granularity", "24h", "--lanes", "import")))[0] == 0
    code, out, _ = await gateway(*new(provider, *bill, "--dry-run"))
    assert (code, "learns the sum of import over 8h at 0.2450 EUR a kWh" in out) == (0, True)
    code, out, _ = await gateway(*new(provider, *bill, "--dry-run", "--json"))
    answer = json.loads(out)
    assert (code, answer["grants"], len(answer["consent"]["provider"])) == (0, [], 2)
    assert round(answer["bits_a_bill"], 1) == 8.2
    (offered,) = answer["offered"]
    assert (offered["provider"], offered["meter"], offered["purpose"]) == ("ACME Energy", "main", "tests")
    assert (offered["kind"], offered["granularity"], offered["lanes"]) == ("bill", "day", ["import"])
    assert len(await home.ledger.grants()) == 1


async def test_a_bill_by_another_tariff(home: Home, provider: Provider, tariff: Path, gateway: Run) -> None:
    assert (await gateway(*new(provider, "--bill", str(tariff), "--granularity", "day")))[0] == 0
    tariff.write_text(TARIFF.replace("0.3215", "0.3216"))
    code, out, err = await gateway(*await read(home, provider, "bill", "--tariff", str(tariff)))
    assert (code, out) == (3, "")
    assert "no bill under this tariff is granted: grant " in err
    tariff.write_text("currency = 7")
    code, out, err = await gateway(*await read(home, provider, "bill", "--tariff", str(tariff)))
    assert (code, err) == (2, f'gateway: {tariff}: currency is missing; it must be text such as "EUR"\n')


async def test_no_bill_yet(home: Home, provider: Provider, tariff: Path, gateway: Run) -> None:
    code, out, _ = await gateway(*new(provider, "--bill", str(tariff), "--granularity", "month"))
    assert (code, "the bill of each month (Europe/Zurich) for import, export from 2026-06-01T00" in out) == (
        0,
        True,
    )
    code, out, err = await gateway(*await read(home, provider, "bill", "--tariff", str(tariff)))
    assert (code, out.split()) == (0, ["from", "until", "amount", "quantum", "currency", "for"])
    assert err.endswith("no billing period is over yet, or its token is not in the store\n")


async def test_bills_from_the_15th_end_with_the_dates_of_their_tariff(
    home: Home, provider: Provider, tariff: Path, gateway: Run
) -> None:
    tariff.write_text(
        "since = 2026-01-01\nbefore = 2026-09-01\n" + TARIFF + "[holidays]\nadd = [2026-08-01]\n"
    )
    bill = ("--bill", str(tariff), "--granularity", "month-15")
    code, out, _ = await gateway(*new(provider, *bill))
    words = (
        "the bill of each month from day 15 (Europe/Zurich) for import, export from "
        "2026-06-15T00:00:00+02:00 until"
    )
    assert (code, f"{words} 2026-08-15T00:00:00+02:00" in out) == (0, True)


async def test_a_tariff_that_isolates_is_refused_though_it_is_confirmed(
    home: Home, provider: Provider, tariff: Path, gateway: Run
) -> None:
    prices = ", ".join('"9.99"' if step == 13 * 96 else '"0"' for step in range(96 * 40))
    tariff.write_text(
        f'currency = "EUR"\n[import]\nstart = 2026-05-28T00:00:00Z\nprices = [{prices}]', encoding="utf-8"
    )
    for yes in ((), ("--yes",)):
        code, out, err = await gateway(*new(provider, "--bill", str(tariff), "--granularity", "month", *yes))
        assert (code, out) == (2, "")
        assert "import: 15min decide nine tenths of this tariff's bill for 720h" in err
        assert "the window from 2026-06-10T00:00+00:00 on most of all" in err
        assert "such a bill is never granted" in err
    assert await home.ledger.grants() == []


async def test_raw_links(home: Home, provider: Provider, gateway: Run) -> None:
    options = ("--raw", "--granularity", "2h", "--lanes", "import,power")
    code, _, err = await gateway(*new(provider, *options, "--until", "2026-05-30T02:00"))
    assert (code, "learns every single unit of 15min of import, power at the meter main" in err) == (3, True)
    code, out, _ = await gateway(*new(provider, *options, "--until", "2026-05-30T02:00", "--yes"))
    assert code == 0
    assert "may now open every unit of import, power from 2026-05-2" in out
    command = await read(home, provider, "raw")
    code, out, err = await gateway(*command, "--csv")
    assert (code, err.startswith("grant ") and "opens every unit of import, power" in err) == (0, True)
    rows = list(csv.DictReader(io.StringIO(out)))
    stored = await home.stored()
    assert rows[-1]["until"] == "2026-05-30T00:00:00Z"
    for row in rows:
        unit = int(datetime.fromisoformat(row["from"]).timestamp()) // 900
        assert int(Decimal(row["import kWh"]) * 10**6) == stored.total("import", unit, unit + 1)
        assert int(row["power W, summed"]) == stored.total("power", unit, unit + 1)
    assert len(rows) > 90

    document = json.loads((await gateway(*command, "--json"))[1])
    assert document["unit_ms"] == 900_000
    assert document["lanes"] == ["import", "power"]
    assert all(len(run["power_w"]) == len(run["import_mwh"]) for run in document["runs"])
    opened = [value for run in document["runs"] for value in run["import_mwh"]]
    first = int(datetime.fromisoformat(document["runs"][0]["from"]).timestamp()) // 900 - stored.start
    assert opened == stored.d["import"][first : first + len(opened)].tolist()
    assert len(opened) == len(rows)

    code, out, _ = await gateway(*command)
    assert [line.split()[1] for line in out.splitlines()[1:]] == [row["import kWh"] for row in rows]
    assert (await gateway(*command, "--csv", "--json"))[0] == 2


async def test_no_raw_grant(home: Home, provider: Provider, gateway: Run) -> None:
    assert (await gateway(*new(provider, "--granularity", "2h")))[0] == 0
    code, out, err = await gateway(*await read(home, provider, "raw"))
    assert (code, out) == (3, "")
    assert err == "gateway: there is no raw grant to this provider, so it cannot open single units\n"


async def test_a_load(home: Home, provider: Provider, tmp_path: Path, gateway: Run) -> None:
    service = Provider.new(tmp_path / "service")
    both = (
        *("--load", "--service", str(service.folder / "card.cose"), "--granularity", "1h"),
        *("--fingerprint", service.card.fingerprint),
    )
    code, out, err = await gateway(*new(provider, *both))
    assert (code, out) == (3, "")
    assert "if all providers pool what they hold: " in err
    assert (
        "ACME Energy and ACME Energy together learn 1h sums of import at the meter main, from a share of"
        in err
    )
    assert "the two halves of a load" in err
    assert await home.ledger.grants() == []

    assert (await gateway(*new(provider, *both, "--yes", "--k-min", "1")))[0] == 2
    code, out, _ = await gateway(*new(provider, *both, "--yes", "--k-min", "20"))
    opens = "may now open a share of 1h loads of import, export over at least 20 homes from"
    assert (code, out.count(opens)) == (0, 2)
    signer = kid_of(home.root.public_key).hex()
    centre, summing = json.loads((await gateway("grant", "list", "--json"))[1])
    if centre["partner"] is not None:
        centre, summing = summing, centre
    assert (centre["partner"], summing["partner"]) == (None, centre["id"])
    assert (centre["k_min"], summing["k_min"]) == (20, 20)
    listed = f"{centre['stream']},{signer},{centre['id']}"
    (line,) = [line for line in out.splitlines() if line.startswith("the centre's list of homes")]
    assert line == f"the centre's list of homes has it as: {listed}"
    assert "the provider reads it with" not in out
    bodies = [read_grant_body(one.body, 900_000, "it") for one in await home.ledger.grants()]
    assert [grant.k_min for grant in bodies] == [20, 20]
    code, out, _ = await gateway("grant", "show", summing["id"][:12])
    assert code == 0
    assert f"partner: {centre['id']}\n" in out
    assert "kind: load\n" in out
    assert "from: 2026-05-29T00:00:00+02:00\n" in out
    assert "until: -\n" in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--raw", "--load", "--granularity", "2h"), "make one at a time"),
        (
            ("--k-min", "3", "--granularity", "1h"),
            "--k-min says over how many homes a load sums: use it with",
        ),
        (("--load", "--granularity", "1h"), "--load with --to the centre's card and --service"),
        (("--service", "acme/card.cose", "--granularity", "1h"), "--load with --to the centre's card"),
        (("--raw", "--granularity", "1h"), "a raw grant opens whole links of 2h: its granularity"),
        (
            ("--raw", "--granularity", "2h", "--from", "2026-05-29T01:00"),
            "from: a raw grant opens whole links",
        ),
        (
            ("--bill", "none.toml", "--granularity", "month"),
            "none.toml: the file cannot be read: No such file",
        ),
        (("--granularity", "20min"), "is not a whole number of this stream's units of 15min"),
        (("--granularity", "day", "--zone", "Europe/Atlantis"), "'Europe/Atlantis' is not in the IANA list"),
        (("--granularity", "1h", "--from", "9999-06-01"), "reach beyond the year 9998"),
    ],
)
async def test_what_cannot_be_granted(
    options: tuple[str, ...],
    sentence: str,
    home: Home,
    provider: Provider,
    gateway: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = await gateway(*new(provider, *options, "--yes"))
    assert (code, out) == (2, "")
    assert sentence in err
    assert await home.ledger.grants() == []


async def test_a_grant_that_cannot_be_read_is_listed_and_revoked(
    home: Home, provider: Provider, gateway: Run
) -> None:
    await gateway(*new(provider, "--granularity", "1h"))
    await gateway(*new(provider, "--granularity", "2h"))
    good, bad = sorted(record.id.hex() for record in await home.ledger.grants())
    await home.database.do(
        lambda db: db.execute("UPDATE grant_ SET body = X'A0' WHERE id = ?", (bytes.fromhex(bad),)).rowcount
    )
    home.session._grants._decoded.clear()
    sentence = f"gets no tokens: grant {bad}: id is missing"
    for shown in (await gateway("grant", "list"), await gateway("status")):
        assert shown[0] == 0
        assert sentence in shown[1]
    lines = (await gateway("grant", "list"))[1].splitlines()
    at = lines.index(f"{bad[:8]}  meter main, to ACME Energy")
    assert lines[at + 1] == "  what it opens cannot be read"
    at = lines.index(f"{good[:8]}  meter main, to ACME Energy")
    assert "h sums of import" in lines[at + 1]
    code, out, _ = await gateway("grant", "list", "--json")
    assert {one["id"]: one["fault"] for one in json.loads(out)} == {
        good: None,
        bad: f"grant {bad}: id is missing",
    }
    code, out, _ = await gateway("grant", "show", bad)
    assert (code, f"fault: grant {bad}: id is missing" in out) == (0, True)
    code, out, _ = await gateway("grant", "revoke", bad)
    assert (code, "is revoked from" in out) == (0, True)
    assert sentence not in (await gateway("status"))[1]
