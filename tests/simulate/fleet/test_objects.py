"""A fleet's objects: every home is what the plan says, and the loads are the truth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.centre import load as loads
from gateway.chain import share
from gateway.chain.window import spell_ms
from gateway.errors import StoreUnavailable, UsageError
from gateway.provider.homes import read_homes
from gateway.provider.identity import Identity, new_identity, open_identity
from gateway.provider.load import Answer, Member, Windows, pair, set_digest, words
from gateway.simulate.fleet import making, truth
from gateway.simulate.fleet.block import Block
from gateway.simulate.fleet.making import put_fleet
from gateway.simulate.fleet.objects import Parties
from gateway.simulate.fleet.plan import LANES, TROUBLES, Plan
from gateway.simulate.fleet.tables import TABLES, write_day
from gateway.store.directory import DirectoryBucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.stream.chunks import ChainFollower, Problem
from gateway.stream.reader import StreamReader
from gateway.stream.verify import verify
from gateway.wire import cose, names
from gateway.wire.stream import Chunk
from tests.support.servers import S3Server

pytestmark = pytest.mark.slow

HOUR_MS = 3_600_000
PLAN = Plan(
    homes=40,
    days=2,
    first=date(2026, 10, 31),  # a month ends
    regions=2,
    seed=7,
    unit_ms=300_000,
    chunk_ms=4 * HOUR_MS,
    windows_ms=(900_000, HOUR_MS),
    outages=40,
    late=15,
    broken=30,
)
FROM_MS = PLAN.start * PLAN.unit_ms


@dataclass(frozen=True)
class Fleet:
    """A fleet as it was put into `store`, with the identities of the two parties."""

    store: Path
    state: Path
    centre: Identity
    service: Identity

    def homes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(self.state / "homes.parquet").to_pylist()
        return found

    def truth(self, region: str, window_ms: int, times: Sequence[tuple[int, int]]) -> list[list[int]]:
        """The sums over the homes that are whole, [window][lane]."""
        rows = pq.read_table(self.state / "truth.parquet").to_pylist()
        return [
            [
                sum(
                    row[lane]
                    for row in rows
                    if row["region"] == region and not row["broken"] and a <= row["start_ms"] < b
                )
                for lane in LANES
            ]
            for a, b in times
        ]


def put(folder: Path, plan: Plan, parties: Parties, place: Location | None = None) -> None:
    if place is None:
        (folder / "store").mkdir(exist_ok=True)
        place = Location.parse(str(folder / "store"))
    assert put_fleet(plan, place, parties, folder / "state", 2, lambda before, done, whole: None)


def parties(folder: Path) -> Parties:
    centre, service = (new_identity(folder / who, who, FROM_MS) for who in ("centre", "service"))
    return Parties(centre, service, k_min=3)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    folder = tmp_path_factory.mktemp("fleet")
    put(folder, PLAN, parties(folder))
    return Fleet(
        folder / "store", folder / "state", *(open_identity(folder / who) for who in ("centre", "service"))
    )


async def test_verification_names_the_broken_homes_and_no_other(fleet: Fleet) -> None:
    """By the chunk that breaks the chain."""
    bucket, restarted = DirectoryBucket(fleet.store), 0
    said = {"chain": "was made to follow", "signature": "does not fit", "gap": "is missing"}
    homes = fleet.homes()
    assert {home["trouble"] for home in homes} == set(TROUBLES)
    for home in homes:
        problems: list[Problem] = []
        tally = await verify(
            bucket, home["stream"], home["signer"], None, problems.append, lambda tally: None
        )
        broken = names.chunk(home["stream"], home["until_ms"] // PLAN.unit_ms, PLAN.unit_ms)
        match home["trouble"]:
            case "" | "late":
                assert not problems
                assert tally.head is not None
                assert tally.head.next_unit * PLAN.unit_ms == home["until_ms"]
                restarted += tally.incarnations > 1
            case trouble:
                [problem] = [one for one in problems if "/chunk/" in one.key]
                assert f"{broken} {said[trouble]}" in problem.text
                assert all("the head is beyond its period" in one.text for one in problems if one != problem)
    assert restarted


@pytest.mark.parametrize("window_ms", PLAN.windows_ms)
async def test_the_loads_of_whole_homes_are_the_truth(fleet: Fleet, window_ms: int) -> None:
    """By the list that the fleet has written, of each region, to the mWh, until the first home ends."""
    listed = {
        home.stream: home
        for home in read_homes(
            (fleet.state / f"homes-{spell_ms(window_ms)}.csv").read_text(), "the list of homes"
        )
    }
    assert len(listed) == PLAN.homes
    bucket = DirectoryBucket(fleet.store)
    for region in ("r0000", "r0001"):
        whole = [
            home for home in fleet.homes() if home["region"] == region and home["trouble"] in ("", "late")
        ]
        until = min(home["until_ms"] for home in whole)
        windows = Windows(LANES, tuple(itertools.pairwise(range(FROM_MS, until + 1, window_ms))))
        members = []
        for home in whole:
            one = listed[home["stream"]]
            reader = await StreamReader.open(bucket, one.stream, one.signer, None)
            await reader.refresh(PLAN.end * PLAN.unit_ms, 2 * 86_400_000)
            members.append(Member(reader, one.grant))
        found = [await words(await pair(home, fleet.service, "service"), windows) for home in members]
        sets = tuple(
            set_digest(
                windows,
                i,
                ((home.stream, one.incarnations[i]) for home, one in zip(members, found, strict=True)),
            )
            for i in range(len(windows.times))
        )
        answer = Answer(windows, np.sum([one.own for one in found], axis=0, dtype=np.uint64), sets)
        opened = await loads.load(members, fleet.centre, answer)
        assert opened.tolist() == fleet.truth(region, window_ms, windows.times)


async def test_the_tables_are_what_the_objects_give(fleet: Fleet, tmp_path: Path) -> None:
    """To the bit: the words that the service has, and what the centre makes of ciphertexts and tokens."""
    window_ms, bucket, compared = PLAN.window_ms, DirectoryBucket(fleet.store), 0
    for n in range(PLAN.days):
        write_day(PLAN, 1, n, tmp_path)
    rows = {
        (table, row["stream"], row["start_ms"]): [row[lane] % 2**64 for lane in LANES]
        for table in TABLES
        for row in pq.read_table(tmp_path / table).to_pylist()
    }
    for home in fleet.homes():
        until = home["until_ms"]
        if home["region"] != "r0001" or home["trouble"] not in ("", "late") or until == FROM_MS:
            continue
        windows = Windows(LANES, tuple(itertools.pairwise(range(FROM_MS, until + 1, window_ms))))
        reader = await StreamReader.open(bucket, home["stream"], home["signer"], None)
        await reader.refresh(PLAN.end * PLAN.unit_ms, 2 * 86_400_000)
        member = Member(reader, home[f"grant_{spell_ms(window_ms)}"])
        service = await words(await pair(member, fleet.service, "service"), windows)
        centre = await words(await pair(member, fleet.centre, "centre"), windows)
        edges = [a // PLAN.unit_ms for a, _ in windows.times] + [until // PLAN.unit_ms]
        follower = ChainFollower(reader.descriptor, reader.marks(reader.head))
        c = (await reader.sums(edges, LANES, follower)).T
        blinded = share.blinded(c, centre.tokens, centre.own)
        for i, (at, _) in enumerate(windows.times):
            assert rows["words", home["stream"], at] == service.own[i].tolist()
            assert rows["blinded", home["stream"], at] == blinded[i].tolist()
        compared += len(set(service.incarnations)) > 1
    assert compared, "no home had an outage"


def test_what_was_interrupted_goes_on_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet whose making was cut is that of one which was not, but for the keys sealed in its grants."""
    monkeypatch.setattr(making, "_BLOCK", 2)
    plan, granted = replace(PLAN, homes=8, days=1, chunk_ms=8 * HOUR_MS), parties(tmp_path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        (folder / "store").mkdir(parents=True)
    put(whole, plan, granted)
    place = Location.parse(str(cut / "store"))

    def until_half(before: int, done: int, whole: int) -> None:
        if 2 * done > whole:
            raise StoreUnavailable("the network is away")

    with pytest.raises(StoreUnavailable):
        put_fleet(plan, place, granted, cut / "state", 1, until_half)
    assert not (cut / "state" / "truth.parquet").exists()
    seen: list[int] = []
    assert put_fleet(plan, place, granted, cut / "state", 1, lambda before, *_: seen.append(before))
    assert seen[0] >= 4, "it began anew"
    found, wanted = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "grant.cose"
        }
        for folder in (cut / "store", whole / "store")
    )
    assert found == wanted
    for name in ("homes.parquet", "truth.parquet"):
        assert pq.read_table(cut / "state" / name).equals(pq.read_table(whole / "state" / name))
    assert not put_fleet(plan, place, granted, cut / "state", 1, lambda *_: None), "it is there already"
    with pytest.raises(UsageError, match="holds another fleet, with other seed: name a new folder"):
        put_fleet(replace(plan, seed=8), place, granted, cut / "state", 1, lambda *_: None)


def test_late_homes_come_with_the_same_bytes(tmp_path: Path) -> None:
    """A fleet without late homes has all that one with them has, but for what is sealed or written anew."""
    granted, numbers = parties(tmp_path), PLAN.region_of(1)

    def objects(plan: Plan) -> dict[str, bytes]:
        found = dict(itertools.chain.from_iterable(Block(plan, 1, numbers, granted).stages()))
        return {key: data for key, data in found.items() if not key.endswith(("grant.cose", "head.cose"))}

    assert PLAN.fates(numbers).late.any()
    now, later = objects(PLAN), objects(replace(PLAN, late=0))
    assert now.items() < later.items()


@given(st.integers(1, 60), st.floats(0, 50), st.floats(0, 50), st.integers(1, 4), st.sampled_from((1, 4, 24)))
def test_the_fates_are_as_many_as_asked_for(
    homes: int, late: float, broken: float, days: int, chunk_h: int
) -> None:
    """Their times are on the borders of chunks, within the plan, and a late home misses six hours at most, or
    a chunk."""
    plan = replace(PLAN, homes=2000, days=days, late=late, broken=broken, chunk_ms=chunk_h * HOUR_MS)
    fates = plan.fates(np.arange(2000))
    assert abs(fates.late.mean() * 100 - late) < 5
    assert abs(fates.broken.mean() * 100 - broken) < 5
    step = plan.chunk_ms // plan.unit_ms
    assert ((fates.until - plan.start) % step == 0).all()
    assert (fates.until[fates.trouble == 0] == plan.end).all()
    assert (fates.until >= plan.start).all()
    assert (fates.until[fates.trouble > 0] < plan.end).all()
    missing = (plan.end - fates.until[fates.late]) * plan.unit_ms
    assert (missing <= max(6, chunk_h) * HOUR_MS).all()
    some = np.arange(homes)
    assert (plan.fates(some).until == fates.until[:homes]).all()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    return parties(tmp_path_factory.mktemp("parties"))


@settings(max_examples=10)
@given(units=st.integers(0, 2 * PLAN.day_units - 1))
def test_a_fleet_that_ends_within_its_last_day_begins_as_the_whole_one(two: Parties, units: int) -> None:
    """Each home's chunks, tokens and truth are those of the whole fleet, up to the last border of a chunk."""
    whole = replace(PLAN, homes=3, regions=1, late=0, broken=0)
    until_ms = FROM_MS + units * whole.unit_ms
    if units < whole.step:
        with pytest.raises(UsageError, match="begins with a whole chunk"):
            replace(whole, until_ms=until_ms)
        return
    cut = replace(whole, until_ms=until_ms, days=1 + (units > PLAN.day_units))
    assert cut.end <= until_ms // whole.unit_ms < cut.end + cut.step
    some, every = (Block(plan, 0, plan.region_of(0), two) for plan in (cut, whole))
    found, expected = (
        {key: data for stage in block.stages() for key, data in stage if "/chunk/" in key or "/new/" in key}
        for block in (some, every)
    )
    last = {}
    for key, data in found.items():
        assert data == expected[key]
        if "/chunk/" in key:
            chunk = Chunk.from_payload(cose.payload_unchecked(data, key)[1], key)
            last[chunk.stream] = chunk.first + chunk.count
    assert last == dict.fromkeys((home.stream for home in some.homes), cut.end)
    end = cut.end * cut.unit_ms
    truths = (truth.table(block._plan, 0, block.truths).to_pylist() for block in (some, every))
    left, right = ([row for row in rows if row["start_ms"] < end] for rows in truths)
    assert left == right


async def test_a_real_server_has_them(tmp_path: Path, seaweedfs: S3Server) -> None:
    place = seaweedfs.location(tmp_path.name)
    plan = replace(PLAN, homes=3, days=1, regions=1, late=0, broken=0, chunk_ms=12 * HOUR_MS)
    put(tmp_path, plan, parties(tmp_path), place)
    bucket = open_bucket(place)
    try:
        for home in pq.read_table(tmp_path / "state" / "homes.parquet").to_pylist():
            problems: list[Problem] = []
            tally = await verify(
                bucket, home["stream"], home["signer"], None, problems.append, lambda tally: None
            )
            assert (problems, tally.units, tally.grants) == ([], plan.day_units, 4)
    finally:
        await bucket.aclose()
