"""`gateway provider load` and `share`: a load opened by hand, by two parties over the same files."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.chain.grant import Grant
from gateway.cli.main import main
from gateway.store.opening import open_bucket
from tests.stream.stream import START, Home, Provider, random_readings
from tests.support.servers import S3Server

UNKNOWN = "00" * 16
TWO_MINUTES = ("--from", "2026-03-01T00:00Z", "--until", "2026-03-01T00:02Z", "--granularity", "1min")


@dataclass(frozen=True, slots=True)
class Street:
    """Homes of two and a half minutes, whose minutes of import and export are granted as a load; the folder
    in which both parties work."""

    folder: Path
    centre: Provider
    service: Provider
    homes: list[Home]
    grants: list[Grant]
    capsys: pytest.CaptureFixture[str]

    def joins(self, home: Home, k_min: int | None = None) -> None:
        self.homes.append(home)
        self.grants.append(home.grant(self.centre.card, "1min", kind="load", k_min=k_min))
        home.grant(self.service.card, "1min", kind="load", partner=self.grants[-1], k_min=k_min)

    def lines(self, *numbers: int) -> list[str]:
        return [
            f"{self.homes[i].id.hex()},{self.homes[i].signer.kid.hex()},{self.grants[i].id.hex()}"
            for i in numbers or range(len(self.homes))
        ]

    def lists(self, *lines: str, heading: str = "stream,signer,grant") -> None:
        (self.folder / "homes.csv").write_text("\n".join([heading, *lines, ""]))

    def runs(self, *words: str) -> tuple[int, str, str]:
        for home in self.homes:
            for key, data in home.objects.items():
                path = self.folder / "store" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        code = main(["provider", *words])
        return code, *self.capsys.readouterr()

    def place(self, party: Provider, homes: str = "homes.csv") -> list[str]:
        return ["--key", str(party.folder), "--store", "store", "--homes", homes]

    def homes_of(self, *options: str) -> tuple[int, str, str]:
        return self.runs("load", "homes", *self.place(self.centre), *(options or TWO_MINUTES))

    def share(self, *options: str, homes: str = "homes.csv") -> tuple[int, str, str]:
        return self.runs("share", "sum", *self.place(self.service, homes), *(options or TWO_MINUTES))

    def load(self, *options: str, homes: str = "homes.csv") -> tuple[int, str, str]:
        return self.runs("load", "sum", *self.place(self.centre, homes), *options)

    def truth(self, lane: str, minute: int, *numbers: int) -> int:
        a = START + 60 * minute
        return sum(self.homes[i].truth(lane, a, a + 60) for i in numbers or range(len(self.homes)))


@pytest.fixture
def street(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Street]:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    monkeypatch.chdir(tmp_path)
    time.tzset()
    centre, service = (Provider.new(tmp_path / name) for name in ("centre", "service"))
    street = Street(tmp_path, centre, service, [], [], capsys)
    for _ in range(3):
        home = Home()
        home.seal(random_readings(90))
        home.restart()
        home.seal(random_readings(60))
        street.joins(home)
    street.lists(*street.lines())
    assert main(["provider", "share", "begin", "service"]) == 0
    assert capsys.readouterr().out == (
        "service has summed nothing yet. Keep summed.json there, and copies of it.\n"
    )
    yield street
    monkeypatch.undo()
    time.tzset()


def test_a_load_by_hand(street: Street) -> None:
    """The centre's list, the service's sums of that list, the centre's loads: and a home that is late."""
    late = Home()
    late.seal(random_readings(119))
    street.joins(late)
    street.lists(*street.lines())
    code, listed, err = street.homes_of()
    assert (code, listed) == (0, "\n".join(["stream,signer,grant", *street.lines(0, 1, 2), ""]))
    assert err == (
        f"stream {late.id.hex()} is left out: the window from 2026-03-01T00:01:00Z is not sealed until its "
        "end yet\n3 of 4 homes are complete in 2 windows of import from 2026-03-01T01:00:00+01:00 to"
        " 2026-03-01T01:02:00+01:00\n"
    )
    (street.folder / "set.csv").write_text(listed)
    code, sums, err = street.share(*TWO_MINUTES, "--lanes", "import,export", homes="set.csv")
    assert (code, err) == (0, "")
    (street.folder / "sums.csv").write_text(sums)
    answer = list(csv.DictReader(io.StringIO(sums)))
    assert list(answer[0]) == ["from", "until", "set", "import", "export"]
    assert [one["from"] for one in answer] == ["2026-03-01T00:00:00Z", "2026-03-01T00:01:00Z"]
    document = json.loads(
        street.share(*TWO_MINUTES, "--lanes", "import,export", "--json", homes="set.csv")[1]
    )
    assert [{k: str(v) for k, v in one["sums"].items()} for one in document["windows"]] == [
        {"import": one["import"], "export": one["export"]} for one in answer
    ]

    code, out, err = street.load("--sums", "sums.csv", "--csv", homes="set.csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    for minute, row in enumerate(rows):
        assert (row["from"], row["until"]) == (answer[minute]["from"], answer[minute]["until"])
        for lane in ("import", "export"):
            assert int(Decimal(row[f"{lane} kWh"]) * 10**6) == street.truth(lane, minute, 0, 1, 2)
    document = json.loads(street.load("--sums", "sums.csv", "--json", homes="set.csv")[1])
    assert document["homes"] == [home.id.hex() for home in street.homes[:3]]
    assert document["lanes"] == ["import", "export"]
    assert [one["sums"]["export_mwh"] for one in document["rows"]] == [
        street.truth("export", minute, 0, 1, 2) for minute in (0, 1)
    ]
    code, out, err = street.load("--sums", "sums.csv", homes="set.csv")
    assert (code, err) == (0, "the loads of 3 homes\n")
    assert [line.split() for line in out.splitlines()] == [
        ["from", "import", "kWh", "export", "kWh"],
        ["2026-03-01T01:00:00+01:00", rows[0]["import kWh"], rows[0]["export kWh"]],
        ["2026-03-01T01:01:00+01:00", rows[1]["import kWh"], rows[1]["export kWh"]],
    ]

    # The late home cannot join what was summed, nor the centre leave one out.
    late.seal(random_readings(20))
    code, out, err = street.share()
    assert (code, out) == (3, "")
    assert "from 2026-03-01T00:00:00Z to 2026-03-01T00:02:00Z another set of homes was summed" in err
    code, out, err = street.load("--sums", "sums.csv")
    assert (code, out) == (2, "")
    assert "the service's sum from 2026-03-01T00:00:00Z on is not over these homes" in err
    assert street.homes_of()[1].count("\n") == 5


def test_a_home_whose_chain_does_not_hold_burns_no_set(street: Street) -> None:
    """The list leaves it out, and the service sums nothing with it."""
    broken = street.homes[1]
    key = broken.chunks[1]
    broken.objects[key] = broken.objects[broken.chunks[0]]
    street.lists(*street.lines())
    code, out, err = street.share()
    assert (code, out) == (5, "")
    assert f"stream {broken.id.hex()}: {key}" in err
    assert json.loads((street.folder / "service" / "summed.json").read_bytes())["sets"] == []
    code, listed, err = street.homes_of()
    assert (code, listed) == (0, "\n".join(["stream,signer,grant", *street.lines(0, 2), ""]))
    assert f"stream {broken.id.hex()} is left out: {key}" in err
    street.lists(*street.lines(0, 2))
    code, sums, _ = street.share()
    assert code == 0
    (street.folder / "sums.csv").write_text(sums)
    code, out, err = street.load("--sums", "sums.csv")
    assert (code, err) == (0, "the loads of 2 homes\n")


def test_files_come_from_stdin_too(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO((street.folder / "homes.csv").read_text()))
    code, sums, _ = street.share("--from", "2026-03-01T01:01", "--until", "2026-03-01T01:02", homes="-")
    assert code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(sums))
    code, out, _ = street.load("--sums", "-", "--csv")
    assert code == 0
    assert int(Decimal(out.split(",")[-1]) * 10**6) == street.truth("import", 1)
    code, out, err = street.load("--sums", "-", homes="-")
    assert (code, out, err) == (
        2,
        "",
        "gateway: --homes and --sums cannot both be stdin: name a file for one of them\n",
    )
    assert street.load("--sums", "homes.csv", "--csv", "--json")[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("party", ["homes_of", "share"])
def test_a_store_that_cannot_be_reached_is_about_no_home(
    party: str, street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    place = ("--store", "s3://meters", "--endpoint", "http://127.0.0.1:9", "--region", "us-east-1")
    code, out, err = getattr(street, party)(*place, *TWO_MINUTES)
    assert (code, out) == (4, "")
    assert err.count("127.0.0.1:9") == err.count("\n") == 1
    assert "stream " not in err


async def test_a_load_from_s3(seaweedfs: S3Server, street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    location = seaweedfs.location("street")
    for home in street.homes:
        bucket = open_bucket(location)
        for key, data in home.objects.items():
            await bucket.put(key, data)
        await bucket.aclose()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    place = ("--store", location.url, "--endpoint", seaweedfs.endpoint, "--region", "us-east-1")
    for step, file in ((street.homes_of, "set.csv"), (street.share, "sums.csv")):
        code, out, _ = await asyncio.to_thread(step, *place, *TWO_MINUTES)
        assert code == 0
        (street.folder / file).write_text(out)
    code, out, _ = await asyncio.to_thread(
        street.load, *place, "--sums", "sums.csv", "--csv", homes="set.csv"
    )
    assert code == 0
    found = [int(Decimal(line.split(",")[-1]) * 10**6) for line in out.splitlines()[1:]]
    assert found == [street.truth("import", minute) for minute in (0, 1)]


def test_too_few_gateways(street: Street) -> None:
    """By the service's own measure and by a household's; two meters of one gateway count once."""
    code, out, err = street.share(*TWO_MINUTES, "--k-min", "4")
    assert (code, out) == (3, "")
    assert "only sums over homes of 4 gateways or more are given away; this set has homes of 3, from" in err
    garage = Home(signer=street.homes[0].signer)
    garage.seal(random_readings(150))
    street.joins(garage, k_min=3)
    street.lists(*street.lines(0, 1, 3))
    code, out, err = street.share()
    assert (code, out) == (3, "")
    assert "only sums over homes of 3 gateways or more are given away; this set has homes of 2, from" in err
    street.lists(*street.lines())
    assert street.share()[0] == 0


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            ["{0}", "{1}", "{0}"],
            "homes.csv, line 4: stream {id} stands in line 2 already: name each home once",
        ),
        (
            ["{0}", "", "5f0c,{kid},{grant}"],
            "homes.csv, line 4: stream '5f0c': expected 32 hexadecimal digits",
        ),
        (["{0}", "{id},{kid}"], "homes.csv, line 3: 2 cells: expected stream,signer,grant"),
        ([], "homes.csv names no home: expected a line stream,signer,grant for each below the heading"),
        (['"{0}'], "homes.csv, line 2: unexpected end of data: expected CSV"),
    ],
)
def test_a_list_that_is_wrong(lines: list[str], sentence: str, street: Street) -> None:
    one, two = street.lines(0, 1)
    names = dict(zip(("id", "kid", "grant"), one.split(","), strict=True))
    street.lists(*(line.format(one, two, **names) for line in lines))
    for code, out, err in (street.homes_of(), street.share(), street.load("--sums", "sums.csv")):
        assert (code, out, err) == (2, "", f"gateway: {sentence.format(**names)}\n")


def test_stdin_that_is_no_text(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe"), encoding="utf-8"))
    code, out, err = street.share("--from", "2026-03-01T01:01", "--until", "2026-03-01T01:02", homes="-")
    assert (code, out) == (2, "")
    assert err == "gateway: the list of homes on stdin is not text in UTF-8: expected CSV\n"


def test_a_list_without_a_heading_or_that_is_no_text(street: Street) -> None:
    street.lists(heading="id,kid")
    assert street.share()[2] == "gateway: homes.csv, line 1: expected the heading stream,signer,grant\n"
    (street.folder / "homes.csv").write_bytes(b"\xff\xfe")
    assert street.share()[2] == "gateway: the list of homes homes.csv is not text in UTF-8: expected CSV\n"
    (street.folder / "homes.csv").unlink()
    code, out, err = street.share()
    assert (code, out) == (2, "")
    assert err == "gateway: the list of homes homes.csv cannot be read: No such file or directory\n"


def test_homes_that_are_not_what_the_list_says(street: Street, tmp_path: Path) -> None:
    """An unknown stream, another signer, another party's load: all are named, and nothing is summed."""
    good, foreign, stranger = street.lines()
    kid = street.homes[0].signer.kid.hex()
    foreign = ",".join([foreign.split(",")[0], kid, foreign.split(",")[2]])
    other = Provider.new(tmp_path / "other")
    home = street.homes[2]
    elsewhere = home.grant(other.card, "1min", kind="load")
    home.grant(street.service.card, "1min", kind="load", partner=elsewhere)
    stranger = ",".join([*stranger.split(",")[:2], elsewhere.id.hex()])
    street.lists(good, f"{UNKNOWN},{kid},{UNKNOWN}", foreign, stranger)
    code, out, err = street.homes_of()
    assert (code, out) == (0, f"stream,signer,grant\n{good}\n")
    unknown, signer, pair, count = err.splitlines()
    assert unknown.startswith(f"stream {UNKNOWN} is left out: the store holds no stream {UNKNOWN}")
    assert signer.startswith(f"stream {street.homes[1].id.hex()} is left out: ")
    assert kid in signer
    assert pair == (
        f"stream {home.id.hex()} is left out: it has no load grant {elsewhere.id.hex()} for this party and "
        "its partner: name the load monitoring centre's grant"
    )
    assert count.startswith("1 of 4 homes are complete in 2 windows")
    code, out, err = street.share()
    assert (code, out) == (5, "")
    assert UNKNOWN in err
    assert street.homes[1].id.hex() in err
    street.lists(stranger)
    code, out, err = street.homes_of()
    assert (code, out) == (4, "")
    assert "gateway: none of 1 homes is complete in 2 windows of import from" in err
    assert json.loads((street.folder / "service" / "summed.json").read_bytes())["sets"] == []


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (
            ("--from", "2026-03-01T00:00:30Z", "--until", "2026-03-01T00:02Z", "--granularity", "1min"),
            2,
            "from: no window of 1min begins or ends at 2026-03-01T00:00:30Z: use 2026-03-01T00:00:00Z or "
            "2026-03-01T00:01:00Z",
        ),
        (
            ("--from", "2026-03-01T00:00Z", "--until", "2026-03-01T12:00Z", "--granularity", "day"),
            2,
            "until: no window of day begins or ends at 2026-03-01T12:00:00Z: use 2026-03-01T00:00:00Z or",
        ),
        (("--from", "2026-03-02", "--until", "2026-03-01"), 2, "until must be later than from"),
        (
            ("--from", "2026-03-01", "--until", "2026-03-02", "--granularity", "1ms"),
            2,
            "86400000 windows at a",
        ),
        (
            ("--from", "2026-03-01", "--until", "2026-03-02", "--granularity", "x"),
            2,
            "granularity 'x': it must",
        ),
        (
            ("--from", "2026-03-01T00:00Z", "--until", "2026-03-01T00:02Z"),
            3,
            "does not open one window of import",
        ),
        ((*TWO_MINUTES, "--lanes", "import,power"), 3, "it does not open one window of power from"),
        (("--from", "2026-03-01T00:02Z", "--until", "2026-03-01T00:03Z"), 4, "the token of the window from"),
    ],
)
def test_times_that_cannot_be_summed(
    options: tuple[str, ...], code: int, sentence: str, street: Street
) -> None:
    found, out, err = street.share(*options)
    assert (found, out) == (code, "")
    assert sentence in err
    assert street.homes_of(*options)[:2] == (2 if code == 2 else 4, "")


@pytest.mark.parametrize(
    ("sums", "sentence"),
    [
        (
            "",
            "sums.csv, line 1: expected from,until,set and lanes such as import, as `gateway provider share",
        ),
        ("from,until,set\n", "sums.csv, line 1: expected from,until,set and lanes"),
        ("from,until,set,heat\n", "sums.csv, line 1: expected from,until,set and lanes"),
        ("until,from,set,import\n", "sums.csv, line 1: expected the heading from,until,set,import"),
        (
            "from,until,set,import\n",
            "sums.csv has no sums: expected a line for each window below the heading",
        ),
        ("{head}{a},{b},{set}\n", "sums.csv, line 2: 3 cells: expected from,until,set,import"),
        ("{head}{a},{b},7,1\n", "sums.csv, line 2: set '7': expected 32 hexadecimal digits"),
        ("{head}{a},{b},{set},-1\n", "sums.csv, line 2: import '-1': expected an integer from 0 to 2^64 - 1"),
        (f"{{head}}{{a}},{{b}},{{set}},{2**64}\n", "expected an integer from 0 to 2^64 - 1"),
        (
            "{head}{a},soon,{set},1\n",
            "sums.csv, line 2: 'soon': expected a time such as 2026-03-01T00:00:00Z",
        ),
        ("{head}2026-03-01,{b},{set},1\n", "sums.csv, line 2: '2026-03-01': expected a time such as"),
        ("{head}{b},{a},{set},1\n", "sums.csv, line 2: the window ends before it begins"),
        (
            "{head}{a},{b},{set},1\n{a},{b},{set},1\n",
            "sums.csv, line 3: the window ends before it begins, or",
        ),
    ],
)
def test_sums_that_are_not_the_services(sums: str, sentence: str, street: Street) -> None:
    names = {
        "head": "from,until,set,import\n",
        "a": "2026-03-01T00:00:00Z",
        "b": "2026-03-01T00:01:00Z",
        "set": UNKNOWN,
    }
    (street.folder / "sums.csv").write_text(sums.format(**names))
    code, out, err = street.load("--sums", "sums.csv")
    assert (code, out) == (2, "")
    assert sentence in err


def test_a_record_is_begun_once_and_by_command(street: Street) -> None:
    record = street.folder / "service" / "summed.json"
    assert street.share()[0] == 0
    kept = record.read_bytes()
    code, out, err = street.runs("share", "begin", "service")
    assert (code, out) == (2, "")
    assert err == "gateway: service/summed.json is there already: a record is begun once\n"
    record.unlink()
    code, out, err = street.share()
    assert (code, out) == (2, "")
    assert "service/summed.json is missing, so nobody knows what was summed, and nothing more may be" in err
    assert "or begin one if it never gave one away: gateway provider share begin" in err
    record.write_bytes(kept)
    assert street.share()[0] == 0
    code, out, err = street.runs("share", "begin", "store")
    assert (code, out) == (2, "")
    assert "store does not hold a provider's key" in err
