"""`gateway provider streams`, `grants`, and `read` of several homes, as an engineer runs them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import polars
import pytest

from gateway.cli.main import main
from gateway.store.opening import open_bucket
from gateway.wire import names
from tests.provider.street import Street
from tests.stream.stream import START, Provider, random_readings
from tests.stream.stream import Home as Gateway
from tests.support.servers import S3Server

UNVERIFIED = "the signers are those that the store itself names, unverified"
GATEWAY = (sys.executable, "-c", "import sys; from gateway.cli.main import main; sys.exit(main())")


@dataclass(frozen=True, slots=True)
class Desk:
    """A provider at a command line, and the street whose store it reads."""

    street: Street
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def words(self, *words: str) -> list[str]:
        key = str(self.street.provider.folder)
        return ["provider", words[0], "--key", key, "--store", str(self.street.write()), *words[1:]]

    def runs(self, *words: str) -> tuple[int, str, str]:
        code = main(self.words(*words))
        return code, *self.capsys.readouterr()

    def list(self, heading: str = "stream,signer") -> str:
        return str(self.street.lists(self.folder / "homes.csv", heading))

    def alone(self, gateway: Gateway, *options: str) -> tuple[int, str, str]:
        place = ("--stream", gateway.id.hex(), "--signer", gateway.signer.kid.hex())
        return self.runs("read", *place, *options)


@pytest.fixture
def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """Three homes of four minutes: two granted minutes of import and export, one 10 s of import."""
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    street = Street.new(tmp_path)
    for number in range(3):
        gateway = street.joins(Gateway(("import", "export") if number < 2 else ("import",)))
        gateway.seal(random_readings(240, gateway.lanes))
        gateway.grant(street.provider.card, "1min" if number < 2 else "10s")
    yield Desk(street, tmp_path, capsys)
    monkeypatch.undo()
    time.tzset()


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


class TestStreams:
    def test_all_of_the_store(self, desk: Desk) -> None:
        code, out, err = desk.runs("streams")
        rows = table(out)
        assert rows[0] == ["stream", "signer", "lanes", "granularity", "from", "until", "coverage"]
        by_stream = {row[0]: row[1:] for row in rows[1:]}
        assert list(by_stream) == sorted(gateway.id.hex() for gateway in desk.street.gateways)
        first, last = desk.street.gateways[0], desk.street.gateways[2]
        start, end = "2026-03-01T01:00:00+01:00", "2026-03-01T01:04:00+01:00"
        span = [start, "-", start, "to", end]
        assert by_stream[first.id.hex()] == [first.signer.kid.hex(), "import,", "export", "1min", *span]
        assert by_stream[last.id.hex()] == [last.signer.kid.hex(), "import", "10s", *span]
        assert (code, err.startswith(UNVERIFIED)) == (0, True)

    def test_json(self, desk: Desk) -> None:
        gateway = desk.street.gateways[0]
        gateway.grant(desk.street.provider.card, "1min", kind="raw", until=START + 120)
        code, out, _ = desk.runs("streams", "--homes", desk.list("stream,signer,name"), "--json")
        document = json.loads(out)
        assert (code, document["failures"], document["denied"]) == (0, [], 0)
        assert document["streams"][0] == {
            "stream": gateway.id.hex(),
            "signer": gateway.signer.kid.hex(),
            "name": "House 1",
            "verified": True,
            "assurance": "tpm",
            "unit_ms": 1000,
            "lanes": ["import", "export"],
            "granularities": ["1min", "raw 1min"],
            "from": "2026-03-01T00:00:00Z",
            "until": None,
            "coverage": {"from": "2026-03-01T00:00:00Z", "until": "2026-03-01T00:04:00Z"},
        }
        assert [one["name"] for one in document["streams"]] == ["House 1", "House 2", "House 3"]

    def test_before_anything_is_sealed_and_after_all_has_ended(self, desk: Desk) -> None:
        desk.street.gateways[:] = [Gateway(("import",)), desk.street.gateways[1]]
        new, old = desk.street.gateways
        new.grant(desk.street.provider.card, "1min", until=START + 60)
        desk.list()
        _, out, err = desk.runs("streams", "--homes", str(desk.folder / "homes.csv"))
        assert table(out)[1][-3:] == ["2026-03-01T01:00:00+01:00", "2026-03-01T01:01:00+01:00", "-"]
        assert err == ""
        assert old.id.hex() in out

    def test_a_wrong_signer_is_named_and_stops_no_other(self, desk: Desk) -> None:
        lines = Path(desk.list()).read_text().splitlines()
        lines[1] = f"{lines[1].split(',')[0]},{'00' * 16}"
        (desk.folder / "homes.csv").write_text("\n".join(lines))
        code, out, err = desk.runs("streams", "--homes", str(desk.folder / "homes.csv"))
        assert (code, len(table(out))) == (5, 3)
        assert err.startswith(f"gateway: stream {desk.street.gateways[0].id.hex()}: ")
        assert "names the signing key" in err

    def test_nothing_granted(self, desk: Desk) -> None:
        other = Provider.new(desk.folder / "other")
        code, out, err = desk.runs("streams", "--key", str(other.folder))
        assert (code, len(table(out))) == (0, 1)
        assert err == f"nothing is granted to this provider, {other.identity.kid.hex()}\n"


class TestGrants:
    def test_each_grant(self, desk: Desk) -> None:
        gateway = desk.street.gateways[0]
        revoked = gateway.grant(desk.street.provider.card, "10s", ("export",), first=START + 60)
        gateway.revoke(revoked)
        code, out, err = desk.runs("grants")
        rows = table(out)
        assert rows[0] == ["stream", "grant", "opens", "from", "until", "purpose", "issued"]
        assert (code, len(rows), err.startswith(UNVERIFIED)) == (0, 5, True)
        [row] = [row for row in rows if row[1] == revoked.id.hex()]
        opens = ["10s", "sums", "of", "export"]
        times = ["2026-03-01T01:01:00+01:00", "2026-03-01T01:04:00+01:00,", "revoked"]
        assert row == [
            gateway.id.hex(),
            revoked.id.hex(),
            *opens,
            *times,
            "test",
            "2026-03-01T01:00:00+01:00",
        ]

    def test_json(self, desk: Desk) -> None:
        gateway = desk.street.gateways[0]
        day = gateway.grant(desk.street.provider.card, "day", zone="Europe/Berlin")
        _, out, _ = desk.runs("grants", "--homes", desk.list(), "--json")
        [found] = [one for one in json.loads(out)["grants"] if one["grant"] == day.id.hex()]
        assert found == {
            "stream": gateway.id.hex(),
            "signer": gateway.signer.kid.hex(),
            "verified": True,
            "grant": day.id.hex(),
            "kind": "windows",
            "lanes": ["import", "export"],
            "granularity": "day",
            "zone": "Europe/Berlin",
            "from": "2026-03-01T23:00:00Z",
            "until": None,
            "revoked": False,
            "purpose": "test",
            "issued_ms": START * 1000,
        }


class TestRead:
    @pytest.mark.parametrize("format_", ["csv", "table"])
    def test_homes_together_are_each_alone(self, desk: Desk, format_: str) -> None:
        options = ("--granularity", "1min", "--lanes", "import", "--format", format_)
        code, out, err = desk.runs("read", "--homes", desk.list(), *options)
        assert (code, err) == (0, "")
        expected = []
        for gateway in desk.street.gateways:
            _, alone, _ = desk.alone(gateway, *options)
            heading, *lines = alone.splitlines()
            comma = "," if format_ == "csv" else "  "
            expected += [f"{gateway.id.hex()}{comma}{line}" for line in lines]
        rows = [line.split() for line in out.splitlines()[1:]]
        assert rows == [line.split() for line in expected]
        assert table(out)[0] == (
            f"stream,{heading}".split() if format_ == "csv" else ["stream", *heading.split()]
        )

    def test_all_of_a_store(self, desk: Desk) -> None:
        code, out, err = desk.runs("read", "--all", "--format", "jsonl")
        records = [json.loads(line) for line in out.splitlines()]
        assert {record["stream"] for record in records} == {one.id.hex() for one in desk.street.gateways}
        assert len(records) == 4 + 4 + 24
        for record in records:
            gateway = next(one for one in desk.street.gateways if one.id.hex() == record["stream"])
            a = START + int(record["start"][14:16]) * 60 + int(record["start"][17:19])
            b = START + int(record["end"][14:16]) * 60 + int(record["end"][17:19])
            assert record["import_mwh"] == gateway.truth("import", a, b)
            export = gateway.truth("export", a, b) if "export" in gateway.lanes else None
            assert record["export_mwh"] == export
        assert (code, err.startswith(UNVERIFIED)) == (0, True)

    @pytest.mark.parametrize("format_", ["parquet", "arrow"])
    def test_files_for_machines(self, desk: Desk, format_: str) -> None:
        options = ("--homes", desk.list(), "--format", format_)
        printed, output = io.BytesIO(), desk.folder / "sums"
        with redirect_stdout(io.TextIOWrapper(printed, write_through=True)):
            assert main(desk.words("read", *options)) == 0
            assert desk.runs("read", *options, "--output", str(output)) == (0, "", "")
            data = printed.getvalue()
        lines = [
            json.loads(line) for line in desk.runs("read", *options[:2], "--format", "jsonl")[1].splitlines()
        ]
        read = polars.read_parquet if format_ == "parquet" else polars.read_ipc
        for source in (data, output.read_bytes()):
            frame = read(io.BytesIO(source))
            assert frame.drop("start", "end").to_dicts() == [
                {name: value for name, value in line.items() if name not in ("start", "end")}
                for line in lines
            ]

    def test_totals(self, desk: Desk) -> None:
        options = ("--granularity", "2min", "--lanes", "import", "--total")
        code, out, _ = desk.runs("read", "--homes", desk.list(), *options, "--csv")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert (code, list(rows[0])) == (0, ["row", "stream", "from", "until", "import kWh"])
        gateways = desk.street.gateways
        half = [sum(one.truth("import", START + a, START + a + 120) for one in gateways) for a in (0, 120)]
        each = [one.truth("import", START, START + 240) for one in gateways]
        expected = [*zip([one.id.hex() for one in gateways], each, strict=True), ("total", sum(half))]
        totals = [(row["stream"], mwh(row)) for row in rows if row["row"] == "total"]
        assert totals == expected
        assert [mwh(row) for row in rows if (row["row"], row["stream"]) == ("window", "total")] == half
        _, text, _ = desk.runs("read", "--homes", desk.list(), *options)
        assert table(text)[-1] == ["total", "total", f"{Decimal(sum(half)) / 1_000_000:.6f}"]
        document = json.loads(desk.runs("read", "--homes", desk.list(), *options, "--json")[1])
        assert [one["total"][0]["sums"]["import_mwh"] for one in document["homes"]] == each
        assert [row["sums"]["import_mwh"] for row in document["total"]["rows"]] == half
        assert document["total"]["total"][0]["sums"] == {"import_mwh": sum(half)}

    def test_a_total_of_one_home(self, desk: Desk) -> None:
        gateway = desk.street.gateways[0]
        _, out, _ = desk.alone(gateway, "--total")
        assert table(out)[0] == ["from", "import", "kWh", "export", "kWh"]
        kwh = [
            f"{Decimal(gateway.truth(lane, START, START + 240)) / 1_000_000:.6f}" for lane in gateway.lanes
        ]
        assert table(out)[-1] == ["total", *kwh]
        document = json.loads(desk.alone(gateway, "--total", "--json")[1])
        assert document["total"][0]["sums"]["import_mwh"] == gateway.truth("import", START, START + 240)

    def test_no_mean_of_all_homes(self, desk: Desk) -> None:
        desk.street.gateways[:] = []
        for watts in (100, 300):
            gateway = desk.street.joins(Gateway(("power", "count")))
            gateway.seal({"power": [watts] * 60, "count": [1] * 60})
            gateway.grant(desk.street.provider.card, "1min")
        _, out, _ = desk.runs("read", "--homes", desk.list(), "--total")
        means = [row[-2:] for row in table(out)[1:]]
        assert means == [["100.0", "60"], ["300.0", "60"]] * 2 + [["-", "120"]] * 2

    def test_json(self, desk: Desk) -> None:
        bad = desk.street.gateways[1]
        bad.objects[bad.chunks[3]] = b"x"
        code, out, _ = desk.runs("read", "--homes", desk.list("stream,signer,name"), "--json")
        document = json.loads(out)
        assert (code, [one["name"] for one in document["homes"]]) == (5, ["House 1", "House 3"])
        alone = json.loads(desk.alone(desk.street.gateways[0], "--json")[1])
        assert {key: document["homes"][0][key] for key in alone} == alone
        [failure] = document["failures"]
        assert (failure["stream"], failure["kind"]) == (bad.id.hex(), "refused")
        assert bad.chunks[3] in failure["error"]

    def test_a_broken_home_stops_no_other(self, desk: Desk) -> None:
        homes = desk.list()
        _, before, _ = desk.runs("read", "--homes", homes, "--csv")
        bad = desk.street.gateways[0]
        bad.objects[bad.chunks[2]] = b"x"
        code, after, err = desk.runs("read", "--homes", homes, "--csv")
        assert code == 5
        assert after == "".join(line for line in before.splitlines(True) if bad.id.hex() not in line)
        assert err.startswith(f"gateway: stream {bad.id.hex()}: {bad.chunks[2]} ")

    def test_the_worst_of_several_errors_is_the_exit_code(self, desk: Desk) -> None:
        homes = Path(desk.list())
        homes.write_text(homes.read_text() + f"{'00' * 16},{'00' * 16}\n")
        assert desk.runs("read", "--homes", str(homes))[0] == 1
        assert desk.runs("read", "--homes", str(homes), "--granularity", "10s")[0] == 3
        bad = desk.street.gateways[0]
        bad.objects[names.head(bad.id)] = b"x"
        code, _, err = desk.runs("read", "--homes", str(homes), "--granularity", "10s")
        assert (code, err.count("gateway: stream ")) == (5, 3)

    def test_what_many_homes_have_is_said_once(self, desk: Desk) -> None:
        for gateway in desk.street.gateways[:2]:
            del gateway.objects[max(key for key in gateway.objects if "/new/" in key)]
        _, _, err = desk.runs("read", "--homes", desk.list())
        assert err == (
            "2 streams: 2026-03-01T01:00:00+01:00 to 2026-03-01T01:04:00+01:00, no import, export: its tokens"
            " are not in the store yet\n"
        )

    def test_all_fail(self, desk: Desk) -> None:
        output = desk.folder / "sums.csv"
        options = ("--granularity", "1s", "--csv", "--output", str(output))
        code, out, err = desk.runs("read", "--homes", desk.list(), *options)
        assert (code, out, output.exists()) == (3, "", False)
        assert err.count("1s sums of ") == 3

    def test_nothing_granted_in_the_whole_store(self, desk: Desk) -> None:
        other = Provider.new(desk.folder / "other")
        code, out, err = desk.runs("read", "--all", "--key", str(other.folder))
        assert (code, out) == (3, "")
        assert "no stream in the store grants sums to this provider" in err


def mwh(row: dict[str, str]) -> int:
    return int(Decimal(row["import kWh"]) * 1_000_000)


class TestOutput:
    @pytest.mark.parametrize("format_", ["table", "csv", "jsonl"])
    @pytest.mark.parametrize("several", [False, True])
    def test_a_file_has_what_is_printed(self, desk: Desk, format_: str, several: bool) -> None:
        output = desk.folder / "out"
        output.write_text("what was there before")
        gateway = desk.street.gateways[0]
        place = ["--stream", gateway.id.hex(), "--signer", gateway.signer.kid.hex()]
        options = [*(["--homes", desk.list()] if several else place), "--format", format_]
        _, printed, said = desk.runs("read", *options)
        code, out, err = desk.runs("read", *options, "--output", str(output))
        assert (code, out, err) == (0, "", said)
        assert output.read_text() == printed
        assert stat.S_IMODE(output.stat().st_mode) == 0o600

    def test_one_home_as_json_lines(self, desk: Desk) -> None:
        gateway = desk.street.gateways[0]
        _, out, _ = desk.alone(gateway, "--format", "jsonl")
        assert json.loads(out.splitlines()[1]) == {
            "stream": gateway.id.hex(),
            "start": "2026-03-01T00:01:00Z",
            "end": "2026-03-01T00:02:00Z",
            "import_mwh": gateway.truth("import", START + 60, START + 120),
            "export_mwh": gateway.truth("export", START + 60, START + 120),
        }

    @pytest.mark.parametrize("options", [("--csv",), ("--format", "parquet"), ("--total",)])
    def test_nothing_is_written_of_a_home_that_is_refused(self, desk: Desk, options: Sequence[str]) -> None:
        output, plot = desk.folder / "out", desk.folder / "out.png"
        output.write_text("what was there before")
        bad = desk.street.gateways[0]
        bad.objects[bad.chunks[7]] = b"x"
        code, out, _ = desk.alone(bad, *options, "--output", str(output), "--plot", str(plot))
        assert (code, out, output.read_text(), plot.exists()) == (5, "", "what was there before", False)
        assert {path.name for path in desk.folder.iterdir()} == {"out", "store", "utility"}

    @pytest.mark.parametrize("several", [False, True])
    @pytest.mark.parametrize("suffix", ["png", "svg", "PNG"])
    def test_a_picture(self, desk: Desk, suffix: str, several: bool) -> None:
        gateway = desk.street.gateways[0]
        place = ["--stream", gateway.id.hex(), "--signer", gateway.signer.kid.hex()]
        options = [*(["--homes", desk.list()] if several else place), "--granularity", "1min"]
        plot = desk.folder / f"load.{suffix}"
        _, printed, _ = desk.runs("read", *options)
        code, out, err = desk.runs("read", *options, "--plot", str(plot))
        assert (code, out, "Traceback" in err) == (0, printed, False)
        assert plot.read_bytes().startswith(b"<?xml" if suffix == "svg" else b"\x89PNG")

    def test_a_folder_that_cannot_be_written(self, desk: Desk) -> None:
        (desk.folder / "out").mkdir()
        code, _, err = desk.runs("read", "--homes", desk.list(), "--output", str(desk.folder / "out"))
        assert (code, "is a directory" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            (),
            "name one home by --stream and --signer, or several by --homes FILE, or all of the store by",
        ),
        (("--stream", "00" * 16), "name one home by --stream and --signer"),
        (("--signer", "00" * 16, "--all"), "name one home by --stream and --signer"),
        (("--all", "--homes", "homes.csv"), "name one home by --stream and --signer"),
        (("--homes", "absent.csv"), "the list of homes absent.csv cannot be read: No such file"),
        (("--all", "--where", "region=north"), "use it with --all and --store registrar:"),
        (("--all", "--csv", "--format", "jsonl"), "--csv is short for --format csv"),
        (("--all", "--json", "--format", "csv"), "one whole document"),
        (("--all", "--json", "--follow"), "one whole document"),
        (("--all", "--format", "xlsx"), "is not one of 'table', 'csv', 'jsonl', 'parquet', 'arrow'"),
        (("--all", "--follow", "--total"), "--follow prints rows as they open"),
        (("--all", "--follow", "--format", "parquet"), "--follow prints rows as they open"),
        (("--all", "--follow", "--output", "x"), "--follow prints rows as they open"),
        (("--all", "--follow", "--plot", "x.png"), "--follow prints rows as they open"),
        (("--all", "--plot", "load.pdf"), "--plot load.pdf: the name must end with .png or .svg"),
        (("--all", "--plot", "absent/load.png"), "there is no folder absent"),
        (("--all", "--output", "absent/x"), "there is no folder absent"),
        (("--all", "--total"), "windows differ (10s, 1min), so they do not add up: name a granularity"),
        (("--all", "--total", "--output", "sums"), "windows differ (10s, 1min)"),
        (("--all", "--plot", "load.png"), "windows differ (10s, 1min)"),
    ],
)
def test_what_cannot_be_asked(
    options: Sequence[str], sentence: str, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk.folder)
    before = {path.name for path in desk.folder.iterdir()}
    code, out, err = desk.runs("read", *options)
    assert (code, out) == (2, "")
    assert sentence in err
    assert {path.name for path in desk.folder.iterdir()} == before


@pytest.mark.parametrize("command", ["streams", "grants"])
def test_a_list_that_is_wrong(command: str, desk: Desk) -> None:
    (desk.folder / "homes.csv").write_text("stream,kid\n")
    code, _, err = desk.runs(command, "--homes", str(desk.folder / "homes.csv"))
    assert (code, "line 1: expected the heading stream,signer[,name]" in err) == (2, True)


@pytest.mark.slow
class TestTerminal:
    def test_a_bar_while_it_reads(self, desk: Desk) -> None:
        """On a terminal only, and none of it on stdout."""
        options = ("--all", "--granularity", "1min", "--lanes", "import", "--csv")
        _, expected, _ = desk.runs("read", *options)
        out, err = on_terminal(*GATEWAY, *desk.words("read", *options))
        assert out == expected
        assert "homes" in err
        assert "3/3" in err

    def test_bytes_are_not_for_a_terminal(self, desk: Desk) -> None:
        command = [*GATEWAY, *desk.words("read", "--all", "--format", "arrow")]
        _, err = on_terminal(*command, stdout=True)
        assert "--format arrow is not for a terminal: name a file with --output" in " ".join(err.split())


def on_terminal(*command: str, stdout: bool = False) -> tuple[str, str]:
    """Stdout, and what a terminal that is stderr (and stdout, if that is asked for) shows."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command,
        stdout=follower if stdout else subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(follower)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and select.select([leader], [], [], 60)[0]:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the last process that had the terminal has ended
            break
        if not part:
            break
        shown += part
    out = process.communicate(timeout=60)[0]
    os.close(leader)
    return "" if stdout else out.decode(), shown.decode()


class TestFollow:
    @pytest.mark.slow
    def test_rows_of_all_come_while_it_runs(self, desk: Desk) -> None:
        street = desk.street
        bad = street.joins(Gateway())
        bad.seal(random_readings(60))
        options = (
            "--granularity",
            "1min",
            "--lanes",
            "import",
            "--follow",
            "--until",
            "2026-03-01T00:06:00Z",
        )
        command = [*GATEWAY, *desk.words("read", "--homes", desk.list(), *options)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            heading, *first = [process.stdout.readline() for _ in range(13)]
            for gateway in street.gateways:
                gateway.seal(random_readings(120, gateway.lanes))
            street.write()
            rest, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert f"stream {bad.id.hex()}: " in err
        assert heading.split() == ["stream", "from", "import", "kWh"]
        rows = [line.split() for line in [*first, *rest.splitlines()]]
        assert len(rows) == 18
        for gateway in street.gateways[:3]:
            found = [int(Decimal(row[-1]) * 1_000_000) for row in rows if row[0] == gateway.id.hex()]
            assert found == [gateway.truth("import", START + 60 * i, START + 60 * i + 60) for i in range(6)]

    @pytest.mark.parametrize("format_", ["table", "csv", "jsonl"])
    def test_until_all_is_there(self, desk: Desk, format_: str) -> None:
        """Each home's rows are those that come without --follow, in their order."""
        options = ("--homes", desk.list(), "--until", "2026-03-01T00:04:00Z", "--format", format_)
        code, out, err = desk.runs("read", *options, "--follow")
        assert (code, err) == (0, "")
        whole = desk.runs("read", *options)[1]
        for gateway in desk.street.gateways:
            own, expected = (
                [line.split() for line in text.splitlines() if gateway.id.hex() in line]
                for text in (out, whole)
            )
            assert own == expected
        assert len(out.splitlines()) == len(whole.splitlines())
        if format_ != "jsonl":
            assert out.splitlines()[0].split() == whole.splitlines()[0].split()

    def test_one_home_as_json_lines(self, desk: Desk) -> None:
        options = ("--follow", "--until", "2026-03-01T00:04:00Z", "--format", "jsonl")
        code, out, _ = desk.alone(desk.street.gateways[0], *options)
        assert (code, out) == (0, desk.alone(desk.street.gateways[0], "--format", "jsonl")[1])

    def test_one_that_is_refused_meanwhile(self, desk: Desk) -> None:
        bad = desk.street.gateways[2]
        bad.objects[bad.chunks[6]] = b"x"
        options = ("--granularity", "1min", "--follow", "--until", "2026-03-01T00:04:00Z", "--csv")
        code, out, err = desk.runs("read", "--homes", desk.list(), *options)
        assert (code, f"gateway: stream {bad.id.hex()}: {bad.chunks[6]} " in err) == (5, True)
        for gateway in desk.street.gateways[:2]:
            assert out.count(gateway.id.hex()) == 4


def test_on_a_real_store(seaweedfs: S3Server, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as on a directory: at first, again from what was kept, and with that damaged."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(desk.folder / "cache"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    location = seaweedfs.location("desk")

    async def put() -> None:
        bucket = open_bucket(location)
        try:
            for gateway in desk.street.gateways:
                for key, data in gateway.objects.items():
                    await bucket.put(key, data, replace=True)
        finally:
            await bucket.aclose()

    asyncio.run(put())
    assert location.endpoint is not None
    remote = ("--store", location.url, "--endpoint", location.endpoint)
    options = ("--granularity", "1min", "--total")
    for words in (
        ("streams",),
        ("grants", "--json"),
        ("read", "--all", *options, "--csv"),
        ("read", "--all", *options),
    ):
        expected = desk.runs(*words)
        assert expected[0] == 0
        assert desk.runs(*words, *remote) == expected
        kept = [path for path in (desk.folder / "cache").rglob("*.cose") if path.is_file()]
        assert len(kept) == 3
        assert desk.runs(*words, *remote) == expected
        for path in kept:
            path.write_bytes(b"damaged")
        assert desk.runs(*words, *remote) == expected
    bad = desk.street.gateways[1]
    bad.objects[bad.chunks[0]] = b"x"
    asyncio.run(put())
    code, out, err = desk.runs("read", "--all", "--csv", *remote)
    assert (code, f"stream {bad.id.hex()}: {bad.chunks[0]} " in err) == (5, True)
    assert len(out.splitlines()) == 1 + 4 + 24


def test_reading_a_store_loads_no_client_of_a_registrar() -> None:
    """A client of HTTP takes as long to import as all the rest of the command."""
    look = "import sys, gateway.cli.provider.read; print({'aiohttp', 'pydantic'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
