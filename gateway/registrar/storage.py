"""Storage credentials that reach what their holder may touch: policies, and the sessions that carry them.

A policy is a document of IAM's policy language, of which this uses what Amazon S3, MinIO and SeaweedFS all
support: Allow, patterns with `*` and `?`, and conditions on s3:prefix. What is not allowed is denied.

A gateway may put and get objects below its streams' prefixes and list them. It may not delete, but it can
replace an object of its own stream: in these policies a second put is as good as a first. A store that must
keep every version wants versioning or object lock.

A provider may read streams that granted it something, but for others' grants, whose ids it does not even see.
So it must know its own grants' ids: `StreamReader.open(..., grants=ids)`.

A provider may put price series below its own kid, and read those; a gateway may read and list those of all
providers, and put none.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from gateway.errors import GatewayError, StoreDenied, UsageError
from gateway.store.calls import Calls
from gateway.store.credentials import Credentials
from gateway.store.location import Location
from gateway.store.s3_errors import code_of, explain, is_denied
from gateway.store.s3_session import session
from gateway.store.s3_trust import authorities
from gateway.store.s3_wire import make_breakable
from gateway.wire import names

MOST_POLICY = 2048
"""Characters of a session's policy: "AssumeRole" in the AWS STS API reference. MinIO and SeaweedFS agree."""
LEAST_S, MOST_S = 900, 43_200
"""Seconds that a session may last, by the same page. No session can be ended before."""

_AT_ONCE = 8
_CONNECT_S, _READ_S = 3, 10

Policy = dict[str, Any]
"""A document of IAM's policy language, as JSON's objects."""
Granted = Mapping[bytes, Collection[bytes]]
"""Streams, and of each the ids of the grants that somebody holds."""


def gateway_policy(bucket: str, root_prefix: str, streams: Collection[bytes]) -> Policy:
    """What a gateway may do with its streams, and with the one small object that `gateway doctor` puts.

    `root_prefix` is what follows the bucket in the store's url: "" or "homes/north".
    """
    return _document(_gateway(bucket, _root(root_prefix), streams))


def provider_policy(bucket: str, root_prefix: str, granted: Granted, kid: bytes) -> Policy:
    """What the provider with this kid may do with streams that granted it something, and with its own prices;
    streams of which `granted` has no grant are left out, and with none left this is a UsageError.
    `root_prefix` is as for `gateway_policy`."""
    if not any(granted.values()):
        raise UsageError("none of these streams granted anything: there is nothing to allow")
    return _document(_provider(bucket, _root(root_prefix), granted, kid))


def bucket_policy(
    bucket: str,
    root_prefix: str,
    gateways: Mapping[str, Collection[bytes]],
    providers: Mapping[str, tuple[bytes, Granted]],
) -> Policy:
    """The same for a store without sessions: a policy of the bucket that names each gateway's and provider's
    user by its ARN, such as "arn:aws:iam::123456789012:user/meter-17"; of a provider with its kid. Amazon
    takes 20 480 characters of it; MinIO does not apply it to its users, and has sessions."""
    root = _root(root_prefix)
    return _document(
        {**statement, "Principal": {"AWS": [user]}}
        for users in (
            {user: _gateway(bucket, root, streams) for user, streams in gateways.items()},
            {user: _provider(bucket, root, granted, kid) for user, (kid, granted) in providers.items()},
        )
        for user, statements in users.items()
        for statement in statements
    )


def batches(granted: Granted, policy: Callable[[dict[bytes, list[bytes]]], Policy]) -> list[Granted]:
    """The streams in parts whose `policy` fits in a session's: `partial(provider_policy, bucket, root,
    kid=kid)`, or the same of `gateway_policy`. A stream of which somebody holds more grants than fit is in
    several parts, each with some of its grants."""
    parts: list[dict[bytes, list[bytes]]] = []

    def fits(part: dict[bytes, list[bytes]]) -> bool:
        return len(written(policy(part))) <= MOST_POLICY

    for stream, ids in granted.items():
        if parts and fits(parts[-1] | {stream: list(ids)}):
            parts[-1][stream] = list(ids)
            continue
        parts.append({stream: []})
        for grant in ids:
            if parts[-1][stream] and not fits({stream: [*parts[-1][stream], grant]}):
                parts.append({stream: []})
            parts[-1][stream].append(grant)
    return list(parts)


def written(policy: Policy) -> str:
    """A policy as it is sent: JSON without spaces."""
    return json.dumps(policy, separators=(",", ":"))


class SessionIssuer:
    """Has the store's STS make sessions. `location` is the store, with the operator's keys; `role` the ARN of
    a role that may do what the policies allow. MinIO has no roles, and takes any."""

    def __init__(self, location: Location, role: str) -> None:
        self._location = location
        self._role = role
        self._where = f"the store's STS at {location.endpoint or 'the default endpoint'}"
        self._calls = Calls(_AT_ONCE, self._where)
        self._made = threading.Lock()
        self._client_or_none: Any = None
        self._confined = False

    async def assume(self, policy: Policy, duration_s: int, name: str = "gateway") -> Credentials:
        """Credentials for a session that may do what `policy` allows, for `duration_s` seconds. `name`, 2 to
        64 letters, digits and -, is what the store's log calls the session.

        UsageError for a policy or a duration that no STS takes; StoreUnavailable; StoreDenied where the store
        has no STS, does not let these keys assume the role, or lets a session shed its policy.
        """
        text = written(policy)
        if len(text) > MOST_POLICY:
            raise UsageError(
                f"the policy has {len(text)} characters, and a session's may have {MOST_POLICY}: name fewer"
                " streams"
            )
        if not LEAST_S <= duration_s <= MOST_S:
            raise UsageError(f"a session cannot last {duration_s} s: it lasts {LEAST_S} to {MOST_S} s")
        what = f"assuming the role {self._role}"
        given = await self._calls.run(partial(self._assume, name, duration_s, text), what)
        if not self._confined:
            if await self._calls.run(partial(self._sheds, given), what):
                raise StoreDenied(
                    f"{self._where} lets a session assume the role {self._role} again, without a policy: let"
                    " the role's trust policy name the registrar's own user alone"
                )
            self._confined = True
        return given

    async def aclose(self) -> None:
        """Let the calls under way end."""
        await self._calls.aclose()
        if self._client_or_none is not None:
            self._client_or_none.close()

    def _assume(self, name: str, duration_s: int, policy: str) -> Credentials:
        place = self._location
        with self._made:
            if self._client_or_none is None:
                own = None
                if place.access_key is not None and place.secret_key is not None:
                    own = Credentials(place.access_key, place.secret_key, place.session_token)
                self._client_or_none = self._client(own)
        try:
            given = self._client_or_none.assume_role(
                RoleArn=self._role, RoleSessionName=name, DurationSeconds=duration_s, Policy=policy
            )["Credentials"]
            return Credentials(
                given["AccessKeyId"],
                given["SecretAccessKey"],
                given["SessionToken"],
                round(given["Expiration"].timestamp() * 1000),
            )
        except Exception as error:  # what a hostile answer makes boto3 raise has no common base
            raise self._explain(error) from None

    def _sheds(self, given: Credentials) -> bool:
        """Whether a session can be exchanged for one without a policy, as Amazon and SeaweedFS do where the
        role's trust policy names everybody."""
        with closing(self._client(given)) as client:
            try:
                client.assume_role(RoleArn=self._role, RoleSessionName="gateway", DurationSeconds=LEAST_S)
            except Exception as error:
                explained = self._explain(error)
                if isinstance(explained, StoreDenied):
                    return False
                raise explained from None
        return True

    def _client(self, keys: Credentials | None) -> Any:
        """A client that signs with these keys; None: with those that boto3 finds."""
        from botocore.config import Config  # noqa: PLC0415 - it takes long to load

        place = self._location
        client = session().client(
            "sts",
            endpoint_url=place.endpoint,
            region_name=place.region or "us-east-1",
            aws_access_key_id=None if keys is None else keys.access_key,
            aws_secret_access_key=None if keys is None else keys.secret_key,
            aws_session_token=None if keys is None else keys.session_token,
            verify=authorities(place),
            config=Config(
                connect_timeout=_CONNECT_S,
                read_timeout=_READ_S,
                max_pool_connections=_AT_ONCE,
                retries={"mode": "standard"},
                proxies={"http": place.proxy, "https": place.proxy} if place.proxy else None,
            ),
        )
        make_breakable(client._endpoint.http_session)
        return client

    def _explain(self, error: Exception) -> GatewayError:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        if isinstance(error, ClientError) and is_denied(error):
            return StoreDenied(
                f"{self._where} refuses: these keys may not assume the role {self._role}; set the role up,"
                " with their user in its trust policy"
            )
        if isinstance(error, ClientError) and code_of(error) in _NO_STS:
            return StoreDenied(
                f"{self._where} does not serve AssumeRole ({code_of(error)}): turn its STS on, or give its"
                " users a policy of the bucket, as `gateway registrar policy` writes it"
            )
        return explain(error, self._where, self._location.advice)


_NO_STS = frozenset({"NotImplemented", "MethodNotAllowed", "InvalidAction", "404", "405"})
"""How servers of S3 alone answer; SeaweedFS without roles says AccessDenied."""


def _document(statements: Iterator[Policy]) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _root(prefix: str) -> str:
    return f"{prefix}/" if prefix else ""


def _gateway(bucket: str, root: str, streams: Collection[bytes]) -> Iterator[Policy]:
    below = [f"{root}{names.stream_prefix(stream)}*" for stream in streams] + [root + names.PROBE]
    prices = f"{root}{names.PRICES}*"
    yield _objects(bucket, ["s3:GetObject", "s3:PutObject"], below)
    yield _objects(bucket, "s3:GetObject", [prices])
    yield _lists(bucket, [*below, prices])


def _provider(bucket: str, root: str, granted: Granted, kid: bytes) -> Iterator[Policy]:
    prices = f"{root}{names.prices(kid)}*"
    streams = [stream for stream, ids in granted.items() if ids]
    grants = [f"{root}{names.grants(one)}{grant.hex()}/*" for one in streams for grant in granted[one]]
    # Of the keys below a stream, the descriptor's begins with s and the head's with h, those of chunks and
    # pages have a date with hyphens, and those of grants do neither. Short, as a session's policy must be.
    read = [f"{root}{names.stream_prefix(one)}{rest}" for one in streams for rest in ("s*", "h*", "*-*")]
    below = [f"{root}{names.stream_prefix(stream)}?*" for stream in streams]
    if streams:
        yield _objects(bucket, "s3:GetObject", read + grants)
        # Lists of chunks and pages, and none that begins as those of grants do.
        yield _lists(bucket, below, but=f"{root}v1/*/g*")
    yield _lists(bucket, [*grants, prices])
    yield _objects(bucket, ["s3:GetObject", "s3:PutObject"], [prices])


def _objects(bucket: str, actions: str | list[str], keys: list[str]) -> Policy:
    return {
        "Effect": "Allow",
        "Action": actions,
        "Resource": [f"arn:aws:s3:::{bucket}/{key}" for key in keys],
    }


def _lists(bucket: str, prefixes: list[str], but: str | None = None) -> Policy:
    condition: Policy = {"StringLike": {"s3:prefix": prefixes}}
    if but is not None:
        condition["StringNotLike"] = {"s3:prefix": but}
    return {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": f"arn:aws:s3:::{bucket}",
        "Condition": condition,
    }
