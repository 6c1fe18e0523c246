"""Views: a page for a phone that reads the home's sums from the store itself, from anywhere.

A view is one or more own grants to keys that are made for it and thrown away: what it keeps is each grant's
first key K_0, with read-only credentials of the store. Whoever has the page, or its link, can open what it
opens until it is revoked, and nothing else. A server learns no key: in a link all of this stands behind `#`,
which browsers send to nobody.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Self

from gateway.control.client import ControlClient
from gateway.control.documents import GrantStatus, MeterStatus
from gateway.errors import GatewayError, NotFound, StoreDenied, Unavailable, UsageError
from gateway.household.objects import ControlBucket
from gateway.household.own import VALIDITY_MS, grant_own
from gateway.provider.grants import own_grants
from gateway.provider.identity import Identity, generate_identity
from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.stream.fetch import first_key
from gateway.stream.reader import StreamReader
from gateway.wire import names

PURPOSE = "view: "
"""What the purpose of a view's grants begins with; its name follows."""
PLACEHOLDER = b"{{view}}"
"""What stands in the page, once, for a view's document."""
_NAME_BYTES = 80
_VERSION = 1
_HEADERS = ("authorization", "x-amz-content-sha256", "x-amz-date")
CORS_RULE = {
    "ID": "gateway-view",
    "AllowedOrigins": ["*"],
    "AllowedMethods": ["GET"],
    "AllowedHeaders": list(_HEADERS),
    "MaxAgeSeconds": 600,
}
"""The rule of cross-origin requests by which a browser lets a page that lies elsewhere, or in a file, read
the bucket. Who may read what is decided by the credentials, not by this."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a phone reads the store: its address, bucket (and prefix) and region, and read-only credentials."""

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)

    @classmethod
    def of(cls, location: Location, endpoint: str | None = None) -> Self:
        """Of a location with its credentials; `endpoint` where a phone reaches the server by another address
        than this machine. UsageError for a location that no phone can read."""
        if not location.url.startswith("s3://"):
            raise UsageError(
                f"the store {location.url} is a folder of this machine, which a phone cannot read: a view "
                "needs a bucket on an S3 server"
            )
        if location.access_key is None or location.secret_key is None:
            raise UsageError(
                "a view needs credentials of its own that may only read: give --credentials FILE"
            )
        region = location.region or "us-east-1"
        return cls(
            (endpoint or location.endpoint or f"https://s3.{region}.amazonaws.com").rstrip("/"),
            location.url.removeprefix("s3://").rstrip("/"),
            region,
            location.access_key,
            location.secret_key,
        )


@dataclass(frozen=True, slots=True)
class View:
    """A view that was made: its name, its grants, and what its page needs, which is secret."""

    name: str
    grants: tuple[GrantStatus, ...]
    document: Mapping[str, Any] = field(repr=False)

    def page(self, template: bytes) -> bytes:
        """The page as one HTML file, with all that it needs."""
        if template.count(PLACEHOLDER) != 1:
            raise GatewayError("the page of views was built by another version: build it again")
        # "<" could end the element that it stands in.
        return template.replace(PLACEHOLDER, _json(self.document).replace("<", "\\u003c").encode())

    def link(self, page: str) -> str:
        """The link to a page without data at the URL `page`. Behind `#` it has the document as JSON, in
        base64url (RFC 4648, section 5) without padding."""
        data = base64.urlsafe_b64encode(_json(self.document).encode()).rstrip(b"=")
        return f"{page.partition('#')[0]}#{data.decode()}"


@dataclass(frozen=True, slots=True)
class Listed:
    """The grants of one name, made as one view or, after a revocation, as several."""

    name: str
    grants: tuple[GrantStatus, ...]

    @property
    def open(self) -> bool:
        """Whether one of them is not revoked."""
        return any(one.revoked_from_ms is None for one in self.grants)


def template() -> bytes:
    """The page of views, with the placeholder for a view's document. UsageError where it was not built."""
    page = resources.files("gateway.household").joinpath("built", "view.html")
    if not page.is_file():
        raise UsageError("the page of views was not built: run provisioning/venv.sh household again")
    return page.read_bytes()


async def new_view(
    client: ControlClient,
    name: str,
    access: Access,
    *,
    zone: str,
    granularity: str = "15min",
    meters: Sequence[str] = (),
    lanes: Sequence[str] | None = None,
    from_ms: int = 0,
    until_ms: int | None = None,
    language: str | None = None,
) -> View:
    """Make a view of the sums at `meters`, or at all of them; `zone` and `language` are those in which its
    page shows them, without a language the browser's. Where a grant fails, those made before are revoked.

    UsageError for a name that is taken or cannot be, a meter that is not there, and what the gateway does not
    grant; Unavailable where it does not answer.
    """
    name = name.strip()
    if not name or not name.isprintable() or len(name.encode()) > _NAME_BYTES:
        raise UsageError(f"a view's name has 1 to {_NAME_BYTES} printable characters (bytes, in UTF-8)")
    if any(one.name == name and one.open for one in await views(client)):
        raise UsageError(
            f"there is a view called {name!r} already: choose another name, or revoke it first with "
            f"`gateway view revoke {name!r}`"
        )
    status = await client.status()
    identity, _, card = generate_identity(name, status.now_ms, VALIDITY_MS, "household")
    signer = bytes.fromhex(status.signer)
    made: list[GrantStatus] = []
    streams = []
    try:
        for meter in _chosen(status.meters, meters):
            grant = await grant_own(
                client,
                card,
                meter=meter,
                granularity=granularity,
                zone=zone if granularity.startswith(("day", "month")) else "UTC",
                lanes=lanes,
                purpose=PURPOSE + name,
                from_ms=from_ms,
                until_ms=until_ms,
            )
            made.append(grant)
            k_0 = await _first_key(client, grant, signer, identity)
            streams.append(
                {"s": grant.stream, "k": signer.hex(), "g": grant.id, "k0": k_0.hex(), "name": meter}
            )
    except BaseException:
        for one in made:
            with suppress(GatewayError):
                await client.revoke(one.id)
        raise
    document = {
        "v": _VERSION,
        "name": name,
        "zone": zone,
        **({} if language is None else {"lang": language}),
        "e": access.endpoint,
        "b": access.bucket,
        "r": access.region,
        "a": access.access_key,
        "s": access.secret_key,
        "streams": streams,
    }
    return View(name, tuple(made), document)


async def views(client: ControlClient) -> list[Listed]:
    """All views by name, revoked ones too. A view's grant that was found in the store, after the ledger was
    lost, counts here, so that it can be revoked."""
    found: dict[str, list[GrantStatus]] = {}
    for one in await client.grants():
        if not isinstance(one, GrantStatus) or not one.purpose.startswith(PURPOSE):
            continue
        if one.own or one.provider == one.provider_kid:
            found.setdefault(one.purpose.removeprefix(PURPOSE), []).append(one)
    return [Listed(name, tuple(grants)) for name, grants in sorted(found.items())]


async def revoke_view(client: ControlClient, name: str) -> tuple[GrantStatus, ...]:
    """Revoke the open grants of a view; UsageError where none of that name is open."""
    (grants,) = [one.grants for one in await views(client) if one.name == name and one.open] or [()]
    if not grants:
        raise UsageError(f"there is no open view called {name!r}: `gateway view list --all` shows all views")
    revoked = [await client.revoke(one.id) for one in grants if one.revoked_from_ms is None]
    return tuple(one for one in revoked if isinstance(one, GrantStatus))


async def check_credentials(bucket: Bucket, streams: Sequence[bytes]) -> None:
    """UsageError unless the credentials of `bucket` may list and get below the prefixes of these streams, and
    may not write. It tries to: the object that `gateway doctor` puts too."""
    try:
        for stream in streams:
            await first_key(bucket, names.stream_prefix(stream))
            with suppress(NotFound):  # it is on its way
                await bucket.get(names.descriptor(stream))
    except StoreDenied as error:
        raise UsageError(
            f"these credentials cannot read the view's streams: {error}. `gateway view policy` prints what "
            "to set"
        ) from None
    try:
        await bucket.put(names.PROBE, b"view", replace=True)
    except StoreDenied:
        return
    raise UsageError(
        "these credentials may write to the store, and whoever finds the phone would have them: make some "
        "that may only read, as `gateway view policy` prints"
    )


def policy(url: str, streams: Sequence[bytes]) -> dict[str, Any]:
    """The policy (IAM, "2012-10-17") of a user who may list and get below these streams' prefixes alone, in
    the bucket at s3://BUCKET or s3://BUCKET/PREFIX, as AWS and MinIO take it."""
    bucket, below = _prefixes(url, streams)
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{bucket}/{prefix}*" for prefix in below],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
                "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in below]}},
            },
        ],
    }


def seaweedfs_identity(url: str, streams: Sequence[bytes]) -> dict[str, Any]:
    """The same as an identity in SeaweedFS's s3.json. Without the path in its actions it would show every key
    of the bucket; a list needs a prefix that ends with a slash, as all of a view's do."""
    bucket, below = _prefixes(url, streams)
    return {
        "name": "view",
        "credentials": [{"accessKey": "ACCESS_KEY_ID", "secretKey": "SECRET_ACCESS_KEY"}],
        "actions": [f"{action}:{bucket}/{prefix}*" for prefix in below for action in ("Read", "List")],
    }


def _prefixes(url: str, streams: Sequence[bytes]) -> tuple[str, list[str]]:
    bucket, _, root = url.removeprefix("s3://").rstrip("/").partition("/")
    return bucket, [f"{root}/{names.stream_prefix(one)}".lstrip("/") for one in streams]


def _chosen(known: Sequence[MeterStatus], wanted: Sequence[str]) -> list[str]:
    """The names of the meters that a view shows; by default of all that have a stream, and no series."""
    begun = {one.meter for one in known if one.stream is not None}
    if not wanted:
        wanted = [one.meter for one in known if one.meter in begun and not one.series]
        if not wanted:
            raise Unavailable("no stream has begun yet; `gateway status` says when it begins")
    for name in wanted:
        if name not in begun:
            raise UsageError(
                f"meter {name!r} has no stream; meters and series with a stream: {', '.join(sorted(begun))}"
            )
    return list(dict.fromkeys(wanted))


async def _first_key(client: ControlClient, grant: GrantStatus, signer: bytes, identity: Identity) -> bytes:
    """K_0 of a grant that was just made, from its signed object."""
    ids = [bytes.fromhex(grant.id)]
    bucket = ControlBucket(client)
    reader = await StreamReader.open(bucket, bytes.fromhex(grant.stream), signer, grants=ids)
    (held,) = await own_grants(reader, identity, only=ids)
    return held.k_0


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
