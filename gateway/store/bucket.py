"""The contract of a bucket.

A key is `/`-separated parts of ASCII letters, digits, `.`, `_` and `-`, and no part begins with a
dot. No key may be another's folder (`a` beside `a/b`): S3 allows it, some servers and every
directory do not.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Protocol

from gateway.errors import Refused, UsageError

# Above the longest object that a gateway makes: 2^20 units of five lanes, or as many tokens, are 40 MiB.
MOST_BYTES = 1 << 26
_BASE_S = 60.0  # above what connecting, and the retries of a server that is silent, take: 40 s
_LEAST_RATE = 4096  # bytes a second: a GSM modem sends as fast
_KEY_CHARS = 1024  # "Creating object key names" in the Amazon S3 user guide: 1024 bytes
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")  # 255 bytes: NAME_MAX of Linux


class Bucket(Protocol):
    """Keys and their bytes. Every method may raise StoreUnavailable (try again later), StoreDenied (a person
    must act), and UsageError for an invalid key. Each request ends within `deadline_s` of the bytes that it
    moves, by StoreUnavailable if need be."""

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        """Store `data`; once this returns it is durable as far as the store promises.

        Without `replace` the key is written once: if it has the same bytes already, that is a success; other
        bytes raise KeyTaken.
        """

    async def get(self, key: str) -> bytes:
        """The bytes under `key`; NotFound where there are none, Refused where there are more than a gateway's
        objects have: a store must not fill its reader's memory."""

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        """The keys that begin with `prefix` (any text, not only whole parts), in the order of their bytes,
        strictly after `after`. Objects whose names are not keys are skipped."""

    async def delete(self, key: str) -> None:
        """Remove `key`, if it is there."""

    async def aclose(self) -> None:
        """Release connections and threads, once the calls under way have ended; those that take seconds are
        broken off."""


def deadline_s(size: int) -> float:
    """The seconds that a request which moves `size` bytes may take in all."""
    return _BASE_S + size / _LEAST_RATE


def check_size(size: int, key: str) -> None:
    """Refused for more bytes than a gateway's objects have."""
    if size > MOST_BYTES:
        raise Refused(
            f"the store's object {key!r} has more than {MOST_BYTES >> 20} MiB, so no gateway has written it"
        )


def is_key(name: str) -> bool:
    """Whether `name` can be a key."""
    return len(name) <= _KEY_CHARS and all(_PART.fullmatch(part) for part in name.split("/"))


def check_key(key: str) -> None:
    """UsageError unless `key` is valid."""
    if not is_key(key):
        raise UsageError(
            f"{shown(key)} is not a bucket's key: expected parts of letters, digits, '.', '_' and '-', none"
            f" empty, none beginning with '.', joined by '/', at most {_KEY_CHARS} characters"
        )


def shown(text: str) -> str:
    """A person's input, shortened and escaped for a sentence."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
