"""Objects that are kept on this machine: which, where, and what may happen to them."""

from __future__ import annotations

import asyncio
import errno
import stat
from pathlib import Path

import pytest

from gateway.errors import NotFound, UsageError
from gateway.store import kept
from gateway.store.directory import DirectoryBucket
from gateway.store.kept import KeptBucket, kept_folder
from gateway.store.location import Location
from gateway.store.opening import open_bucket


class Counting(DirectoryBucket):
    """Counts what is fetched."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched: list[str] = []

    async def get(self, key: str) -> bytes:
        self.fetched.append(key)
        return await super().get(key)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    (tmp_path / "store").mkdir()
    return Counting(tmp_path / "store")


def keeping(store: Counting, tmp_path: Path, name: str = "one") -> KeptBucket:
    return KeptBucket(store, tmp_path / "kept" / name, lambda key: key.startswith("day/"))


async def test_what_lasts_is_fetched_once(store: Counting, tmp_path: Path) -> None:
    for key in ("day/a", "day/b", "head"):
        await store.put(key, key.encode())
    for _ in range(2):
        bucket = keeping(store, tmp_path)
        assert [await bucket.get(key) for key in ("day/a", "day/b", "head")] == [b"day/a", b"day/b", b"head"]
        with pytest.raises(NotFound):
            await bucket.get("day/c")
        assert [key async for key in bucket.list("day/")] == ["day/a", "day/b"]
    assert sorted(store.fetched) == ["day/a", "day/b", "day/c", "day/c", "head", "head"]
    bucket = keeping(store, tmp_path)
    bucket.clear()
    await bucket.get("day/a")
    assert store.fetched[-1] == "day/a"


async def test_a_store_has_its_own_folder(store: Counting, tmp_path: Path) -> None:
    await store.put("day/a", b"1")
    await keeping(store, tmp_path).get("day/a")
    await keeping(store, tmp_path, "two").get("day/a")
    assert store.fetched == ["day/a", "day/a"]


def test_stores_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = {
        kept_folder(Location.parse(url, endpoint))
        for url in ("s3://one", "s3://one/a", "s3://two")
        for endpoint in (None, "http://127.0.0.1:1", "http://127.0.0.1:2")
    }
    assert len(folders) == 9
    assert {folder.parent for folder in folders} == {tmp_path / "gateway" / "objects"}


async def test_only_the_owner_sees_it(store: Counting, tmp_path: Path) -> None:
    await store.put("day/a/b", b"1")
    await keeping(store, tmp_path).get("day/a/b")
    for path, mode in ((tmp_path / "kept", 0o700), (tmp_path / "kept/one/day/a/b", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


async def test_a_folder_that_cannot_be_written_keeps_nothing(store: Counting, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file in its place")
    await store.put("day/a", b"1")
    for _ in range(2):
        bucket = keeping(store, tmp_path)
        assert await bucket.get("day/a") == b"1"
        bucket.trim()
        bucket.clear()
    assert store.fetched == ["day/a", "day/a"]


async def test_no_key_leads_out_of_the_folder(store: Counting, tmp_path: Path) -> None:
    for key in ("day/../../../etc/passwd", "day/", "/etc/passwd"):
        with pytest.raises(UsageError):
            await keeping(store, tmp_path).get(key)


async def test_readers_at_the_same_time_see_whole_objects(store: Counting, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    await store.put("day/a", data)
    readers = [keeping(store, tmp_path) for _ in range(16)]
    assert await asyncio.gather(*(reader.get("day/a") for reader in readers)) == [data] * 16
    assert [path.name for path in (tmp_path / "kept/one/day").iterdir()] == ["a"]


async def test_what_is_kept_is_bounded(
    store: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST_KEPT", 2500)
    for n in range(5):
        await store.put(f"day/{n}", bytes(1000))
        bucket = keeping(store, tmp_path, f"store{n % 2}")
        await bucket.get(f"day/{n}")
        bucket.trim()
    left = [path for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert len(left) == 2


@pytest.mark.parametrize("what", ["a folder for the object", "a circle", "no room"])
async def test_what_cannot_be_kept_is_read_from_the_store(
    what: str, store: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put("day/a", b"1")
    await keeping(store, tmp_path).get("day/a")
    found = tmp_path / "kept/one/day/a"
    found.unlink()
    if what == "no room":

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "no room")

        monkeypatch.setattr("gateway.store.kept.os.fdopen", full)
    elif what == "a circle":
        found.symlink_to(found)
    else:
        found.mkdir()
    bucket = keeping(store, tmp_path)
    assert [await bucket.get("day/a") for _ in range(2)] == [b"1"] * 2
    bucket.trim()
    assert list(tmp_path.rglob("kept/**/.*")) == []


@pytest.mark.parametrize("home", [None, "/" + "x" * 5000])
async def test_a_user_without_a_home_keeps_nothing(
    home: str | None, store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    place = Location.parse("s3://bucket", "http://127.0.0.1:9")
    await store.put("day/a", b"1")
    bucket = KeptBucket(store, kept_folder(place), lambda key: key.startswith("day/"))
    assert [await bucket.get("day/a") for _ in range(2)] == [b"1"] * 2
    bucket.trim()
    bucket.clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    await open_bucket(place).aclose()
