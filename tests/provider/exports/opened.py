"""Opened rows for properties: any values, gaps, and a `count` lane or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from hypothesis import strategies as st

from gateway.provider.exports.readings import Quality, Reading
from gateway.provider.sums import Rows

MIN_MS = 60_000
UNIT_MS = 1000


def ms(text: str) -> int:
    """A moment, with its offset or else UTC, as Unix ms."""
    when = datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()) * 1000


def rows(edges: Sequence[tuple[int, int]], sums: Mapping[str, Sequence[int | None]]) -> Rows:
    """Rows of windows given in ms; None where a lane is not open."""
    starts, ends = (np.array([edge[n] // UNIT_MS for edge in edges], dtype=np.int64) for n in (0, 1))
    return Rows(
        UNIT_MS,
        starts,
        ends,
        {lane: np.array([value or 0 for value in values], dtype=np.int64) for lane, values in sums.items()},
        {lane: np.array([value is not None for value in values]) for lane, values in sums.items()},
    )


def series(begin_ms: int, minutes: int, values: Sequence[int | None]) -> list[Reading]:
    """Intervals one after another from `begin_ms` on, all of unknown quality; None is a gap."""
    length = minutes * MIN_MS
    return [
        Reading(begin_ms + n * length, begin_ms + (n + 1) * length, value, Quality.UNKNOWN)
        for n, value in enumerate(values)
        if value is not None
    ]


ENERGY = st.integers(-(2**44), 2**44) | st.integers(0, 2_000_000) | st.just(0)


@st.composite
def lanes(
    draw: st.DrawFn, minutes: Sequence[int], begins: Sequence[int], most: int = 300
) -> dict[str, list[Reading]]:
    """Some lanes of energy, with intervals of one length, with gaps and qualities."""
    length = draw(st.sampled_from(minutes)) * MIN_MS
    begin = draw(st.sampled_from(begins)) // length * length
    found = {}
    for lane in draw(st.sampled_from((("import",), ("export",), ("import", "export")))):
        seed = draw(st.randoms(use_true_random=False))
        count = draw(st.integers(1, most))
        kept = [n for n in range(count) if n == 0 or seed.random() > 0.02]
        qualities = draw(
            st.sampled_from((tuple(Quality), (Quality.MEASURED,), (Quality.MEASURED, Quality.FILLED)))
        )
        found[lane] = [
            Reading(
                begin + n * length,
                begin + (n + 1) * length,
                draw(ENERGY)
                if n < 5
                else seed.choice((0, seed.randint(0, 10**7), seed.randint(-(2**44), 2**44))),
                seed.choice(qualities),
            )
            for n in kept
        ]
    return found


CHANGES = (
    ms("2026-03-28T23:00"),  # Berlin's day with 23 hours begins
    ms("2026-10-24T22:00"),  # and that with 25
    ms("2026-02-27T14:00"),  # AEST: midnight
    ms("1970-01-01"),
    ms("2037-12-31T14:00"),
)
