"""`gateway provider requests`: the windows that were asked for, as a duration."""

from __future__ import annotations

import pytest

from gateway.cli.provider import registered
from gateway.wire.request import Request

UNITS = {b"s" * 16: 60_000}


@pytest.mark.parametrize(
    ("granularity", "stream", "shown"),
    [
        (15, b"s" * 16, "15min"),
        (90, b"s" * 16, "90min"),
        (60, b"s" * 16, "1h"),
        ("month-15", b"s" * 16, "month-15"),
        (15, b"t" * 16, "15 units"),  # the catalogue lists it no more
        ("day", b"t" * 16, "day"),
    ],
)
def test_windows_are_shown_as_a_duration(granularity: int | str, stream: bytes, shown: str) -> None:
    wanted = Request(
        id=b"i" * 16,
        provider=b"p" * 16,
        stream=stream,
        kind="windows",
        lanes=("import",),
        granularity=granularity,
        zone="UTC",
        purpose="a tariff",
        from_ms=None,
        until_ms=None,
        tariff=None,
        time_ms=0,
    )
    assert registered._granularity(wanted, UNITS) == shown
