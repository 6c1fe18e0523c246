"""Loads: two parties' halves open the sum over a set of homes, and sets that share some homes are refused."""

from __future__ import annotations

import asyncio
import fcntl
import json
import multiprocessing
import os
import tempfile
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.centre.load import load
from gateway.chain.grant import Grant, Kind
from gateway.chain.layout import Layout
from gateway.errors import NotGranted, Refused, Unavailable, UsageError
from gateway.host.files import write_durably
from gateway.provider import load as loads
from gateway.registrar import summing
from gateway.registrar.summing import SummingService
from gateway.wire import names
from gateway.wire.grant import Revocation
from tests.provider.reading import opened, read_async
from tests.stream.stream import START, Home, Provider, random_readings
from tests.support.home import MEMORY


@dataclass(frozen=True)
class Window:
    """A window of one lane."""

    lane: str
    start_ms: int
    end_ms: int

    @property
    def asked(self) -> loads.Windows:
        return loads.Windows((self.lane,), ((self.start_ms, self.end_ms),))


FIRST = Window("import", START * 1000, (START + 60) * 1000)
SECOND = replace(FIRST, start_ms=FIRST.end_ms, end_ms=FIRST.end_ms + 60_000)
LONG = replace(FIRST, end_ms=FIRST.start_ms + 120_000)


def nothing(window: Window) -> loads.Answer:
    """An answer of zeros about no set."""
    return loads.Answer(window.asked, np.zeros((1, 1), dtype=np.uint64), ("",))


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
        return SummingService.in_folder(self.service.folder, self.service.identity, k_min)

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
    SummingService.begin(street.service.folder)
    return street


@pytest.mark.parametrize("window", [FIRST, SECOND, replace(SECOND, lane="export")])
async def test_the_two_sums_put_together(window: Window, street: Street) -> None:
    async with street.set_of() as homes:
        half = await street.summing(3).add(homes, window.asked)
        assert await load(homes, street.centre.identity, half) == street.truth(window)


async def test_others_are_answered_while_a_large_set_is_digested(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, others, real = asyncio.get_running_loop(), threading.Event(), loads.set_digest

    def digest(*of: Any) -> str:
        loop.call_soon_threadsafe(others.set)
        assert others.wait(10)
        return real(*of)

    monkeypatch.setattr(summing, "set_digest", digest)
    async with street.set_of() as homes:
        await street.summing().add(homes, FIRST.asked)


async def test_words_of_homes_that_were_added_are_not_kept(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of thousands of homes and windows would fill the memory."""
    real, kept = loads.words, list[weakref.ref[Any]]()

    async def words(*of: Any) -> loads.Words:
        found = await real(*of)
        kept.extend(map(weakref.ref, (found.own, found.tokens)))
        return found

    real_claim, left = summing._Record.claim, list[int]()

    async def claim(self: Any, *what: Any) -> None:
        left.append(sum(one() is not None for one in kept))
        await real_claim(self, *what)

    monkeypatch.setattr(summing, "words", words)
    monkeypatch.setattr(summing._Record, "claim", claim)
    async with street.set_of() as homes:
        half = await street.summing().add(homes, FIRST.asked)
        assert (len(kept), left) == (6, [0])
        assert await load(homes, street.centre.identity, half) == street.truth(FIRST)


async def test_neither_party_opens_a_home_by_itself(street: Street) -> None:
    for party in (street.centre, street.service):
        with pytest.raises(NotGranted, match="no grant of sums"):
            await read_async(street.homes[0], party)
    async with street.set_of((0,)) as homes:
        [j] = (
            await loads.words(await loads.pair(homes[0], street.centre.identity, "centre"), FIRST.asked)
        ).incarnations
        answer = replace(nothing(FIRST), sets=(loads.set_digest(FIRST.asked, 0, [(homes[0].stream, j)]),))
        alone = await load(homes, street.centre.identity, answer)
        assert abs(alone - street.truth(FIRST, (0,))) > 2**48


async def test_too_few_homes(street: Street) -> None:
    async with street.set_of((0, 1)) as homes:
        with pytest.raises(NotGranted, match=r"homes of 3 gateways or more are given away; .* homes of 2"):
            await street.summing(3).add(homes, FIRST.asked)
        await street.summing(2).add(homes, FIRST.asked)
    with pytest.raises(UsageError, match="k_min = 1: expected at least 2 gateways"):
        street.summing(1)


async def test_two_meters_of_one_gateway_count_once(street: Street) -> None:
    """Else one home that has two meters would be a set."""
    garage = Home(signer=street.homes[0].signer)
    garage.seal(random_readings(100))
    street.homes.append(garage)
    street.grant()
    async with street.set_of((0, 3)) as homes:
        with pytest.raises(NotGranted, match=r"homes of 2 gateways or more are given away; .* homes of 1"):
            await street.summing(2).add(homes, FIRST.asked)
    async with street.set_of((0, 1, 3)) as homes:
        with pytest.raises(NotGranted, match=r"homes of 3 gateways or more are given away; .* homes of 2"):
            await street.summing(3).add(homes, FIRST.asked)
        half = await street.summing(2).add(homes, FIRST.asked)
        assert await load(homes, street.centre.identity, half) == street.truth(FIRST, (0, 1, 3))


@pytest.mark.parametrize("asks", [0, 1])
async def test_the_largest_k_min_of_a_household_counts(asks: int, street: Street) -> None:
    """In whichever of the two grants it stands."""
    home = street.homes[1]
    k_mins: list[int | None] = [None, None]
    k_mins[asks] = 3
    street.grants[1] = home.grant(street.centre.card, "1min", kind="load", k_min=k_mins[0])
    home.grant(street.service.card, "1min", kind="load", partner=street.grants[1], k_min=k_mins[1])
    async with street.set_of((0, 1)) as homes:
        with pytest.raises(NotGranted, match=r"homes of 3 gateways or more are given away; .* homes of 2"):
            await street.summing(2).add(homes, FIRST.asked)
    async with street.set_of() as homes:
        with pytest.raises(NotGranted, match=r"homes of 4 gateways or more are given away; .* homes of 3"):
            await street.summing(4).add(homes, FIRST.asked)
        await street.summing(2).add(homes, FIRST.asked)


@pytest.mark.parametrize(
    ("kind", "granularity", "lanes", "begin", "end", "lane", "counts"),
    [
        ("windows", "1min", ("import",), 0, None, "import", False),
        ("windows", "20s", ("export", "import"), 0, None, "import", False),
        ("windows", "90s", ("import",), 0, None, "import", False),  # whatever its windows
        ("windows", "1min", ("power",), 0, None, "import", False),  # the same quantity
        ("windows", "1min", ("power",), 0, None, "export", False),  # where a home gives, it is below 0
        ("raw", "1min", ("import",), 0, None, "import", False),
        ("windows", "20s", ("import",), 40, 60, "import", False),
        ("windows", "1min", ("export",), 0, None, "import", True),
        ("windows", "1min", ("count",), 0, None, "import", True),
        ("windows", "1min", ("import",), 0, None, "export", True),
        ("windows", "1min", ("import",), 60, None, "import", True),
        ("windows", "1min", ("import",), -60, 0, "import", True),
        ("load", "1min", ("import",), 0, None, "import", True),
    ],
)
async def test_homes_that_the_centre_opens_otherwise_do_not_count(
    kind: Kind,
    granularity: str,
    lanes: tuple[str, ...],
    begin: int,
    end: int | None,
    lane: str,
    counts: bool,
    street: Street,
    tmp_path: Path,
) -> None:
    """What the centre knows of two homes it would take off the sum over three."""
    everything = ("import", "export", "power", "count")
    known = Home(everything, start=START - 60)
    known.seal(random_readings(150, everything))
    street.homes.append(known)
    street.grants.append(known.grant(street.centre.card, "1min", kind="load"))
    known.grant(street.service.card, "1min", kind="load", partner=street.grants[-1])
    until = None if end is None else START + end
    options = {"kind": kind, "first": START + begin, "until": until}
    known.grant(Provider.new(tmp_path / "another").card, "20s")  # another's grants are not the centre's
    known.grant(street.centre.card, granularity, lanes, **options)  # type: ignore[arg-type]
    async with street.set_of((0, 1, 3)) as homes:
        window = replace(FIRST, lane=lane).asked
        if counts:
            await street.summing(3).add(homes, window)
            return
        with pytest.raises(NotGranted, match=r"set has homes of 2, and of 1 of which the centre can open"):
            await street.summing(3).add(homes, window)
        await street.summing(2).add(homes, window)


async def test_a_grant_that_was_revoked_before_opens_nothing_otherwise(street: Street) -> None:
    home = street.homes[0]
    grant = home.grant(street.centre.card, "1min", ["import"])
    home.revoke(grant)
    home.seal(random_readings(90))
    async with street.set_of() as homes:
        with pytest.raises(NotGranted, match="of which the centre can open the window otherwise"):
            await street.summing(3).add(homes, SECOND.asked)
    for one in street.homes[1:]:
        one.seal(random_readings(90_000 // one.layout.unit_ms))
    late = replace(FIRST, start_ms=LONG.end_ms + 60_000, end_ms=LONG.end_ms + 120_000)
    async with street.set_of() as homes:
        await street.summing(3).add(homes, late.asked)


async def test_a_load_ends_when_either_grant_is_revoked(street: Street) -> None:
    """Also for the service where the centre's alone was."""
    home = street.homes[0]
    home.forgets_revocations()  # of an earlier gateway: it is asked about each grant
    data = home.signer.sign(Revocation(home.id, street.grants[0].id, START + 60))
    home.objects[names.revocation(home.id, street.grants[0].id)] = data
    async with street.set_of() as homes:
        await street.summing().add(homes, FIRST.asked)
        with pytest.raises(
            NotGranted, match="when it was revoked, but it does not open one window of import"
        ):
            await street.summing().add(homes, SECOND.asked)


async def test_grants_to_several_centres_are_no_set(street: Street, tmp_path: Path) -> None:
    other = Provider.new(tmp_path / "other")
    home = street.homes[2]
    street.grants[2] = home.grant(other.card, "1min", kind="load")
    home.grant(street.service.card, "1min", kind="load", partner=street.grants[2])
    async with street.set_of() as homes:
        with pytest.raises(UsageError, match="grants to several load monitoring centres"):
            await street.summing().add(homes, FIRST.asked)


async def test_many_windows_are_summed_all_or_none(street: Street) -> None:
    lanes = ("export", "import")
    both = loads.Windows(lanes, ((FIRST.start_ms, FIRST.end_ms), (SECOND.start_ms, SECOND.end_ms)))
    late = replace(both, times=(*both.times, (SECOND.end_ms, SECOND.end_ms + 60_000)))
    async with street.set_of() as homes:
        with pytest.raises(Unavailable, match="the token of the window from 2026-03-01T00:02:00Z"):
            await street.summing().add(homes, late)
        assert json.loads((street.service.folder / "summed.json").read_bytes()) == {"sets": [], "sealed": {}}
        answer = await street.summing().add(homes, both)
        assert (await load(homes, street.centre.identity, answer)).tolist() == [
            [street.truth(replace(window, lane=lane)) for lane in lanes] for window in (FIRST, SECOND)
        ]


async def test_a_window_sealed_again_is_not_summed_again(street: Street) -> None:
    """A restored home's other incarnation has other words: the two sums' difference is this home's alone."""
    home = street.homes[0]
    before = home.fork()
    async with street.set_of() as homes:
        first = await street.summing().add(homes, FIRST.asked)
    home.runs = [replace(run, incarnation=run.incarnation + 6) for run in home.runs]
    for grant_id, served in home._served.items():
        served.kept.clear()
        home.put_bundle(grant_id, 0, 2)
    async with street.set_of() as homes:
        for window in (FIRST, replace(FIRST, lane="export")):
            with pytest.raises(NotGranted, match=f"{home.id.hex()} has sealed again what was summed before"):
                await street.summing().add(homes, window.asked)
        await street.summing().add(homes, SECOND.asked)
    street.homes[0] = before
    async with street.set_of() as homes:
        assert (await street.summing().add(homes, FIRST.asked)).sums == first.sums
        with pytest.raises(NotGranted, match="in another incarnation"):
            await street.summing().add(homes, SECOND.asked)


async def test_the_same_home_twice_is_one_home(street: Street) -> None:
    async with street.set_of((0, 0)) as homes:
        with pytest.raises(UsageError, match="names a home twice"):
            await street.summing().add(homes, FIRST.asked)


async def test_a_set_that_shares_some_homes_is_refused(street: Street) -> None:
    """Also by a service that was started anew, and also where the windows only overlap."""
    service = street.summing()
    async with street.set_of() as homes:
        first = await service.add(homes, FIRST.asked)
        assert (await service.add(list(reversed(homes)), FIRST.asked)).sums == first.sums
    for again in (service, street.summing()):
        async with street.set_of((0, 1)) as fewer:
            with pytest.raises(NotGranted, match="another set of homes was summed"):
                await again.add(fewer, FIRST.asked)
            with pytest.raises(NotGranted, match="another set of homes was summed"):
                await again.add(fewer, replace(FIRST, lane="export").asked)
    async with street.set_of((0, 1)) as fewer:
        half = await service.add(fewer, SECOND.asked)
        assert await load(fewer, street.centre.identity, half) == street.truth(SECOND, (0, 1))
    street.grant("2min")
    for numbers in ((0, 1, 2), (0, 1), (1, 2)):
        async with street.set_of(numbers) as homes:
            with pytest.raises(NotGranted, match="another set of homes was summed"):
                await street.summing().add(homes, LONG.asked)


async def test_one_set_may_be_summed_over_overlapping_windows(street: Street) -> None:
    async with street.set_of() as homes:
        await street.summing().add(homes, SECOND.asked)
    street.grant("2min")
    async with street.set_of() as homes:
        half = await street.summing().add(homes, LONG.asked)
        assert await load(homes, street.centre.identity, half) == street.truth(LONG)
    # What the times have in common is kept as one.
    kept = json.loads((street.service.folder / "summed.json").read_bytes())["sets"]
    assert [part[:2] for part in kept] == [[LONG.start_ms, LONG.end_ms]]


async def test_what_was_refused_binds_nobody(street: Street) -> None:
    """A set whose tokens are not all there is not yet the window's set."""
    late = replace(SECOND, start_ms=SECOND.end_ms, end_ms=SECOND.end_ms + 60_000)
    for home in street.homes[:2]:
        home.seal(random_readings(60_000 // home.layout.unit_ms))
    async with street.set_of() as homes:
        with pytest.raises(
            Unavailable, match="the token of the window from 2026-03-01T00:02:00Z is not in the store yet"
        ):
            await street.summing().add(homes, late.asked)
        with pytest.raises(Unavailable, match=r"the window from .* is not sealed until its end yet"):
            await load(homes, street.centre.identity, nothing(late))
    async with street.set_of((0, 1)) as fewer:
        half = await street.summing().add(fewer, late.asked)
        assert await load(fewer, street.centre.identity, half) == street.truth(late, (0, 1))


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
            await street.summing().add(homes, window.asked)
        with pytest.raises(NotGranted, match="but it does not open one window of"):
            await load(homes, street.centre.identity, nothing(window))


async def test_parties_cannot_stand_in_for_each_other(street: Street) -> None:
    async with street.set_of() as homes:
        with pytest.raises(NotGranted, match=r"has no load grant .* for this party"):
            await SummingService.in_folder(street.centre.folder, street.centre.identity, 2).add(
                homes, FIRST.asked
            )
        with pytest.raises(NotGranted, match=r"has no load grant .* for this party"):
            await load(homes, street.service.identity, nothing(FIRST))


async def test_a_memory_that_is_damaged_sums_nothing(street: Street) -> None:
    path = street.service.folder / "summed.json"
    sets = ("[7]", '[["a", 2, ["x"]]]', "[[1, 2]]", '[[1, 2, "x"]]', "[[1, 2, [3]]]")
    sealed = ("[]", '{"a": 7}', '{"a": [[1, 2]]}', '{"a": [[1, 2, "x"]]}')
    damage = [
        *("", "{", *sets, "{}", '{"sets": []}', '{"sets": [], "sealed": {}, "more": 7}'),
        *(f'{{"sets": {one}, "sealed": {{}}}}' for one in sets),
        *(f'{{"sets": [], "sealed": {one}}}' for one in sealed),
    ]
    for damaged in map(str.encode, damage):
        path.write_bytes(damaged)
        async with street.set_of() as homes:
            with pytest.raises(UsageError, match=r"summed\.json is damaged"):
                await street.summing().add(homes, FIRST.asked)
        with pytest.raises(UsageError, match="there already: a record is begun once"):
            SummingService.begin(street.service.folder)
        assert path.read_bytes() == damaged


async def test_a_memory_that_is_lost_sums_nothing_until_one_is_begun(street: Street) -> None:
    path = street.service.folder / "summed.json"
    async with street.set_of() as homes:
        half = await street.summing().add(homes, FIRST.asked)
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(UsageError, match=r"summed\.json is missing.*put a copy of it back"):
            await street.summing().add(homes, FIRST.asked)
        assert not path.exists()
        path.write_bytes(kept)
        assert (await street.summing().add(homes, FIRST.asked)).sums == half.sums
    with pytest.raises(UsageError, match="there already: a record is begun once"):
        SummingService.begin(street.service.folder)
    assert path.read_bytes() == kept


async def test_a_copy_of_the_memory_alone_answers_for_nothing_that_it_lacks(street: Street) -> None:
    """As it is put back on another machine, without the file that says how much was given away."""
    path = street.service.folder / "summed.json"
    copy = path.read_bytes()
    async with street.set_of() as homes:
        half = await street.summing().add(homes, FIRST.asked)
        whole = path.read_bytes()
        for kept in (copy, whole):
            path.write_bytes(kept)
            (path.parent / "summed.extent.json").unlink()
            for fewer in (homes[1:], homes[:-1]):
                with pytest.raises(NotGranted):
                    await street.summing().add(fewer, FIRST.asked)
        assert (await street.summing().add(homes, FIRST.asked)).sums == half.sums


async def test_a_memory_that_cannot_be_written_gives_nothing_away(street: Street, tmp_path: Path) -> None:
    async with street.set_of() as homes:
        with pytest.raises(UsageError, match="cannot be used: No such file"):
            await SummingService.in_folder(tmp_path / "none", street.service.identity, 2).add(
                homes, FIRST.asked
            )


# --- the memory, against a model: what was answered, instant by instant


def claimed(folder: Path, begin: int, end: int, homes: frozenset[str]) -> bool:
    """Whether a service that has just been started answers for this set."""
    try:
        asyncio.run(summing._Record(folder).claim([summing.Summed(begin, end, homes)], {}))
    except NotGranted:
        return False
    return True


CLAIM = st.tuples(
    st.integers(0, 11), st.integers(1, 6), st.frozensets(st.sampled_from("abcd"), min_size=1, max_size=3)
)


@given(st.lists(CLAIM, max_size=30))
def test_at_any_instant_the_sets_answered_for_are_equal_or_disjoint(
    claims: list[tuple[int, int, frozenset[str]]],
) -> None:
    answered: dict[int, set[frozenset[str]]] = {at: set() for at in range(20)}
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        SummingService.begin(Path(name))
        for begin, length, homes in claims:
            times = range(begin, begin + length)
            fits = all(not other & homes or other == homes for at in times for other in answered[at])
            assert claimed(Path(name), begin, begin + length, homes) == fits
            if fits:
                for at in times:
                    answered[at].add(homes)
        kept = json.loads((Path(name) / "summed.json").read_bytes())["sets"]
    # It holds those times and sets, and an entry for each run of instants alone.
    found: dict[int, list[frozenset[str]]] = {at: [] for at in answered}
    for begin, end, members in kept:
        for at in range(begin, end):
            found[at].append(frozenset(members))
        assert frozenset(members) not in answered.get(end, set())
    assert all(len(found[at]) == len(answered[at]) for at in answered)
    assert {at: set(sets) for at, sets in found.items()} == answered


SEALED = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 9)), min_size=1, max_size=4, unique_by=lambda x: x[1]
)


@given(st.lists(st.tuples(st.sampled_from("ab"), SEALED), max_size=12))
def test_an_incarnation_does_not_come_back_once_another_has_sealed(
    claims: list[tuple[str, list[tuple[int, int]]]],
) -> None:
    """Whatever is asked in whatever order: by the ends of the windows, a home's incarnations follow each
    other, and each end has one."""
    answered: dict[str, set[tuple[int, int]]] = {"a": set(), "b": set()}
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        SummingService.begin(Path(name))
        for home, new in claims:
            wanted = answered[home] | {(end, incarnation) for incarnation, end in new}
            turns = [one for one, _ in groupby(incarnation for _, incarnation in sorted(wanted))]
            ends = {end for end, _ in wanted}
            fits = len(turns) == len(set(turns)) and len(ends) == len(wanted)
            of_one = sorted(new, key=lambda one: one[1])
            runs = summing._runs_of([one for one, _ in of_one], [end for _, end in of_one])
            try:
                asyncio.run(summing._Record(Path(name)).claim([], {home: runs}))
            except NotGranted:
                assert not fits
                continue
            assert fits
            answered[home] = wanted


def races(name: str, homes: frozenset[str], start: Barrier, won: SimpleQueue[list[int]]) -> None:
    start.wait()
    won.put([at for at in range(40) if claimed(Path(name), at, at + 1, homes)])


@pytest.mark.slow
def test_of_two_services_on_one_folder_one_answers(tmp_path: Path) -> None:
    """Two processes ask for sets that share a home, for the same times: each time goes to one of them."""
    SummingService.begin(tmp_path)
    context = multiprocessing.get_context("spawn")
    start, won = context.Barrier(2), context.SimpleQueue()
    sets = [frozenset("ab"), frozenset("bc")]
    both = [context.Process(target=races, args=(str(tmp_path), homes, start, won)) for homes in sets]
    for process in both:
        process.start()
    times = [won.get() for _ in both]
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert sorted(times[0] + times[1]) == list(range(40))


def test_the_folder_is_locked_from_reading_the_memory_to_writing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SummingService.begin(tmp_path)
    checked = []

    def locked() -> None:
        folder = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(folder)
        checked.append(True)

    load = summing._Record._load

    def loads_locked(memory: summing._Record) -> summing._Document:
        locked()
        return load(memory)

    def writes_locked(path: Path, data: bytes, mode: int) -> None:
        write_durably(path, data, mode)
        locked()

    monkeypatch.setattr(summing._Record, "_load", loads_locked)
    monkeypatch.setattr(summing, "write_durably", writes_locked)
    assert claimed(tmp_path, 0, 1, frozenset("ab"))
    assert len(checked) == 3  # read, written, and what is said beside it
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and is free again
    os.close(folder)


async def test_it_reads_no_ciphertext(street: Street) -> None:
    """Its words come from its own key chain and the published tokens: chunks may be damaged or gone."""
    async with street.set_of() as homes:
        word = await street.summing().add(homes, FIRST.asked)
    for home in street.homes:
        for key in home.chunks[:-1]:  # the reader looks at the last one, which the head names
            home.objects[key] = b"damaged"
    async with street.set_of() as homes:
        assert (await street.summing().add(homes, FIRST.asked)).sums == word.sums
        with pytest.raises(Refused, match="chunk"):
            await load(homes, street.centre.identity, word)
