"""Green Button: greenbutton-objects reads the same numbers, and the schema's order of elements is kept."""

from __future__ import annotations

import io
import os
from datetime import UTC, timedelta
from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest
import xmlschema
from greenbutton_objects.parse import parse_feed
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.provider.exports.greenbutton import ATOM, ESPI, write_greenbutton
from gateway.provider.exports.readings import Quality, Reading
from gateway.stream.times import moment
from tests.provider.exports.opened import CHANGES, lanes, ms, series

STREAM = bytes(range(16))
NOW_MS = ms("2026-11-28T09:00")
ZONES = st.sampled_from(("Europe/Berlin", "America/New_York", "Australia/Sydney", "UTC"))
# The order of elements in the complex types of espi.xsd, as far as any is written.
ORDER = {
    "UsagePoint": ("roleFlags", "ServiceCategory", "status"),
    "LocalTimeParameters": ("dstEndRule", "dstOffset", "dstStartRule", "tzOffset"),
    "ReadingType": (
        *("accumulationBehaviour", "commodity", "dataQualifier", "flowDirection", "intervalLength", "kind"),
        *("powerOfTenMultiplier", "uom"),
    ),
    "IntervalBlock": ("interval", "IntervalReading"),
    "IntervalReading": ("ReadingQuality", "timePeriod", "value"),
    "interval": ("duration", "start"),
    "timePeriod": ("duration", "start"),
}
# The path of espiDerived.xsd, beside its atom.xsd, as the Green Button Alliance publishes them; not a part of
# this repository, since NAESB keeps its rights to the schema.
XSD = os.environ.get("ESPI_XSD")


def read(text: str) -> dict[str, Any]:
    """The meter readings in a feed, by their titles, read by greenbutton-objects."""
    (point,) = parse_feed(io.StringIO(text))
    return {reading.title: reading for reading in point.meterReadings}


TITLES = {"import": "Energy imported", "export": "Energy exported", "power": "Mean power"}
CODES = {Quality.MEASURED: [0], Quality.FILLED: [9], Quality.PARTLY: [13], Quality.UNKNOWN: []}


@settings(max_examples=30)
@given(lanes((1, 15, 60), CHANGES, 120), ZONES)
def test_another_reader_finds_the_same_numbers(found: dict[str, list[Reading]], zone: str) -> None:
    by_title = read(write_greenbutton(found, STREAM, zone, 900, NOW_MS))
    assert set(by_title) == {TITLES[lane] for lane in found}
    for lane, expected in found.items():
        other = by_title[TITLES[lane]]
        assert other.readingType.uom.name == "wattHours"
        assert other.readingType.flowDirection.name == {"import": "forward", "export": "reverse"}[lane]
        assert [
            (
                one.timePeriod.start.astimezone(UTC),
                one.timePeriod.duration,
                round(one.value * 1000),
                [quality.quality.value for quality in one.readingQualities],
            )
            for one in other.intervalReadings
        ] == [
            (
                moment(one.start_ms, 1),
                timedelta(milliseconds=one.end_ms - one.start_ms),
                one.value,
                CODES[one.quality],
            )
            for one in expected
        ]


@settings(max_examples=20)
@given(lanes((15,), CHANGES, 120), ZONES)
def test_elements_come_in_the_schemas_order(found: dict[str, list[Reading]], zone: str) -> None:
    root = ElementTree.fromstring(write_greenbutton(found, STREAM, zone, 900, NOW_MS))
    seen = set()
    for element in root.iter():
        name = element.tag.removeprefix(f"{{{ESPI}}}")
        if name in ORDER:
            seen.add(name)
            children = [child.tag.removeprefix(f"{{{ESPI}}}") for child in element]
            assert children == sorted(children, key=ORDER[name].index)
    assert seen == set(ORDER)
    assert all(element.tag.startswith((f"{{{ESPI}}}", f"{{{ATOM}}}")) for element in root.iter())
    ids = [element.text for element in root.iter(f"{{{ATOM}}}id")]
    assert len(set(ids)) == len(ids)


@pytest.mark.skipif(XSD is None, reason="ESPI_XSD does not name an ESPI schema")
@settings(max_examples=10, phases=[Phase.generate])
@given(lanes((15, 60), CHANGES, 60), ZONES)
def test_the_schema_takes_it(found: dict[str, list[Reading]], zone: str) -> None:
    found["power"] = [
        Reading(0, 900_000, 2**47, Quality.FILLED),
        Reading(900_000, 1_800_000, -(2**47), Quality.PARTLY),
    ]
    schema(str(XSD)).validate(ElementTree.fromstring(write_greenbutton(found, STREAM, zone, 900, NOW_MS)))


@cache
def schema(path: str) -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(path)


def test_power_is_a_mean_in_watts() -> None:
    found = {"power": [Reading(0, 900_000, -2_500_333, Quality.MEASURED)]}
    (reading,) = read(write_greenbutton(found, STREAM, "UTC", None, NOW_MS)).values()
    kind = reading.readingType
    assert (kind.uom.name, kind.kind.name, kind.dataQualifier.name) == ("watts", "power", "average")
    assert kind.flowDirection.name == "notApplicable"
    assert kind.intervalLength is None
    assert [one.value for one in reading.intervalReadings] == [pytest.approx(-2500.333)]


@pytest.mark.parametrize(
    ("begin", "quarters"), [("2026-03-29T00:00+01:00", 92), ("2026-10-25T00:00+02:00", 100)]
)
def test_a_local_day_is_a_block(begin: str, quarters: int) -> None:
    """Of 92 or 100 quarter hours where clocks change; the day after begins the next block."""
    found = {"import": series(ms(begin), 15, list(range(quarters + 4)))}
    root = ElementTree.fromstring(write_greenbutton(found, STREAM, "Europe/Berlin", 900, NOW_MS))
    blocks = [len(block) - 1 for block in root.iter(f"{{{ESPI}}}IntervalBlock")]
    assert blocks == [quarters, 4]


def test_a_gap_is_a_gap() -> None:
    found = {"import": series(ms("2026-03-01T10:00"), 15, [1, 2, None, 4])}
    text = write_greenbutton(found, STREAM, "UTC", 900, NOW_MS)
    root = ElementTree.fromstring(text)
    assert [len(block) - 1 for block in root.iter(f"{{{ESPI}}}IntervalBlock")] == [2, 1]
    assert [one.text for one in root.iter(f"{{{ESPI}}}value")] == ["1", "2", "4"]


def test_local_time_is_the_zones() -> None:
    found = {"import": series(ms("2026-03-01T10:00"), 15, [1])}
    root = ElementTree.fromstring(write_greenbutton(found, STREAM, "America/New_York", 900, NOW_MS))
    (local,) = root.iter(f"{{{ESPI}}}LocalTimeParameters")
    assert [child.text for child in local] == ["B40E2000", "3600", "360E2000", "-18000"]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({}, "there are no intervals to export: nothing of import, export or power was opened"),
        ({"import": []}, "there are no intervals to export"),
        ({"count": series(0, 15, [1])}, "there are no intervals to export"),
        (
            {"import": series(0, 15, [2**47 + 1])},
            "import from 1970-01-01T00:00:00Z on is 140737488355329 thousandths",
        ),
        (
            {"import": [Reading(0, 1500, 1, Quality.UNKNOWN)]},
            "Green Button has whole seconds, and an interval ends at",
        ),
    ],
)
def test_what_green_button_does_not_have_is_said(found: dict[str, list[Reading]], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        write_greenbutton(found, STREAM, "UTC", 900, NOW_MS)
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize("value", [2**47, -(2**47)])
def test_the_largest_values_fit(value: int) -> None:
    text = write_greenbutton({"import": series(0, 15, [value])}, STREAM, "UTC", 900, NOW_MS)
    assert f"<espi:value>{value}</espi:value>" in text
