"""Alarms: lines of JSON when one begins, changes and is over; and the list of limits."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.centre.alarms import Alarm, Alarms, read_limits
from gateway.errors import UsageError
from tests.support.clock import START_S, FakeClock

MS = START_S * 1000


def alarm(text: str = "too much", first: int = 0, last: int = 0, region: str = "North") -> Alarm:
    return Alarm("load", region, "", text, MS + first, MS + last)


class Lines:
    """The lines that were written."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.written: list[str] = []
        self.alarms = Alarms(self.clock, self.written.append)

    def take(self) -> list[dict[str, Any]]:
        found = [json.loads(one) for one in self.written]
        self.written.clear()
        return found


def test_an_alarm_is_a_line_when_it_begins_and_when_it_is_over() -> None:
    lines = Lines()
    lines.alarms.hold(alarm(last=1000))
    begun = {
        "alarm": "load",
        "region": "North",
        "stream": None,
        "text": "too much",
        "first": "2026-05-28T20:26:40Z",
        "last": "2026-05-28T20:26:41Z",
        "over": False,
    }
    assert lines.take() == [begun]
    lines.alarms.hold(alarm(first=1000, last=5000))
    assert lines.take() == []
    (standing,) = lines.alarms.standing
    assert (standing.first_ms, standing.last_ms) == (MS, MS + 5000)
    lines.alarms.end("load", "South")
    lines.alarms.end("load", "North")
    assert lines.take() == [begun | {"last": "2026-05-28T20:26:45Z", "over": True}]
    assert lines.alarms.standing == []
    assert [(one.first_ms, one.last_ms, one.over) for one in lines.alarms.past] == [(MS, MS + 5000, True)]
    lines.alarms.end("load", "North")
    assert lines.take() == []


def test_a_text_that_changes_is_a_line_at_most_once_a_minute() -> None:
    lines = Lines()
    for number in range(4):
        lines.alarms.hold(alarm(f"{number} kW"))
        lines.clock.pass_s(25)
    assert [one["text"] for one in lines.take()] == ["0 kW", "3 kW (3 times since the last such line)"]


def test_a_text_that_stays_is_one_line_however_long_it_stands() -> None:
    lines = Lines()
    for number in range(10):
        lines.alarms.hold(alarm(last=number))
        lines.clock.pass_s(3600)
    assert len(lines.take()) == 1


def test_alarms_that_are_not_held_are_over() -> None:
    lines = Lines()
    for region in ("North", "South"):
        lines.alarms.hold(alarm(region=region))
    lines.alarms.end_others("chain", ())
    assert len(lines.alarms.standing) == 2
    lines.alarms.end_others("load", {("load", "South", "")})
    assert [one.region for one in lines.alarms.standing] == ["South"]
    assert [one.region for one in lines.alarms.past] == ["North"]


def test_the_last_that_began_is_first() -> None:
    lines = Lines()
    for first, region in ((5, "A"), (9, "B"), (7, "C")):
        lines.alarms.hold(alarm(first=first, last=first, region=region))
    assert [one.region for one in lines.alarms.standing] == ["B", "C", "A"]
    for region in "BA":
        lines.alarms.end("load", region)
    assert [one.region for one in lines.alarms.past] == ["B", "A"]
    assert lines.alarms.past[0].last_ms > lines.alarms.past[1].last_ms


def test_limits_are_read() -> None:
    text = "\ufeffregion, limit_kw\nNorth,120\n\n Süd ,62.5\n"
    assert read_limits(text, "limits.csv") == {"North": Decimal(120), "Süd": Decimal("62.5")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "limits.csv, line 1: expected the heading region,limit_kw"),
        ("region,kw\n", "limits.csv, line 1: expected the heading region,limit_kw"),
        ("region,limit_kw\nNorth\n", "limits.csv, line 2: 1 cells: expected region,limit_kw"),
        ("region,limit_kw\n,1\n", "limits.csv, line 2: region '': expected a name"),
        ("region,limit_kw\nA,1\nA,2\n", "limits.csv, line 3: region 'A' has a limit above"),
        ('region,limit_kw\n"A,1\n', "limits.csv, line 2: unexpected end of data: expected CSV"),
    ],
)
def test_a_list_of_limits_that_is_wrong_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_limits(text, "limits.csv")


@given(st.sampled_from(["", "0", "-1", "1e9", "inf", "nan", "12,5", "12 kW", "1e-999999", "0x10", "١٢x"]))
def test_a_limit_is_a_number_of_kw(cell: str) -> None:
    quoted = f'"{cell}"'
    with pytest.raises(UsageError, match=r"line 2: limit '.*': expected kW above 0, such as 120 or 62\.5"):
        read_limits(f"region,limit_kw\nNorth,{quoted}\n", "limits.csv")
