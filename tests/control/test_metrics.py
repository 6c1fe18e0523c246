"""The metrics: as Prometheus wants them, and nothing in them that tells of consumption or habits."""

from __future__ import annotations

from hypothesis import given

from gateway.control.documents import DiskStatus, DoubtStatus, ReleaseStatus, Status, StoreStatus
from gateway.control.metrics import render
from tests.support.clock import START_S
from tests.support.exposition import parse, value
from tests.support.pages import meter, status
from tests.support.statuses import MARK, STATUSES


@given(STATUSES)
def test_of_any_status_they_are_good_metrics_without_a_word_of_the_homes(found: Status) -> None:
    text = render(found)
    assert value(text, "up") == 1
    assert MARK not in text
    assert value(text, "healthy") == 0 or all(one.sealing for one in found.meters)
    read = [one for one in found.meters if not one.series]
    assert sum(name == "gateway_meter_up" for name, _ in parse(text)) == len(read)


@given(STATUSES)
def test_what_is_held_how_registers_differ_and_any_series_change_nothing(found: Status) -> None:
    plain = [
        one.model_copy(update={"hold": None, "scale": None, "held": None, "meter_ahead_ms": 0})
        for one in found.meters
        if not one.series
    ]
    without = found.model_copy(update={"meters": tuple(plain), "commands": ()})
    if all(one.sealing for one in found.meters) == all(one.sealing for one in plain):
        assert render(without) == render(found)


def test_of_a_gateway_that_does_not_answer_they_say_that_alone() -> None:
    assert list(parse(render(None)).items()) == [(("gateway_up", ()), 0.0)]


def test_what_each_says() -> None:
    now_ms = START_S * 1000
    text = render(
        status(
            assurance="tpm",
            release=ReleaseStatus(name="gateway-2026.11.1", slot="b"),
            started_ms=now_ms - 3_600_500,
            starts=41,
            root_error="the TPM is away",
            root_errors=3,
            ledger_errors=2,
            clock_trusted=False,
            clock_waits="it was not set",
            store=StoreStatus(url="s3://x", answered_ms=now_ms, error="away", waiting=17, errors=5),
            meters=(
                meter("sauna", read_errors=4, readings_sealed=86_399),
                meter("climate", series=True, sealing=False),
                meter("heat", error="silent", sealing=False, sealed_until_ms=None),
            ),
            faults=("one", "two"),
            doubts=(
                DoubtStatus(
                    meter="sauna", stream="", noticed_ms=1, from_ms=1, until_ms=None, windows_waiting=1
                ),
            ),
            disk=DiskStatus(size_bytes=32_000_000_000, free_bytes=100_000_001),
        )
    )
    info = {"version": "1", "assurance": "tpm", "release": "gateway-2026.11.1", "slot": "b"}
    assert value(text, "info", **info) == 1
    assert {name: value(text, name) for name in ("healthy", "root_up", "store_up", "clock_synchronized")} == {
        "healthy": 0,
        "root_up": 0,
        "store_up": 0,
        "clock_synchronized": 0,
    }
    assert value(text, "clock_in_doubt") == value(text, "ledger_in_doubt") == 1
    assert value(text, "start_time_seconds") == START_S - 3600.5
    assert value(text, "starts_total") == 41
    assert value(text, "root_errors_total") == 3
    assert value(text, "ledger_errors_total") == 2
    assert value(text, "store_errors_total") == 5
    assert value(text, "store_last_answer_timestamp_seconds") == START_S
    assert value(text, "outbox_objects") == 17
    assert value(text, "faults") == 2
    assert value(text, "disk_free_bytes") == 5 * 2**24
    assert value(text, "disk_size_bytes") == 32_000_000_000
    assert value(text, "meter_up", meter="1") == value(text, "meter_sealing", meter="1") == 1
    assert value(text, "meter_up", meter="2") == value(text, "meter_sealing", meter="2") == 0
    assert value(text, "meter_read_errors_total", meter="1") == 4
    assert value(text, "meter_readings_sealed_total", meter="1") == 86_399
    assert value(text, "meter_last_sealed_timestamp_seconds", meter="1") == START_S - 1
    assert ("gateway_meter_last_sealed_timestamp_seconds", (("meter", "2"),)) not in parse(text)
