"""`gateway provider evidence` and `gateway dispute verify`, as an engineer and an arbiter run them."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.chain.layout import Layout
from gateway.cli.main import main
from gateway.config.tariff import load_tariff
from tests.stream.stream import START, Home, Provider

TARIFF = Path(__file__).parents[1] / "tariffs" / "belgium-two-rates.toml"


class Case:
    """A provider at a command line, a home of three days, and where the evidence goes."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = Home(layout=Layout(900_000, 4), start=START // 900, chunk_units=4)
        self.home.seal({"import": [1000 * i + 1 for i in range(300)], "export": [0] * 300})
        self.provider = Provider.new(folder / "acme")
        self.store, self.file = folder / "store", folder / "march.cose"
        self.store.mkdir()
        self._capsys = capsys

    def evidence(self, *options: str) -> tuple[int, str, str]:
        """Of 1 March at 06:00 to 2 March at 06:00, UTC."""
        store = str(self.home.write(self.store))
        place = ["--store", store, "--stream", self.home.id.hex(), "--signer", self.home.signer.kid.hex()]
        times = ["--from", "2026-03-01T06:00Z", "--until", "2026-03-02T06:00Z"]
        key = ["--key", str(self.provider.folder), "--output", str(self.file)]
        return self._run("provider", "evidence", *key, *place, *times, *options)

    def verify(self, *options: str) -> tuple[int, str, str]:
        return self._run("dispute", "verify", str(self.file), *options)

    def _run(self, *words: str) -> tuple[int, str, str]:
        code = main(words)
        return code, *self._capsys.readouterr()

    @property
    def mwh(self) -> int:
        return self.home.truth("import", self.home.start + 24, self.home.start + 120)


@pytest.fixture
def case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    yield Case(tmp_path, capsys)
    monkeypatch.undo()
    time.tzset()


def test_what_is_proven_and_what_is_claimed(case: Case) -> None:
    grant = case.home.grant(case.provider.card, "1h")
    end = f"{(10**9 + case.mwh) / 10**6:.6f}"
    code, out, err = case.evidence("--register", "import", "1000.000000", end)
    assert (code, err) == (0, "")
    assert stat.S_IMODE(case.file.stat().st_mode) == 0o600  # it shows what a home used
    code, again, err = case.verify()
    assert (code, err) == (0, "")
    assert out == again
    lines = out.splitlines()
    assert lines[:8] == [
        f"Proven, by the signature of the gateway {case.home.signer.kid.hex()} "
        "(its key is kept in a TPM, as it says):",
        f"  stream    {case.home.id.hex()}",
        f"  grant     {grant.id.hex()}: 1h sums of import, export",
        '  purpose   "test"',
        "  from      2026-03-01T07:00:00+01:00",
        "  until     2026-03-02T07:00:00+01:00 (24 windows)",
        f"  import    {case.mwh / 10**6:.6f} kWh",
        "  export    0.000000 kWh",
    ]
    assert lines[8].startswith("  head      signed at ")
    assert lines[9] == f"Only claimed, by the signature of the provider {case.provider.card.kid.hex()}:"
    assert lines[10].startswith("  made at   ")
    assert lines[11:] == [
        f"  register of import: 1000.000000 kWh at the start, {end} kWh at the end, which agrees with the sum"
    ]


def test_the_document(case: Case) -> None:
    case.home.grant(case.provider.card, "1h")
    code, out, _ = case.evidence("--json", "--register", "export", "7", "7")
    assert code == 0
    code, again, _ = case.verify("--json")
    assert code == 0
    document = json.loads(out)
    assert document == json.loads(again)
    proven, claimed = document["proven"], document["claimed"]
    assert proven["sums"] == {"import_mwh": case.mwh, "export_mwh": 0}
    assert len(proven["windows"]) == 24
    assert sum(window["import_mwh"] for window in proven["windows"]) == case.mwh
    assert proven["windows"][0]["from_ms"] == proven["from_ms"] == (START + 6 * 3600) * 1000
    assert proven["until_ms"] == (START + 30 * 3600) * 1000
    assert (proven["gateway"], proven["bills"]) == (case.home.signer.kid.hex(), [])
    assert claimed["provider"] == case.provider.card.kid.hex()
    assert claimed["registers"] == [
        {
            "lane": "export",
            "start_mwh": 7_000_000,
            "end_mwh": 7_000_000,
            "digit_mwh": 1_000_000,
            "agrees": True,
        }
    ]


def test_a_bill(case: Case) -> None:
    tariff = load_tariff(TARIFF)
    case.home.grant(case.provider.card, "day", ("import",), kind="bill", tariff=tariff)
    code, out, err = case.evidence("--tariff", str(TARIFF), "--from", "2026-03-01T00:00Z")
    assert (code, err) == (0, "")
    assert case.verify()[1] == out
    assert "  until     2026-03-02T00:00:00+00:00 (1 window)" in out.splitlines()
    (bill,) = [line for line in out.splitlines() if line.startswith("  bill")]
    assert bill.endswith("EUR from 2026-03-01T00:00:00+00:00 until 2026-03-02T00:00:00+00:00, for import")
    document = json.loads(case.verify("--json")[1])
    assert document["proven"]["bills"][0]["amount"] in bill
    assert document["proven"]["sums"] == {}
    assert document["proven"]["windows"] == []


def test_a_changed_byte(case: Case) -> None:
    case.home.grant(case.provider.card, "1h")
    assert case.evidence()[0] == 0
    good = case.file.read_bytes()
    for at in (0, 30, len(good) // 2, len(good) - 1):
        changed = bytearray(good)
        changed[at] ^= 4
        case.file.write_bytes(changed)
        code, out, err = case.verify()
        assert (code, out) == (5, "")
        assert err.startswith("gateway: ")
        assert str(case.file) in err


def test_registers_that_disagree_make_no_evidence(case: Case) -> None:
    case.home.grant(case.provider.card, "1h")
    code, out, err = case.evidence("--register", "import", "5", "500")
    assert (code, out) == (2, "")
    assert err == (
        "gateway: the register of import rose by 495.000000 kWh, and the gateway sealed "
        f"{case.mwh / 10**6:.6f} kWh between: correct the readings, or leave them out\n"
    )
    assert not case.file.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--register", "power", "1", "2"], "--register power: expected import or export, each once"),
        (
            ["--register", "import", "1", "2", "--register", "import", "1", "2"],
            "--register import: expected import or export, each once",
        ),
        (
            ["--register", "import", "1,5", "2"],
            "--register import: '1,5' is not a register in kWh, such as 12345.678",
        ),
        (
            ["--register", "import", "1", "2", "--tariff", str(TARIFF)],
            "--register is compared with sums, and a bill opens none: use it without --tariff",
        ),
        (
            ["--until", "2026-03-01T06:00Z"],
            "the claimed time ends before it begins: --until must be later than --from",
        ),
    ],
)
def test_wrong_options(options: list[str], sentence: str, case: Case) -> None:
    case.home.grant(case.provider.card, "1h")
    assert case.evidence(*options) == (2, "", f"gateway: {sentence}\n")
    assert not case.file.exists()


def test_a_file_is_not_overwritten(case: Case) -> None:
    case.home.grant(case.provider.card, "1h")
    case.file.write_text("mine")
    assert case.evidence() == (2, "", f"gateway: {case.file} already exists: name a new file\n")
    assert case.file.read_text() == "mine"


def test_without_a_grant(case: Case) -> None:
    code, _, err = case.evidence()
    assert code == 3
    assert err == (
        "gateway: no one grant of sums opens all of the requested time: there is none to this provider, or "
        "none of this id\n"
    )


def test_a_file_that_is_no_evidence(case: Case) -> None:
    case.file.write_bytes(case.home.objects[next(iter(case.home.objects))])
    code, out, err = case.verify()
    assert (code, out) == (5, "")
    assert err.startswith(f"gateway: {case.file}: ")
    case.file.unlink()
    assert case.verify() == (2, "", f"gateway: {case.file} cannot be read: No such file or directory\n")
