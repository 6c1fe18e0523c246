"""`gateway provider read` and `verify`, as an engineer runs them, on a directory store."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.chain.layout import Layout
from gateway.cli.main import main
from gateway.config.tariff import load_tariff
from tests.stream.stream import START, Home, Provider, random_readings

LANES = ("import", "export", "power", "count")


@dataclass(frozen=True, slots=True)
class Engineer:
    """A provider at a command line, and the home whose store it reads."""

    home: Home
    provider: Provider
    store: Path
    capsys: pytest.CaptureFixture[str]

    def place(self) -> list[str]:
        store = str(self.home.write(self.store))
        return ["--store", store, "--stream", self.home.id.hex(), "--signer", self.home.signer.kid.hex()]

    def read(self, *options: str) -> tuple[int, str, str]:
        return self._run("read", "--key", str(self.provider.folder), *self.place(), *options)

    def verify(self, *options: str) -> tuple[int, str, str]:
        return self._run("verify", *self.place(), *options)

    def forget(self) -> tuple[int, str, str]:
        return self._run("forget", "--key", str(self.provider.folder), "--stream", self.home.id.hex())

    def _run(self, *words: str) -> tuple[int, str, str]:
        code = main(["provider", *words])
        return code, *self.capsys.readouterr()


@pytest.fixture
def engineer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engineer]:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    home = Home(LANES)
    home.seal(
        {
            "import": [1_000_001] * 120,
            "export": [-3] * 120,
            "power": [500] * 60 + [700] * 30 + [0] * 30,
            "count": [1] * 90 + [0] * 30,
        }
    )
    provider = Provider.new(tmp_path / "acme")
    (tmp_path / "store").mkdir()
    yield Engineer(home, provider, tmp_path / "store", capsys)
    monkeypatch.undo()
    time.tzset()


class TestRead:
    def test_a_table(self, engineer: Engineer) -> None:
        grant = engineer.home.grant(engineer.provider.card, "1min")
        code, out, err = engineer.read()
        assert code == 0
        assert [line.split() for line in out.splitlines()] == [
            ["from", "import", "kWh", "export", "kWh", "mean", "W", "readings"],
            ["2026-03-01T01:00:00+01:00", "60.000060", "-0.000180", "500.0", "60"],
            ["2026-03-01T01:01:00+01:00", "60.000060", "-0.000180", "700.0", "30"],
        ]
        assert err == (
            f"grant {grant.id.hex()[:8]}... opens 1min sums of import, export, power, count,"
            " from 2026-03-01T00:00:00Z\n"
        )

    def test_csv(self, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "1min", ("import", "power"))
        code, out, _ = engineer.read("--csv")
        assert code == 0
        rows = list(csv.DictReader(io.StringIO(out)))
        assert rows[1] == {
            "from": "2026-03-01T00:01:00Z",
            "until": "2026-03-01T00:02:00Z",
            "import kWh": "60.000060",
            "power W, summed": "21000",
        }

    def test_json(self, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "10s", ("import",), until=START + 60)
        code, out, err = engineer.read("--json", "--granularity", "30s", "--lanes", "import")
        assert (code, err) == (0, "")
        document = json.loads(out)
        assert document["granularity"] == "30s"
        assert document["lanes"] == ["import"]
        assert "added up to sums of 30s" in document["grants"][0]
        assert document["rows"][1] == {
            "from": "2026-03-01T00:00:30Z",
            "until": "2026-03-01T00:01:00Z",
            "sums": {"import_mwh": 30_000_030},
        }
        [gap] = document["missing"]
        assert (gap["from"], gap["until"]) == ("2026-03-01T00:01:00Z", "2026-03-01T00:02:00Z")
        assert gap["reason"].endswith(" has ended")

    def test_no_mean_without_readings(self, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "30s", ("power", "count"))
        _, out, _ = engineer.read("--from", "2026-03-01T00:01:30Z")
        assert out.splitlines()[1].split()[1:] == ["-", "0"]

    def test_a_series(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Means over readings for people, integers in the lanes' scales for machines."""
        home = Home(["temperature", "irradiance", "appliances", "occupancy", "count"])
        read = [unit % 10 == 0 for unit in range(120)]
        home.seal(
            {
                "temperature": [-1250 * one + unit * one for unit, one in enumerate(read)],
                "irradiance": [640 * one for one in read],
                "appliances": [(50 + unit) * one for unit, one in enumerate(read)],
                "occupancy": [(unit // 10 % 2) * one for unit, one in enumerate(read)],
                "count": list(map(int, read)),
            }
        )
        provider = Provider.new(tmp_path / "acme")
        (tmp_path / "store").mkdir()
        engineer = Engineer(home, provider, tmp_path / "store", capsys)
        home.grant(provider.card, "1min", home.lanes)
        code, out, _ = engineer.read("--csv")
        assert code == 0
        assert list(csv.DictReader(io.StringIO(out))) == [
            {
                "from": f"2026-03-01T00:0{minute}:00Z",
                "until": f"2026-03-01T00:0{minute + 1}:00Z",
                "temperature C": temperature,
                "irradiance W/m2": "640.0",
                "appliances W": appliances,
                "persons": "0.50",
                "readings": "6",
            }
            for minute, temperature, appliances in ((0, "-12.25", "75.0"), (1, "-11.65", "135.0"))
        ]
        _, out, _ = engineer.read("--json", "--lanes", "temperature,occupancy")
        assert [row["sums"] for row in json.loads(out)["rows"]] == [
            {"temperature_centicelsius": -7350, "occupancy_persons": 3},
            {"temperature_centicelsius": -6990, "occupancy_persons": 3},
        ]
        _, out, _ = engineer.read("--lanes", "temperature,irradiance", "--csv")
        assert out.splitlines()[1] == "2026-03-01T00:00:00Z,2026-03-01T00:01:00Z,-7350,3840"
        _, out, _ = engineer.read("--lanes", "count,appliances")
        assert [line.split()[1:] for line in out.splitlines()[:2]] == [
            ["appliances", "W", "readings"],
            ["75.0", "6"],
        ]

    def test_lanes_granted_apart(self, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "1min", ("import",))
        engineer.home.grant(engineer.provider.card, "1min", ("export",), first=START + 60)
        _, out, err = engineer.read("--from", "2026-03-01T01:00")
        assert [line.split()[1:] for line in out.splitlines()[1:]] == [
            ["60.000060", "-"],
            ["60.000060", "-0.000180"],
        ]
        assert (
            "2026-03-01T01:00:00+01:00 to 2026-03-01T01:01:00+01:00, no export: no grant opens these windows"
            in err
        )

    def test_the_last_hours(self, engineer: Engineer) -> None:
        now = int(time.time()) // 3600 * 3600
        home = Home(("import",), layout=Layout(60_000, 60), start=now // 60 - 300)
        home.seal(random_readings(300, ("import",)))
        home.grant(engineer.provider.card, "15min")
        other = Engineer(home, engineer.provider, engineer.store, engineer.capsys)
        code, out, _ = other.read("--last", "2h", "--csv")
        assert code == 0
        rows = list(csv.DictReader(io.StringIO(out)))
        # The oldest of eight windows may have begun a moment too early.
        assert 3 < len(rows) <= 8
        for row, value in zip(rows, other_sums(home, len(rows)), strict=True):
            assert Decimal(row["import kWh"]) * 1_000_000 == value

    def test_before_the_first_window_ends_it_says_when_it_does(self, engineer: Engineer) -> None:
        grant = engineer.home.grant(engineer.provider.card, "month", zone="Asia/Tokyo")
        code, out, err = engineer.read()
        assert (code, len(out.splitlines())) == (0, 1)
        assert err.splitlines() == [
            f"grant {grant.id.hex()[:8]}... opens month (Asia/Tokyo) sums of import, export, power, count, "
            "from 2026-04-01T00:00:00+09:00",
            "no window that was asked for has closed yet, as far as the store knows: the first, from "
            "2026-04-01T00:00:00+09:00, ends at 2026-05-01T00:00:00+09:00, and opens once its readings and "
            "tokens are in the store",
        ]

    def test_local_times_are_in_the_zone_that_is_named(self, engineer: Engineer) -> None:
        """In tables, also with totals and of several homes, and in notes; not in what is for machines."""
        engineer.home.grant(engineer.provider.card, "1min", first=START + 60)
        for options in ((), ("--total",)):
            _, out, err = engineer.read("--zone", "Asia/Tokyo", *options)
            assert out.splitlines()[1].startswith("2026-03-01T09:01:00+09:00")
            assert "+01:00" not in out + err
        csv_here, csv_there = (engineer.read("--csv", *more)[1] for more in ((), ("--zone", "Asia/Tokyo")))
        assert csv_here == csv_there != ""
        place = engineer.place()[:2]
        code, out, _ = engineer._run(
            "read", "--key", str(engineer.provider.folder), *place, "--all", "--zone", "Asia/Tokyo"
        )
        assert code == 0
        assert "2026-03-01T09:01:00+09:00" in out
        code, _, err = engineer.read("--zone", "Mars/Olympus")
        assert code == 2
        assert "time zone 'Mars/Olympus' is not in the IANA list" in err

    def test_days_are_those_of_the_zone_that_is_named(self, engineer: Engineer) -> None:
        home = Home(("import",), layout=Layout(60_000, 60), start=START // 60)
        home.seal(random_readings(3 * 1440, ("import",)))
        home.grant(engineer.provider.card, "15min")
        other = Engineer(home, engineer.provider, engineer.store, engineer.capsys)
        code, out, _ = other.read("--granularity", "day", "--zone", "Asia/Tokyo")
        assert code == 0
        assert [line.split()[0] for line in out.splitlines()[1:]] == [
            "2026-03-02T00:00:00+09:00",
            "2026-03-03T00:00:00+09:00",
        ]

    def test_windows_of_days_are_shown_in_their_zone(self, engineer: Engineer) -> None:
        """And in CSV in UTC, as all others."""
        home = Home(("import",), layout=Layout(60_000, 60), start=START // 60)
        home.seal(random_readings(3 * 1440, ("import",)))
        home.grant(engineer.provider.card, "day", zone="Asia/Tokyo")
        other = Engineer(home, engineer.provider, engineer.store, engineer.capsys)
        _, out, _ = other.read()
        assert [line.split()[0] for line in out.splitlines()[1:]] == [
            "2026-03-02T00:00:00+09:00",
            "2026-03-03T00:00:00+09:00",
        ]
        _, out, _ = other.read("--zone", "UTC")
        assert out.splitlines()[1].startswith("2026-03-01T15:00:00+00:00")
        rows = list(csv.DictReader(io.StringIO(other.read("--csv")[1])))
        assert [row["from"] for row in rows] == ["2026-03-01T15:00:00Z", "2026-03-02T15:00:00Z"]

    def test_finer_than_granted(self, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "1min", ("import", "export"))
        code, out, err = engineer.read("--granularity", "10s", "--lanes", "import")
        assert (code, out) == (3, "")
        assert err.startswith("gateway: 10s sums of import are not granted: grant ")
        assert err.endswith(
            "... opens 1min sums of import, export, from 2026-03-01T00:00:00Z; "
            "it does not open windows of 10s\n"
        )

    @pytest.mark.slow
    def test_refused_after_some_rows(self, engineer: Engineer) -> None:
        home = Home(("import",), chunk_units=60)
        home.seal(random_readings(1100 * 60, ("import",)))
        home.grant(engineer.provider.card, "1min")
        home.objects[home.chunks[1030]] = home.objects[home.chunks[1029]]
        tampered = Engineer(home, engineer.provider, engineer.store, engineer.capsys)
        for options, rows in (((), 1025), (("--csv",), 1025), (("--json",), 0)):
            code, out, err = tampered.read(*options)
            assert code == 5
            assert len(out.splitlines()) == rows
            assert f"gateway: {home.chunks[1030]} holds the object that belongs at {home.chunks[1029]}" in err

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (("--last", "2h", "--from", "2026-03-01"), "use one of them"),
            (("--json", "--follow"), "one whole document"),
            (("--json", "--csv"), "one whole document"),
            (("--last", "2"), "use 90s, 15min, 2h or 1d"),
            (("--lanes", "import,gas"), "'import,gas': expected some of import,export,power,temperature,"),
            (("--granularity", "0s"), "granularity '0s'"),
            (("--stream", "5f"), "expected 32 hexadecimal digits"),
            (("--until", "2026-03-01T01:00:30"), "no whole window of 1min"),
        ],
    )
    def test_what_cannot_be_asked(self, options: Sequence[str], sentence: str, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "1min")
        code, out, err = engineer.read(*options)
        assert (code, out) == (2, "")
        assert sentence in err

    def test_stale(self, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "1min")
        engineer.home.publish(time_ms=time.time_ns() // 1_000_000 - 7_200_000)
        assert engineer.read()[0] == 0
        code, _, err = engineer.read("--max-age", "1h")
        assert code == 5
        assert "head.cose is 2 h old, and may be 60 min old at most" in err

    def test_gone_back(self, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "1min")
        old = engineer.home.fork()
        engineer.home.seal(random_readings(60, LANES))
        assert engineer.read()[0] == 0
        before = Engineer(old, engineer.provider, engineer.store, engineer.capsys)
        code, out, err = before.read()
        assert (code, out) == (5, "")
        assert "the store shows an older state" in err
        stream = engineer.home.id.hex()
        assert before.forget()[:2] == (0, f"Stream {stream} is forgotten.\n")
        assert before.forget()[:2] == (0, f"Stream {stream} was never seen.\n")
        assert before.read()[0] == 0


@pytest.fixture
def later(engineer: Engineer) -> Engineer:
    """A home in Berlin where summer time of 2026 begins a week late; units of 15 min."""
    home = Home(layout=Layout(900_000, 96), start=DAYS[0] // 96 * 96, chunk_units=96)
    home.seal(random_readings(5 * 96))
    return Engineer(home, engineer.provider, engineer.store, engineer.capsys)


# 27 March, 23:00 UTC, and four days of 24 hours, of which Berlin's third has 23.
DAYS = [1_774_652_400 // 900 + 96 * day for day in range(5)]
NOTE = (
    "has windows that this machine's time zone data would cut otherwise, first at 2026-03-29T22:00:00Z: "
    "the household's count"
)


class TestOtherTimeZoneData:
    def test_sums_come_with_a_note(self, later: Engineer) -> None:
        later.home.grant(later.provider.card, "day", zone="Europe/Berlin", first=DAYS[0], edges=DAYS)
        code, out, err = later.read()
        assert code == 0
        starts = [line.split()[0] for line in out.splitlines()[1:]]
        assert starts[1:4] == [
            "2026-03-29T00:00:00+01:00",
            "2026-03-30T01:00:00+02:00",
            "2026-03-31T01:00:00+02:00",
        ]
        assert err.count(NOTE) == 1
        [note] = json.loads(later.read("--json")[1])["notes"]
        assert note in err.splitlines()

    def test_a_bill_of_other_steps_is_refused_and_the_others_come(
        self, later: Engineer, tmp_path: Path
    ) -> None:
        path = _written(tmp_path / "tariff.toml", TARIFF)
        tariff = load_tariff(path)
        other = load_tariff(_written(tmp_path / "other.toml", TARIFF.replace("22:00", "21:00")))
        for weighs, first in ((tariff, 0), (other, 1)):
            later.home.grant(
                *(later.provider.card, "day"),
                zone="Europe/Berlin",
                first=DAYS[first],
                edges=DAYS[first:],
                kind="bill",
                tariff=tariff,
                weighs=weighs,
                until=DAYS[1] if first == 0 else None,
            )
        command = ("bill", "--key", str(later.provider.folder), *later.place(), "--tariff", str(path))
        code, out, err = later._run(*command)
        assert code == 5
        heading, *rows = [line.split() for line in out.splitlines()]
        assert heading == ["from", "until", "amount", "quantum", "currency", "for"]
        assert [row[0] for row in rows] == ["2026-03-28T00:00:00+01:00"]
        assert {row[3] for row in rows} == {"0.01"}
        assert "household and provider disagree about the price steps of 2026-03-28T23:00:00Z to " in err
        code, out, err = later._run(*command, "--json")
        assert code == 5
        document = json.loads(out)
        assert [one["amount"] for one in document["bills"]] == [row[2] for row in rows]
        assert {one["quantum"] for one in document["bills"]} == {"0.01"}
        assert all(Decimal(one["amount"]) * 100 % 1 == 0 for one in document["bills"])
        assert len(document["notes"]) == 1
        assert NOTE in document["notes"][0]


TARIFF = """
currency = "EUR"
zone = "UTC"
[[import]]
price = "0.3215"
from = "06:00"
until = "22:00"
[[import]]
price = "0.2450"
[[export]]
price = "-0.0810"
"""


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def other_sums(home: Home, count: int) -> list[int]:
    """The last `count` quarter hours' import."""
    end = home.end
    return [home.truth("import", end - 15 * i, end - 15 * i + 15) for i in range(count, 0, -1)]


@pytest.mark.slow
class TestFollow:
    def test_rows_come_while_it_runs(self, engineer: Engineer) -> None:
        home = engineer.home
        home.grant(engineer.provider.card, "1min", ("import",))
        command = [
            *(sys.executable, "-c", "import sys; from gateway.cli.main import main; sys.exit(main())"),
            *("provider", "read", "--key", str(engineer.provider.folder), *engineer.place()),
            *("--follow", "--until", "2026-03-01T00:04:00Z"),
        ]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TZ": "UTC"},
        ) as process:
            assert process.stdout is not None
            first = [process.stdout.readline().split() for _ in range(3)]
            home.seal(random_readings(120, LANES))
            home.write(engineer.store)
            rest, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert first[2] == ["2026-03-01T00:01:00+00:00", "60.000060"]
        sums = [Decimal(line.split()[1]) * 1_000_000 for line in rest.splitlines()]
        assert sums == [home.truth("import", START + 60 * i, START + 60 * i + 60) for i in (2, 3)]


def flip(home: Home, i: int) -> None:
    data = bytearray(home.objects[home.chunks[i]])
    data[len(data) // 2] ^= 1
    home.objects[home.chunks[i]] = bytes(data)


def drop(home: Home, i: int) -> None:
    del home.objects[home.chunks[i]]


def replace(home: Home, i: int) -> None:
    home.objects[home.chunks[i]] = home.objects[home.chunks[i - 1]]


def from_another_stream(home: Home, i: int) -> None:
    other = Home(LANES, signer=home.signer)
    other.seal(random_readings(120, LANES))
    home.objects[home.chunks[i]] = other.objects[other.chunks[i]]


class TestVerify:
    def test_all_good(self, engineer: Engineer) -> None:
        engineer.home.grant(engineer.provider.card, "1min")
        code, out, err = engineer.verify()
        assert (code, err) == (0, "")
        looked_at = "4 chunks, 120 units, 1 incarnation, 1 grant, 1 token bundle, 0 pages"
        assert out.startswith(f"{looked_at}; head signed at ")
        assert out.endswith(": everything is valid\n")

    @pytest.mark.parametrize("tamper", [flip, drop, replace, from_another_stream])
    def test_a_bad_chunk_is_named(self, tamper: Callable[[Home, int], None], engineer: Engineer) -> None:
        tamper(engineer.home, 2)
        code, out, _ = engineer.verify()
        assert code == 5
        first, summary = out.splitlines()
        assert engineer.home.chunks[2] in first
        assert summary.endswith(": 1 problem")

    def test_all_problems_are_named(self, engineer: Engineer) -> None:
        flip(engineer.home, 1)
        drop(engineer.home, 3)
        code, out, _ = engineer.verify("--json")
        assert code == 5
        document = json.loads(out)
        assert [problem["object"] for problem in document["problems"]] == [
            engineer.home.chunks[1],
            engineer.home.chunks[3],
        ]

    def test_with_a_memory(self, engineer: Engineer) -> None:
        old = engineer.home.fork()
        engineer.home.seal(random_readings(60, LANES))
        memory = ("--key", str(engineer.provider.folder))
        assert engineer.verify(*memory)[0] == 0
        before = Engineer(old, engineer.provider, engineer.store, engineer.capsys)
        assert before.verify()[0] == 0
        code, out, _ = before.verify(*memory)
        assert code == 5
        assert "the store shows an older state" in out

    def test_a_stream_that_is_not_there(self, engineer: Engineer) -> None:
        engineer.home.objects = {}
        code, out, err = engineer.verify()
        assert (code, out) == (1, "")
        assert f"gateway: the store holds no stream {engineer.home.id.hex()}" in err

    def test_a_wrong_signer(self, engineer: Engineer) -> None:
        code, out, _ = engineer.verify("--signer", "00" * 16)
        assert code == 5
        assert "stream.cose names the signing key" in out
