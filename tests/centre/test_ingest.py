"""Windows taken in: each once, wherever a run is cut off; and homes that are passed over."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.centre import columns
from gateway.centre import ingest as ingest_module
from gateway.centre import look as look_module
from gateway.centre.hints import Hints
from gateway.centre.homes import read_list
from gateway.centre.state import State
from gateway.cli.centre import ingest as ingest_command
from gateway.cli.main import main
from gateway.errors import StoreDenied, StoreUnavailable, UsageError
from gateway.store.directory import DirectoryBucket
from gateway.wire import names
from tests.centre.neighbourhood import Neighbourhood, minutes, sealed
from tests.stream.stream import START, Home, random_readings


class Killed(BaseException):
    """The process is gone."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Whatever writes raises Killed from its `step`th call on, before or after its effect in turn; gives the
    names of the calls so far."""
    calls: list[str] = []

    def dies(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **others: Any) -> Any:
            calls.append(f"before {name}")
            if len(calls) >= step:
                raise Killed
            found = real(*args, **others)
            calls.append(f"after {name}")
            if len(calls) >= step:
                raise Killed
            return found

        return call

    with monkeypatch.context() as patch:
        for where, name in (
            (tempfile, "mkstemp"),
            (os, "sync"),
            (os, "fsync"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
        ):
            patch.setattr(where, name, dies(name, getattr(where, name)))
        for name in (
            "take",
            "list_homes",
            "merge",
        ):  # each is one transaction, which a kill leaves out as a whole
            patch.setattr(State, name, dies(name, getattr(State, name)))
        yield calls


def stored(folder: Path, *, merging: bool = False) -> pa.Table:
    """All rows of the files that count, by time and home; there are no other files, but those that were
    merged in the last pass."""
    state = State.open(folder, make=False)
    counted = state.file_names()
    state.close()
    there = {
        one.relative_to(folder).as_posix() for one in (folder / columns.FOLDER).rglob("*") if one.is_file()
    }
    assert counted == there or (merging and counted < there)
    tables = [pq.read_table(folder / name, partitioning=None) for name in sorted(counted)]
    for name, table in zip(sorted(counted), tables, strict=True):
        assert {f"date={columns.date_of(ms)}" for ms in table["start_ms"].to_pylist()} == {name.split("/")[1]}
    return pa.concat_tables(tables).sort_by([("start_ms", "ascending"), ("stream", "ascending")])


@pytest.fixture
def street(tmp_path: Path) -> Neighbourhood:
    """Four homes of three minutes before midnight and two after it, in two regions."""
    street = Neighbourhood.new(tmp_path)
    for number in range(4):
        home = Home(start=START - 180)
        home.seal(random_readings(100))
        home.restart()
        home.seal(random_readings(200))
        street.joins(home, ("North", "Süd/2")[number % 2])
    return street


@pytest.mark.slow
async def test_each_window_is_taken_in_once_wherever_a_run_is_cut_off(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in("whole")
    bucket = street.bucket = await street.store()
    whole = stored(street.folder / "whole")
    assert len(whole) == 4 * 5
    assert len(set(zip(whole["stream"].to_pylist(), whole["start_ms"].to_pylist(), strict=True))) == 20
    for home in street.homes:
        home.seal(random_readings(60))
    gone_on = await street.store_in("later")
    step, met = 0, set()
    while True:
        step += 1
        folder = street.folder / f"killed {step}"
        try:
            with killed_at(step, monkeypatch) as calls:
                await street.takes_in(folder.name)
        except Killed:
            met.add(calls[step - 1])  # what comes after that cleans up in vain
        else:
            break
        if step % 3 == 0:  # and once more while it recovers
            with suppress(Killed), killed_at(1 + step // 3, monkeypatch):
                await street.takes_in(folder.name)
        if step % 2:
            await street.takes_in(folder.name)
        else:  # the homes have gone on meanwhile: a batch of other windows, under the same name
            street.bucket = gone_on
            await street.takes_in(folder.name)
            street.bucket = bucket
            assert stored(folder).slice(0, 20).equals(whole)
            assert len(stored(folder)) == 24
            continue
        assert stored(folder).equals(whole)
    for call in ("mkstemp", "sync", "replace", "fsync", "take", "mkdir"):
        assert {f"before {call}", f"after {call}"} <= met
    assert stored(street.folder / f"killed {step}").equals(whole)


async def test_a_pass_takes_in_what_is_new_and_no_more(street: Neighbourhood) -> None:
    first = await street.takes_in()
    assert (first.windows, first.files, first.homes) == (20, 4, 4)
    assert first.until_ms == (START + 120) * 1000
    again = await street.takes_in()
    assert (again.windows, again.files, again.homes, again.until_ms) == (0, 0, 0, first.until_ms)
    street.homes[0].seal(random_readings(119))
    street.homes[1].seal(random_readings(30))
    more = await street.takes_in()
    assert (more.windows, more.files, more.homes, more.until_ms) == (1, 1, 1, first.until_ms)
    windows = minutes(*range(-3, 3))
    for region, numbers in (("North", (0, 2)), ("Süd/2", (1, 3))):
        assert (await street.load(windows, region)).sums.tolist() == street.truth(windows, numbers)


async def test_windows_that_are_more_than_a_batch_come_in_several(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in("whole")
    monkeypatch.setattr(ingest_module, "_MOST", 2)
    monkeypatch.setattr(ingest_module, "_BATCH", 3)
    taken = await street.takes_in()
    assert (taken.windows, taken.homes) == (20, 4)
    assert taken.files > 4
    assert stored(street.folder / "data").equals(stored(street.folder / "whole"))


@pytest.mark.slow
async def test_many_small_files_are_merged_wherever_a_run_is_cut_off(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a load is added up: its files stay there until the next pass."""
    monkeypatch.setattr(ingest_module, "_CROWD", 3)
    data, homes = street.folder / "data", street.homes
    for _ in range(2):
        await street.takes_in()
        for home in homes:
            home.seal(random_readings(60))
    street.bucket = await street.store()
    state = State.open(data, make=False)
    earlier = state.file_names()
    state.close()
    finished, step = False, 0
    while not finished:
        step += 1
        folder = street.folder / f"killed {step}"
        shutil.copytree(data, folder)
        with suppress(Killed), killed_at(step, monkeypatch):
            await street.takes_in(folder.name)
            finished = True
        assert all((folder / name).exists() for name in earlier)
        await street.takes_in(folder.name)
        rows = stored(folder, merging=not finished)
        assert len(rows) == 4 * 7
        assert len(set(zip(rows["stream"].to_pylist(), rows["start_ms"].to_pylist(), strict=True))) == 28
    windows = minutes(*range(-3, 4))
    assert (await street.load(windows, folder=folder.name)).sums.tolist() == street.truth(windows, (0, 2))
    assert len(list((folder / columns.FOLDER).rglob("*.parquet"))) == 4


@pytest.mark.parametrize("damaged", [b"occupanc\xff", b"occupanc?", b""])
async def test_a_damaged_file_that_is_to_be_merged_is_named(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch, damaged: bytes
) -> None:
    """By its date and region."""
    await street.takes_in()
    for home in street.homes:
        home.seal(random_readings(60))
    await street.takes_in()
    for path in (street.folder / "data").rglob("*.parquet"):
        path.write_bytes(path.read_bytes().replace(b"occupancy", damaged, 1) if damaged else b"")
    monkeypatch.setattr(ingest_module, "_CROWD", 2)
    with pytest.raises(UsageError, match=r"files of 2026-03-01 and 'North' cannot be merged: "):
        await street.takes_in()


def replaces_an_early_chunk(home: Home) -> None:
    """Of a day that is over, whose page has the right sums."""
    home.objects[home.chunks[1]] = home.objects[home.chunks[0]]


def loses_an_early_chunk(home: Home) -> None:
    del home.objects[home.chunks[1]]


def replaces_a_chunk(home: Home) -> None:
    home.objects[home.chunks[-2]] = home.objects[home.chunks[-3]]


def loses_a_chunk(home: Home) -> None:
    del home.objects[home.chunks[-2]]


def has_another_signer(home: Home) -> None:
    other = Home(signer=None)
    home.objects[names.descriptor(home.id)] = other.signer.sign(home.descriptor)


@pytest.mark.parametrize(
    "breaks",
    [replaces_an_early_chunk, loses_an_early_chunk, replaces_a_chunk, loses_a_chunk, has_another_signer],
)
async def test_a_home_whose_chain_does_not_hold_is_named_and_passed_over(
    breaks: Callable[[Home], None], street: Neighbourhood
) -> None:
    whole = dict(street.homes[0].objects)
    breaks(street.homes[0])
    taken = await street.takes_in()
    (failure,) = taken.passed_over
    assert failure.stream == street.homes[0].id
    assert failure.error.kind == "refused"
    assert (taken.windows, taken.homes) == (15, 3)
    found = await street.load(minutes(*range(-3, 2)), "Süd/2")
    assert found.sums.tolist() == street.truth(found.windows, (1, 3))
    state = State.open(street.folder / "data", make=False)
    assert {one.home.listed.stream: one.problem for one in state.homes()} == {
        home.id: str(failure.error) if home is street.homes[0] else None for home in street.homes
    }
    state.close()
    shutil.rmtree(street.folder / "store")
    street.homes[0].objects = whole  # the store is mended
    mended = await street.takes_in()
    assert (mended.windows, mended.homes, mended.passed_over) == (5, 1, ())


async def test_a_chunk_that_was_replaced_is_told_by_its_time(tmp_path: Path) -> None:
    """By another one of the same gateway, which it signed for the same time. Its key would be long."""
    street = Neighbourhood.new(tmp_path)
    street.joins(sealed(60))
    home = street.joins(sealed(60))
    other = home.fork()
    for one in (home, other):
        one.seal(random_readings(60))
    home.objects[home.chunks[-1]] = other.objects[home.chunks[-1]]
    (failure,) = (await street.takes_in()).passed_over
    assert str(failure.error) == "chunk 2026-03-01T00:01:30Z is not the chunk number 3 that head.cose names"
    home.seal(random_readings(30))
    (failure,) = (await street.takes_in()).passed_over
    assert str(failure.error) == (
        "chunk 2026-03-01T00:01:00Z is not the object that chunk 2026-03-01T00:01:30Z was made to follow:"
        " replaced"
    )
    state = State.open(tmp_path / "data", make=False)
    assert state.passed_over() == [("North", home.id, str(failure.error))]
    state.close()


async def test_chunks_that_have_expired_are_taken_in_by_their_days_page(street: Neighbourhood) -> None:
    """Those of the first day, of one home all and of another the first ones."""
    for home, count in ((street.homes[0], 7), (street.homes[2], 2)):
        for key in home.chunks[:count]:
            del home.objects[key]
    taken = await street.takes_in()
    assert (taken.windows, taken.passed_over) == (20, ())
    windows = minutes(*range(-3, 2))
    assert (await street.load(windows)).sums.tolist() == street.truth(windows, (0, 2))
    for home in street.homes:
        home.seal(random_readings(60))
    assert (await street.takes_in()).windows == 4


async def test_a_store_that_goes_back_is_noticed(street: Neighbourhood) -> None:
    """Also where it shows nothing that was taken in: the head is remembered."""
    older = street.homes[0].fork()
    for home in street.homes:
        home.seal(random_readings(30))
    await street.takes_in()
    street.homes[0] = older
    shutil.rmtree(street.folder / "store")
    (failure,) = (await street.takes_in()).passed_over
    assert "the store shows an older state" in str(failure.error)
    del older.objects[names.head(older.id)]
    shutil.rmtree(street.folder / "store")
    (failure,) = (await street.takes_in()).passed_over
    assert "is missing, and a head with chunk number" in str(failure.error)


async def test_a_store_that_was_put_back_is_accepted_once_it_is_forgotten(
    street: Neighbourhood, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was taken in stays, and is summed with what comes; other streams are as they were."""
    older = [street.homes[number].fork() for number in (0, 2)]
    for home in street.homes:
        home.seal(random_readings(90))
    await street.takes_in()
    for number, home in zip((0, 2), older, strict=True):
        street.homes[number] = home
        home.restart()
        home.seal(random_readings(90))
        home.seal(random_readings(60))
    shutil.rmtree(street.folder / "store")
    assert len((await street.takes_in()).passed_over) == 2
    forget = ["centre", "forget", str(street.folder / "data"), "--stream"]
    assert main([*forget, older[0].id.hex()]) == 0
    assert capsys.readouterr().out == f"Stream {older[0].id.hex()} is forgotten.\n"
    taken = await street.takes_in()
    assert [one.stream for one in taken.passed_over] == [older[1].id]
    assert taken.windows == 1
    assert main([*forget, "0" * 32]) == 0
    assert "There is nothing to forget" in capsys.readouterr().out
    state = State.open(street.folder / "data", make=False)
    with state.alone():
        assert main([*forget, older[1].id.hex()]) == 2
    assert "another `gateway centre ingest` works" in capsys.readouterr().err
    state.close()


async def test_another_history_that_joins_nowhere_is_noticed(street: Neighbourhood) -> None:
    """A gateway that sealed the last chunk again, behind the one that was read: the next chunk is chained to
    another one."""
    fork = street.homes[0].fork()
    street.homes[0].seal(random_readings(60))
    await street.takes_in()
    fork.restart()
    fork.seal(random_readings(180))
    street.homes[0] = fork
    (failure,) = (await street.takes_in()).passed_over
    assert failure.error.kind == "refused"


@pytest.mark.parametrize("forgotten", [False, True])
async def test_an_incarnation_that_comes_back_is_noticed_across_passes(
    tmp_path: Path, forgotten: bool
) -> None:
    street = Neighbourhood.new(tmp_path)
    home = street.joins(Home(assurance="software"))
    for incarnation in (1, 2):
        home.restart(incarnation)
        home.seal(random_readings(60))
        assert (await street.takes_in()).passed_over == ()
    if forgotten:
        state = State.open(tmp_path / "data", make=False)
        assert state.forget(home.id)
        state.close()
        home.restart(3)
        home.seal(random_readings(60))
    home.restart(1)
    home.seal(random_readings(60))
    (failure,) = (await street.takes_in()).passed_over
    latest = 3 if forgotten else 2
    assert f"was sealed in incarnation 1, which ended before {latest} began" in str(failure.error)


async def test_homes_without_a_grant_or_a_stream_are_named(street: Neighbourhood, tmp_path: Path) -> None:
    other = Neighbourhood.new(tmp_path / "other")
    foreign = other.joins(sealed(60))
    street.homes.append(foreign)
    street.grants += other.grants
    street.regions.append("North")
    unknown = sealed(60)
    unknown.objects.clear()
    street.homes.append(unknown)
    street.grants += other.grants
    street.regions.append("North")
    taken = await street.takes_in()
    kinds = {one.stream: one.error.kind for one in taken.passed_over}
    assert kinds == {foreign.id: "not_granted", unknown.id: "failed"}
    assert taken.windows == 20


def test_a_home_with_two_grants_is_counted_and_named_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    street = Neighbourhood.new(tmp_path)
    for home in (sealed(240), sealed(240), sealed(240)):
        street.joins(home, granularity="1min")
        street.joins(home, granularity="2min")
    broken = street.homes[0]
    replaces_a_chunk(broken)
    asyncio.run(street.store())
    lines = [(one.listed.stream, one.listed.signer, one.listed.grant) for one in street.listing]
    rows = "".join(f"{','.join(part.hex() for part in line)},North\n" for line in lines)
    (tmp_path / "homes.csv").write_text(f"stream,signer,grant,region\n{rows}")
    place = ["--key", str(tmp_path / "centre"), "--store", str(tmp_path / "store")]
    ingest = ["centre", "ingest", str(tmp_path / "data"), *place, "--homes", str(tmp_path / "homes.csv")]
    assert main(ingest) == 5
    out, err = capsys.readouterr()
    assert out.startswith("12 windows of 2 homes taken in; 2 of 3 homes have all until ")
    named, advice = err.splitlines()
    assert named.startswith(f"gateway: stream {broken.id.hex()}: ")
    assert advice.startswith("gateway: 1 home is refused, and in no new sum until the store has again what")
    assert main([*ingest, "--json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert (document["homes"], len(document["passed_over"])) == (3, 1)


def test_credentials_that_are_missing_are_told_by_what_a_command_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in os.environ if one.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    Neighbourhood.new(tmp_path)
    line = ",".join(one * 32 for one in "012")
    (tmp_path / "homes.csv").write_text(f"stream,signer,grant,region\n{line},North\n")
    words = ["--key", tmp_path / "centre", "--homes", tmp_path / "homes.csv", "--store", "s3://meters"]
    place = ["--endpoint", "http://127.0.0.1:9", "--region", "us-east-1"]
    assert main(["centre", "ingest", str(tmp_path / "data"), *map(str, words), *place]) == 4
    err = capsys.readouterr().err
    assert "there are no usable credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a" in err
    assert "[store]" not in err


def test_a_store_that_is_away_is_said_once_and_once_more_when_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Neighbourhood.new(tmp_path)
    line = ",".join(one * 32 for one in "012")
    (tmp_path / "homes.csv").write_text(f"stream,signer,grant,region\n{line},North\n")
    (tmp_path / "store").mkdir()
    away, full = StoreUnavailable("the store is away"), StoreUnavailable("the store is full")
    passes = iter([away, away, full, full, None, None, away, None, KeyboardInterrupt()])

    async def one(*_: object) -> ingest_module.Pass:
        error = next(passes)
        if error is not None:
            raise error
        return ingest_module.Pass(0, 0, 0, (), None)

    async def no_time(*_: object) -> None:
        return

    async def no_looks(*_: object) -> AsyncGenerator[list[bytes], None]:
        return
        yield

    monkeypatch.setattr(ingest_command, "ingest", one)
    monkeypatch.setattr(asyncio, "sleep", no_time)
    monkeypatch.setattr(Hints, "looks", no_looks)
    words = ["--key", "centre", "--store", "store", "--homes", "homes.csv"]
    words = [word if word.startswith("-") else str(tmp_path / word) for word in words]
    assert main(["centre", "ingest", str(tmp_path / "data"), *words, "--follow", "--every", "1s"]) == 130
    back = "the homes are looked at again"
    said = [f"{away}; trying again", f"{full}; trying again", back, f"{away}; trying again", back]
    assert capsys.readouterr().err.splitlines()[: len(said)] == [f"gateway: {one}" for one in said]


async def test_a_store_that_does_not_answer_is_about_no_home(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: object, key: str) -> bytes:
        raise StoreUnavailable("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryBucket, "get", fails)
        with pytest.raises(StoreUnavailable):
            await street.takes_in()
    assert (await street.takes_in()).windows == 20


async def test_a_store_that_has_no_home_of_the_list_is_another_one(street: Neighbourhood) -> None:
    """It is said once, and of no home; one that has one of them lacks the others."""
    other = street.folder / "other"
    other.mkdir()
    street.bucket = DirectoryBucket(other)
    with pytest.raises(StoreDenied, match="the store holds none of the 4 homes of the list"):
        await street.takes_in()
    state = State.open(street.folder / "data", make=False)
    assert state.passed_over() == []
    state.close()
    assert len((await street.takes_in(streams=[one.id for one in street.homes])).passed_over) == 4
    for key, data in street.homes[3].objects.items():
        await street.bucket.put(key, data)
    taken = await street.takes_in()
    assert (taken.windows, taken.homes, len(taken.passed_over)) == (5, 1, 3)


@pytest.mark.parametrize("again", [False, True])
async def test_a_home_that_the_store_does_not_give_is_passed_over(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Whether it is read for the first time, by listing, or by what is known of it."""
    if again:
        await street.takes_in()
        for home in street.homes:
            home.seal(random_readings(60))
    lost, get = street.homes[0], DirectoryBucket.get

    async def fails(self: DirectoryBucket, key: str) -> bytes | None:
        if lost.id.hex() in key:
            raise StoreUnavailable("this object's disk is broken")
        return await get(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryBucket, "get", fails)
        taken = await street.takes_in()
    assert [(one.stream, str(one.error)) for one in taken.passed_over] == [
        (lost.id, "this object's disk is broken")
    ]
    assert taken.windows == (3 if again else 15)
    taken = await street.takes_in()
    assert (taken.windows, taken.passed_over) == (1 if again else 5, ())


@pytest.mark.parametrize("gone", [False, True])
async def test_a_store_that_falls_silent_ends_a_pass_and_homes_in_a_row_do_not(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """It is asked for something that it gave before. What was taken in until then stays."""
    monkeypatch.setattr(ingest_module, "_SILENT", 2)
    monkeypatch.setattr(look_module, "AT_ONCE", 1)
    get = DirectoryBucket.get
    given = {min(street.homes[number].id for number in (0, 2)).hex()}  # of the first region

    async def fails(self: DirectoryBucket, key: str) -> bytes | None:
        if not any(stream in key for stream in given):
            if gone:
                given.clear()
            raise StoreUnavailable("the store does not answer")
        return await get(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryBucket, "get", fails)
        if gone:
            with pytest.raises(StoreUnavailable):
                await street.takes_in()
        else:
            taken = await street.takes_in()
            assert (taken.windows, len(taken.passed_over)) == (5, 3)
    assert (await street.takes_in()).windows == 15


async def test_a_revoked_grant_ends(street: Neighbourhood) -> None:
    service = next(
        one for one in street.homes[0]._served.values() if one.grant.partner == street.grants[0].id
    )
    street.homes[0].revoke(service.grant)
    for home in street.homes:
        home.seal(random_readings(60))
    taken = await street.takes_in()
    assert (taken.windows, taken.passed_over) == (23, ())
    found = await street.load(minutes(*range(1, 4)))
    assert found.homes == (2, 0)
    (one,) = [one for one in found.missing if one.stream == street.homes[0].id]
    assert one.reason == "its grant ends at 2026-03-01T00:02:00Z"


async def test_one_works_in_a_folder_at_a_time(street: Neighbourhood) -> None:
    await street.takes_in()
    state = State.open(street.folder / "data", make=False)
    with state.alone(), pytest.raises(UsageError, match="another `gateway centre ingest` works in"):
        await street.takes_in()
    state.close()
    assert (await street.takes_in()).windows == 0


async def test_a_stream_stays_in_its_region_and_with_its_signer(street: Neighbourhood) -> None:
    await street.takes_in()
    street.regions[0] = "West"
    with pytest.raises(UsageError, match=r"in region 'North', and now has signer .* in region 'West'"):
        await street.takes_in()
    street.regions[0] = "North"
    street.homes[0].signer = sealed(60).signer
    with pytest.raises(UsageError, match="with its signer"):
        await street.takes_in()


@pytest.mark.parametrize("deep", ["", "a/b/"])
def test_a_first_list_that_is_wrong_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], deep: str
) -> None:
    Neighbourhood.new(tmp_path)
    (tmp_path / "homes.csv").write_text("stream,signer\n")
    (tmp_path / "store").mkdir()
    before = sorted(tmp_path.iterdir())
    words = ["--key", "centre", "--store", "store", "--homes", "homes.csv"]
    words = [word if word.startswith("-") else str(tmp_path / word) for word in words]
    assert main(["centre", "ingest", f"{tmp_path}/{deep}data", *words]) == 2
    assert "expected the heading stream,signer,grant,region" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    state = State.open(tmp_path / "data", make=True)
    state.list_homes(read_list(f"stream,signer,grant,region\n{'0' * 32},{'1' * 32},{'2' * 32},North\n", "it"))
    state.close()
    assert main(["centre", "ingest", str(tmp_path / "data"), *words]) == 2
    assert State.open(tmp_path / "data", make=False).regions() == ["North"]


async def test_a_state_of_which_a_part_is_damaged_is_a_sentence(tmp_path: Path) -> None:
    street = Neighbourhood.new(tmp_path)
    street.joins(sealed(60))
    await street.takes_in()
    path = tmp_path / "data/state.sqlite"
    with path.open("r+b") as file:
        file.seek(4096)  # all but the page that says which tables there are
        file.write(bytes([90]) * (path.stat().st_size - 4096))
    with pytest.raises(UsageError, match=r"state\.sqlite cannot be read: database disk image is malformed"):
        await street.load(minutes(0, 1))
    with pytest.raises(UsageError, match=r"state\.sqlite cannot be read: database disk image is malformed"):
        await street.takes_in()


def test_a_disk_that_takes_no_state_is_not_damage(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UsageError, match=r"state\.sqlite cannot be used: disk I/O error"):
            State.open(tmp_path, make=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    State.open(tmp_path, make=True).close()


async def test_a_file_that_cannot_be_removed_is_named(
    street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await street.takes_in()
    lost = street.folder / "data/windows/lost.parquet"
    lost.touch()

    def keep(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", keep)
    with pytest.raises(UsageError, match=f"{lost} cannot be removed: Permission denied"):
        await street.takes_in()


def test_a_state_that_is_damaged_or_of_another_program(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds nothing of a load monitoring centre: gateway centre ingest"):
        State.open(tmp_path, make=False)
    (tmp_path / "state.sqlite").write_bytes(secrets.token_bytes(5000))
    with pytest.raises(UsageError, match=r"state\.sqlite is damaged"):
        State.open(tmp_path, make=True)
    (tmp_path / "state.sqlite").unlink()
    state = State.open(tmp_path, make=True)
    for version, sentence in ((3, "newer program"), (1, "before the first release")):
        state._db.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(UsageError, match=sentence):
            State.open(tmp_path, make=True)
    state.close()
