"""Hints: what they name is looked at sooner, and whatever they are, the same windows are taken in."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from contextlib import aclosing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.centre import hints as hints_module
from gateway.centre import ingest as ingest_module
from gateway.centre.columns import FOLDER
from gateway.centre.hints import MOST_BYTES, Hints
from gateway.store.directory import DirectoryBucket
from gateway.wire import names
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed
from tests.centre.test_ingest import Killed, killed_at, stored
from tests.stream.stream import random_readings
from tests.support.home import MEMORY


async def heard(hints: Hints) -> list[bytes]:
    """The streams of the next look."""
    async with aclosing(hints.looks(10)) as looks:
        async with asyncio.timeout(10):
            return await anext(looks)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come without a pause."""
    monkeypatch.setattr(hints_module, "_GATHERED", 10**9)


A, B, C = (secrets.token_bytes(16) for _ in range(3))


@pytest.mark.parametrize(
    "said",
    [
        json.dumps({"EventName": "s3:ObjectCreated:Put", "Key": f"meters/{names.head(A)}"}).encode(),
        json.dumps({"s3": {"object": {"key": names.head(A).replace("/", "%2F"), "eTag": "0" * 32}}}).encode(),
        json.dumps({"event_type": "update", "key": f"/buckets/meters/{names.head(A)}"}).encode(),
        f"gw1/{secrets.token_hex(16)}/chunk/{A.hex()}".encode(),
        b"\xff" + A.hex().encode() + b"\x00" + C.hex().encode(),
        A.hex().encode() * 2 + b" " + A.hex().encode() + b" " + A.hex().upper().encode(),
    ],
)
async def test_a_stream_of_the_list_is_heard_in_whatever_names_it(said: bytes) -> None:
    hints = Hints()
    hints.hear(said)  # before there is a list
    hints.expect([A, B])
    for _ in range(3):
        hints.hear(said)
    assert await heard(hints) == [A]
    hints.hear(B.hex().encode())
    assert await heard(hints) == [B]


async def test_what_names_no_stream_of_the_list_costs_no_look() -> None:
    hints = Hints()
    hints.expect([A, B])
    for said in (
        b"",
        b"\x00" * 100_000,
        A,
        C.hex().encode(),
        b"0" + A.hex().encode(),
        A.hex().encode() + b"a",
        A.hex().encode()[:-1],
        b" " * MOST_BYTES + A.hex().encode(),
        b"f" * 10**6,
    ):
        hints.hear(said)
    for _ in range(1000):
        hints.hear(secrets.token_hex(16).encode())
    assert not hints._heard
    async with aclosing(hints.looks(0.05)) as looks:
        assert [one async for one in looks] == []


async def test_a_look_has_no_more_than_so_many_and_the_others_come_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hints_module, "AT_ONCE", 2)
    hints = Hints()
    hints.expect([A, B, C])
    for one in (C, A, C, B):
        hints.hear(one.hex().encode())
    assert await heard(hints) == [C, A]
    assert await heard(hints) == [B]
    hints.hear(C.hex().encode())
    hints.expect([A, B])  # all are looked at now
    hints.hear(A.hex().encode())
    assert await heard(hints) == [A]
    async with aclosing(hints.looks(0.05)) as looks:
        assert [one async for one in looks] == []


async def test_a_flood_makes_no_more_looks_than_a_time_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends with that time, however much is still heard."""
    monkeypatch.setattr(hints_module, "_GATHERED", 4)
    hints = Hints()
    hints.expect([A])
    hints.hear(A.hex().encode())
    count = 0
    async with aclosing(hints.looks(0.2)) as looks:
        async for _ in looks:
            count += 1
            hints.hear(A.hex().encode())
    assert count <= 4


async def test_a_look_at_hinted_homes_reads_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    street = Neighbourhood.new(tmp_path)
    for _ in range(4):
        street.joins(sealed(120))
    assert (await street.takes_in()).windows == 8
    for home in street.homes:
        home.seal(random_readings(60))
    read: set[str] = set()
    get = DirectoryBucket.get

    async def noted(self: DirectoryBucket, key: str) -> bytes:
        read.add(key.split("/")[1])
        return await get(self, key)

    monkeypatch.setattr(DirectoryBucket, "get", noted)
    hinted = [street.homes[2].id, secrets.token_bytes(16), street.homes[0].id]
    taken = await street.takes_in(streams=hinted)
    assert (taken.windows, taken.homes, taken.passed_over) == (2, 2, ())
    assert read == {street.homes[number].id.hex() for number in (0, 2)}
    assert (await street.takes_in(streams=[])).windows == 0
    assert (await street.takes_in()).windows == 2
    windows = minutes(*range(4))
    assert (await street.load(windows)).sums.tolist() == street.truth(windows)


async def test_a_home_that_breaks_is_named_and_what_is_not_listed_is_not_looked_at(tmp_path: Path) -> None:
    street = Neighbourhood.new(tmp_path)
    for _ in range(2):
        street.joins(sealed(180))
    broken, whole = street.homes
    broken.objects[broken.chunks[-1]] = broken.objects[broken.chunks[-2]]
    assert (await street.takes_in(streams=[])).windows == 0
    taken = await street.takes_in(streams=[broken.id, whole.id])
    assert taken.windows == 3
    assert [(one.stream, one.error.kind) for one in taken.passed_over] == [(broken.id, "refused")]
    del street.homes[0], street.grants[0], street.regions[0]
    assert (await street.takes_in(streams=[broken.id])).passed_over == ()


async def test_only_a_look_at_all_homes_merges_files_and_removes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that a load that is being added up finds those that it has begun with."""
    monkeypatch.setattr(ingest_module, "_CROWD", 3)
    street = Neighbourhood.new(tmp_path)
    home = street.joins(sealed(60))
    files = tmp_path / "data" / FOLDER

    async def looks(streams: list[bytes] | None = None) -> int:
        home.seal(random_readings(60))
        await street.takes_in(streams=streams)
        return len(list(files.rglob("*.parquet")))

    assert [await looks([home.id]) for _ in range(4)] == [1, 2, 3, 4]
    assert await looks() == 6  # five, and the one that has their rows
    assert await looks([home.id]) == 7
    assert await looks() == 4  # of the seven only the merged and the last one, one more, and theirs
    assert len(stored(tmp_path / "data", merging=True)) == 8


@pytest.mark.slow
async def test_looks_that_are_cut_off_leave_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever one is killed, the next run begins with a look at all homes."""
    monkeypatch.setattr(ingest_module, "_CROWD", 2)
    street = Neighbourhood.new(tmp_path)
    for number in range(3):
        street.joins(sealed(120), ("North", "South")[number % 2])
    early = street.bucket = await street.store_in("early")
    for home in street.homes:
        home.seal(random_readings(60))
    late = await street.store_in("late")
    street.bucket = late
    await street.takes_in("whole")
    step, finished = 0, False
    while not finished:
        step += 1
        folder = f"killed {step}"
        street.bucket = early
        await street.takes_in(folder)
        street.bucket = late
        with suppress(Killed), killed_at(step, monkeypatch):
            await street.takes_in(folder, [home.id for home in street.homes[:2]])
            finished = True
        await street.takes_in(folder)
        await street.takes_in(folder)  # removes what was merged
        assert stored(street.folder / folder).equals(stored(street.folder / "whole"))
    assert step > 10


_HINT = st.one_of(
    st.integers(0, 2).map(lambda number: ("home", number)),
    st.binary(max_size=80).map(lambda data: ("garbage", data)),
    st.binary(min_size=16, max_size=16).map(lambda data: ("garbage", data.hex().encode())),
)
_STEP = st.one_of(
    st.tuples(st.just("seal"), st.integers(0, 2), st.sampled_from([20, 60, 70])),
    st.tuples(st.just("look"), st.lists(_HINT, max_size=6)),
    st.tuples(st.just("all")),
)


@settings(max_examples=25)
@given(steps=st.lists(_STEP, max_size=8))
def test_whatever_hints_come_the_rows_are_those_of_looking_alone(steps: list[tuple[Any, ...]]) -> None:
    """Lost, repeated, in any order, of homes that have nothing new, and garbage; before, between and without
    looks at all homes."""

    async def lives(folder: Path) -> None:
        street, hints = Neighbourhood.new(folder), Hints()
        for _ in range(3):
            street.joins(sealed(70))
        hints.expect(home.id for home in street.homes)
        for kind, *arguments in steps:
            if kind == "seal":
                number, seconds = arguments
                street.homes[number].seal(random_readings(seconds))
            elif kind == "all":
                await street.takes_in()
            else:
                for what, value in arguments[0]:
                    home = street.homes[value] if what == "home" else None
                    hints.hear(value if home is None else names.head(home.id).encode())
                if hints._heard:
                    await street.takes_in(streams=await heard(hints))
        await street.takes_in()
        await street.takes_in("alone")
        found, alone = stored(street.folder / "data"), stored(street.folder / "alone")
        assert found.equals(alone)
        sealed_s = [70, 70, 70]
        for kind, *arguments in steps:
            if kind == "seal":
                sealed_s[arguments[0]] += arguments[1]
        assert len(found) == sum(seconds // 60 for seconds in sealed_s)

    with TemporaryDirectory(prefix="hints-", dir=MEMORY) as name, patch.object(os, "sync", lambda: None):
        asyncio.run(lives(Path(name)))
