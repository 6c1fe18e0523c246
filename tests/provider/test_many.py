"""Many homes side by side: each opens to what was sealed, in order, whatever becomes of its neighbours."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gateway import errors
from gateway.bench.fleet import Fleet, FleetHome
from gateway.chain.grant import Grant, seal_k0
from gateway.chain.layout import Layout
from gateway.errors import GatewayError, NotFound, NotGranted, Refused, RolledBack, Unavailable, UsageError
from gateway.provider.grants import k_0_of
from gateway.provider.identity import Identity, open_identity
from gateway.provider.many import GETS, Answer, Ask, HomeReader, Readers, Terms, read_many
from gateway.provider.query import Query
from gateway.store.location import Location
from gateway.stream.chunks import ChunkMark
from gateway.stream.seen import Seen, load_all, save_all
from gateway.wire import cose, names
from gateway.wire.grant import GrantObject, Tokens
from gateway.wire.kinds import class_at
from gateway.wire.signed import Stored
from gateway.wire.stream import Descriptor, Head
from tests.stream.stream import START, Home, Provider, random_readings

DAY_MS = 86_400_000


class Objects:
    """`Bucket` of a dict, which counts what is asked for."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.got: Counter[str] = Counter()
        self.listed: list[str] = []
        self.under_way = self.most = 0

    async def get(self, key: str) -> bytes:
        self.got[key] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        try:
            return self.objects[key]
        except KeyError:
            raise NotFound(f"there is no {key}") from None

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        self.listed.append(prefix)
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > after:
                yield key

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        self.objects[key] = data

    async def delete(self, key: str) -> None:
        del self.objects[key]

    async def aclose(self) -> None:
        pass


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.new(tmp_path / "acme", time.time_ns() // 1_000_000)


def terms(fleet: Fleet, memory: Path | None = None) -> Terms:
    return Terms(Query("15min", None, *fleet.yesterday_ms), fleet.now_ms, DAY_MS, memory)


def made(fleet: Fleet, count: int) -> tuple[list[FleetHome], dict[str, bytes]]:
    homes = [fleet.home(number) for number in range(count)]
    return [home for home, _ in homes], {key: data for _, some in homes for key, data in some.items()}


def written(objects: dict[str, bytes], folder: Path) -> Location:
    for key, data in objects.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)
    return Location.parse(str(folder))


def opens(home: FleetHome, answer: Answer) -> bool:
    """Whether the home opened to what was sealed, all of it; an error is raised."""
    if answer.error is not None:
        raise answer.error
    [rows] = answer.blocks
    return len(rows) == 96 and all(
        np.array_equal(sums, d) for sums, d in zip(rows.sums.values(), home.d(), strict=True)
    )


async def everything(
    location: Location, homes: Sequence[FleetHome], fleet: Fleet, processes: int
) -> list[Answer]:
    """The answers, which must come with their homes, in order."""
    found = [one async for one in read_many(location, homes, fleet.folder, terms(fleet), processes=processes)]
    assert [home for home, _ in found] == list(homes)
    return [answer for _, answer in found]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_home_that_fails_stops_no_other(fleet: Fleet, tmp_path: Path, processes: int) -> None:
    homes, objects = made(fleet, 9)
    page = next(key for key in homes[2].keys if "/day/" in key and "/grant/" not in key)
    objects[page] = objects[page][:-1] + bytes([objects[page][-1] ^ 1])
    for key in homes[4].keys:
        del objects[key]
    del objects[names.grant(homes[6].stream, homes[6].grant)]
    answers = await everything(written(objects, tmp_path / "store"), homes, fleet, processes)
    assert [type(answer.error) for answer in answers] == [
        *(type(None), type(None), Refused, type(None), NotFound),
        *(type(None), Refused, type(None), type(None)),
    ]
    assert page in str(answers[2].error)
    for number in (0, 1, 3, 5, 7, 8):
        assert opens(homes[number], answers[number])


def forged(fleet: Fleet, home: FleetHome, key: str, objects: dict[str, bytes]) -> bytes:
    """What a store can make of the object at `key`: another of the same form, that seems to be signed by the
    home's key; the grant's key opens."""
    kid, payload, signature = cose.payload_unchecked(objects[key], key)
    item: Stored = class_at(key).from_payload(payload, key)
    match item:
        case Descriptor():
            item = replace(item, start=item.start - 86_400)
        case Head():
            item = replace(item, time_ms=item.time_ms + 1)
        case GrantObject():
            assert fleet.card.xwing_key is not None
            item = replace(item, sealed_k0=seal_k0(bytes(32), fleet.card.xwing_key, item.body))
        case Tokens():
            assert isinstance(item.words, bytes)
            item = replace(item, words=bytes(len(item.words)))
    return cose.assemble(kid, item.payload(), signature)


@pytest.mark.parametrize(
    ("what", "known"),
    [
        ("stream", False),
        ("grant", False),
        ("head", False),
        ("head", True),
        ("bundle", False),
        ("bundle", True),
    ],
)
async def test_a_forged_object_is_named_alone_and_nothing_of_it_stays(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, what: str, known: bool
) -> None:
    """Among homes whose signatures are verified together."""
    homes, objects = made(fleet, 5)
    home, bucket = homes[2], Objects(objects)
    key = {
        "stream": names.descriptor(home.stream),
        "grant": names.grant(home.stream, home.grant),
        "head": names.head(home.stream),
        "bundle": next(key for key in home.keys if names.fold_of(key) == "day"),
    }[what]
    true, opened = objects[key], list[str]()

    def noted(identity: Identity, key: str, found: GrantObject) -> bytes:
        opened.append(key)
        return k_0_of(identity, key, found)

    monkeypatch.setattr("gateway.provider.many.k_0_of", noted)
    reader = HomeReader(bucket, open_identity(fleet.folder))
    asks = [Ask(home.stream, home.signer, (home.grant,)) for home in homes]
    wanted = terms(fleet, fleet.folder)
    if known:
        assert all(map(opens, homes, await reader.read_each(asks, wanted)))
    objects[key] = forged(fleet, home, key, objects)
    answers = await reader.read_each(asks, wanted)
    wrong = answers[2]
    assert isinstance(wrong.error, Refused)
    assert str(wrong.error).startswith(f"the signature of {key} does not fit")
    assert wrong.blocks == ()
    assert (wrong.mark is None) == (what in ("stream", "head"))
    assert (names.grant(home.stream, home.grant) in opened) == (known or what == "bundle")
    for number in (0, 1, 3, 4):
        assert opens(homes[number], answers[number])

    objects[key] = true
    bucket.got.clear()
    assert all(map(opens, homes, await reader.read_each(asks, wanted)))
    assert bucket.got[key] == 1


async def test_yesterday_takes_an_object_each_and_no_list(fleet: Fleet) -> None:
    [home], objects = made(fleet, 1)
    bucket = Objects(objects)
    reader = HomeReader(bucket, open_identity(fleet.folder))
    ask = Ask(home.stream, home.signer, (home.grant,))
    assert opens(home, await reader.read(ask, terms(fleet)))
    assert bucket.got == Counter(home.keys)
    bucket.got.clear()
    assert opens(home, await reader.read(ask, terms(fleet)))
    written_once = {names.descriptor(home.stream), names.grant(home.stream, home.grant)}
    assert bucket.got == Counter({*home.keys} - written_once)
    assert bucket.listed == []


async def test_where_nothing_is_known_grants_are_listed(fleet: Fleet) -> None:
    [home], objects = made(fleet, 1)
    bucket = Objects(objects)
    reader = HomeReader(bucket, open_identity(fleet.folder))
    assert opens(home, await reader.read(Ask(home.stream, home.signer), terms(fleet)))
    assert len(bucket.listed) == 2


async def test_gets_under_way_are_bounded(fleet: Fleet) -> None:
    homes, objects = made(fleet, 12)
    bucket = Objects(objects)
    reader = HomeReader(bucket, open_identity(fleet.folder))
    asks = [Ask(home.stream, home.signer, (home.grant,)) for home in homes]
    answers = await reader.read_each(asks, terms(fleet), 3)
    assert all(map(opens, homes, answers))
    assert bucket.most == 3 * GETS


async def test_of_a_home_what_is_known_is_asked_for_at_once(fleet: Fleet) -> None:
    [home], objects = made(fleet, 1)
    bucket = Objects(objects)
    reader = HomeReader(bucket, open_identity(fleet.folder))
    ask = Ask(home.stream, home.signer, (home.grant,))
    for _ in range(2):
        assert opens(home, await reader.read(ask, terms(fleet)))
        assert bucket.most == GETS
        bucket.most = 0


@pytest.mark.parametrize("days", [(None, None), (0, 1), (0, 2), (1, 2), (-40, -39)])
async def test_nothing_is_asked_for_ahead_that_is_not_needed(
    fleet: Fleet, days: tuple[int | None, int | None]
) -> None:
    """Yesterday is day 0: the other days have no objects, and today is not over."""
    first, until = (None if day is None else fleet.yesterday_ms[0] + day * DAY_MS for day in days)
    query = Query("15min", None, first, until)
    [home], objects = made(fleet, 1)
    reader = HomeReader(Objects(objects), open_identity(fleet.folder))
    ask = Ask(home.stream, home.signer, (home.grant,))
    assert opens(home, await reader.read(ask, terms(fleet)))
    got = []
    for known in (True, False):
        bucket = Objects(objects)
        again = reader if known else HomeReader(bucket, open_identity(fleet.folder))
        again.bucket = bucket
        await again.read(ask, replace(terms(fleet), query=query))
        got.append({key for key in bucket.got if "/day/" in key})
    assert got[0] == got[1]


async def test_another_signer_is_refused_though_the_home_is_known(fleet: Fleet) -> None:
    [home], objects = made(fleet, 1)
    reader = HomeReader(Objects(objects), open_identity(fleet.folder))
    assert opens(home, await reader.read(Ask(home.stream, home.signer), terms(fleet)))
    answer = await reader.read(Ask(home.stream, bytes(16)), terms(fleet))
    assert isinstance(answer.error, Refused)
    assert "the registered one is" in str(answer.error)
    assert answer.blocks == ()


def at(home: Home, provider: Provider, memory: Path | None = None) -> tuple[HomeReader, Ask, Terms]:
    now_ms = time.time_ns() // 1_000_000
    reader = HomeReader(Objects(home.objects), provider.identity)
    return reader, Ask(home.id, home.signer.kid), Terms(Query("1min"), now_ms, DAY_MS, memory)


async def test_what_changed_shows_in_a_home_that_is_known(provider: Provider) -> None:
    """A revocation, and a grant of another lane; another provider's grant is not asked for twice."""
    home = Home()
    home.seal(random_readings(300))
    grant = home.grant(provider.card, "1min", ["import"])
    foreign = home.grant(Provider.new(provider.folder.parent / "other").card, "1min")
    reader, ask, wanted = at(home, provider)
    bucket = reader.bucket
    assert isinstance(bucket, Objects)
    first = await reader.read(ask, wanted)
    assert [len(rows) for rows in first.blocks] == [5]
    assert first.resolved is not None
    assert first.resolved.lanes == ("import",)

    home.grant(provider.card, "1min", ["export"])
    home.revoke(grant)
    home.seal(random_readings(120))
    later = await reader.read(ask, wanted)
    [rows] = later.blocks
    assert rows.opened["import"].tolist() == [True] * 5 + [False] * 2
    assert rows.opened["export"].tolist() == [True] * 7
    assert rows.sums["export"].tolist() == [
        home.truth("export", START + 60 * j, START + 60 * (j + 1)) for j in range(7)
    ]
    assert any("was revoked" in one.reason for one in later.missing)
    assert bucket.got[names.grant(home.id, foreign.id)] == 1


async def test_a_home_that_granted_nothing_says_so(provider: Provider) -> None:
    home = Home()
    home.seal(random_readings(60))
    reader, ask, wanted = at(home, provider)
    answer = await reader.read(ask, wanted)
    assert isinstance(answer.error, NotGranted)
    assert answer.resolved is None


async def test_a_store_gone_back_shows(fleet: Fleet, tmp_path: Path) -> None:
    homes, objects = made(fleet, 3)
    location, key = written(objects, tmp_path / "store"), names.head(homes[1].stream)
    wanted = terms(fleet, fleet.folder)
    async with Readers(location, fleet.folder, 1) as readers:
        found = [answer async for _, answer in readers.read(homes, wanted)]
        assert all(map(opens, homes, found))
        for home, answer in zip(homes, found, strict=True):
            assert answer.mark == Seen(fleet.folder, home.stream).load()
        again = [answer async for _, answer in readers.read(homes, wanted)]
        assert [answer.mark for answer in again] == [None] * 3  # nothing new to remember
        (tmp_path / "store" / key).unlink()
        gone = [answer async for _, answer in readers.read(homes, wanted)]
    assert [type(answer.error) for answer in gone] == [type(None), RolledBack, type(None)]


def test_marks_are_saved_all_at_once(tmp_path: Path) -> None:
    marks = {bytes([n]) * 16: ChunkMark(n, bytes(32), n + 1) for n in range(4)}
    save_all(tmp_path, marks)
    assert {stream: Seen(tmp_path, stream).load() for stream in marks} == marks
    assert load_all(tmp_path, [bytes(16), bytes([9]) * 16]) == {bytes(16): marks[bytes(16)]}
    with pytest.raises(UsageError, match="is damaged"):
        save_all(tmp_path, {bytes(16): ChunkMark(7, bytes(32), 8), b"short": ChunkMark(7, bytes(32), 8)})
    assert Seen(tmp_path, bytes(16)).load() == marks[bytes(16)], "all or none"
    assert (tmp_path / "seen.db").stat().st_mode & 0o777 == 0o600
    save_all(tmp_path, {})
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"):
        save_all(tmp_path / "file", marks)


async def test_a_folder_without_a_key(fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not hold a provider's key"):
        async for _ in read_many(Location.parse(str(tmp_path)), [], tmp_path, terms(fleet)):
            pass


@pytest.mark.parametrize(
    "kind",
    [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, GatewayError)],
)
def test_errors_cross_from_one_process_to_another(kind: type[GatewayError]) -> None:
    back = pickle.loads(pickle.dumps(kind("what is wrong")))
    assert (type(back), str(back)) == (kind, "what is wrong")


@pytest.mark.slow
async def test_processes_end_with_who_reads(fleet: Fleet, tmp_path: Path) -> None:
    """After a part of the homes, and where one of them is killed; and no command line has a path of ours."""
    homes, objects = made(fleet, 8)
    location = written(objects, tmp_path / "store")
    async with aclosing(read_many(location, homes, fleet.folder, terms(fleet), processes=2)) as found:
        async for home, answer in found:
            assert opens(home, answer)
            break
        for child in multiprocessing.active_children():
            assert str(tmp_path) not in Path(f"/proc/{child.pid}/cmdline").read_text()
    assert multiprocessing.active_children() == []
    async with Readers(location, fleet.folder, 2) as readers:
        assert len([one async for one in readers.read(homes, terms(fleet))]) == 8
        for child in multiprocessing.active_children():
            assert child.pid is not None
            os.kill(child.pid, 9)
        with pytest.raises(Unavailable, match="ended before its time"):
            async for _ in readers.read(homes, terms(fleet)):
                pass
    assert multiprocessing.active_children() == []


def two_days(provider: Provider) -> tuple[Home, Grant]:
    """Two days and a half in units of a minute, their hours granted, with the tokens folded by day."""
    home = Home(layout=Layout(60_000, 60), start=START // 60, chunk_units=60)
    home.seal(random_readings(60 * 60))
    grant = home.grant(provider.card, "1h")
    return home, grant


async def hours(home: Home, grant: Grant, provider: Provider, first: int, end: int) -> Objects:
    """Read hours `first` to `end` - 1, which must be what was sealed; the bucket that they were read from."""
    reader, _, anything = at(home, provider)
    bucket = reader.bucket
    assert isinstance(bucket, Objects)
    ask = Ask(home.id, home.signer.kid, (grant.id,))
    query = Query("1h", None, *((START + 3600 * hour) * 1000 for hour in (first, end)))
    answer = await reader.read(ask, replace(anything, query=query))
    assert answer.error is None
    [rows] = answer.blocks
    edges = [home.start + 60 * hour for hour in range(first, end + 1)]
    for lane in home.lanes:
        assert rows.sums[lane].tolist() == [home.truth(lane, a, b) for a, b in pairwise(edges)]
    return bucket


async def test_a_day_of_another_zone_takes_two_bundles_and_no_list(provider: Provider) -> None:
    home, grant = two_days(provider)
    for day in range(2):
        home.put_bundle(grant.id, 24 * day, 24 * (day + 1), "day")
    for first, end in ((0, 24), (22, 46), (25, 48), (3, 4)):
        bucket = await hours(home, grant, provider, first, end)
        tokens = [key for key in bucket.got if names.fold_of(key) is not None]
        assert tokens == [
            names.bundle(home.id, grant.id, 24 * day, "day") for day in range(first // 24, -(-end // 24))
        ]
        assert bucket.got[names.head(home.id)] == 1
        assert [prefix for prefix in bucket.listed if "/grant/" in prefix] == []


async def test_a_bundle_that_is_elsewhere_is_found(provider: Provider) -> None:
    """A day's tokens in two bundles, as very short windows have them; and those of a month alone."""
    home, grant = two_days(provider)
    for first, end in ((0, 10), (10, 24), (24, 48)):
        home.put_bundle(grant.id, first, end, "day")
    for first, end in ((12, 20), (5, 30), (9, 10), (0, 48)):
        await hours(home, grant, provider, first, end)
    for first in (0, 10, 24):
        del home.objects[names.bundle(home.id, grant.id, first, "day")]
    home.put_bundle(grant.id, 0, 48, "month")
    for first, end in ((12, 20), (0, 48)):
        await hours(home, grant, provider, first, end)
