"""Bills from windows and invoices, from a store to the files that a utility sends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from gateway.chain.layout import Layout
from gateway.cli.main import main
from gateway.config.tariff import load_tariff
from gateway.provider.invoices.terms import example
from tests.stream.stream import Home, Provider
from tests.support.en16931 import Rules

pytestmark = pytest.mark.slow

TARIFFS = Path(__file__).parents[1] / "tariffs"
VAT_LINES = {
    "britain-octopus-go": ("VAT", "5"),
    "denmark-net-c": ("Moms", "25"),
    "france-heures-creuses": ("TVA", "20"),
    "germany-14a-module-3": ("Umsatzsteuer", "19"),
    "spain-2.0td": ("IVA", "21"),
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def gateway(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; its exit code, stdout and stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return code, out, err

    return run


def at(*when: int, unit_s: int = 60) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) // unit_s  # type: ignore[misc, arg-type]


def sealed(seed: int, unit_s: int) -> Home:
    """March 2026, whose energy is that of a home."""
    day = 86_400 // unit_s
    start = at(2026, 2, 28, unit_s=unit_s)
    home = Home(layout=Layout(unit_s * 1000, day), start=start, chunk_units=day)
    count = at(2026, 4, 2, unit_s=unit_s) - home.end
    home.seal(
        {
            "import": [(i * 7919 + seed) % 20_000 for i in range(count)],
            "export": [(i * 104_729 + seed) % 4_500 for i in range(count)],
        }
    )
    return home


@pytest.fixture(scope="module")
def whole() -> Home:
    return sealed(1, 60)


@dataclass(frozen=True, slots=True)
class Granted:
    """A home whose windows of 2 min are granted, in a store that nobody changes."""

    home: Home
    provider: Provider
    store: Path

    @property
    def options(self) -> list[object]:
        ids = ["--stream", self.home.id.hex(), "--signer", self.home.signer.kid.hex()]
        return [*place(self.store, self.provider), *ids]


@pytest.fixture(scope="module")
def granted(whole: Home, tmp_path_factory: pytest.TempPathFactory) -> Granted:
    folder = tmp_path_factory.mktemp("granted")
    home, provider = whole.fork(), Provider.new(folder / "acme")
    home.grant(provider.card, "2min")
    return Granted(home, provider, home.write(folder / "store"))


@pytest.fixture
def home(whole: Home) -> Home:
    return whole.fork()


def place(folder: Path, provider: Provider) -> list[object]:
    return ["--key", provider.folder, "--store", folder, "--max-age", "3650d"]


def terms_file(
    folder: Path, line: str | None = "TVA", percent: str = "20", change: tuple[str, str] = ("", "")
) -> Path:
    """The example's file with another VAT, and a text in it replaced."""
    text = example().replace('percent = "20"', f'percent = "{percent}"')
    text = text.replace('line = "TVA"', f'line = "{line}"' if line else "#")
    assert change[0] in text
    if change[0]:
        text = text.replace(*change)
    path = folder / "invoice.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(path.stem for path in TARIFFS.glob("*.toml")))
def test_real_tariffs_come_to_valid_invoices(
    name: str, home: Home, gateway: Run, tmp_path: Path, invoice_rules: Rules
) -> None:
    """From windows of the tariff's step: each line is its energy at its price; the XML keeps the rules."""
    provider = Provider.new(tmp_path / "acme")
    tariff = load_tariff(TARIFFS / f"{name}.toml")
    home.grant(provider.card, f"{tariff.step_ms // 60_000}min")
    store = home.write(tmp_path / "store")
    line, percent = VAT_LINES.get(name, (None, "20"))
    code, _, err = gateway(
        "provider", "invoice", *place(store, provider), "--stream", home.id.hex(), "--signer",
        home.signer.kid.hex(), "--tariff", TARIFFS / f"{name}.toml", "--terms",
        terms_file(tmp_path, line, percent), "--date", "2026-03-15", "--issued", "2026-04-02", "--out",
        tmp_path / "out", "--format", "xml", "--format", "pdf", "--format", "text",
    )  # fmt: skip
    assert (code, err) == (0, "")
    document = json.loads((tmp_path / "out" / "2026-000001.json").read_text())
    assert (document["start"], document["end"]) == ("2026-03-01", "2026-03-31")
    zone = {"UTC": 0, "Europe/London": 0}.get(tariff.zone, 1)
    a, b = at(2026, 3, 1) - 60 * zone, at(2026, 4, 1) - (0 if tariff.zone == "UTC" else 60 * (zone + 1))
    for lane, lines in (("import", "Electricity"), ("export", "Electricity fed in")):
        found = [one for one in document["lines"] if one["name"] == lines]
        energy = sum(abs(Decimal(one["quantity"])) for one in found)
        assert energy == (Decimal(home.truth(lane, a, b)).scaleb(-6) if lane in tariff.lanes else 0)
        assert all(Decimal(one["price"]) >= 0 for one in found)
        for one in found:
            exact = Decimal(one["quantity"]) * Decimal(one["price"])
            assert Decimal(one["amount"]) == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert invoice_rules.broken((tmp_path / "out" / "2026-000001.xml").read_bytes()) == []
    assert (tmp_path / "out" / "2026-000001.pdf").read_bytes().startswith(b"%PDF")


def portfolio(homes: list[Home], tmp_path: Path) -> tuple[Provider, Path, Path]:
    """A provider, a store with these homes granted to it, and the list of them, the second without a city."""
    provider = Provider.new(tmp_path / "acme")
    rows = ["stream,signer,id,name,street,postcode,city,country,metering_point"]
    for count, home in enumerate(homes):
        home.grant(provider.card, "15min")
        shutil.copytree(home.write(tmp_path / f"of {count}"), tmp_path / "store", dirs_exist_ok=True)
        city = "" if count == 1 else "Marseille"
        rows.append(
            f"{home.id.hex()},{home.signer.kid.hex()},C-{count},Home {count},Rue 1,13002,{city},FR,{count}"
        )
    path = tmp_path / "homes.csv"
    path.write_text("\n".join(rows) + "\n")
    return provider, tmp_path / "store", path


def test_a_portfolio_resumes_and_one_home_never_stops_the_others(
    gateway: Run, tmp_path: Path, invoice_rules: Rules
) -> None:
    provider, store, listed = portfolio([sealed(seed, 900) for seed in (1, 2, 3)], tmp_path)
    out = tmp_path / "out"
    command = [
        "provider", "invoice", *place(store, provider), "--homes", listed, "--tariff",
        TARIFFS / "spain-2.0td.toml", "--terms", terms_file(tmp_path, "IVA", "21"), "--out", out,
        "--format", "xml",
    ]  # fmt: skip
    good = listed.read_text()
    heading, *rows = good.splitlines(keepends=True)
    listed.write_text(heading + "0" * 32 + rows[0][32:] + "".join(rows))
    code, told, err = gateway(*command, "--issued", "2026-04-02")
    assert code == 1
    assert "2 of 4 homes have no invoice" in err
    assert "failed: the store holds no stream 0000" in told.splitlines()[1]
    assert "line 4: city is missing" in told.splitlines()[3]
    listed.write_text(good)
    assert sorted(path.name for path in out.iterdir()) == [
        f"2026-00000{number}.{suffix}" for number in (1, 2) for suffix in ("json", "xml")
    ]
    for path in out.glob("*.xml"):
        assert invoice_rules.broken(path.read_bytes()) == []
    before = {path: path.read_bytes() for path in out.iterdir()}
    (out / "2026-000002.xml").unlink()
    listed.write_text(listed.read_text().replace("13002,,", "13002,Nice,"))
    code, told, err = gateway(*command, "--issued", "2026-05-09")
    assert (code, err) == (0, "")
    assert [line.split()[-1] for line in told.splitlines()[1:4]] == ["there", "made", "made"]
    assert {path: path.read_bytes() for path in before} == before
    numbers = [json.loads(path.read_text())["number"] for path in sorted(out.glob("*.json"))]
    assert numbers == ["2026-000001", "2026-000002", "2026-000003"]
    assert json.loads((out / "2026-000003.json").read_text())["issued"] == "2026-05-09"
    # What is there and says otherwise stays, until it is to be replaced.
    listed.write_text(listed.read_text().replace("Home 0", "Home Zero"))
    code, told, err = gateway(*command, "--issued", "2026-05-09")
    assert code == 1
    assert "2026-000001.json is there already and says otherwise" in told
    assert {path: path.read_bytes() for path in before} == before
    code, told, _ = gateway(*command, "--issued", "2026-05-09", "--replace")
    assert code == 0
    assert told.splitlines()[1].split()[-1] == "replaced"
    document = json.loads((out / "2026-000001.json").read_text())
    assert (document["buyer"]["name"], document["number"]) == ("Home Zero", "2026-000001")


def test_a_bill_from_windows_has_the_energy_at_each_price(
    granted: Granted, gateway: Run, tmp_path: Path
) -> None:
    tariff = TARIFFS / "france-heures-creuses.toml"
    command = [
        "provider", "bill", *granted.options, "--tariff", tariff,
    ]  # fmt: skip
    code, out, err = gateway(*command, "--json")
    assert (code, err) == (0, "")
    [bill] = json.loads(out)["bills"]
    steps = bill["steps"]
    assert {step["price"] for step in steps} == {"0.1579", "0.1635", "0.2065", "0.2081"}
    exact = sum(Decimal(step["price"]) * step["energy_mwh"] for step in steps).scaleb(-6)
    assert Decimal(bill["amount"]) == exact
    assert bill["lines"][0]["amount"] == f"{exact.quantize(Decimal('0.01'), ROUND_HALF_UP)}"
    code, out, _ = gateway(*command)
    assert code == 0
    assert "0.2065 EUR" in out
    code, _, err = gateway(*command, "--from-bills")
    assert code == 3
    assert "no bill under this tariff is granted" in err
    code, _, err = gateway(*command, "--period", "1h")
    assert code == 2
    assert "billing period '1h': it must be day, month" in err


@pytest.mark.parametrize(
    ("change", "options", "code", "sentence"),
    [
        (
            ("", ""),
            ["--date", "2026-04-01"],
            2,
            "the billing period that holds 2026-04-01 is not over: the stream is sea",
        ),
        (
            ("", ""),
            ["--date", "2026-02-01"],
            3,
            "the windows that are granted are not of the whole month that holds 2026-",
        ),
        (("", ""), ["--from-bills"], 3, "no bill under this tariff is granted"),
        (("", ""), ["--number", "26/1"], 2, "'26/1' is not an invoice's number"),
        (("", ""), ["--reversal"], 2, "a correction takes --corrects"),
        (
            ('vat_id = "FR40303265045"', ""),
            [],
            2,
            "seller: vat_id is missing: VAT of category S wants",
        ),
        (
            ('country = "FR"              #', 'country = "FX" #'),
            [],
            2,
            "seller: country is 'FX'; it must be",
        ),
        (('"S"  ', '"X"  '), [], 2, "vat: category is 'X'; it must be one of S, Z, E, AE, O"),
        (("[vat]", "[vta]"), [], 2, "vta is not a known key"),
        (("M02606", "M02607"), [], 2, "which is not an IBAN: its check digits do not fit"),
        (('line = "TVA"', 'line = "VAT"'), [], 2, "has no such line: it has Abonnement, TVA"),
        (('line = "TVA"', ""), [], 2, "say line = 'TVA' in [vat] where it is this VAT"),
        (("", ""), ["--feed-in"], 2, 'set as = "own" in [feed_in] for another'),
    ],
)
def test_bad_input_gets_a_sentence(
    change: tuple[str, str],
    options: list[str],
    code: int,
    sentence: str,
    granted: Granted,
    gateway: Run,
    tmp_path: Path,
) -> None:
    found, out, err = gateway(
        "provider", "invoice", *granted.options, "--tariff", TARIFFS / "france-heures-creuses.toml",
        "--terms", terms_file(tmp_path, change=change), "--out", tmp_path / "out", *options,
    )  # fmt: skip
    assert (found, out) == (code, "")
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_correction_refers_to_what_it_corrects(
    granted: Granted, gateway: Run, tmp_path: Path, invoice_rules: Rules
) -> None:
    out = tmp_path / "out"

    def run(tariff: Path, *options: object, out: Path = out) -> tuple[int, str, str]:
        return gateway(
            "provider", "invoice", *granted.options, "--tariff", tariff, "--terms", terms_file(tmp_path),
            "--issued", "2026-04-02", "--out", out, "--format", "xml", *options,
        )  # fmt: skip

    first = TARIFFS / "france-heures-creuses.toml"
    assert run(first)[0] == 0
    earlier = out / "2026-000001.json"
    code, _, err = run(first, "--corrects", earlier, "--difference")
    assert code == 2
    assert "nothing changed since invoice 2026-000001" in err
    second = tmp_path / "tariff.toml"
    second.write_text(first.read_text().replace("0.2065", "0.2064"))
    other = tmp_path / "other"
    shutil.copytree(out, other)
    for folder, way in ((out, "--difference"), (other, "--reversal")):
        assert run(second, "--corrects", earlier, way, out=folder)[0] == 0
        assert run(second, "--corrects", earlier, way, out=folder)[1].endswith(": there\n")
        document = json.loads((folder / "2026-000002.json").read_text())
        assert document["corrects"] == {"number": "2026-000001", "issued": "2026-04-02"}
        assert invoice_rules.broken((folder / "2026-000002.xml").read_bytes()) == []
    for number in ([], ["--number", "2026-000009"]):
        code, _, err = run(second, "--corrects", earlier, "--reversal", *number)
        assert code == 2
        assert "2026-000002 corrects invoice 2026-000001 already: a second correction would credit" in err
    assert len(list(out.glob("*.json"))) == 2
    code, _, err = run(second, "--corrects", out / "2026-000002.json", "--reversal")
    assert code == 2
    assert "corrected invoice 2026-000002 is a correction itself" in err


def test_a_bill_grant_comes_to_an_invoice_of_one_line(
    home: Home, gateway: Run, tmp_path: Path, invoice_rules: Rules
) -> None:
    """The household grants the month's amount alone; the invoice says so, and totals as the bill does."""
    provider, file = Provider.new(tmp_path / "acme"), TARIFFS / "germany-14a-module-3.toml"
    tariff = load_tariff(file)
    home.grant(provider.card, "month", zone=tariff.zone, kind="bill", tariff=tariff)
    options = [
        *place(home.write(tmp_path / "store"), provider), "--stream", home.id.hex(), "--signer",
        home.signer.kid.hex(), "--tariff", file,
    ]  # fmt: skip
    code, out, err = gateway("provider", "bill", *options, "--json")
    assert (code, err) == (0, "")
    [bill] = json.loads(out)["bills"]
    assert "steps" not in bill
    terms = terms_file(tmp_path, "Umsatzsteuer", "19")
    command = ["provider", "invoice", *options, "--terms", terms, "--number", "R-7", "--issued", "2026-04-02"]
    code, out, err = gateway(*command, "--format", "json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    first = document["lines"][0]
    assert first["name"] == "Electricity, less what was fed in"
    assert (first["amount"], document["totals"]["total"]) == (bill["amount"], bill["total"])
    assert "rounded to 0.01 EUR by the household's gateway" in document["notes"][1]
    code, out, _ = gateway(*command, "--format", "xml")
    assert code == 0
    assert invoice_rules.broken(out.encode()) == []
    code, out, _ = gateway(*command)
    assert code == 0
    assert out.startswith("Invoice R-7\n")
    code, _, err = gateway(*command, "--format", "pdf")
    assert code == 2
    assert "without --out an invoice takes --number, and one --format of text, json and xml" in err
    code, _, err = gateway(*command, "--from-windows")
    assert code == 3
    assert "no window of import or export is granted" in err


def test_the_example_is_whole(gateway: Run) -> None:
    code, out, err = gateway("provider", "invoice", "--example")
    assert (code, err) == (0, "")
    assert out == example()
