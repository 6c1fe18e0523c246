"""The location of a bucket, parsed from what a person wrote, and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Literal
from urllib.parse import unquote, urlsplit

from gateway.errors import UsageError
from gateway.store.bucket import check_key, shown

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # "Bucket naming rules" in the Amazon S3 user guide
_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"  # RFC 1123, section 2.1
_ENDPOINT = re.compile(
    rf"https?://(?:{_LABEL}(?:\.{_LABEL})*\.?|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[1-9][0-9]{{0,4}}))?(?:/[A-Za-z0-9._~/-]*)?"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class Location:
    """The location of a bucket. `parse` makes it from what a person wrote, and checks it."""

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
            raise UsageError("the store's url is empty: use s3://bucket, or the path of a directory")
        scheme = _SCHEME.match(url)
        if scheme is None or scheme[1].lower() == "file":
            if endpoint is not None:
                raise UsageError(
                    f"the store {shown(url)} is a directory, which has no endpoint: use s3://bucket for a"
                    " bucket on that server, or leave the endpoint out"
                )
            return cls(url if scheme is None else _file_path(url))
        if scheme[1].lower() != "s3":
            raise UsageError(
                f"the store's url begins with {scheme[0]}: use s3://bucket, or the path of a directory; the"
                " address of an S3 server belongs in the endpoint"
            )
        if region is not None and not _REGION.fullmatch(region):
            raise UsageError(f"{shown(region)} is not a region: expected a name such as eu-central-1")
        _check_credentials(access_key, secret_key)
        return cls(_bucket_url(url), _endpoint(endpoint), region, access_key, secret_key)


def _file_path(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise UsageError(
            "the store's file:// URL is invalid: expected an absolute path on this machine, such as"
            " file:///var/lib/store"
        )
    return path


def _bucket_url(url: str) -> str:
    if any(mark in url for mark in "@?#"):
        raise UsageError(
            "the store's url contains '@', '?' or '#': use s3://bucket or s3://bucket/prefix; keys and"
            " options are configured elsewhere"
        )
    bucket, slash, prefix = url[len("s3://") :].rstrip("/").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(
            f"{shown(bucket)} is not a bucket's name: expected 3 to 63 lower-case letters, digits, '.' and"
            " '-', as in s3://meters"
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
            + ("; a user and password do not belong there" if "@" in endpoint else "")
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
            raise UsageError(
                f"the store's {name} key is empty or contains a space, a line end or the like: use printable"
                " ASCII characters only"
            )
