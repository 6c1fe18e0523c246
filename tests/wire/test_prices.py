"""A price series: what its form cannot say is checked too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import Refused
from gateway.wire.prices import MAX_SPAN_MS, PriceInterval, PriceSeries
from tests.wire.samples import EXAMPLES, KEY, OTHER

_EXAMPLE = EXAMPLES[PriceSeries]
assert isinstance(_EXAMPLE, PriceSeries)
SERIES: PriceSeries = _EXAMPLE


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lanes": ("import", "import")}, "it names a lane twice"),
        ({"currency": ""}, 'its currency is empty: expected one such as "EUR"'),
        (
            {"intervals": (PriceInterval(0, 900, 1), PriceInterval(900, 1, 1), PriceInterval(900, 1, 1))},
            "interval 3 begins before the one before it ends",
        ),
        (
            {"intervals": (PriceInterval(0, 900, 1), PriceInterval(899, 900, 1))},
            "interval 2 begins before the one before it ends",
        ),
        (
            {"intervals": (PriceInterval(5, 900, 1), PriceInterval(MAX_SPAN_MS, 6, 1))},
            "it spans more than 366 days",
        ),
    ],
)
def test_what_a_series_cannot_be(changes: dict[str, Any], says: str) -> None:
    data = KEY.sign("gw1/prices", replace(SERIES, **changes).payload())
    with pytest.raises(Refused, match=f"^it: {says}$"):
        PriceSeries.read(data, KEY.public, "it")


def test_a_series_may_span_366_days_and_have_gaps() -> None:
    series = replace(SERIES, intervals=(PriceInterval(5, 900, 1), PriceInterval(MAX_SPAN_MS, 5, 1)))
    assert PriceSeries.read(KEY.sign("gw1/prices", series.payload()), KEY.public, "it") == series


def test_a_series_is_its_signers_own() -> None:
    """Somebody else's card does not publish in a provider's name."""
    data = OTHER.sign("gw1/prices", SERIES.payload())
    with pytest.raises(Refused, match=r"^it: it names another provider than the one that signed it$"):
        PriceSeries.read(data, OTHER.public, "it")
