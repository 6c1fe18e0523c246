"""What only a directory can get wrong: names that lead elsewhere, crashes, other files, other disks."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.errors import KeyTaken, NotFound, StoreDenied, StoreUnavailable, UsageError
from gateway.store.bucket import Bucket, is_key
from gateway.store.directory import DirectoryBucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket

# Names that sort otherwise than the keys they are parts of, and that are each other's beginnings.
PARTS = st.sampled_from(["a", "a-", "a.b", "a0", "b"])
KEYS = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
DATA = st.sampled_from([b"", b"1", b"2"])


async def keys(bucket: Bucket, prefix: str = "", after: str = "") -> list[str]:
    return [key async for key in bucket.list(prefix, after)]


class AgainstAModel(RuleBasedStateMachine):
    """Any sequence of calls does what a dict does, but that a key cannot be where a folder once was."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bucket = DirectoryBucket(self.folder)
        self.runner = asyncio.Runner()
        self.there: dict[str, bytes] = {}
        self.folders: set[str] = set()

    def teardown(self) -> None:
        self.runner.close()
        shutil.rmtree(self.folder)

    @rule(key=KEYS, data=DATA, replace=st.booleans())
    def put(self, key: str, data: bytes, replace: bool) -> None:
        above = {key[:at] for at, char in enumerate(key) if char == "/"}
        clash = key in self.folders or above & self.there.keys()
        put = self.bucket.put(key, data, replace=replace)
        if clash or (not replace and self.there.get(key, data) != data):
            with pytest.raises(KeyTaken):
                self.runner.run(put)
        else:
            self.runner.run(put)
            self.there[key] = data
        # Those above the first one that is an object are made, whether the put succeeds or not.
        self.folders |= {
            folder for folder in above if not any((folder + "/").startswith(k + "/") for k in self.there)
        }

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.runner.run(self.bucket.delete(key))
        self.there.pop(key, None)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        if key in self.there:
            assert self.runner.run(self.bucket.get(key)) == self.there[key]
        else:
            with pytest.raises(NotFound):
                self.runner.run(self.bucket.get(key))

    @rule(
        prefix=st.just("") | KEYS | KEYS.map(lambda key: key + "/"),
        after=st.just("") | KEYS | KEYS.map(lambda key: key + "/"),
    )
    def list(self, prefix: str, after: str) -> None:
        expected = sorted(key for key in self.there if key.startswith(prefix) and key > after)
        assert self.runner.run(keys(self.bucket, prefix, after)) == expected

    @invariant()
    def nothing_is_left_aside(self) -> None:
        assert not any(self.folder.glob(".incoming/*"))


TestAgainstAModel = pytest.mark.slow(AgainstAModel.TestCase)
TestAgainstAModel.settings = settings(max_examples=40, stateful_step_count=30)


@given(st.text(max_size=40) | st.text("./a\0\n\\ ", max_size=12))
def test_no_key_leads_out_of_the_directory(key: str) -> None:
    async def try_it(root: Path) -> None:
        bucket = DirectoryBucket(root)
        if is_key(key):
            await bucket.put(key, b"1")
            assert await keys(bucket) == [key]
        else:
            for attempt in (bucket.put(key, b"1"), bucket.get(key), bucket.delete(key)):
                with pytest.raises(UsageError):
                    await attempt

    with tempfile.TemporaryDirectory() as above:
        root = Path(above) / "store"
        root.mkdir()
        (Path(above) / "a").write_bytes(b"beside")
        asyncio.run(try_it(root))
        assert sorted(path.name for path in Path(above).iterdir()) == ["a", "store"]
        assert (Path(above) / "a").read_bytes() == b"beside"


async def test_a_directory_that_is_not_there_is_denied_until_it_is(tmp_path: Path) -> None:
    bucket = open_bucket(Location.parse(str(tmp_path / "disk" / "store")))
    for attempt in (bucket.put("a", b"1"), bucket.get("a"), bucket.delete("a"), keys(bucket)):
        with pytest.raises(StoreDenied, match="mount its disk"):
            await attempt
    (tmp_path / "disk" / "store").mkdir(parents=True)
    await bucket.put("a", b"1")
    assert await keys(bucket) == ["a"]


async def test_other_files_are_passed_over(tmp_path: Path) -> None:
    bucket = DirectoryBucket(tmp_path)
    await bucket.put("a/b", b"1")
    (tmp_path / ".hidden").touch()
    (tmp_path / "a" / "with space").touch()
    (tmp_path / "a" / "gr\xfc\xdfe").touch()
    (tmp_path / os.fsdecode(b"\xff")).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe")
    assert await keys(bucket) == ["a/b"]


async def test_what_crashes_left_aside_is_removed(tmp_path: Path) -> None:
    incoming = tmp_path / ".incoming"
    incoming.mkdir()
    for name, age in (("old", 7200), ("new", 60)):
        (incoming / name).write_bytes(b"half")
        os.utime(incoming / name, (time.time() - age,) * 2)
    await DirectoryBucket(tmp_path).put("a", b"1")
    assert [path.name for path in incoming.iterdir()] == ["new"]


async def test_a_name_appears_only_once_the_bytes_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the calls that a power cut would test."""
    target = tmp_path / "v1" / "day" / "a"
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def recording(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        name = str(path.relative_to(tmp_path))
        if name.startswith(".incoming/"):
            assert path.read_bytes() == b"whole"
            name = "bytes"
        synced.append((name, target.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recording)
    bucket = DirectoryBucket(tmp_path)
    await bucket.put("v1/day/a", b"whole")
    assert synced == [("v1", False), (".", False), ("bytes", False), ("v1/day", True)]
    synced.clear()
    await bucket.put("v1/day/a", b"whole")  # another may have linked it and been cut off
    assert synced == [("v1/day", True)]
    synced.clear()
    await bucket.put("v1/day/a", b"whole", replace=True)
    assert synced == [("bytes", True), ("v1/day", True)]


async def test_of_several_processes_one_wins(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path; from gateway.errors import KeyTaken\n"
        "from gateway.store.directory import DirectoryBucket\n"
        "async def main():\n"
        "    bucket = DirectoryBucket(Path(sys.argv[1]))\n"
        "    for n in range(100):\n"
        "        try: await bucket.put(f'race/{n}', sys.argv[2].encode())\n"
        "        except KeyTaken: print(n)\n"
        "asyncio.run(main())\n"
    )
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, str(tmp_path), name, stdout=subprocess.PIPE
        )
        for name in ("first", "second", "third")
    ]
    lost = [int(line) for writer in writers for line in (await writer.communicate())[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(lost) == sorted([*range(100)] * 2)
    assert len(await keys(DirectoryBucket(tmp_path))) == 100


async def test_errors_of_the_system_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    bucket = DirectoryBucket(tmp_path)
    for attempt in (bucket.get("a"), bucket.put("a", b"1")):
        with pytest.raises(StoreDenied, match="symbolic links"):
            await attempt
    (tmp_path / ".incoming").mkdir(exist_ok=True)
    (tmp_path / ".incoming").rename(tmp_path / "elsewhere")
    (tmp_path / ".incoming").touch()
    with pytest.raises(StoreUnavailable, match=str(tmp_path)):
        await bucket.put("b", b"1")
