"""The location of a bucket, parsed from what a person wrote, and checked."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from gateway.errors import UsageError
from gateway.store.bucket import check_key, shown
from gateway.store.credentials import CredentialsSource

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # "Bucket naming rules" in the Amazon S3 user guide
_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"  # RFC 1123, section 2.1
_ENDPOINT = re.compile(
    rf"https?://(?:{_LABEL}(?:\.{_LABEL})*\.?|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[1-9][0-9]{{0,4}}))?(?:/[A-Za-z0-9._~/-]*)?"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


Checksums = Literal["when_required", "when_supported"]
Addressing = Literal["path", "virtual"]


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
    """None: what boto3 finds in its environment and files. No server of a cloud's machines is asked."""
    secret_key: str | None = field(default=None, repr=False)
    checksums: Checksums = "when_required"
    """boto3's setting of that name. Older servers refuse the checksum headers of "when_supported". Each put
    has a Content-MD5, which a bucket with object lock asks for, and a signature over its bytes either way."""
    addressing: Addressing | None = None
    """Whether the bucket's name is the first part of the path, or of the host name. None: of the path where
    there is an endpoint, since self-hosted servers rarely have a DNS name for each bucket."""
    ca: Path | None = None
    """A file of the authorities (PEM) that may sign the server's certificate; None: those that this machine
    trusts."""
    proxy: str | None = None
    """The proxy in between, `http://host:port`; None: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say."""
    session_token: str | None = field(default=None, repr=False)
    """That of the keys, where they are temporary ones."""
    credentials: CredentialsSource | None = field(default=None, repr=False)
    """In place of keys, a source that is asked for the present ones before each request."""
    advice: str = field(
        default="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile of AWS's tools", compare=False
    )
    """What a person is told to do where there are no keys."""

    @classmethod
    def parse(
        cls,
        url: str,
        endpoint: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        *,
        checksums: Checksums = "when_required",
        addressing: Addressing | None = None,
        ca: Path | None = None,
        proxy: str | None = None,
        session_token: str | None = None,
        credentials: CredentialsSource | None = None,
    ) -> Location:
        """`url`: s3://bucket, s3://bucket/prefix, a directory's path or file:// URL. UsageError says what
        is wrong with any of them, also with the content of `ca`; no text repeats a key, or an address that
        may carry a password."""
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
        _check_keys(access_key, secret_key, session_token)
        if credentials is not None and access_key is not None:
            raise UsageError("the store's keys are given, and a source of them too: give one of the two")
        if ca is not None:
            _check_authorities(ca)
        where = _bucket_url(url), _endpoint(endpoint), region
        keys = access_key, secret_key
        return cls(*where, *keys, checksums, addressing, ca, _proxy(proxy), session_token, credentials)


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
    if not _is_address(endpoint):
        raise UsageError(
            "the store's endpoint is not an address like https://s3.example.org or http://192.168.1.5:9000"
            + ("; a user and password do not belong there" if "@" in endpoint else "")
        )
    return endpoint.rstrip("/")


def _proxy(proxy: str | None) -> str | None:
    if proxy is None:
        return None
    if not _is_address(proxy):
        raise UsageError(
            "the store's proxy is not an address like http://192.168.1.1:3128"
            + (
                "; one with a user and password belongs in the environment, as HTTPS_PROXY"
                if "@" in proxy
                else ""
            )
        )
    return proxy.rstrip("/")


def _is_address(text: str) -> bool:
    found = _ENDPOINT.fullmatch(text)
    try:
        if found is None or int(found["port"] or 1) > 65535:
            return False
        if found["v6"]:
            IPv6Address(found["v6"])
    except ValueError:
        return False
    return True


def _check_authorities(ca: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise UsageError(
            f"the store's ca, {ca}, holds no certificate: it must be a PEM file, which begins with"
            " -----BEGIN CERTIFICATE-----"
        ) from None
    except OSError as error:
        raise UsageError(f"the store's ca, {ca}, cannot be read: {error.strerror}") from None


def _check_keys(access_key: str | None, secret_key: str | None, session_token: str | None) -> None:
    if (access_key is None) != (secret_key is None):
        given, missing = ("secret", "access") if access_key is None else ("access", "secret")
        raise UsageError(
            f"the store's {given} key is given and its {missing} key is not: give both, or neither"
        )
    if access_key is None and session_token is not None:
        raise UsageError("the store's session token is given without the keys that it belongs to")
    names = ("access key", "secret key", "session token")
    for name, key in zip(names, (access_key, secret_key, session_token), strict=True):
        if key is not None and not re.fullmatch(r"[!-~]+", key):
            raise UsageError(
                f"the store's {name} is empty or contains a space, a line end or the like: use printable"
                " ASCII characters only"
            )
