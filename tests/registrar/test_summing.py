"""Loads: two parties' halves open the sum over a set of homes, and a second set of one time is refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gateway.centre.load import load
from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.errors import NotGranted, Unavailable, UsageError
from gateway.provider import load as loads
from gateway.provider.load import Window
from gateway.registrar.summing import SummingService
from tests.provider.reading import opened, read_async
from tests.stream.stream import START, Home, Provider, random_readings

FIRST = Window("import", START * 1000, (START + 60) * 1000)
SECOND = replace(FIRST, start_ms=FIRST.end_ms, end_ms=FIRST.end_ms + 60_000)
LONG = replace(FIRST, end_ms=FIRST.start_ms + 120_000)


@dataclass
class Street:
    """Homes that granted minutes of their load to a centre and a service."""

    centre: Provider
    service: Provider
    homes: list[Home]
    grants: list[Grant] = field(default_factory=list)

    def grant(self, granularity: str = "1min") -> None:
        self.grants = []
        for home in self.homes:
            self.grants.append(home.grant(self.centre.card, granularity, kind="load"))
            home.grant(self.service.card, granularity, kind="load", partner=self.grants[-1])

    def summing(self, k_min: int = 2) -> SummingService:
        return SummingService(self.service.folder, self.service.identity, k_min)

    @asynccontextmanager
    async def set_of(self, numbers: Sequence[int] = (0, 1, 2)) -> AsyncIterator[list[loads.Member]]:
        async with AsyncExitStack() as stack:
            yield [
                loads.Member(await stack.enter_async_context(opened(self.homes[i])), self.grants[i].id)
                for i in numbers
            ]

    def truth(self, window: Window, numbers: Sequence[int] = (0, 1, 2)) -> int:
        total = 0
        for i in numbers:
            unit = self.homes[i].layout.unit_ms
            total += self.homes[i].truth(window.lane, window.start_ms // unit, window.end_ms // unit)
        return total


@pytest.fixture
def street(tmp_path: Path) -> Street:
    """Three homes of two minutes and a half, one of them in units of half a second."""
    layouts = (Layout(1000, 60), Layout(500, 120), Layout(1000, 60))
    homes = []
    for layout in layouts:
        home = Home(layout=layout, start=START * 1000 // layout.unit_ms)
        for seconds in (50, 100):
            home.seal(random_readings(seconds * 1000 // layout.unit_ms))
            home.restart()
        homes.append(home)
    street = Street(Provider.new(tmp_path / "centre"), Provider.new(tmp_path / "service"), homes)
    street.grant()
    return street


@pytest.mark.parametrize("window", [FIRST, SECOND, replace(SECOND, lane="export")])
async def test_the_two_sums_put_together(window: Window, street: Street) -> None:
    async with street.set_of() as homes:
        half = await street.summing(3).add(homes, window)
        assert await load(homes, street.centre.identity, window, half) == street.truth(window)


async def test_neither_party_opens_a_home_by_itself(street: Street) -> None:
    for party in (street.centre, street.service):
        with pytest.raises(NotGranted, match="no grant of sums"):
            await read_async(street.homes[0], party)
    async with street.set_of((0,)) as homes:
        alone = await load(homes, street.centre.identity, FIRST, 0)
        assert abs(alone - street.truth(FIRST, (0,))) > 2**48


async def test_too_few_homes(street: Street) -> None:
    async with street.set_of((0, 1)) as homes:
        with pytest.raises(NotGranted, match="a sum over 2 homes is not given away: use at least 3"):
            await street.summing(3).add(homes, FIRST)
        await street.summing(2).add(homes, FIRST)
    with pytest.raises(UsageError, match="expected at least 2 homes"):
        street.summing(1)


async def test_the_same_home_twice_is_one_home(street: Street) -> None:
    async with street.set_of((0, 0)) as homes:
        with pytest.raises(UsageError, match="names a home twice"):
            await street.summing().add(homes, FIRST)


async def test_a_second_set_for_the_same_time_is_refused(street: Street) -> None:
    """Also by a service that was started anew, and also where the windows only overlap."""
    service = street.summing()
    async with street.set_of() as homes:
        first = await service.add(homes, FIRST)
        assert await service.add(list(reversed(homes)), FIRST) == first
    for again in (service, street.summing()):
        async with street.set_of((0, 1)) as fewer:
            with pytest.raises(NotGranted, match="another set of homes was summed"):
                await again.add(fewer, FIRST)
            with pytest.raises(NotGranted, match="another set of homes was summed"):
                await again.add(fewer, replace(FIRST, lane="export"))
    async with street.set_of((0, 1)) as fewer:
        half = await service.add(fewer, SECOND)
        assert await load(fewer, street.centre.identity, SECOND, half) == street.truth(SECOND, (0, 1))
    street.grant("2min")
    for numbers in ((0, 1, 2), (0, 1), (1, 2)):
        async with street.set_of(numbers) as homes:
            with pytest.raises(NotGranted, match="another set of homes was summed"):
                await street.summing().add(homes, LONG)


async def test_one_set_may_be_summed_over_overlapping_windows(street: Street) -> None:
    async with street.set_of() as homes:
        await street.summing().add(homes, SECOND)
    street.grant("2min")
    async with street.set_of() as homes:
        half = await street.summing().add(homes, LONG)
        assert await load(homes, street.centre.identity, LONG, half) == street.truth(LONG)
    # What the times have in common is kept as one.
    kept = json.loads((street.service.folder / "summed.json").read_bytes())
    assert [part[:2] for part in kept] == [[LONG.start_ms, LONG.end_ms]]


async def test_what_was_refused_binds_nobody(street: Street) -> None:
    """A set whose tokens are not all there is not yet the window's set."""
    late = replace(SECOND, start_ms=SECOND.end_ms, end_ms=SECOND.end_ms + 60_000)
    for home in street.homes[:2]:
        home.seal(random_readings(60_000 // home.layout.unit_ms))
    async with street.set_of() as homes:
        with pytest.raises(Unavailable, match="the token of stream"):
            await street.summing().add(homes, late)
        with pytest.raises(Unavailable, match="is not sealed until the end of this window yet"):
            await load(homes, street.centre.identity, late, 0)
    async with street.set_of((0, 1)) as fewer:
        half = await street.summing().add(fewer, late)
        assert await load(fewer, street.centre.identity, late, half) == street.truth(late, (0, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "window",
    [
        replace(FIRST, lane="power"),
        replace(FIRST, end_ms=FIRST.end_ms + 60_000),
        replace(FIRST, start_ms=FIRST.start_ms + 1, end_ms=FIRST.end_ms + 1),
        replace(FIRST, start_ms=FIRST.start_ms + 1000),
        replace(FIRST, start_ms=FIRST.start_ms - 60_000, end_ms=FIRST.start_ms),
        replace(FIRST, end_ms=FIRST.start_ms),
    ],
)
async def test_only_windows_of_the_grant_are_summed(window: Window, street: Street) -> None:
    async with street.set_of() as homes:
        with pytest.raises(
            NotGranted,
            match=r"opens a share of 1min loads of import, export, from .*, but it does not open one window",
        ):
            await street.summing().add(homes, window)
        with pytest.raises(NotGranted, match="but it does not open one window of"):
            await load(homes, street.centre.identity, window, 0)


async def test_parties_cannot_stand_in_for_each_other(street: Street) -> None:
    async with street.set_of() as homes:
        with pytest.raises(NotGranted, match=r"has no load grant .* with a half for this party"):
            await SummingService(street.centre.folder, street.centre.identity, 2).add(homes, FIRST)
        with pytest.raises(NotGranted, match="with a half for this party"):
            await load(homes, street.service.identity, FIRST, 0)


async def test_a_memory_that_is_damaged_sums_nothing(street: Street) -> None:
    path = street.service.folder / "summed.json"
    for damaged in (b"", b"{", b"[7]", b'[["a", 2, "x"]]', b"[[1, 2]]"):
        path.write_bytes(damaged)
        async with street.set_of() as homes:
            with pytest.raises(UsageError, match=r"summed\.json is damaged"):
                await street.summing().add(homes, FIRST)
        assert path.read_bytes() == damaged


async def test_a_memory_that_cannot_be_written_gives_nothing_away(street: Street, tmp_path: Path) -> None:
    async with street.set_of() as homes:
        with pytest.raises(UsageError, match="cannot be used: No such file"):
            await SummingService(tmp_path / "none", street.service.identity, 2).add(homes, FIRST)
