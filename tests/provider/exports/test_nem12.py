"""NEM12: nemreader reads the same numbers and qualities, of the days that are whole."""

from __future__ import annotations

import csv
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from nemreader import read_nem_file

from gateway.errors import UsageError
from gateway.provider.exports.nem12 import SUFFIXES, Participants, write_nem12
from gateway.provider.exports.readings import Quality, Reading
from tests.provider.exports.opened import CHANGES, lanes, ms, series

WHO = Participants("6305123456", "ACME", "RETAIL", "M1234")
NOW_MS = ms("2026-11-28T09:00")
MIDNIGHT = ms("2026-02-28T00:00+10:00")


def read(text: str) -> dict[str, list[Any]]:
    """The readings of each data stream, read by nemreader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nem12.csv"
        path.write_text(text, newline="")
        found = read_nem_file(str(path))
    assert found.header.version_header == "NEM12"
    (streams,) = found.readings.values()
    assert list(found.readings) == [WHO.nmi]
    return dict(streams)


def local(milliseconds: int) -> datetime:
    """A moment as the market's clocks show it, without a zone, as nemreader has it."""
    return datetime(1970, 1, 1, 10) + timedelta(milliseconds=milliseconds)


@settings(max_examples=30)
@given(lanes((5, 15, 30), CHANGES, 700))
def test_another_reader_finds_the_same_numbers(found: dict[str, list[Reading]]) -> None:
    whole: dict[str, list[Reading]] = {}
    left_out = set()
    for lane, some in found.items():
        days: dict[date, list[Reading]] = {}
        for one in some:
            days.setdefault(local(one.start_ms).date(), []).append(one)
        for day, its in days.items():
            if sum(one.end_ms - one.start_ms for one in its) == 86_400_000:
                whole.setdefault(lane, []).extend(its)
            else:
                left_out.add((lane, day))
    if not whole:
        with pytest.raises(UsageError, match="there is no day to export"):
            write_nem12(found, WHO, NOW_MS)
        return
    made = write_nem12(found, WHO, NOW_MS)
    assert {(lane, day) for lane, day, *_ in made.incomplete} == left_out
    streams = read(made.text)
    assert set(streams) == {SUFFIXES[lane] for lane in whole}
    for lane, expected in whole.items():
        assert [
            (
                one.t_start,
                one.t_end,
                round(one.read_value * 10**6),
                one.quality_method,
                one.uom,
                one.meter_serial_number,
            )
            for one in streams[SUFFIXES[lane]]
        ] == [
            (
                local(one.start_ms),
                local(one.end_ms),
                one.value,
                "S17" if one.quality in (Quality.FILLED, Quality.PARTLY) else "A",
                "kWh",
                "M1234",
            )
            for one in expected
        ]


def test_a_file_line_by_line() -> None:
    values = series(MIDNIGHT, 30, list(range(48)))
    filled = [
        Reading(one.start_ms, one.end_ms, one.value, Quality.FILLED if n in (3, 4) else Quality.MEASURED)
        for n, one in enumerate(values)
    ]
    lines = write_nem12({"import": filled}, WHO, NOW_MS).text.split("\r\n")
    assert lines[:2] == ["100,NEM12,202611281900,ACME,RETAIL", "200,6305123456,E1,E1,E1,,M1234,kWh,30,"]
    assert lines[2].startswith("300,20260228,0,0.000001,0.000002,")
    assert lines[2].endswith(",0.000047,V,,,20261128190000,")
    assert lines[3:] == [
        "400,1,3,A,,",
        "400,4,5,S17,0,Filled in between two readings",
        "400,6,48,A,,",
        "900",
        "",
    ]


def test_a_day_that_is_all_filled_needs_no_400() -> None:
    day = [Reading(one.start_ms, one.end_ms, 5, Quality.FILLED) for one in series(MIDNIGHT, 30, [5] * 48)]
    lines = write_nem12({"export": day}, WHO, NOW_MS).text.split("\r\n")
    assert lines[2].endswith(",S17,0,Filled in between two readings,20261128190000,")
    assert lines[3] == "900"


def test_a_missing_interval_leaves_its_day_out_and_no_other() -> None:
    made = write_nem12({"import": series(MIDNIGHT, 15, [1] * 95 + [None] + [2] * 96)}, WHO, NOW_MS)
    assert made.incomplete == (("import", date(2026, 2, 28), 95, 96),)
    rows = list(csv.reader(made.text.splitlines()))
    assert [row[1] for row in rows if row[0] == "300"] == ["20260301"]


def test_days_have_24_hours_where_sydneys_clocks_change() -> None:
    """The market's clocks do not change: Sydney's day of 25 hours has 96 quarter hours."""
    begin = ms("2026-04-05T00:00+10:00")
    made = write_nem12({"import": series(begin, 15, [1] * 96)}, WHO, NOW_MS)
    assert made.incomplete == ()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({}, "there is no day to export: NEM12 needs all intervals of a day"),
        ({"import": series(MIDNIGHT, 15, [1] * 95)}, "there is no day to export"),
        (
            {"import": series(MIDNIGHT, 60, [1] * 24)},
            "NEM12 has intervals of 15min or 5min or 30min; that from 2026-02-27",
        ),
        (
            {"import": series(MIDNIGHT, 15, [1]) + series(MIDNIGHT + 900_000, 5, [1])},
            "a data stream of NEM12 has intervals of 15min; that from 2026-02-27T14:15:00Z on has 5min",
        ),
    ],
)
def test_what_nem12_does_not_have_is_said(found: dict[str, list[Reading]], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        write_nem12(found, WHO, NOW_MS)
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    ("who", "says"),
    [
        (("630512345", "A", "B", ""), "'630512345' is not an NMI"),
        (("63051234IO", "A", "B", ""), "'63051234IO' is not an NMI"),
        (("6305123456", "", "B", ""), "'' is not a participant's id"),
        (("6305123456", "A", "B,C", ""), "'B,C' is not a participant's id"),
        (("6305123456", "A", "B", "1234567890123"), "'1234567890123' is not a meter's serial number"),
    ],
)
def test_bad_participants_are_named(who: tuple[str, str, str, str], says: str) -> None:
    with pytest.raises(UsageError, match=f"^{says}"):
        Participants(*who)
