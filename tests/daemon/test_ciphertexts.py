"""Sums of the gateway's own ciphertexts: the same, whether the ledger still has them or the store does."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.chain.layout import Layout
from gateway.daemon.ciphertexts import Ciphertexts
from gateway.errors import Unavailable
from tests.support.home import LANES, Home
from tests.support.stored import Stored

QUARTER_MS = 900_000
DAY = 96
BEGIN_S = datetime(2026, 5, 28, 20, tzinfo=UTC).timestamp()

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Units of 15 min, in links of ten hours: chunks and links pass midnight; May ends on the third day."""
    return Home(tmp_path, layout=Layout(QUARTER_MS, 40), chunk_units=10, start_s=BEGIN_S)


def ciphertexts(home: Home) -> Ciphertexts:
    return Ciphertexts(home.ledger, home.bucket, home.clock, home.root.public_key)


def expected(stored: Stored, edges: list[int], lane: str) -> list[int]:
    c = stored.c[lane]
    return [int(c[a - stored.start : b - stored.start].sum(dtype="uint64")) for a, b in pairwise(edges)]


async def test_sums_over_any_edges_are_the_streams(home: Home) -> None:
    draw = random.Random(7)
    async with home:
        await home.runs(3 * DAY)
        await home.crashes_and_starts()
        await home.runs(3 * DAY)
        await home.publish()
        stored, stream = await home.stored(), await home.stream()
        for _ in range(40):
            edges = sorted(draw.sample(range(stored.start, stored.end + 1), draw.randint(2, 30)))
            lanes = draw.sample(LANES, draw.randint(1, len(LANES)))
            sums = await ciphertexts(home).sums(stream, edges, lanes)
            for lane, row in zip(lanes, sums.tolist(), strict=True):
                assert row == expected(stored, edges, lane)


async def test_the_store_is_needed_only_for_what_the_ledger_has_dropped(home: Home) -> None:
    """It keeps days until the page of the month after theirs is made."""
    async with home:
        await home.runs(34 * DAY)  # from May to July
        await home.publish()
        stored, stream = await home.stored(), await home.stream()
        home.bucket.away = True
        june = round(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000) // QUARTER_MS
        kept = [june, june + 3, stored.chunks[-1].first]
        sums = await ciphertexts(home).sums(stream, kept, ["import"])
        assert sums[0].tolist() == expected(stored, kept, "import")
        with pytest.raises(Unavailable, match="own pages cannot be read back: the store does not answer"):
            await ciphertexts(home).sums(stream, [june - 1, stored.chunks[-1].first], ["import"])


async def test_a_store_that_fails_is_asked_again_after_five_minutes(home: Home) -> None:
    async with home:
        await home.runs(34 * DAY)
        stream = await home.stream()
        own, edges = ciphertexts(home), [stream.start, stream.start + DAY]
        with pytest.raises(Unavailable, match="the store holds no stream"):
            await own.sums(stream, edges, ["import"])
        await home.publish()
        for seconds in (0, 299):
            home.clock.pass_s(seconds)
            with pytest.raises(Unavailable, match="the store holds no stream"):
                await own.sums(stream, edges, ["import"])
        home.clock.pass_s(1)
        sums = await own.sums(stream, edges, ["import"])
        assert sums[0].tolist() == expected(await home.stored(), edges, "import")


async def test_pages_that_are_not_published_yet_are_waited_for(home: Home) -> None:
    async with home:
        await home.runs(2 * DAY)
        await home.publish()
        await home.runs(32 * DAY)
        stream = await home.stream()
        page = await home.ledger.last_page(stream, "month")
        assert page is not None
        with pytest.raises(Unavailable, match="does not have it up to unit"):
            await ciphertexts(home).sums(stream, [stream.start, page.first + 1], ["import"])
