"""The contract of a bucket, and where a bucket is.

A key is `/`-separated parts of ASCII letters, digits, `.`, `_` and `-`, and no part begins with a
dot. No key may be another's folder (`a` beside `a/b`): S3 allows it, some servers and every
directory do not.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

from gateway.errors import Refused, UsageError

# Above the longest object that a gateway makes: 2^20 units of four lanes, or as many tokens, are 32 MiB.
MOST_BYTES = 1 << 26
_KEY_CHARS = 1024  # "Creating object key names" in the Amazon S3 user guide: 1024 bytes
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")  # 255 bytes: NAME_MAX of Linux
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # "Bucket naming rules", the same guide
_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"  # RFC 1123, section 2.1
_ENDPOINT = re.compile(
    rf"https?://(?:{_LABEL}(?:\.{_LABEL})*\.?|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[1-9][0-9]{{0,4}}))?(?:/[A-Za-z0-9._~/-]*)?"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Bucket(Protocol):
    """Keys and their bytes. Every method may raise StoreUnavailable (not now; try again) and
    StoreDenied (not so; a person must act), and UsageError for a key that is none."""

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        """Store `data`; once this returns it is durable as far as the store promises.

        Without `replace` the key is written once: the same bytes there already are a success, other
        bytes raise KeyTaken.
        """

    async def get(self, key: str) -> bytes:
        """The bytes under `key`; NotFound where there are none, Refused where there are more than any
        object of ours has: a store must not fill its reader's memory."""

    def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        """The keys that begin with `prefix` (any text, not only whole parts), in the order of their
        bytes, strictly after `after`. Objects whose names are no keys are passed over."""

    async def delete(self, key: str) -> None:
        """Remove `key`; absent is fine."""

    async def aclose(self) -> None:
        """Let go of connections and threads, once the calls under way have ended."""


def check_size(size: int, key: str) -> None:
    """Refuse what is longer than any object of ours."""
    if size > MOST_BYTES:
        raise Refused(f"the store's object {key!r} has more than {MOST_BYTES >> 20} MiB, so it is not ours")


def is_key(name: str) -> bool:
    """Whether `name` can be a key."""
    return len(name) <= _KEY_CHARS and all(_PART.fullmatch(part) for part in name.split("/"))


def check_key(key: str) -> None:
    """Raise UsageError unless `key` is one."""
    if not is_key(key):
        raise UsageError(
            f"{_shown(key)} is no key of a bucket: a key is parts of letters, digits, '.', '_' and '-', none"
            f" empty, none beginning with '.', joined by '/', {_KEY_CHARS} characters at most"
        )


@dataclass(frozen=True, slots=True)
class Location:
    """Where a bucket is. `parse` makes one out of what a person wrote, and checks it."""

    url: str
    """`s3://bucket`, `s3://bucket/prefix`, or the path of a directory."""
    endpoint: str | None = None
    """An S3 server's address, `https://host:port`; None: Amazon's."""
    region: str | None = None
    """None: what boto3's configuration says."""
    access_key: str | None = None
    """None: boto3's chain of environment, files and machine roles."""
    secret_key: str | None = field(default=None, repr=False)
    checksums: Literal["when_required", "when_supported"] = "when_required"
    """boto3's setting of that name. Older servers refuse the checksum headers of "when_supported", which
    a bucket with object lock asks for. Each put's bytes are covered by its signature either way."""

    @classmethod
    def parse(
        cls,
        url: str,
        endpoint: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> Location:
        """`url`: s3://bucket, s3://bucket/prefix, a directory's path or file:// URL. UsageError says what
        is wrong with any of them; no text repeats a key, or an address that may carry a password."""
        if not url or "\0" in url:
            raise UsageError("the store's url is empty: write s3://bucket, or the path of a directory")
        scheme = _SCHEME.match(url)
        if scheme is None or scheme[1].lower() == "file":
            if endpoint is not None:
                raise UsageError(
                    f"the store {_shown(url)} is a directory, which has no endpoint: write s3://bucket for"
                    " a bucket on that server, or leave the endpoint out"
                )
            return cls(url if scheme is None else _file_path(url))
        if scheme[1].lower() != "s3":
            raise UsageError(
                f"the store's url begins with {scheme[0]}: write s3://bucket, or the path of a directory;"
                " the address of an S3 server is the endpoint's"
            )
        if region is not None and not _REGION.fullmatch(region):
            raise UsageError(f"{_shown(region)} is no region: a region is written like eu-central-1")
        _check_credentials(access_key, secret_key)
        return cls(_bucket_url(url), _endpoint(endpoint), region, access_key, secret_key)


def open_bucket(location: Location) -> Bucket:
    """The bucket there. Nothing is read or written yet: a bucket that is away shows in the first call."""
    if location.url.startswith("s3://"):
        # Imported here: boto3 takes a second to load on a Pi, and a directory does without it.
        from gateway.store.s3 import S3Bucket  # noqa: PLC0415

        return S3Bucket(location)
    from gateway.store.directory import DirectoryBucket  # noqa: PLC0415

    return DirectoryBucket(Path(location.url))


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def _file_path(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise UsageError("a file:// URL names an absolute path on this machine: file:///var/lib/store")
    return path


def _bucket_url(url: str) -> str:
    if any(mark in url for mark in "@?#"):
        raise UsageError(
            "the store's url has one of '@', '?' and '#' in it: write s3://bucket or s3://bucket/prefix;"
            " keys and options have their own places"
        )
    bucket, slash, prefix = url[len("s3://") :].rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"{_shown(bucket)} is no bucket's name: 3 to 63 lower-case letters, digits, '.' and '-', as in"
            " s3://meters"
        )
    if slash:
        check_key(prefix)
    return f"s3://{bucket}{slash}{prefix}"


def _endpoint(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    found = _ENDPOINT.fullmatch(endpoint)
    try:
        if found is None or int(found["port"] or 1) > 65535:
            raise ValueError
        if found["v6"]:
            IPv6Address(found["v6"])
    except ValueError:
        raise UsageError(
            "the store's endpoint is not an address like https://s3.example.org or http://192.168.1.5:9000"
            + ("; a user and password do not go there" if "@" in endpoint else "")
        ) from None
    return endpoint.rstrip("/")


def _check_credentials(access_key: str | None, secret_key: str | None) -> None:
    if (access_key is None) != (secret_key is None):
        given, missing = ("secret", "access") if access_key is None else ("access", "secret")
        raise UsageError(
            f"the store's {given} key is given and its {missing} key is not: give both, or neither"
        )
    for name, key in (("access", access_key), ("secret", secret_key)):
        if key is not None and not re.fullmatch(r"[!-~]+", key):
            raise UsageError(f"the store's {name} key is empty, or has a space, a line end or such in it")
