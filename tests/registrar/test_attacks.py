"""Differencing attacks: a load monitoring centre asks for sums whose difference would be a single home's.

The summing service is the real one, over its memory in a file and over the registrar's in its database. What
an attack is after is checked by linear algebra: the homes' minutes are the unknowns, and each answer is an
equation.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.centre.load import part_of
from gateway.chain.consent.span import Rows, random_prime
from gateway.chain.grant import Grant
from gateway.chain.layout import Layout
from gateway.errors import NotGranted, Refused
from gateway.provider.load import Answer, Member, Windows
from gateway.registrar.database import Database
from gateway.registrar.loads import LoadMemory, mark_restored
from gateway.registrar.summing import Memory, SummingService, _Record
from gateway.store.memory import MemoryBucket
from gateway.stream.reader import StreamReader
from tests.stream.stream import START, Home, Provider
from tests.support.home import MEMORY

MINUTE_MS = 60_000
BEGIN = START // 60
"""The first minute."""
MINUTES = 12
LEAST = 3
"""The least number of homes of a sum."""

_PRIME = random_prime()

Cell = tuple[int, int, int]
"""An unknown: of the home of a number, a minute, as it was sealed in an incarnation."""


@dataclass
class Town:
    """Homes of 1 min units, each of which granted loads of 1, 2 and 3 min, and what the centre was told."""

    folder: Path
    centre: Provider
    service: Provider
    homes: list[Home] = field(default_factory=list)
    grants: list[dict[int, Grant]] = field(default_factory=list)
    told: list[dict[Cell, int]] = field(default_factory=list)
    known: list[dict[Cell, int]] = field(default_factory=list)
    """The equations of the answers, and those that the centre has from other grants."""

    @classmethod
    def new(cls, folder: Path, count: int) -> Town:
        centre, service = (Provider.new(folder / name) for name in ("centre", "service"))
        town = cls(folder, centre, service)
        SummingService.begin(town.service.folder)
        for number in range(count):
            home = Home(layout=Layout(MINUTE_MS, MINUTES), start=BEGIN, chunk_units=MINUTES)
            home.seal({lane: [number * 1000 + at for at in range(MINUTES)] for lane in home.lanes})
            town.homes.append(home)
            town.grants.append({size: town.grants_load(number, size) for size in (1, 2, 3)})
        return town

    def grants_load(self, number: int, size: int, service: Provider | None = None) -> Grant:
        """A home grants the centre a load of windows of `size` minutes, and the service the other half."""
        home = self.homes[number]
        grant = home.grant(self.centre.card, f"{size}min", kind="load")
        home.grant((service or self.service).card, f"{size}min", kind="load", partner=grant)
        return grant

    def seals_again(self, number: int, first: int) -> None:
        """A home whose ledger was restored seals minutes from `first` on in another incarnation."""
        home = self.homes[number]
        kept = [
            replace(run, end=min(run.end, BEGIN + first)) for run in home.runs if run.first < BEGIN + first
        ]
        again = max(run.incarnation for run in home.runs) + 1
        home.runs = [*kept, replace(home.runs[-1], incarnation=again, first=BEGIN + first)]
        for grant_id, served in list(home._served.items()):
            served.kept.clear()
            home.put_bundle(grant_id, 0, served.done)

    async def asks(
        self,
        service: SummingService,
        numbers: Sequence[int],
        first: int,
        size: int,
        *,
        lane: str = "import",
        grants: dict[int, Grant] | None = None,
    ) -> Answer:
        """The centre asks for the window of `size` minutes from `first` on, over these homes."""
        start_ms = (BEGIN + first) * MINUTE_MS
        members = []
        for number in numbers:
            home = self.homes[number]
            reader = await StreamReader.open(MemoryBucket(home.objects), home.id, home.signer.kid)
            await reader.refresh(home.end * MINUTE_MS, 2**62)
            members.append(Member(reader, (grants or {}).get(number, self.grants[number][size]).id))
        window = Windows((lane,), ((start_ms, start_ms + size * MINUTE_MS),))
        answer = await service.add(members, window)
        row = {cell: 1 for number in numbers for cell in self.cells(number, first, size)}
        if lane == "import" and row not in self.told:
            self.told.append(row)
        return answer

    async def whole(self, numbers: Sequence[int], minute: int) -> list[int]:
        """Those of the homes whose chain holds in a minute, as `gateway provider load homes` lists them."""
        found = []
        start_ms = (BEGIN + minute) * MINUTE_MS
        window = Windows(("import",), ((start_ms, start_ms + MINUTE_MS),))
        for number in numbers:
            home = self.homes[number]
            reader = await StreamReader.open(MemoryBucket(home.objects), home.id, home.signer.kid)
            with suppress(Refused):
                await reader.refresh(home.end * MINUTE_MS, 2**62)
                await part_of(Member(reader, self.grants[number][1].id), self.centre.identity, window)
                found.append(number)
        return found

    def cells(self, number: int, first: int, size: int) -> list[Cell]:
        runs = self.homes[number].runs
        return [
            (number, at, next(run.incarnation for run in runs if run.first <= BEGIN + at < run.end))
            for at in range(first, first + size)
        ]

    def check(self) -> None:
        """No combination of what the centre was told is about fewer than LEAST homes, but for what follows
        from other grants: neither a home's window, nor what a home changed when it sealed again."""
        for some in combinations(range(len(self.homes)), LEAST - 1):
            whole, granted = [*self.told, *self.known], self.known
            assert _about(whole, some) == _about(granted, some), some


def _about(rows: Sequence[dict[Cell, int]], homes: Sequence[int]) -> int:
    """The dimension of the combinations of some rows that have nothing of other homes."""
    others = [{cell: value for cell, value in row.items() if cell[0] not in homes} for row in rows]
    return _rank(rows) - _rank(others)


def _rank(rows: Sequence[dict[Cell, int]]) -> int:
    numbers = {cell: i for i, cell in enumerate(sorted({cell for row in rows for cell in row}))}
    found = Rows(_PRIME)
    for i, row in enumerate(rows):
        found.add(i, {numbers[cell]: value for cell, value in row.items()})
    return len(found)


class Kept:
    """A memory that can be copied and put back, as an operator does."""

    def __init__(self, folder: Path, memory: Memory, database: Database | None) -> None:
        self._folder = folder
        self._database = database
        self.memory = memory

    @classmethod
    async def begin(cls, kind: str, town: Town) -> Kept:
        if kind == "file":
            return cls(town.service.folder, _Record(town.service.folder), None)
        database = await Database.open(f"sqlite+aiosqlite:///{town.folder / 'registrar.sqlite'}")
        memory = LoadMemory(database)
        await memory.begin()
        return cls(town.folder, memory, database)

    @property
    def _file(self) -> Path:
        return self._folder / ("summed.json" if self._database is None else "registrar.sqlite")

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()

    async def copy(self) -> None:
        if self._database is not None:
            await self._database.close()
        shutil.copy(self._file, self._folder / "copy")
        await self._open()

    async def put_back(self, now_ms: int) -> None:
        """As `gateway registrar restore` does, or by hand where the memory is a file."""
        await self.close()
        shutil.copy(self._folder / "copy", self._file)
        await self._open()
        if self._database is not None:
            async with self._database.writing() as connection:
                await connection.run_sync(mark_restored, now_ms)

    async def _open(self) -> None:
        if self._database is None:
            self.memory = _Record(self._folder)
            return
        self._database = await Database.open(f"sqlite+aiosqlite:///{self._file}")
        self.memory = LoadMemory(self._database)


@dataclass
class Attack:
    """A town and its summing service, which an adversary asks."""

    town: Town
    kept: Kept

    @property
    def service(self) -> SummingService:
        """A service that has just been started on the memory."""
        return SummingService(self.kept.memory, self.town.service.identity, LEAST)

    async def asks(self, numbers: Sequence[int], first: int, size: int, **options: object) -> Answer:
        return await self.town.asks(self.service, numbers, first, size, **options)  # type: ignore[arg-type]

    async def is_refused(
        self, why: str, numbers: Sequence[int], first: int, size: int, **options: object
    ) -> None:
        with pytest.raises(NotGranted, match=why):
            await self.asks(numbers, first, size, **options)


@pytest.fixture(params=["file", "database"])
async def attack(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Attack]:
    town = Town.new(tmp_path, 6)
    kept = await Kept.begin(request.param, town)
    yield Attack(town, kept)
    await kept.close()
    town.check()


OTHER_SET = "another set of homes was summed"


async def test_sets_that_differ_by_one_home(attack: Attack) -> None:
    await attack.asks((0, 1, 2, 3), 0, 1)
    for numbers in ((0, 1, 2), (1, 2, 3), (0, 1, 2, 3, 4), (0, 1, 2, 4), (3, 4, 5)):
        await attack.is_refused(OTHER_SET, numbers, 0, 1)
        await attack.is_refused(OTHER_SET, numbers, 0, 1, lane="export")
    # In another minute they are a set, and there the first one is refused.
    await attack.asks((0, 1, 2), 1, 1)
    await attack.is_refused(OTHER_SET, (0, 1, 2, 3), 1, 1)


async def test_a_set_of_one_home_or_of_too_few(attack: Attack) -> None:
    for numbers in ((0,), (0, 1)):
        await attack.is_refused("only sums over homes of 3 gateways or more", numbers, 0, 1)


async def test_windows_that_are_shifted_by_a_minute(attack: Attack) -> None:
    """Two minutes from the 2nd on, and three from the 3rd on: one is in both."""
    await attack.asks((0, 1, 2, 3), 2, 2)
    await attack.is_refused(OTHER_SET, (0, 1, 2), 3, 3)
    await attack.is_refused("does not open one window", (0, 1, 2, 3), 3, 2)
    await attack.asks((0, 1, 2, 3), 3, 3)  # over the same homes their difference is about all of them
    await attack.is_refused(OTHER_SET, (1, 2, 3), 4, 2)


async def test_windows_of_other_granularities(attack: Attack) -> None:
    """A window of two minutes less the first of them would be the second, of a home more."""
    await attack.asks((0, 1, 2), 0, 1)
    await attack.asks((0, 1, 2, 3), 1, 1)
    for numbers in ((0, 1, 2), (0, 1, 2, 3), (2, 3, 4)):
        await attack.is_refused(OTHER_SET, numbers, 0, 2)
        await attack.is_refused(OTHER_SET, numbers, 0, 3)


async def test_windows_that_were_sealed_again_in_another_incarnation(attack: Attack) -> None:
    await attack.asks((0, 1, 2), 0, 2)
    attack.town.seals_again(1, 0)
    for first, size in ((0, 2), (1, 1)):
        await attack.is_refused("has sealed again what was summed before", (0, 1, 2), first, size)
        await attack.is_refused("has sealed again", (0, 1, 2), first, size, lane="export")
    await attack.asks((0, 1, 2), 2, 1)
    await attack.is_refused("in another incarnation", (0, 1, 2), 0, 2)


async def test_a_request_that_is_replayed(attack: Attack) -> None:
    """It is answered by the same sums to the bit, in whatever order the homes are named, and binds as the
    first one did."""
    first = await attack.asks((0, 1, 2), 0, 2)
    for numbers in ((0, 1, 2), (2, 1, 0)):
        again = await attack.asks(numbers, 0, 2)
        assert again.sums.tobytes() == first.sums.tobytes()
        assert again.sets == first.sets
    assert len(attack.town.told) == 1
    await attack.is_refused(OTHER_SET, (0, 1, 3), 0, 1)


async def test_homes_that_granted_the_same_windows_again(attack: Attack) -> None:
    """By the new grant their words are others, and the sets are told apart by homes all the same."""
    await attack.asks((0, 1, 2), 0, 1)
    again = {number: attack.town.grants_load(number, 1) for number in range(4)}
    await attack.is_refused(OTHER_SET, (0, 1, 2, 3), 0, 1, grants=again)
    await attack.asks((0, 1, 2), 0, 1, grants=again)


async def test_two_summing_services_with_a_memory_each(attack: Attack, tmp_path: Path) -> None:
    """A home that granted the centre a load through another service, too, counts in neither's sums: what the
    other one summed, neither can know."""
    town = attack.town
    second = Provider.new(tmp_path / "second")
    SummingService.begin(second.folder)
    other = SummingService.in_folder(second.folder, second.identity, LEAST)
    await attack.asks((0, 1, 2, 3), 0, 1)
    through = {number: town.grants_load(number, 1, second) for number in range(3)}
    apart = "homes of 0, and of 3 of which the centre can open the window otherwise"
    with pytest.raises(NotGranted, match=apart):
        await town.asks(other, (0, 1, 2), 0, 1, grants=through)
    await attack.is_refused("homes of 1, and of 3 of which the centre can open", (0, 1, 2, 3), 1, 1)
    # A grant to one service opens nothing at the other.
    with pytest.raises(NotGranted, match=r"has no load grant .* for this party and its partner"):
        await town.asks(other, (0, 1, 2), 0, 1)
    # Enough others make a set, in which these are at home too.
    await attack.asks((0, 3, 4, 5), 1, 1)
    # The centre's one grant with a half at each of the services is none of either's.
    home = town.homes[3]
    home.grant(second.card, "1min", kind="load", partner=town.grants[3][1])
    with pytest.raises(NotGranted, match=r"no load grant|the centre can open the window otherwise"):
        await attack.asks((0, 3, 4, 5), 2, 1)


async def test_a_store_that_breaks_one_homes_chain_after_the_other(attack: Attack) -> None:
    """The centre keeps such a home out of its lists, so each list is the one before without a home. All are
    sets of later minutes alone, and none has fewer homes than are summed."""
    town, damaged = attack.town, dict[str, bytes]()
    left = list(range(len(town.homes)))
    for minute in range(len(town.homes)):
        homes = await town.whole(left, minute)
        assert homes == left
        if len(homes) < LEAST:
            await attack.is_refused("only sums over homes of 3 gateways or more", homes, minute, 1)
            break
        for before in range(minute):
            for size in (1, 2, 3):
                await attack.is_refused(OTHER_SET, homes, before // size * size, size)
        await attack.asks(homes, minute, 1)
        broken = town.homes[left[-1]]
        key = broken.chunks[-1]
        damaged[key] = broken.objects[key]
        broken.objects[key] = damaged[key][:-1] + bytes([damaged[key][-1] ^ 1])
        left = await town.whole(left, minute)
        assert broken not in [town.homes[number] for number in left]
        await attack.is_refused(OTHER_SET if len(left) >= LEAST else "only sums over", left, minute, 1)
    # All hold again: the homes that were left out are no set of the minutes in which they were.
    for home in town.homes:
        home.objects |= {key: data for key, data in damaged.items() if key in home.objects}
    assert len(await town.whole(range(6), 1)) == 6
    await attack.is_refused(OTHER_SET, range(6), 1, 1)
    await attack.is_refused(OTHER_SET, (3, 4, 5), 1, 1)


async def test_a_memory_of_which_an_older_copy_was_put_back(attack: Attack) -> None:
    """It sums what it remembers, and what begins after all that it has lost."""
    first = await attack.asks((0, 1, 2), 0, 1)
    await attack.kept.copy()
    await attack.asks((0, 1, 2, 3), 2, 2)
    await attack.kept.put_back((BEGIN + 4) * MINUTE_MS)
    lost = "the memory was restored from a copy"
    for numbers in ((0, 1, 2), (0, 1, 2, 3), (3, 4, 5)):
        await attack.is_refused(lost, numbers, 2, 1)
        await attack.is_refused(lost, numbers, 3, 3)
    await attack.is_refused(OTHER_SET, (0, 1, 3), 0, 1)
    assert (await attack.asks((0, 1, 2), 0, 1)).sums == first.sums
    await attack.asks((0, 1, 2), 4, 2)
    # What was summed since does not make it whole again, and a second copy no better.
    await attack.is_refused(lost, (0, 1, 2), 3, 1)
    await attack.kept.put_back((BEGIN + 6) * MINUTE_MS)
    await attack.is_refused(lost, (0, 1, 2, 3), 4, 1)
    await attack.asks((0, 1, 2, 3), 6, 1)


async def test_a_memory_that_was_put_back_does_not_know_which_incarnations_were_summed(
    attack: Attack,
) -> None:
    """The set of three minutes is remembered; that its single minutes were summed as well was lost, and one
    of the homes has sealed them again."""
    await attack.asks((0, 1, 2), 0, 3)
    await attack.kept.copy()
    await attack.asks((0, 1, 2), 0, 1)
    await attack.kept.put_back((BEGIN + 3) * MINUTE_MS)
    attack.town.seals_again(1, 0)
    for first in (0, 1):
        await attack.is_refused("does not say in which incarnation", (0, 1, 2), first, 1)


# --- whatever is asked in whatever order

NUMBERS = st.integers(0, 5)
SETS = st.sampled_from(([0, 1, 2], [0, 1, 2, 3], [3, 4, 5], [0, 1, 4, 5], [2, 3, 4, 5], [0, 1]))
"""Of which some are apart, and some differ by a home or two."""
WINDOWS = st.sampled_from(((0, 1), (1, 1), (2, 1), (0, 2), (2, 2), (0, 3), (3, 3)))
"""The first minute, and how many."""
REQUESTS = st.lists(st.tuples(SETS, WINDOWS), min_size=1, max_size=6)
Requests = list[tuple[list[int], tuple[int, int]]]
NOBODY: st.SearchStrategy[set[int]] = st.just(set())


class Adversary(RuleBasedStateMachine):
    """A centre that asks for any sets and windows, of two summing services, while homes seal again and the
    memories are lost and put back. It also has what some homes have granted it otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self._lost_ms = 0
        self._elsewhere = False

    def teardown(self) -> None:
        try:
            self.attack.town.check()
        finally:
            self._runner.run(self.attack.kept.close())
            self._runner.close()
            self._folder.cleanup()

    @initialize(
        kind=st.sampled_from(("file", "database")),
        shown=NOBODY | NOBODY | st.sets(NUMBERS, max_size=1),
        through=NOBODY | NOBODY | st.sets(NUMBERS, max_size=2) | st.just({0, 1, 2}),
    )
    def begins(self, kind: str, shown: set[int], through: set[int]) -> None:
        """The homes `shown` grant their minutes to the centre, and those of `through` a load through another
        service."""
        folder = Path(self._folder.name)
        town = Town.new(folder, 6)
        self._second = Provider.new(folder / "second")
        SummingService.begin(self._second.folder)
        self._shown, self._elsewhere = shown, bool(through)
        for number in shown:
            town.homes[number].grant(town.centre.card, "1min")
        self._through = {
            size: {number: town.grants_load(number, size, self._second) for number in through}
            for size in (1, 2, 3)
        }
        self.attack = Attack(town, self._runner.run(Kept.begin(kind, town)))
        self._learns()

    def _learns(self) -> None:
        """What the other grants show."""
        town = self.attack.town
        cells = [cell for number in self._shown for cell in town.cells(number, 0, MINUTES)]
        town.known += [{cell: 1} for cell in cells if {cell: 1} not in town.known]

    @rule(requests=REQUESTS, lane=st.sampled_from(("import", "import", "export")))
    def asks(self, requests: Requests, lane: str) -> None:
        self.asks_all(requests, lane)

    def asks_all(self, requests: Requests, lane: str) -> None:
        for numbers, (first, size) in requests:
            with suppress(NotGranted):
                self._runner.run(self.attack.asks(numbers, first, size, lane=lane))
                self._lost_ms = max(self._lost_ms, (BEGIN + first + size) * MINUTE_MS)

    @precondition(lambda self: self._elsewhere)
    @rule(requests=REQUESTS)
    def asks_the_other_service(self, requests: Requests) -> None:
        service = SummingService.in_folder(self._second.folder, self._second.identity, LEAST)
        for numbers, (first, size) in requests:
            asked = self.attack.town.asks(service, numbers, first, size, grants=self._through[size])
            with suppress(NotGranted):
                self._runner.run(asked)

    @rule(number=st.integers(0, 3), first=st.integers(0, 2))
    def seals_again(self, number: int, first: int) -> None:
        self.attack.town.seals_again(number, first)
        self._learns()

    @rule(requests=REQUESTS)
    def asks_what_the_memory_loses(self, requests: Requests) -> None:
        """A copy from before is put back."""
        self._runner.run(self.attack.kept.copy())
        self.asks_all(requests, "import")
        self._runner.run(self.attack.kept.put_back(self._lost_ms))


Adversary.TestCase.settings = settings(max_examples=30, stateful_step_count=25)
TestAdversary = pytest.mark.slow(Adversary.TestCase)
