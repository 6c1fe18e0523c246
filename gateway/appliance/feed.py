"""A release feed: a folder, at an HTTPS address or mounted here, from which machines fetch releases.

- latest.json       the manifest of the newest release, and of its bundle: `{"bundle":{"name":"...","sha256":
                    "...","size":N}, ...}` with the keys of release.json, in the same canonical form
- latest.json.sig   its detached signature by the update key, as of release.json
- the bundle        what RAUC installs, under the name that latest.json has

The signature decides, not the server: whoever changes the feed can withhold a release, and offer none.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.appliance.release import (
    MOST_BYTES,
    Release,
    canonical,
    check_signature,
    decode_object,
    file_digest,
)
from gateway.errors import GatewayError, Refused, Unavailable, UsageError
from gateway.host.clock import Clock

LATEST = "latest.json"
LATEST_SIGNATURE = "latest.json.sig"
MOST_BUNDLE = 2**31
"""Bytes of a bundle, which has to lie on the card beside two slots."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,100}\.raucb")
_HASH = re.compile(r"[0-9a-f]{64}")
_SPARE = 64 * 2**20  # left free on the card for the ledger
_BLOCK = 2**18
_AGAIN_S = 10.0
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
# A server that sends a byte now and then never reaches the time limits of silence.
_SMALL_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=30, sock_read=60)

Progress = Callable[[int, int], object]
"""Is told how many bytes are here, of how many."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest release of a feed, and its bundle: the file's name, its size in bytes and its SHA-256."""

    release: Release
    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        """UsageError for a value that no manifest may have."""
        if not isinstance(self.name, str) or _NAME.fullmatch(self.name) is None:
            raise UsageError(f'the name of a bundle is {self.name!r}, but must be such as "gateway.raucb"')
        if type(self.size) is not int or not 0 < self.size <= MOST_BUNDLE:
            raise UsageError(f"the size of a bundle is {self.size!r}, but must be from 1 to {MOST_BUNDLE}")
        if not isinstance(self.sha256, str) or _HASH.fullmatch(self.sha256) is None:
            raise UsageError("the sha256 of a bundle must be 64 hexadecimal digits")

    @classmethod
    def of(cls, release: Release, bundle: Path) -> Self:
        """With the bundle that lies at a path. UsageError where it cannot be read."""
        try:
            return cls(release, bundle.name, bundle.stat().st_size, file_digest(bundle))
        except OSError as error:
            raise UsageError(f"the bundle {bundle} cannot be read: {error.strerror}") from None

    def encode(self) -> bytes:
        """The content of latest.json."""
        bundle = {"name": self.name, "size": self.size, "sha256": self.sha256}
        return canonical({**self.release.document(), "bundle": bundle})

    @classmethod
    def decode(cls, data: bytes, what: str = LATEST) -> Self:
        """Refused for what is not a latest.json in its canonical form."""
        document = decode_object(data, what)
        bundle: Any = document.pop("bundle", None)
        if not isinstance(bundle, dict) or set(bundle) != {"name", "size", "sha256"}:
            raise Refused(f"{what} has no bundle with name, size and sha256")
        release = Release.from_document(document, what)
        try:
            latest = cls(release, bundle["name"], bundle["size"], bundle["sha256"])
        except UsageError as error:
            raise Refused(f"{what}: {error}") from None
        if latest.encode() != data:
            raise Refused(
                f"{what} is not in its canonical form: sorted keys, no spaces, one newline at its end"
            )
        return latest


async def read_latest(feed: str, key: ec.EllipticCurvePublicKey) -> Latest:
    """The newest release of a feed. Unavailable where the feed cannot be read; Refused where the signature is
    not the update key's; UsageError for an address with a password or a query."""
    _check(feed)
    data, signature = await _read(feed, LATEST), await _read(feed, LATEST_SIGNATURE)
    check_signature(key, data, signature, f"{LATEST} of {feed}")
    return Latest.decode(data, f"{LATEST} of {feed}")


async def fetch_bundle(feed: str, latest: Latest, folder: Path, progress: Progress, clock: Clock) -> Path:
    """The path of the checked bundle: in the feed's own folder, or downloaded to `folder`.

    A download goes on where an earlier one of the same bundle ended, and is tried again as long as each try
    brings something. Unavailable where it fails or the disk is full; Refused where the bundle is not the one
    that latest.json describes.
    """
    if not _is_url(feed):
        path = Path(feed) / latest.name
    else:
        path = folder / f"{latest.sha256}.raucb"
        await asyncio.to_thread(_tidy, folder, path.name)
        await _download(feed, latest, path, progress, clock)
    try:
        whole = await asyncio.to_thread(_is_whole, path, latest)
    except OSError as error:
        raise Unavailable(f"the bundle {path} cannot be read: {error.strerror}") from None
    if not whole:
        if _is_url(feed):
            path.unlink()
        raise Refused(
            f"the bundle {latest.name} of {feed} is not the one that its latest.json describes: it was "
            "changed, or damaged on its way"
        )
    return path


def _is_whole(path: Path, latest: Latest) -> bool:
    # A device or a pipe in a folder, which could be read without end, has another size.
    return path.stat().st_size == latest.size and file_digest(path) == latest.sha256


def _check(feed: str) -> None:
    if _is_url(feed) and re.search("[@?#]", feed):
        raise UsageError(
            "the feed's address contains '@', '?' or '#': it must be the address of a folder, such as "
            '"https://releases.example.org/rpi4", without a password, which would be shown in the status'
        )


def _is_url(feed: str) -> bool:
    return feed.startswith(("https://", "http://"))


def _address(feed: str, name: str) -> str:
    return f"{feed.rstrip('/')}/{name}"


def _tidy(folder: Path, name: str) -> None:
    """Remove what is left of other bundles."""
    try:
        for path in folder.glob("*.raucb"):
            if path.name != name or not os.access(path, os.W_OK):
                path.unlink()
    except OSError as error:
        raise Unavailable(f"{folder} cannot be written: {error.strerror}") from None


async def _read(feed: str, name: str) -> bytes:
    """A small file of the feed."""
    if not _is_url(feed):
        if "://" in feed:
            raise UsageError(f"the feed is {feed}: expected https://..., or the path of a folder")
        try:
            with (Path(feed) / name).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise Unavailable(f"the feed {feed} has no {name} to read: {error.strerror}") from None
    else:
        async with _get(_address(feed, name), _SMALL_TIMEOUT) as response:
            _expect(response, 200)
            data = b""
            async for block in response.content.iter_chunked(_BLOCK):
                data += block
                if len(data) > MOST_BYTES:
                    break
    if len(data) > MOST_BYTES:
        raise Refused(f"{name} of {feed} has more than {MOST_BYTES} bytes: it is not a manifest")
    return data


async def _download(feed: str, latest: Latest, path: Path, progress: Progress, clock: Clock) -> None:
    while (here := _size(path)) < latest.size:
        if shutil.disk_usage(path.parent).free < latest.size - here + _SPARE:
            raise Unavailable(
                f"the disk has no room for the bundle's {(latest.size - here) / 1e6:.0f} MB: free some space"
            )
        try:
            await _go_on(feed, latest, path, here, progress)
        except Unavailable:
            if _size(path) <= here:
                raise
            await clock.sleep(_AGAIN_S)


async def _go_on(feed: str, latest: Latest, path: Path, here: int, progress: Progress) -> None:
    """Fetch the bundle from byte `here` on, and add it to the file, durably."""
    headers = {"Range": f"bytes={here}-"} if here else {}
    async with _get(_address(feed, latest.name), _TIMEOUT, headers) as response:
        if here and response.status == 200:  # a server without ranges sends all of it
            here = 0
        else:
            _expect(response, 206 if here else 200)
            start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", "bytes 0-"))
            if start is None or int(start[1]) != here:
                raise GatewayError(f"{feed} sends another part of {latest.name} than was asked for")
        with _writing(path):
            file = path.open("r+b" if here else "wb", buffering=0)
        with file:
            try:
                file.seek(here)
                async for block in response.content.iter_chunked(_BLOCK):
                    with _writing(path):
                        here += await asyncio.to_thread(file.write, block[: latest.size - here])
                    progress(here, latest.size)
                    if here == latest.size:
                        break
            finally:
                with _writing(path):
                    await asyncio.to_thread(os.fsync, file.fileno())
        if here < latest.size:
            raise Unavailable(f"{feed} ended {latest.name} after {here} of {latest.size} bytes")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise GatewayError(f"the bundle cannot be written to {path}: {error.strerror}") from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@asynccontextmanager
async def _get(
    url: str, limits: aiohttp.ClientTimeout, headers: dict[str, str] | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a GET; Unavailable where none comes, or it breaks off while it is read."""
    try:
        async with (
            aiohttp.ClientSession(timeout=limits, trust_env=True, auto_decompress=False) as session,
            session.get(url, headers={"Accept-Encoding": "identity", **(headers or {})}) as response,
        ):
            yield response
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unavailable(f"{url} cannot be read: {str(error) or type(error).__name__}") from None


def _expect(response: aiohttp.ClientResponse, status: int) -> None:
    if response.status != status:
        raise Unavailable(
            f"{response.url} answers with status {response.status} {response.reason or ''}".strip()
        )
