"""OpenADR events: what we write, toadr3 and openadr3-client read alike; what they write, we read."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toadr3.models import Event

from gateway.errors import UsageError
from gateway.provider.openadr import PAYLOADS, read_event, write_event
from gateway.provider.prices import Price, SeriesTerms, draft, spell_price
from gateway.stream.times import moment
from gateway.wire.prices import PriceSeries
from tests.provider.test_prices import DAY, HOUR_MS, drafts, hours, one

LANES = st.sampled_from((("import",), ("export",), ("import", "export")))


def prices_of(series: PriceSeries) -> list[Price]:
    return [Price(x.start_ms, x.end_ms, Decimal(spell_price(series, x))) for x in series.intervals]


@given(drafts(), LANES)
def test_an_event_comes_back_as_the_series_that_it_was(series: PriceSeries, lanes: tuple[str, ...]) -> None:
    text = write_event(replace(series, lanes=lanes), "tariffs")
    prices, found, currency = read_event(text, "it", None)
    assert draft(SeriesTerms(series.name, found, currency or "", series.zone), prices) == replace(
        series, lanes=lanes
    )


@given(drafts(), LANES)
def test_toadr3_reads_the_same(series: PriceSeries, lanes: tuple[str, ...]) -> None:
    event = Event.model_validate_json(write_event(replace(series, lanes=lanes), "tariffs"))
    assert (event.program_id, event.event_name) == ("tariffs", series.name)
    assert event.payload_descriptors is not None
    assert [(x.payload_type, x.units, x.currency) for x in event.payload_descriptors] == [
        (PAYLOADS[lane], "KWH", "EUR") for lane in lanes
    ]
    for found, price in zip(event.intervals, prices_of(series), strict=True):
        assert found.interval_period is not None
        assert found.interval_period.start == moment(price.start_ms, 1)
        assert found.interval_period.duration == timedelta(milliseconds=price.end_ms - price.start_ms)
        assert [(x.type, x.values) for x in found.payloads] == [
            (PAYLOADS[lane], [float(price.price)]) for lane in lanes
        ]


@given(drafts())
def test_what_toadr3_writes_is_read(series: PriceSeries) -> None:
    written = Event.model_validate_json(write_event(series, "tariffs")).as_json()
    assert read_event(written, "it", None) == (prices_of(series), ("import",), "EUR")


@pytest.mark.skipif(find_spec("openadr3_client") is None, reason="openadr3-client needs Python 3.12")
@given(drafts(), LANES)
def test_openadr3_client_reads_and_writes_the_same(series: PriceSeries, lanes: tuple[str, ...]) -> None:
    from openadr3_client.oadr310.models.event.event import NewEvent

    event = NewEvent.model_validate_json(write_event(replace(series, lanes=lanes), "tariffs"))
    for found, price in zip(event.intervals, prices_of(series), strict=True):
        assert found.interval_period.start == moment(price.start_ms, 1)
        assert found.interval_period.duration == timedelta(milliseconds=price.end_ms - price.start_ms)
        assert [(x.type.value, x.values) for x in found.payloads] == [
            (PAYLOADS[lane], (float(price.price),)) for lane in lanes
        ]
    written = event.model_dump_json(by_alias=True, exclude_none=True)
    assert read_event(written, "it", None) == (prices_of(series), lanes, "EUR")


def test_each_interval_says_its_start_and_its_duration() -> None:
    """Days have 23 hours where clocks go forward: a duration is never P1D."""
    day = draft(
        SeriesTerms("Flat", ("import",), "EUR", "Europe/Berlin"),
        [one(DAY - HOUR_MS, DAY + 22 * HOUR_MS, "0.3")],
    )
    event = json.loads(write_event(day, "tariffs"))
    assert event["intervals"] == [
        {
            "id": 0,
            "intervalPeriod": {"start": "2026-03-28T23:00:00Z", "duration": "PT23H"},
            "payloads": [{"type": "PRICE", "values": [0.3]}],
        }
    ]
    assert event["intervalPeriod"] == {"start": "2026-03-28T23:00:00Z", "duration": "PT23H"}


def event(*intervals: Any, **entries: Any) -> dict[str, Any]:
    return {"programID": "p", "intervals": list(intervals), **entries}


def interval(value: object = 0.25, kind: str = "PRICE", **period: str) -> dict[str, Any]:
    return {"id": 0, "intervalPeriod": period, "payloads": [{"type": kind, "values": [value]}]}


START = "2026-03-29T01:00:00+01:00"


def test_intervals_without_a_period_follow_each_other() -> None:
    plain = {"id": 0, "payloads": [{"type": "PRICE", "values": [1]}]}
    document = event(
        plain, plain, interval(2, duration="PT30M"), intervalPeriod={"start": START, "duration": "PT1H"}
    )
    prices, lanes, currency = read_event(json.dumps(document), "it", None)
    assert (lanes, currency) == (("import",), None)
    assert prices == [
        one(DAY, DAY + HOUR_MS, "1"),
        one(DAY + HOUR_MS, DAY + 2 * HOUR_MS, "1"),
        one(DAY + 2 * HOUR_MS, DAY + 2 * HOUR_MS + HOUR_MS // 2, "2"),
    ]


@pytest.mark.parametrize(
    ("spelled", "ms"),
    [
        ("PT15M", 900_000),
        ("P1D", 24 * HOUR_MS),
        ("P1W", 168 * HOUR_MS),
        ("P1DT1H", 25 * HOUR_MS),
        ("PT0.5S", 500),
    ],
)
def test_durations(spelled: str, ms: int) -> None:
    prices, _, _ = read_event(json.dumps(event(interval(start=START, duration=spelled))), "it", None)
    assert prices == [one(DAY, DAY + ms, "0.25")]


def test_a_price_is_read_digit_by_digit() -> None:
    text = json.dumps(event(interval(start=START, duration="PT1H"))).replace("0.25", "0.123456789012345678")
    assert read_event(text, "it", None)[0][0].price == Decimal("0.123456789012345678")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "event.json must be a JSON object"),
        (event(objectType="PROGRAM"), "event.json: objectType is 'PROGRAM'; it must be EVENT"),
        ({}, "event.json: intervals must be a JSON array"),
        (event(), "event.json: it has no prices: no payload is of type PRICE or EXPORT_PRICE"),
        (event(1), "event.json, interval 0 must be a JSON object"),
        (event({"id": 0}), "event.json, interval 0: payloads must be a JSON array"),
        (event({"id": 0, "payloads": [1]}), "event.json, interval 0: each payload must be a JSON object"),
        (
            event(duration="P9999Y"),
            "event.json: the event has a duration, which repeats or cuts its intervals",
        ),
        (event(interval(kind="GHG", start=START)), "event.json: it has no prices"),
        (event(interval(duration="PT1H")), "event.json, interval 0: neither it nor the event has a start"),
        (event(interval(start=START)), "event.json, interval 0: neither it nor the event has a duration"),
        (
            event(interval(start="2026-03-29T01:00:00", duration="PT1H")),
            "event.json, interval 0: its start, 2026-03-29T01:00:00, has no zone: it must end in Z",
        ),
        (
            event(interval(start="0000-00-00", duration="PT1H")),
            "event.json, interval 0: its start, '0000-00-00', is not a time",
        ),
        *(
            (
                event(interval(start=START, duration=spelled)),
                f"event.json, interval 0: its duration, {spelled!r}, is not one of weeks, days, hours",
            )
            for spelled in ("P1M", "P1Y", "P9999Y", "PT0S", "P", "PT", "1H", "-PT1H", "P1DT")
        ),
        *(
            (
                event(interval(value, start=START, duration="PT1H")),
                "event.json, interval 0: it must have one payload of type PRICE, with one number",
            )
            for value in ("0.25", None, True, [1])
        ),
        (
            event(
                {**interval(start=START, duration="PT1H"), "payloads": [{"type": "PRICE", "values": [1, 2]}]}
            ),
            "event.json, interval 0: it must have one payload of type PRICE",
        ),
        (
            event(
                interval(start=START, duration="PT1H"),
                payloadDescriptors=[{"payloadType": "PRICE", "units": "MWH"}],
            ),
            "event.json, payload descriptor 0: its prices are for 'MWH'; they must be for KWH",
        ),
        (
            event(
                {
                    **interval(start=START, duration="PT1H"),
                    "payloads": [{"type": "PRICE", "values": [1]}, {"type": "EXPORT_PRICE", "values": [2]}],
                },
            ),
            "event.json, interval 0: its prices of import and export differ: make a series of each",
        ),
        (
            event(
                {
                    **interval(start=START, duration="PT1H"),
                    "payloads": [{"type": "PRICE", "values": [1]}, {"type": "EXPORT_PRICE", "values": [1]}],
                },
                payloadDescriptors=[
                    {"payloadType": "PRICE", "currency": "EUR"},
                    {"payloadType": "EXPORT_PRICE", "currency": "SEK"},
                ],
            ),
            "event.json: its prices are in EUR and SEK: a series has one currency",
        ),
    ],
)
def test_bad_events_are_named(document: object, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_event(json.dumps(document), "event.json", None)
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"intervals": [Infinity]}', "[" * 100_000, '{"a": 1e999999999999999999999}']
)
def test_what_is_not_json_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"^event.json is not JSON, or is nested too deeply"):
        read_event(text, "event.json", None)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(("PRICE", START, "PT1H", "KWH")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "intervals",
                    "intervalPeriod",
                    "start",
                    "duration",
                    "payloads",
                    "type",
                    "values",
                    "x",
                    "payloadDescriptors",
                    "payloadType",
                    "units",
                    "currency",
                )
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_an_event_or_refused(document: object) -> None:
    with suppress(UsageError):
        read_event(json.dumps(document), "it", None)


@pytest.mark.parametrize(
    ("series", "program", "says"),
    [
        (hours(0, "0.1"), "a b", "the program's id 'a b' is invalid: OpenADR has 1 to 128 letters, digits"),
        (replace(hours(0, "0.1"), currency="points"), "p", "OpenADR names a currency by its ISO 4217 code"),
        (
            hours(0, "123456.123456789012"),
            "p",
            "the price 123456.123456789012 has more digits than a JSON number",
        ),
    ],
)
def test_what_openadr_cannot_say_is_named(series: PriceSeries, program: str, says: str) -> None:
    with pytest.raises(UsageError) as raised:
        write_event(series, program)
    assert str(raised.value).startswith(says)
