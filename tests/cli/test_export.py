"""`gateway provider export`, as an engineer runs it: what was opened comes out, and what was not is a gap."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from greenbutton_objects.parse import parse_feed
from pydifact.segmentcollection import Interchange

from gateway.chain.layout import Layout
from gateway.cli.main import main
from tests.stream.stream import START, Home, Provider

LANES = ("import", "export", "power", "count")
FIRST, DAY = START // 60, 1440  # in units of a minute
ACME = ["--nmi", "6305123456", "--sender", "ACME", "--receiver", "RETAIL"]
PARTIES = ["--location", "51580175011", "--sender", "9904545000007", "--receiver", "9911694000002"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home() -> Home:
    """Two days of minutes; from 12:00 until 12:30 of the first the meter was not read."""
    made = Home(LANES, layout=Layout(60_000, 60), start=FIRST, chunk_units=60)
    filled = range(720, 750)
    made.seal(
        {
            "import": [1000 + n for n in range(2 * DAY)],
            "export": [n % 7 for n in range(2 * DAY)],
            "power": [0 if n in filled else 60 for n in range(2 * DAY)],
            "count": [0 if n in filled else 1 for n in range(2 * DAY)],
        }
    )
    return made


@pytest.fixture
def run(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Home, Provider, Run]:
    made, provider = home.fork(), Provider.new(tmp_path / "acme")
    (tmp_path / "store").mkdir()

    def call(kind: str, *options: str) -> tuple[int, str, str]:
        store = str(made.write(tmp_path / "store"))
        place = ["--store", store, "--stream", made.id.hex(), "--signer", made.signer.kid.hex()]
        code = main(["provider", "export", kind, "--key", str(provider.folder), *place, *options])
        return code, *capsys.readouterr()

    return made, provider, call


def test_greenbutton(run: tuple[Home, Provider, Run]) -> None:
    home, provider, export = run
    home.grant(provider.card, "15min", LANES, first=FIRST, until=FIRST + DAY)
    home.publish()
    code, out, err = export("greenbutton", "--zone", "Europe/Berlin")
    assert code == 0
    assert "opens 15min sums of import, export, power, count" in err
    (point,) = parse_feed(io.StringIO(out))
    by_title = {reading.title: reading for reading in point.meterReadings}
    for title, lane in (("Energy imported", "import"), ("Energy exported", "export")):
        found = [round(one.value * 1000) for one in by_title[title].intervalReadings]
        assert found == [home.truth(lane, FIRST + a, FIRST + a + 15) for a in range(0, DAY, 15)]
    qualities = [
        quality.quality.value
        for one in by_title["Energy imported"].intervalReadings
        for quality in one.readingQualities
    ]
    assert qualities == [0] * 48 + [9, 9] + [0] * 46
    power = list(by_title["Mean power"].intervalReadings)
    assert len(power) == 94  # where nothing was read there is no power, and no 0
    assert [one.value for one in power] == [pytest.approx(60)] * 94


def test_days_of_a_zone(run: tuple[Home, Provider, Run]) -> None:
    """Its time is that of the grant's days, and intervals have no common length."""
    home, provider, export = run
    home.grant(provider.card, "day", ["import"], first=FIRST + DAY - 60, zone="Europe/Berlin")
    home.publish()
    code, out, err = export("greenbutton")
    assert code == 0
    assert "<espi:tzOffset>3600</espi:tzOffset>" in out
    assert "intervalLength" not in out
    assert "the lane count is not open in all of this" in err


def test_power_without_count_is_left_out(run: tuple[Home, Provider, Run]) -> None:
    home, provider, export = run
    home.grant(provider.card, "15min", ["import", "power"], first=FIRST)
    home.publish()
    code, out, err = export("greenbutton")
    assert code == 0
    assert "Mean power" not in out
    assert "power is left out: its mean is the sum by the number of readings, and needs the lane count" in err


def test_nem12(run: tuple[Home, Provider, Run]) -> None:
    """The market's day begins at 14:00 UTC: one of these is whole, and two are not."""
    home, provider, export = run
    home.grant(provider.card, "5min", LANES, first=FIRST)
    home.publish()
    code, out, err = export("nem12", *ACME, "--granularity", "30min")
    assert code == 0
    rows = list(csv.reader(io.StringIO(out)))
    assert [row[0] for row in rows] == ["100", "200", "300", "200", "300", "900"]
    assert [(row[4], row[8]) for row in rows if row[0] == "200"] == [("E1", "30"), ("B1", "30")]
    begin = FIRST + 840
    for row, lane in zip([row for row in rows if row[0] == "300"], ("import", "export"), strict=True):
        assert (row[1], row[50]) == ("20260302", "A")
        found = [round(float(value) * 10**6) for value in row[2:50]]
        assert found == [home.truth(lane, begin + a, begin + a + 30) for a in range(0, DAY, 30)]
    assert "2026-03-01, no import: only 28 of its 48 intervals are there" in err
    assert "2026-03-03, no export: only 20 of its 48 intervals are there" in err


@pytest.mark.filterwarnings("ignore::pydifact.exceptions.MissingImplementationWarning")
def test_mscons_has_a_gap_where_no_grant_opens(run: tuple[Home, Provider, Run]) -> None:
    home, provider, export = run
    home.grant(provider.card, "15min", ["import", "count"], first=FIRST, until=FIRST + 60)
    home.grant(provider.card, "15min", ["import", "count"], first=FIRST + 705, until=FIRST + 765)
    home.publish()
    code, out, err = export("mscons", *PARTIES, "--from", "2026-03-01T00:00Z")
    assert code == 0
    (message,) = Interchange.from_str(out).get_messages()
    quantities = [tuple(segment.elements[0]) for segment in message.segments if segment.tag == "QTY"]
    quarters = [*range(0, 60, 15), *range(705, 765, 15)]
    assert [round(float(value) * 10**6) for _, value in quantities] == [
        home.truth("import", FIRST + a, FIRST + a + 15) for a in quarters
    ]
    assert [code for code, _ in quantities] == ["220"] * 5 + ["67"] * 2 + ["220"]
    assert "no import, count: grant " in err


@pytest.mark.parametrize(
    ("kind", "options", "code", "says"),
    [
        (
            "nem12",
            ["--nmi", "x", "--sender", "A", "--receiver", "B"],
            2,
            "gateway: 'x' is not an NMI: expected 10",
        ),
        (
            "nem12",
            [*ACME, "--granularity", "1h"],
            2,
            "gateway: NEM12 has intervals of 15min or 5min or 30min",
        ),
        ("nem12", [*ACME, "--until", "2026-03-01T06:00Z"], 2, "gateway: there is no day to export"),
        ("mscons", [*PARTIES, "--granularity", "1h"], 2, "gateway: MSCONS has intervals of 15min"),
        ("mscons", ["--location", "1", *PARTIES[2:]], 2, "gateway: '1' is neither a market location"),
        (
            "mscons",
            [*PARTIES, "--granularity", "5min"],
            3,
            "gateway: 5min sums of import, export, power, count are not",
        ),
        ("greenbutton", ["--zone", "Europe/Nowhere"], 2, "gateway: "),
        ("greenbutton", ["--lanes", "count"], 2, "gateway: there are no intervals to export"),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_written(
    kind: str, options: list[str], code: int, says: str, run: tuple[Home, Provider, Run]
) -> None:
    home, provider, export = run
    home.grant(provider.card, "15min", LANES, first=FIRST)
    home.publish()
    ended, out, err = export(kind, *options)
    assert (ended, out) == (code, "")
    assert any(line.startswith(says) for line in err.splitlines()), err


def test_a_changed_object_exports_nothing(run: tuple[Home, Provider, Run]) -> None:
    home, provider, export = run
    home.grant(provider.card, "15min", LANES, first=FIRST)
    home.publish()
    for key in list(home.objects):
        if "/day/" in key or "/chunk/" in key:
            home.objects[key] = home.objects[key][:-1] + b"\0"
    code, out, err = export("mscons", *PARTIES)
    assert (code, out) == (5, "")
    assert "signature" in err
