"""Health in a word: ok where `gateway status` exits 0 and nothing else fails, or else one reason."""

from __future__ import annotations

import pytest

from gateway.control.health import Health
from tests.support.pages import meter, status

AWAY = status().store.model_copy(update={"error": "the store is away"})
FAULTS: dict[str, dict[str, object]] = {
    "root": {"root_error": "the TPM is away"},
    "clock": {"clock_trusted": False},
    "meter": {"meters": (meter("main", sealing=False, error="silent"),)},
    "store": {"store": AWAY},
}


def test_all_is_well() -> None:
    health = Health.of(status())
    assert (health.model_dump(exclude_unset=True), health.http_status) == ({"ok": True}, 200)


@pytest.mark.parametrize("reason", FAULTS)
def test_each_fault_has_its_reason_and_the_first_is_said(reason: str) -> None:
    names = list(FAULTS)
    later = {key: value for name in names[names.index(reason) :] for key, value in FAULTS[name].items()}
    for faults in (FAULTS[reason], later):
        health = Health.of(status(**faults))
        assert (health.model_dump(), health.http_status) == ({"ok": False, "reason": reason}, 503)


def test_a_clock_that_readings_wait_for() -> None:
    assert Health.of(status(clock_waits="it stepped")).reason == "clock"


def test_no_gateway() -> None:
    assert Health.of(None).model_dump() == {"ok": False, "reason": "gateway"}
