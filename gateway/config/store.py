"""[store]: the bucket; its credentials come from a file of their own, never from this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from gateway.config.credential import read_credential
from gateway.config.section import FilePath, Section, from_the_file
from gateway.errors import Unavailable, UsageError
from gateway.store.credentials import Credentials, CredentialsSource
from gateway.store.location import Addressing, Checksums, Location

_KEYS = ("access_key_id", "secret_access_key")
_FORM = 'two lines, "access_key_id=..." and "secret_access_key=..."'
_ADVICE = (
    "give the gateway an access key and a secret key by [store] credentials or the systemd credential s3"
)
DEFAULT = "s3"
FROM_REGISTRAR = "registrar"
"""The value of [store] credentials where the registrar issues them, a session at a time."""


class StoreSection(Section):
    """The bucket for sealed readings; `gateway.config.location` adds the credentials."""

    url: str = Field(description='"s3://bucket", "s3://bucket/prefix" or a folder')
    endpoint: str | None = Field(
        default=None, description='the S3 server\'s address, such as "https://s3.example.org"'
    )
    region: str | None = Field(
        default=None, pattern="^[A-Za-z0-9-]{1,63}$", description='a region, such as "eu-central-1"'
    )
    credentials: str | None = Field(
        default=None,
        pattern=r"^(\.{0,2}/.+|[\w.-]+)$",
        description='the path of a file ("/etc/gateway/s3", "./s3.credentials"), '
        'the name of a systemd credential ("s3"), or "registrar"',
    )

    addressing: Addressing | None = Field(
        default=None,
        description='"path" or "virtual": whether the bucket\'s name is in the path or in the host name',
    )
    checksums: Checksums = Field(
        default="when_required", description='"when_required", or "when_supported" for a CRC32 with each put'
    )
    ca: FilePath | None = Field(
        default=None, description='the path of a PEM file, such as "/etc/gateway/ca.pem"'
    )
    proxy: str | None = Field(default=None, description='an address, such as "http://192.168.1.1:3128"')

    @field_validator("url")
    @classmethod
    def _bucket_or_folder(cls, url: str, info: ValidationInfo) -> str:
        place = _location(url).url
        return place if place.startswith("s3://") else str(from_the_file(Path(place), info))

    @field_validator("endpoint")
    @classmethod
    def _address(cls, endpoint: str | None, info: ValidationInfo) -> str | None:
        return _location(info.data.get("url", "s3://any"), endpoint).endpoint

    @field_validator("proxy")
    @classmethod
    def _proxy_address(cls, proxy: str | None) -> str | None:
        return _checked(lambda: Location.parse("s3://any", proxy=proxy)).proxy

    @field_validator("credentials")
    @classmethod
    def _credentials_path(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value == FROM_REGISTRAR and not info.data.get("url", "s3://any").startswith("s3://"):
            raise ValueError("a folder needs no credentials, and a registrar issues those of an S3 bucket")
        return str(from_the_file(Path(value), info)) if value and "/" in value else value


def _location(url: str, endpoint: str | None = None) -> Location:
    return _checked(lambda: Location.parse(url, endpoint))


def _checked(parse: Callable[[], Location]) -> Location:
    """The store's own check of its parts, as the ValueError that pydantic expects."""
    try:
        return parse()
    except UsageError as error:
        raise ValueError(str(error)) from None


def location(store: StoreSection, registrar: CredentialsSource | None = None) -> Location:
    """The store with its credentials: those that [store] names, or else the systemd credential "s3"; without
    either, boto3 looks for them in its own places.

    Where [store] says "registrar" there are no keys, and boto3 does not look for any: `registrar` gives them
    request by request. Without it each request is StoreUnavailable and says why.

    UsageError when a file is missing or malformed, and when that of the credentials is open to every user;
    the error never shows a line of it.
    """
    values: dict[str, str] = {}
    source = None
    if store.credentials == FROM_REGISTRAR:
        source = registrar or _NotHere()
    else:
        what, key = "the store's credentials", "[store] credentials"
        found = read_credential(store.credentials, DEFAULT, what, key=key)
        values = {} if found is None else _parse(*found)
    place = Location.parse(
        store.url,
        store.endpoint,
        store.region,
        values.get("access_key_id"),
        values.get("secret_access_key"),
        checksums=store.checksums,
        addressing=store.addressing,
        ca=store.ca,
        proxy=store.proxy,
        credentials=source,
    )
    return replace(place, advice=_ADVICE)


class _NotHere:
    """The registrar's credentials for a process that has none of them."""

    async def present(self, key: str, refused: Credentials | None = None) -> Credentials:
        raise Unavailable(
            "its credentials come from the registrar, and the running gateway alone has them: gateway status"
            " says whether they serve"
        )


def _parse(path: Path, data: bytes) -> dict[str, str]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} does not hold credentials: it must have {_FORM}") from None
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if key not in _KEYS or not equals or not value or key in values:
            raise UsageError(f"{path}, line {number}: the file must have {_FORM}, each once")
        values[key] = value
    for key in _KEYS:
        if key not in values:
            raise UsageError(f"{path}: {key} is missing; the file must have {_FORM}")
    return values
