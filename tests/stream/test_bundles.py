"""A grant's bundles come in order, without a key and without a hole, whatever folds there are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.errors import Refused
from gateway.stream.bundles import BundleReader, Part
from gateway.wire import names
from gateway.wire.grant import Tokens
from gateway.wire.names import FOLDS
from tests.provider.reading import opened
from tests.stream.stream import START, Home, Provider, random_readings

DAYS = 3


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    return Provider.new(tmp_path_factory.mktemp("provider") / "acme")


@pytest.fixture(scope="module")
def whole() -> Home:
    """Three days and a half of hours, over the end of a month, under an incarnation a day."""
    home = Home(layout=Layout(3_600_000, 24), start=START // 3600 - 48, chunk_units=24)
    for count in (24, 24, 24, 12):
        home.seal(random_readings(count))
        home.restart()
    return home


def read(home: Home, grant: Grant, *spans: tuple[int, int]) -> list[list[Part]]:
    """The parts of each span of windows, all by one reader, without the provider's key."""

    async def parts() -> list[list[Part]]:
        async with opened(home) as reader:
            bundles = BundleReader(reader, grant)
            await bundles.settle()
            return [[part async for part in bundles.read(*span)] for span in spans]

    return asyncio.run(parts())


@settings(max_examples=60)
@given(data=st.data())
def test_any_bundles_and_folds_cover_any_windows(
    data: st.DataObject, whole: Home, provider: Provider
) -> None:
    home = whole.fork()
    calendar = data.draw(st.booleans(), "calendar")
    grant = home.grant(provider.card, "day" if calendar else "1h", bundle=data.draw(st.integers(1, 9)))
    count = home._served[grant.id].done
    assert count == (DAYS if calendar else 84)
    spans = st.tuples(st.integers(0, count - 1), st.integers(1, count)).map(lambda one: (one[0], sum(one)))
    for fold in FOLDS[1:]:
        for first, end in pairwise(
            sorted({0, *data.draw(st.lists(st.integers(1, count), max_size=5), fold)})
        ):
            if data.draw(st.booleans(), "folded"):
                home.put_bundle(grant.id, first, end, fold)
    asked = data.draw(st.lists(spans, min_size=1, max_size=3), "asked")
    for (first, end), parts in zip(asked, read(home, grant, *asked), strict=True):
        assert [parts[0].first, parts[-1].end] == [first, min(count, end)]
        assert all(a.end == b.first for a, b in pairwise(parts))
        for part in parts:
            assert part.bundle.first_window <= part.first < part.end <= part.bundle.end_window(grant.words)
            assert part.bundle == Tokens.read(home.objects[part.key], home.signer.public, part.key)


def test_a_day_is_found_in_one_part_without_a_list(whole: Home, provider: Provider) -> None:
    """Where a day's bundle is there and holds all that is asked for; else the parts are read one by one."""

    async def parts(*spans: tuple[int, int]) -> list[Part | None]:
        async with opened(home) as reader:
            bundles = BundleReader(reader, grant)
            return [await bundles.whole(*span) for span in spans]

    home = whole.fork()
    grant = home.grant(provider.card, "1h", bundle=5)
    home.put_bundle(grant.id, 24, 48, "day")
    day, part, *others = asyncio.run(parts((24, 48), (30, 40), (23, 25), (0, 6), (24, 49), (70, 90)))
    assert others == [None] * 4
    for found, (first, end) in ((day, (24, 48)), (part, (30, 40))):
        assert found is not None
        assert (found.first, found.end) == (first, end)
        assert found.key == names.bundle(home.id, grant.id, 24, "day")
        assert found.bundle == Tokens.read(home.objects[found.key], home.signer.public, found.key)
    grant = home.grant(provider.card, "day")  # its windows are settled by all bundles that there are
    assert asyncio.run(parts((0, 1))) == [None]


def test_a_bundle_too_few_is_named(whole: Home, provider: Provider) -> None:
    for granularity, missing in (("day", 1), ("1h", 30)):
        home = whole.fork()
        grant = home.grant(provider.card, granularity, bundle=1)
        key = names.bundle(home.id, grant.id, missing)
        del home.objects[key]
        with pytest.raises(Refused, match=f"{key} is missing: tokens of later windows are there"):
            read(home, grant, (missing - 1, missing + 2))


def test_a_folded_bundle_within_a_longer_new_one(whole: Home, provider: Provider) -> None:
    for granularity, count in (("day", DAYS), ("1h", 84)):
        home = whole.fork()
        grant = home.grant(provider.card, granularity, bundle=count)
        home.put_bundle(grant.id, 1, 2, "month")
        [parts] = read(home, grant, (0, count))
        assert [parts[0].first, parts[-1].end] == [0, count]


def test_edges_that_do_not_join_are_named(whole: Home, provider: Provider) -> None:
    home = whole.fork()
    grant = home.grant(provider.card, "day", bundle=1)
    key = names.bundle(home.id, grant.id, 1)
    bundle = Tokens.read(home.objects[key], home.signer.public, key)
    assert bundle.edges is not None
    home.objects[key] = home.signer.sign(replace(bundle, edges=(bundle.edges[0] + 1, bundle.edges[1] + 1)))
    with pytest.raises(Refused, match=f"{key} has edges that do not join those of the bundles before it"):
        read(home, grant, (0, 2))
    home.objects[key] = home.signer.sign(replace(bundle, edges=(bundle.edges[0], 2**60)))
    after = names.bundle(home.id, grant.id, 2)
    with pytest.raises(Refused, match=f"{after} has edges that do not join those of the bundles before it"):
        read(home, grant, (0, 2))


def test_where_there_are_no_more_it_ends(whole: Home, provider: Provider) -> None:
    for granularity, count in (("day", DAYS), ("1h", 84)):
        home = whole.fork()
        grant = home.grant(provider.card, granularity)
        [parts, none] = read(home, grant, (1, count + 5), (count, count + 5))
        assert (parts[-1].end, none) == (count, [])
