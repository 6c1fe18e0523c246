"""Looks side by side hold no more of the store's objects than they may, and all come to their end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.centre import budget as budget_module
from gateway.centre import look as look_module
from gateway.centre.budget import Budget
from gateway.errors import NotFound
from gateway.store.directory import DirectoryBucket
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed
from tests.stream.stream import random_readings

LARGEST = 100


class Store(DirectoryBucket):
    """Has an object of `size` under "size/x", of 0 none; counts what is on its way, and what looks hold."""

    def __init__(self) -> None:
        self.on_its_way = self.most_on_its_way = self.held = self.most_held = 0

    async def get(self, key: str) -> bytes:
        self.on_its_way += 1
        self.most_on_its_way = max(self.most_on_its_way, self.on_its_way)
        self.most_held = max(self.most_held, self.held + LARGEST * self.on_its_way)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        finally:
            self.on_its_way -= 1
        size = int(key.removesuffix("/x"))
        if not size:
            raise NotFound(key)
        self.held += size
        return bytes(size)


async def look(store: Store, budget: Budget, sizes: list[int]) -> None:
    held = 0
    with budget.look() as bucket:

        async def get(size: int) -> int:
            try:
                return len(await bucket.get(f"{size}/x"))
            except NotFound:
                return 0

        for at in range(0, len(sizes), 3):
            held += sum(await asyncio.gather(*map(get, sizes[at : at + 3])))
        store.held -= held


SIZES = st.lists(st.integers(0, LARGEST), max_size=8)


@given(st.lists(SIZES, max_size=8), st.integers(1, 12), st.integers(0, 30))
def test_looks_hold_no_more_than_they_may_and_all_end(looks: list[list[int]], room: int, cut: int) -> None:
    """But for the first look, which goes on one object at a time; also where one is given up."""
    store = Store()

    async def run() -> None:
        budget = Budget(store, room * LARGEST)
        tasks = [asyncio.create_task(look(store, budget, sizes)) for sizes in looks]
        for _ in range(cut):
            await asyncio.sleep(0)
        if tasks and cut % 2:
            tasks[0].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        assert (budget._asked, budget._held, list(budget._waiting)) == (0, 0, [])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget_module, "MOST_BYTES", LARGEST)
        asyncio.run(run())
    first = max((sum(sizes) for sizes in looks), default=0)
    assert store.most_on_its_way <= room
    if not cut % 2:
        assert store.most_held <= room * LARGEST + first + LARGEST


@pytest.mark.parametrize(("objects", "at_once"), [(0, 1), (2, 2), (1000, 4)])
async def test_homes_are_taken_in_within_the_memory_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objects: int, at_once: int
) -> None:
    """Where an object may be so large, fewer are asked for at a time: by listing, and at the next pass."""
    street = Neighbourhood.new(tmp_path)
    for _ in range(6):
        street.joins(sealed(120))
    monkeypatch.setattr(budget_module, "MOST_BYTES", 10**6)
    monkeypatch.setattr(look_module, "_MOST_TOGETHER", objects * 10**6 + 10**5)
    get, on_its_way, most = DirectoryBucket.get, 0, 0

    async def counted(self: DirectoryBucket, key: str) -> bytes:
        nonlocal on_its_way, most
        on_its_way += 1
        most = max(most, on_its_way)
        try:
            return await get(self, key)
        finally:
            on_its_way -= 1

    monkeypatch.setattr(DirectoryBucket, "get", counted)
    for expected in (12, 18):
        most = 0
        assert (await street.takes_in()).windows == expected
        assert most == at_once if objects < 1000 else most >= at_once
        for home in street.homes:
            home.seal(random_readings(180))
    windows = minutes(*range(6))
    assert (await street.load(windows)).sums.tolist() == street.truth(windows)
