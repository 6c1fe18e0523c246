"""A bucket in a directory, where there is no server: a key is a file's path.

A file is written aside (to `.incoming`, in the directory itself), made durable, and then given its name: by
link(2), which fails if the name is taken, or by rename(2), which replaces. So readers see only whole objects,
one of several writers wins, and a power cut leaves at most a file in `.incoming`.

The directory must exist: creating it would fill the wrong disk when the right one is not mounted.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gateway.errors import GatewayError, KeyTaken, NotFound, StoreDenied, StoreUnavailable
from gateway.host.files import sync_folder
from gateway.store.bucket import MOST_BYTES, check_key, check_size, is_key
from gateway.store.calls import Calls, moved

_INCOMING = ".incoming"  # no key's part begins with a dot
_ABANDONED_S = 3600  # a put takes milliseconds; a file this old was left by a crash
_PAGE = 1000
_AT_ONCE = 8
_NOTHING_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EOPNOTSUPP}

T = TypeVar("T")


class DirectoryBucket:
    """`Bucket` in the directory `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._calls = Calls(_AT_ONCE, f"the store in {self._root}")
        self._durable: set[Path] = set()  # folders whose own names are durable
        self._swept = False

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        check_key(key)
        await self._run(lambda: self._put(key, data, replace), f"putting {key!r}", len(data))

    async def get(self, key: str) -> bytes:
        check_key(key)
        return await self._run(lambda: self._get(key), f"getting {key!r}")

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        keys = self._walk("", prefix, after)
        while page := await self._run(lambda: list(itertools.islice(keys, _PAGE)), f"listing {prefix!r}"):
            for key in page:
                yield key

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._run(lambda: self._delete(key), f"deleting {key!r}")

    async def keeps_first(self, key: str, data: bytes) -> bool:
        """Put `data`, whatever is there: always True, since link(2) refuses a name that is taken."""
        await self.put(key, data, replace=True)
        return True

    async def aclose(self) -> None:
        await self._calls.aclose()

    async def _run(self, work: Callable[[], T], what: str, size: int = 0) -> T:
        """Do `work` on a thread, and turn the system's errors into this project's."""

        def checked() -> T:
            try:
                if not self._root.is_dir():
                    raise StoreDenied(
                        f"there is no directory {self._root} for the store; create it, mount its disk, or"
                        " correct the store's url"
                    )
                return work()
            except OSError as error:
                raise self._explain(error) from None

        return await self._calls.run(checked, what, size)

    def _explain(self, error: OSError) -> GatewayError:
        text = f"the store in {self._root} cannot be used: {error.strerror or type(error).__name__}"
        if error.errno in _DENIED:
            return StoreDenied(f"{text}; permission to read and write there is needed, and hard links")
        return StoreUnavailable(text)

    def _put(self, key: str, data: bytes, replace: bool) -> None:
        path = self._root / key
        self._make_folder(path.parent, key)
        if replace or not self._holds(path, data):
            aside = self._write_aside(data)
            try:
                if replace:
                    aside.replace(path)
                else:
                    path.hardlink_to(aside)
            except IsADirectoryError:
                raise self._taken(key, "a folder has that name") from None
            except FileExistsError:
                if not self._holds(path, data):
                    raise StoreUnavailable(f"{path} came and went while it was put; try again") from None
            finally:
                aside.unlink(missing_ok=True)
        # Even if the bytes were there: the writer that linked them may not have come this far.
        sync_folder(path.parent)

    def _holds(self, path: Path, data: bytes) -> bool:
        """Whether `data` is at `path`; False where nothing is, KeyTaken where something else is."""
        key = str(path.relative_to(self._root))
        try:
            with path.open("rb") as file:
                same = file.read(len(data) + 1) == data
        except FileNotFoundError:
            return False
        except IsADirectoryError:
            raise self._taken(key, "a folder has that name") from None
        if not same:
            raise self._taken(key, "it already holds other bytes, and is written once")
        return True

    def _taken(self, key: str, why: str) -> KeyTaken:
        return KeyTaken(f"the store in {self._root} cannot take {key!r}: {why}")

    def _make_folder(self, folder: Path, key: str) -> None:
        """Make `folder` and those above it, and make their names durable."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise self._taken(key, "an object has the name of one of its folders") from None
        if folder not in self._durable:
            for above in folder.parents:
                if above.is_relative_to(self._root):
                    sync_folder(above)
            self._durable.add(folder)

    def _write_aside(self, data: bytes) -> Path:
        incoming = self._root / _INCOMING
        incoming.mkdir(exist_ok=True)
        if not self._swept:
            self._swept = True
            _sweep(incoming)
        aside = incoming / secrets.token_hex(16)
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        return aside

    def _get(self, key: str) -> bytes:
        try:
            with (self._root / key).open("rb") as file:
                moved(min(os.fstat(file.fileno()).st_size, MOST_BYTES))
                data = file.read(MOST_BYTES + 1)
        except _NOTHING_THERE:
            raise NotFound(f"the store in {self._root} has no {key!r}") from None
        check_size(len(data), key)
        return data

    def _delete(self, key: str) -> None:
        path = self._root / key
        with suppress(*_NOTHING_THERE):
            path.unlink()
            sync_folder(path.parent)

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[str]:
        """The keys below `folder`, "" or ending in "/". Folders sort with their "/", as they do in keys."""
        try:
            with os.scandir(self._root / folder) as entries:
                names = sorted(
                    entry.name + "/" * entry.is_dir(follow_symlinks=False)
                    for entry in entries
                    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:  # removed since its name was read
            return
        for name in names:
            key = folder + name
            if not name.endswith("/"):
                if key.startswith(prefix) and key > after and is_key(key):
                    yield key
            elif is_key(key[:-1]):
                may_match = key.startswith(prefix) or prefix.startswith(key)
                all_before = key < after and not after.startswith(key)
                if may_match and not all_before:
                    yield from self._walk(key, prefix, after)


def _sweep(incoming: Path) -> None:
    """Remove the files that crashes left there."""
    for left in incoming.iterdir():
        with suppress(FileNotFoundError):  # its writer is done with it
            if left.stat().st_mtime < time.time() - _ABANDONED_S:
                left.unlink()
