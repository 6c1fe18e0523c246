"""Loads over homes that restart: the centre's and the service's words take away what blinds each home."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.centre import load as loads
from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.errors import NotGranted, Refused, StoreUnavailable, Unavailable, UsageError
from gateway.provider.desk import AT_ONCE
from gateway.provider.load import Answer, Member, Windows, of_each, pair, set_digest, words
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

    async def load(self, windows: Windows) -> list[list[int]]:
        """The loads over all homes, [window][lane]."""
        async with AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(opened(home)) for home in self.homes]
            members = [Member(reader, grant.id) for reader, grant in zip(readers, self.grants, strict=True)]
            answer = await self.answer(members, windows)
            found: list[list[int]] = (await loads.load(members, self.centre.identity, answer)).tolist()
            return found

    async def answer(self, members: Sequence[Member], windows: Windows) -> Answer:
        """What the summing service gives away, whatever it should refuse."""
        found = [await words(await pair(home, self.service.identity, "service"), windows) for home in members]
        sets = [
            set_digest(
                windows,
                i,
                ((home.stream, one.incarnations[i]) for home, one in zip(members, found, strict=True)),
            )
            for i in range(len(windows.times))
        ]
        return Answer(windows, np.sum([one.own for one in found], axis=0, dtype=np.uint64), tuple(sets))

    def truth(self, windows: Windows) -> list[list[int]]:
        unit = self.homes[0].layout.unit_ms
        return [
            [sum(home.truth(lane, a // unit, b // unit) for home in self.homes) for lane in windows.lanes]
            for a, b in windows.times
        ]


def seconds(*edges: int, lanes: tuple[str, ...] = ("import",)) -> Windows:
    """Windows between edges in seconds since the test's start."""
    return Windows(
        lanes, tuple(((START + a) * 1000, (START + b) * 1000) for a, b in itertools.pairwise(edges))
    )


@pytest.mark.slow
@settings(max_examples=15)
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
        windows = seconds(*range(0, count + 1, size), lanes=("export", "import"))
        assert await street.load(windows) == street.truth(windows)


@pytest.mark.slow
async def test_a_window_of_a_later_block(tmp_path: Path) -> None:
    """The key chains go on after 1024 windows, each party's by itself."""
    homes = [Home(layout=Layout(1000, 600), chunk_units=600) for _ in range(2)]
    for home in homes:
        home.seal(random_readings(700))
        home.restart()
        home.seal(random_readings(400))
    street = Neighbours.of(tmp_path, homes, "1s")
    windows = Windows(
        ("import",), sum((seconds(a, a + 1).times for a in (0, 699, 700, 1023, 1024, 1099)), ())
    )
    assert await street.load(windows) == street.truth(windows)
    for a in (0, 1023, 1024):
        assert await street.load(seconds(a, a + 1)) == street.truth(seconds(a, a + 1))


async def test_days_are_those_of_the_households(tmp_path: Path) -> None:
    """Summer time begins a week late there; the centre finds the windows in the published bundles."""
    unit, first = 900, int(datetime(2026, 3, 27, 23, tzinfo=UTC).timestamp()) // 900
    edges = [first + 96 * day for day in range(4)]
    homes = [Home(layout=Layout(unit * 1000, 96), start=first // 96 * 96, chunk_units=96) for _ in range(2)]
    for home in homes:
        home.seal(random_readings(5 * 96))
    street = Neighbours.of(tmp_path, homes, "day", zone="Europe/Berlin", first=first, edges=edges)
    times = tuple((a * unit * 1000, b * unit * 1000) for a, b in itertools.pairwise(edges))
    windows = Windows(("export",), times)
    assert await street.load(windows) == street.truth(windows)
    (start_ms, end_ms) = times[2]
    with pytest.raises(
        NotGranted, match="it does not open one window of export from 2026-03-29T22:00:00Z to"
    ):
        await street.load(Windows(("export",), ((start_ms - 3_600_000, end_ms),)))


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
        right = await street.answer(members, window)
        for other in (seconds(0, 60), seconds(120, 180), seconds(60, 120, lanes=("export",))):
            halves = (await street.answer(members[:1], window), await street.answer(members[1:], other))
            answer = replace(right, sums=halves[0].sums + halves[1].sums)
            opened_load = await loads.load(members, street.centre.identity, answer)
            assert abs(int(opened_load[0, 0]) - street.truth(window)[0][0]) > 2**44


async def test_an_answer_about_other_homes_is_refused(street: Neighbours) -> None:
    async with opened(street.homes[0]) as a, opened(street.homes[1]) as b:
        members = [Member(a, street.grants[0].id), Member(b, street.grants[1].id)]
        answer = await street.answer(members, seconds(0, 60, 120))
        for homes in (members[:1], members[1:], [*members, members[0]]):
            with pytest.raises(UsageError, match="from 2026-03-01T00:00:00Z on is not over these homes"):
                await loads.load(homes, street.centre.identity, answer)


async def test_a_window_sealed_again_since_is_refused(street: Neighbours) -> None:
    """By its tokens it would be added to words of another incarnation, and come out as noise."""
    async with opened(street.homes[0]) as a, opened(street.homes[1]) as b:
        members = [Member(a, street.grants[0].id), Member(b, street.grants[1].id)]
        answer = await street.answer(members, seconds(0, 60, 120))
    home = street.homes[1]
    home.runs = [replace(run, incarnation=run.incarnation + 6) for run in home.runs]
    for served in home._served.values():
        served.kept.clear()
        home.put_bundle(served.grant.id, 0, 3)
    async with opened(street.homes[0]) as a, opened(home) as b:
        members = [Member(a, street.grants[0].id), Member(b, street.grants[1].id)]
        with pytest.raises(UsageError, match="ask it again where a home has sealed anew"):
            await loads.load(members, street.centre.identity, answer)


async def test_a_load_waits_for_the_published_token(street: Neighbours) -> None:
    window = seconds(0, 60)
    async with opened(street.homes[0]) as a, opened(street.homes[1]) as b:
        members = [Member(a, street.grants[0].id), Member(b, street.grants[1].id)]
        answer = await street.answer(members, window)
    home = street.homes[1]
    for key in [key for key in home.objects if "/new/" in key]:
        del home.objects[key]
    async with opened(home) as reader:
        member = Member(reader, street.grants[1].id)
        with pytest.raises(Unavailable, match=f"{home.id.hex()}: the token of .* is not in the store yet"):
            await loads.load([member], street.centre.identity, answer)
        with pytest.raises(Unavailable, match=r"the token of the window from 2026-03-01T00:00:00Z is not"):
            await loads.part_of(member, street.centre.identity, window)


async def test_every_home_that_cannot_be_added_is_named(street: Neighbours) -> None:
    async with opened(street.homes[0]) as a, opened(street.homes[1]) as b:
        members = [Member(a, street.grants[1].id), Member(b, street.grants[0].id)]
        answer = Answer(seconds(0, 60), np.zeros((1, 1), dtype=np.uint64), ("",))
        with pytest.raises(NotGranted) as caught:
            await loads.load(members, street.centre.identity, answer)
        assert all(home.id.hex() in str(caught.value) for home in street.homes)


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
            await loads.part_of(Member(reader, own.id), street.centre.identity, seconds(0, 60))


async def test_homes_are_read_side_by_side_and_stay_in_order() -> None:
    """A thousand homes in a store far away would else take as many round trips one after another."""
    together = asyncio.Barrier(AT_ONCE)

    async def work(home: bytes) -> int:
        await together.wait()  # for ever, were they read one after another
        if home[0] % 5 == 4:
            raise NotGranted(f"home {home[0]}") if home[0] != 9 else Refused("home 9")
        return home[0]

    homes = [bytes([number]) for number in range(4 * AT_ONCE)]
    fine = [home for home in homes if home[0] % 5 != 4][:AT_ONCE]
    assert await of_each(fine, lambda home: home, work) == [home[0] for home in fine]
    with pytest.raises(Refused, match="stream 04: home 4; stream 09: home 9; stream 0e: home 14"):
        await of_each(homes, lambda home: home, work)

    async def away(home: bytes) -> int:
        raise StoreUnavailable("the store is away")

    with pytest.raises(StoreUnavailable, match=r"^the store is away$"):
        await of_each(homes, lambda home: home, away)
