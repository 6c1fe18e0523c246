"""A bucket of which some objects are kept in a folder of this machine, so that they are fetched once.

What is kept is what the store served: signed ciphertext, which a reader verifies again whenever it reads it.
So the folder needs no trust: it may be deleted, damaged, or shared by several readers at any time. A reader
that finds an object invalid clears it, and asks the store.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

from gateway.store.bucket import Bucket, check_key
from gateway.store.location import Location

MOST_KEPT = 1 << 30
"""Bytes that are kept for all stores together, some 800 years of a home's quarter hours."""


def kept_folder(location: Location) -> Path:
    """The folder for a store, in the cache of who runs this: $XDG_CACHE_HOME, or ~/.cache."""
    store = hashlib.sha256(f"{location.endpoint} {location.url}".encode()).hexdigest()[:32]
    return _caches() / "gateway" / "objects" / store


class KeptBucket:
    """`Bucket` whose objects with a key that `lasts` accepts are kept in `folder`, this store's own."""

    def __init__(self, bucket: Bucket, folder: Path, lasts: Callable[[str], bool]) -> None:
        self._bucket = bucket
        self._folder = folder
        self._lasts = lasts
        self._wrote = False

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        await self._bucket.put(key, data, replace=replace)

    async def get(self, key: str) -> bytes:
        check_key(key)
        if not self._lasts(key):
            return await self._bucket.get(key)
        path = self._folder / key
        try:
            return path.read_bytes()
        except OSError:
            data = await self._bucket.get(key)
            self._keep(path, data)
            return data

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        return self._bucket.list(prefix, after)

    async def delete(self, key: str) -> None:
        await self._bucket.delete(key)

    async def aclose(self) -> None:
        await self._bucket.aclose()

    @property
    def source(self) -> Bucket:
        """The bucket itself, of which nothing is kept."""
        return self._bucket

    def clear(self, prefix: str = "") -> None:
        """Forget what is kept of this store, or of the folder `prefix` in it, "v1/<stream hex>/"."""
        shutil.rmtree(self._folder / prefix, ignore_errors=True)

    def _keep(self, path: Path, data: bytes) -> None:
        """Keep an object, whole or not at all; a folder that cannot be written keeps none."""
        with suppress(OSError):
            self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(name).replace(path)
                self._wrote = True
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise

    def trim(self) -> None:
        """Where anything was added, remove what all stores kept the longest, down to MOST_KEPT bytes."""
        if not self._wrote:
            return
        with suppress(OSError):
            files = [(path, path.stat()) for path in self._folder.parent.rglob("*") if path.is_file()]
            size = sum(stat.st_size for _, stat in files)
            for path, stat in sorted(files, key=lambda one: one[1].st_mtime):
                if size <= MOST_KEPT:
                    return
                path.unlink(missing_ok=True)
                size -= stat.st_size


def _caches() -> Path:
    """The folder of this user's caches; where there is none, as for a user without a home, a path below which
    nothing can be."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return Path(os.devnull)
