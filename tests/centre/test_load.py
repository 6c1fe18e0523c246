"""Loads over homes that restart: the centre's and the service's words take away what blinds each home."""

from __future__ import annotations

import itertools
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.centre.load import load
from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.errors import NotGranted, Refused, Unavailable
from gateway.provider.grants import own_grants
from gateway.provider.load import Member, Window, locate, own_word, published
from gateway.wire import names
from tests.provider.reading import opened
from tests.stream.stream import START, Home, Provider, random_readings


@dataclass(frozen=True)
class Neighbours:
    """Homes that share one granularity of loads with a centre and a summing service."""

    centre: Provider
    service: Provider
    homes: Sequence[Home]
    grants: Sequence[Grant]

    @classmethod
    def of(cls, folder: Path, homes: Sequence[Home], granularity: str, **options: object) -> Neighbours:
        centre, service = (Provider.new(folder / name) for name in ("centre", "service"))
        grants = []
        for home in homes:
            grants.append(home.grant(centre.card, granularity, kind="load", **options))  # type: ignore[arg-type]
            home.grant(service.card, granularity, kind="load", partner=grants[-1], **options)  # type: ignore[arg-type]
        return cls(centre, service, homes, grants)

    async def load(self, *windows: Window) -> list[int]:
        """The load in each of the windows, over all homes."""
        async with AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(opened(home)) for home in self.homes]
            members = [Member(reader, grant.id) for reader, grant in zip(readers, self.grants, strict=True)]
            found = []
            for window in windows:
                words = [await self._word(member, window) for member in members]
                found.append(await load(members, self.centre.identity, window, sum(words)))
            return found

    async def _word(self, home: Member, window: Window) -> int:
        """What the summing service adds up."""
        [own] = await own_grants(home.reader, self.service.identity, "load")
        j, lane = await locate(home, own, window)
        return own_word(own, await published(home, own, j), lane)

    def truth(self, window: Window) -> int:
        unit = self.homes[0].layout.unit_ms
        a, b = window.start_ms // unit, window.end_ms // unit
        return sum(home.truth(window.lane, a, b) for home in self.homes)


def seconds(a: int, b: int, lane: str = "import") -> Window:
    """A window in seconds since the test's start."""
    return Window(lane, (START + a) * 1000, (START + b) * 1000)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.data())
async def test_any_restarts_of_three_homes(data: st.DataObject) -> None:
    """Also where a home seals units of one window in several incarnations, or grants other windows before."""
    count, size = 180, data.draw(st.sampled_from((10, 20, 60)))
    homes = []
    for _ in range(3):
        home = Home(chunk_units=data.draw(st.integers(7, 30)))
        cuts = sorted({0, count, *data.draw(st.lists(st.integers(1, count - 1), max_size=6))})
        for a, b in itertools.pairwise(cuts):
            home.restart(secrets.randbits(30) + home.incarnation)
            home.seal(random_readings(b - a))
        homes.append(home)
    bundle = data.draw(st.integers(1, 5))
    with tempfile.TemporaryDirectory() as folder:
        street = Neighbours.of(Path(folder), homes, f"{size}s", bundle=bundle)
        windows = [seconds(a, a + size, lane) for a in range(0, count, size) for lane in ("import", "export")]
        assert await street.load(*windows) == [street.truth(window) for window in windows]


@pytest.mark.slow
async def test_a_window_of_a_later_block(tmp_path: Path) -> None:
    """The key chains go on after 1024 windows, each party's by itself."""
    homes = [Home(layout=Layout(1000, 600), chunk_units=600) for _ in range(2)]
    for home in homes:
        home.seal(random_readings(700))
        home.restart()
        home.seal(random_readings(400))
    street = Neighbours.of(tmp_path, homes, "1s")
    windows = [seconds(a, a + 1) for a in (0, 699, 700, 1023, 1024, 1099)]
    assert await street.load(*windows) == [street.truth(window) for window in windows]


async def test_days_are_those_of_the_households(tmp_path: Path) -> None:
    """Summer time begins a week late there; the centre finds the windows in the published bundles."""
    unit, first = 900, int(datetime(2026, 3, 27, 23, tzinfo=UTC).timestamp()) // 900
    edges = [first + 96 * day for day in range(4)]
    homes = [Home(layout=Layout(unit * 1000, 96), start=first // 96 * 96, chunk_units=96) for _ in range(2)]
    for home in homes:
        home.seal(random_readings(5 * 96))
    street = Neighbours.of(tmp_path, homes, "day", zone="Europe/Berlin", first=first, edges=edges)
    windows = [Window("export", a * unit * 1000, b * unit * 1000) for a, b in itertools.pairwise(edges)]
    assert await street.load(*windows) == [street.truth(window) for window in windows]
    with pytest.raises(NotGranted, match="it does not open one window of export"):
        await street.load(replace(windows[2], start_ms=windows[2].start_ms - 3_600_000))


@pytest.fixture
def street(tmp_path: Path) -> Neighbours:
    """Two homes of three minutes, that restarted within the second."""
    homes = [Home(), Home()]
    for home in homes:
        home.seal(random_readings(90))
        home.restart()
        home.seal(random_readings(90))
    return Neighbours.of(tmp_path, homes, "1min")


async def test_words_of_other_windows_or_lanes_open_nothing(street: Neighbours) -> None:
    window = seconds(60, 120)
    async with opened(street.homes[0]) as a, opened(street.homes[1]) as b:
        members = [Member(a, street.grants[0].id), Member(b, street.grants[1].id)]
        for other in (seconds(0, 60), seconds(120, 180), seconds(60, 120, "export")):
            words = [await street._word(members[0], window), await street._word(members[1], other)]
            opened_load = await load(members, street.centre.identity, window, sum(words))
            assert abs(opened_load - street.truth(window)) > 2**44


async def test_a_load_waits_for_the_published_token(street: Neighbours) -> None:
    home = street.homes[1]
    for key in [key for key in home.objects if "/new/" in key]:
        del home.objects[key]
    async with opened(home) as reader:
        member = Member(reader, street.grants[1].id)
        with pytest.raises(Unavailable, match=r"the token of stream .* is not in the store yet"):
            await load([member], street.centre.identity, seconds(0, 60), 0)


async def test_the_two_grants_must_be_of_the_same_windows(street: Neighbours) -> None:
    home, own = street.homes[0], street.grants[0]
    other = home.grant(street.service.card, "30s", kind="load", partner=own)
    # The store shows the other one alone.
    for grant_id in list(home._served):
        if grant_id != other.id:
            del home.objects[names.grant(home.id, grant_id)]
            for key in [key for key in home.objects if grant_id.hex() in key]:
                del home.objects[key]
    async with opened(home) as reader:
        with pytest.raises(Refused, match=f"is not of the same windows and lanes as {own.id.hex()}"):
            await load([Member(reader, own.id)], street.centre.identity, seconds(0, 60), 0)
