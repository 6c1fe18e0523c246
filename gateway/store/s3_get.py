"""GETs of an S3 server, signed and sent by parts of botocore without its client, which takes longer to make,
and longer for each object, than all the rest of a provider's read.

Only the plainest setting is served, and only what goes well. Any other answer is None: the caller asks again
through boto3, which retries, follows redirects, and has the errors.
"""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import datetime
from email.utils import parsedate_tz
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_plus, urlsplit
from urllib.request import getproxies
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from gateway.errors import NotFound
from gateway.store.bucket import check_size
from gateway.store.calls import moved
from gateway.store.credentials import Credentials
from gateway.store.location import Location
from gateway.store.s3_trust import authorities
from gateway.store.s3_wire import make_breakable

_PART = 1 << 14

_KEY_ID, _SECRET, _TOKEN, _REGION = (
    f"AWS_{name}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "DEFAULT_REGION")
)
_READ_HERE = frozenset({_KEY_ID, _SECRET, _TOKEN, _REGION, "AWS_CA_BUNDLE", "AWS_EC2_METADATA_DISABLED"})

Page = tuple[list[str], bool]
"""A list's object names, and whether it continues."""


class Keys(NamedTuple):
    """Credentials, as botocore's signer takes them."""

    access_key: str
    secret_key: str
    token: str | None

    @classmethod
    def of(cls, credentials: Credentials) -> Keys:
        """These credentials."""
        return cls(credentials.access_key, credentials.secret_key, credentials.session_token)

    def __repr__(self) -> str:
        return f"Keys({self.access_key!r})"


class PlainGets:
    """GETs below one bucket, for several threads at a time. `of` makes it where it can serve."""

    def __init__(self, url: str, region: str, keys: Callable[[], Keys], http: URLLib3Session) -> None:
        self._url = url
        self._region = region
        self._keys = keys
        self._http = http
        make_breakable(self._http)

    @classmethod
    def of(
        cls,
        location: Location,
        timeout_s: tuple[float, float],
        most: int,
        present: Callable[[], Keys] | None = None,
    ) -> PlainGets | None:
        """For a location with an endpoint whose keys are given, or in the environment, or by `present` for
        each request. None where boto3's files, or other variables of it, may have a say. `timeout_s` are
        those of connecting and of silence, `most` is how many connections are kept."""
        if present is None:
            keys = Keys(location.access_key or "", location.secret_key or "", location.session_token)
            if location.access_key is None:
                found = os.environ.get
                keys = Keys(found(_KEY_ID, ""), found(_SECRET, ""), found(_TOKEN))
            if not (keys.access_key and keys.secret_key):
                return None
            present = partial(Keys, *keys)
        if not location.endpoint or _is_configured(location):
            return None
        if location.checksums != "when_required":  # then boto3 checks what it gets
            return None
        region = location.region or os.environ.get(_REGION) or "us-east-1"
        url = _bucket_url(location)
        if url is None:
            return None
        http = URLLib3Session(
            authorities(location),  # type: ignore[arg-type]
            proxies={"http": location.proxy, "https": location.proxy} if location.proxy else None,
            timeout=timeout_s,  # type: ignore[arg-type]
            max_pool_connections=most,
        )
        return cls(url, region, present, http)

    def get(self, name: str) -> bytes | None:
        """The bytes of the object `name`; NotFound where the server says that there is none."""
        status, headers, data = self._send(f"/{name}")
        if status == 404 and b"<Code>NoSuchKey</Code>" in data:
            raise NotFound(name)
        if status != 200 or "ETag" not in headers or parsedate_tz(headers.get("Last-Modified")) is None:
            return None
        return data

    def page(self, prefix: str, after: str) -> Page | None:
        """The names that begin with `prefix`, from the one after `after` on, as many as the server sends."""
        parts = {"encoding-type": "url", "list-type": "2", "prefix": prefix, "start-after": after}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parts.items())
        status, _, data = self._send(f"?{query}" if urlsplit(self._url).path else f"/?{query}")
        return _listed(data) if status == 200 else None

    def signed(self, path: str, body: bytes | None = None) -> tuple[str, dict[str, str]]:
        """The address of a GET of a path below the bucket, or of a PUT of `body` there, and the headers that
        sign it."""
        request = self._request(path, body)
        return self._url + path, dict(request.headers.items())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _request(self, path: str, body: bytes | None = None) -> AWSRequest:
        if body is None:
            request = AWSRequest("GET", self._url + path, stream_output=True)
        else:
            # A bucket with object lock asks for the digest.
            md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            request = AWSRequest("PUT", self._url + path, {"Content-MD5": md5}, body)
        S3SigV4Auth(self._keys(), "s3", self._region).add_auth(request)  # type: ignore[arg-type]
        return request

    def _send(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; status 0 where no whole answer came."""
        with suppress(Exception):  # what a hostile answer makes urllib3 raise has no common base
            answer = self._http.send(self._request(path).prepare())
            with closing(answer.raw):  # the connection is kept where the body was read to its end
                length = int(answer.headers["Content-Length"])
                check_size(length, path)
                data = bytearray()
                while len(data) < length and (part := answer.raw.read(min(length - len(data), _PART))):
                    moved(len(part))
                    data += part
                if len(data) == length:
                    return answer.status_code, answer.headers, bytes(data)
        return 0, {}, b""


def _bucket_url(location: Location) -> str | None:
    """The bucket's address; None where boto3 alone knows it."""
    bucket = location.url.removeprefix("s3://").partition("/")[0]
    assert location.endpoint is not None
    if location.addressing != "virtual":
        return f"{location.endpoint}/{bucket}"
    # boto3 puts no name in front of an IP address, and under https none with a dot.
    host = urlsplit(location.endpoint).hostname or ""
    scheme, _, rest = location.endpoint.partition("://")
    return f"{scheme}://{bucket}.{rest}" if "." not in bucket and host[-1:].isalpha() else None


def _is_configured(location: Location) -> bool:
    """Whether anything may change what boto3 does, beside the location and the keys and the region in the
    environment."""
    if any(name.startswith("AWS_") and name not in _READ_HERE for name in os.environ):
        return True
    if location.proxy is None and getproxies().keys() - {"no"}:
        return True
    try:
        return (Path.home() / ".aws" / "config").exists()
    except (OSError, RuntimeError):  # a home that cannot be read, or none: let boto3 see
        return True


def _listed(data: bytes) -> Page | None:
    """The names in a ListBucketResult; None unless it has the form that the Amazon S3 API reference gives."""
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - botocore parses the same bytes in the same way
        entries = [child for child in root if _tag(child) == "Contents"]
        fields = [{_tag(field): field.text or "" for field in entry} for entry in entries]
        top = {_tag(child): child.text or "" for child in root}
        names = [one["Key"] for one in fields]
        for entry, one in zip(entries, fields, strict=True):
            datetime.fromisoformat(one["LastModified"])
            if len(entry) != len(one) or not re.fullmatch("[0-9]+", one["Size"]):
                return None
        if _tag(root) != "ListBucketResult" or top["IsTruncated"] not in ("true", "false"):
            return None
    except (ElementTree.ParseError, KeyError, ValueError):
        return None
    if top.get("EncodingType") == "url":
        names = [unquote_plus(name) for name in names]
    return names, top["IsTruncated"] == "true"


def _tag(element: ElementTree.Element) -> str:
    """Its name without the namespace, which some servers leave out."""
    return element.tag.rpartition("}")[2]
