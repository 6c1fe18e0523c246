"""MSCONS: pydifact gives it back byte for byte, and its segments say what was opened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from pydifact.segmentcollection import Interchange
from pydifact.segments import Segment

from gateway.errors import UsageError
from gateway.provider.exports.mscons import OBIS, Parties, write_mscons
from gateway.provider.exports.readings import Quality, Reading
from tests.provider.exports.opened import CHANGES, lanes, ms, series

# pydifact knows no rules of MSCONS, and says so
pytestmark = pytest.mark.filterwarnings("ignore::pydifact.exceptions.MissingImplementationWarning")
PARTIES = Parties("51580175011", "9904545000007", "9911694000002")
NOW_MS = ms("2026-11-28T09:00")


def read(text: str) -> list[Segment]:
    """The segments of the one message, read by pydifact."""
    interchange = Interchange.from_str(text)
    assert interchange.serialize() == text
    (message,) = interchange.get_messages()
    return list(message.segments)


def parts(element: str | list[str]) -> list[str]:
    """The components of an element."""
    return [element] if isinstance(element, str) else element


def time(segment: Segment, qualifier: str) -> int:
    assert segment.tag == "DTM"
    kind, value, form = parts(segment.elements[0])
    assert (kind, form) == (qualifier, "303")
    assert value.endswith("+00")
    return int(datetime.strptime(value[:-3], "%Y%m%d%H%M").replace(tzinfo=UTC).timestamp()) * 1000


def quantities(segments: list[Segment]) -> Iterator[tuple[str, str, int, int, int]]:
    """(OBIS, QTY's code, start, end, mWh) of each quarter hour."""
    obis = ""
    for n, segment in enumerate(segments):
        if segment.tag == "PIA":
            obis = parts(segment.elements[1])[0]
        if segment.tag == "QTY":
            code, value = parts(segment.elements[0])
            whole, _, decimals = value.lstrip("-").partition(".")
            mwh = int(whole + decimals.ljust(6, "0")) * (-1 if value.startswith("-") else 1)
            yield obis, code, time(segments[n + 1], "163"), time(segments[n + 2], "164"), mwh
            if code == "67":
                assert [one.elements for one in segments[n + 3 : n + 5]] == [
                    ["Z32", "", "Z92"],
                    ["Z40", "", "Z75"],
                ]


@settings(max_examples=30)
@given(lanes((15,), CHANGES, 120))
def test_another_reader_finds_the_same_numbers(found: dict[str, list[Reading]]) -> None:
    segments = read(write_mscons(found, PARTIES, NOW_MS))
    assert list(quantities(segments)) == [
        (
            OBIS[lane],
            "67" if one.quality in (Quality.FILLED, Quality.PARTLY) else "220",
            one.start_ms,
            one.end_ms,
            one.value,
        )
        for lane, some in found.items()
        for one in some
    ]


def test_a_message_segment_by_segment() -> None:
    begin = ms("2026-10-24T22:00")
    quarters = [
        Reading(begin, begin + 900_000, 1_250_000, Quality.MEASURED),
        Reading(begin + 1_800_000, begin + 2_700_000, 0, Quality.FILLED),  # the one before it is missing
    ]
    text = write_mscons({"import": quarters, "export": quarters[:1]}, PARTIES, NOW_MS)
    assert text == "".join(
        (
            "UNA:+.? '",
            "UNB+UNOC:3+9904545000007:500+9911694000002:500+261128:0900+G261128090000++TL'",
            "UNH+1+MSCONS:D:04B:UN:2.4c'",
            "BGM+Z48+G2611280900001+9'",
            "DTM+137:202611280900?+00:303'",
            "RFF+Z13:13025'",
            "NAD+MS+9904545000007::293'",
            "NAD+MR+9911694000002::293'",
            "UNS+D'",
            "NAD+DP'",
            "LOC+172+51580175011'",
            "DTM+163:202610242200?+00:303'",
            "DTM+164:202610242245?+00:303'",
            "LIN+1'",
            "PIA+5+1-1?:1.29.0:SRW'",
            "QTY+220:1.25'",
            "DTM+163:202610242200?+00:303'",
            "DTM+164:202610242215?+00:303'",
            "QTY+67:0'",
            "DTM+163:202610242230?+00:303'",
            "DTM+164:202610242245?+00:303'",
            "STS+Z32++Z92'",
            "STS+Z40++Z75'",
            "LIN+2'",
            "PIA+5+1-1?:2.29.0:SRW'",
            "QTY+220:1.25'",
            "DTM+163:202610242200?+00:303'",
            "DTM+164:202610242215?+00:303'",
            "UNT+27+1'",
            "UNZ+1+G261128090000'",
        )
    )


@pytest.mark.parametrize(
    ("begin", "quarters"), [("2026-03-29T00:00+01:00", 92), ("2026-10-25T00:00+02:00", 100)]
)
def test_days_on_which_clocks_change(begin: str, quarters: int) -> None:
    found = list(
        quantities(read(write_mscons({"import": series(ms(begin), 15, [7] * quarters)}, PARTIES, NOW_MS)))
    )
    assert len({start for _, _, start, _, _ in found}) == quarters
    assert all(one[3] == other[2] for one, other in pairwise(found))


def test_a_metering_location_and_partners_of_gs1() -> None:
    parties = Parties("DE0004962684900000000000010571835", "4012345000023", "9911694000002")
    segments = read(write_mscons({"import": series(0, 15, [1])}, parties, NOW_MS))
    by_tag = {segment.tag: segment.elements for segment in segments}
    assert by_tag["BGM"][0] == "7"
    assert by_tag["RFF"] == [["Z13", "13018"]]
    assert by_tag["LOC"][1] == parties.location
    assert ["MS", ["4012345000023", "", "9"]] in [segment.elements for segment in segments]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({}, "there are no quarter hours to export: nothing of import or export was opened"),
        ({"import": []}, "there are no quarter hours to export"),
        ({"power": series(0, 15, [1])}, "there are no quarter hours to export"),
        (
            {"import": series(0, 60, [1])},
            "MSCONS has intervals of 15min; that from 1970-01-01T00:00:00Z on has 1h",
        ),
    ],
)
def test_what_mscons_does_not_have_is_said(found: dict[str, list[Reading]], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        write_mscons(found, PARTIES, NOW_MS)
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    ("parties", "says"),
    [
        (("5158017501", "9904545000007", "9911694000002"), "'5158017501' is neither a market location"),
        (("DE1", "9904545000007", "9911694000002"), "'DE1' is neither a market location"),
        (("51580175011", "990454500000", "9911694000002"), "'990454500000' is not a market partner's code"),
        (("51580175011", "9904545000007", "x"), "'x' is not a market partner's code"),
    ],
)
def test_bad_parties_are_named(parties: tuple[str, str, str], says: str) -> None:
    with pytest.raises(UsageError, match=f"^{says}"):
        Parties(*parties)
