"""A bucket on an S3 server, a few requests at a time.

Objects and lists are asked for by `s3_get` where that serves; puts, deletes, and whatever goes otherwise than
well, go through one client of boto3, made at first need.

A key that is written once is put conditionally (If-None-Match: *), so that one of several writers wins. Some
servers say that they do not support the condition (501), and some ignore it. So the first such object is
looked for, and put twice: a server that takes it twice ignores the condition. With either kind, the bucket
looks before each put from then on, which leaves a gap between the two.

Keys must be listed in the order of their bytes, as S3 promises. SeaweedFS lists folder by folder, which
differs only where a folder's name begins a neighbour's that continues with '-' or '.' (`a/` and `a.cose`); no
two keys of PROTOCOL.md do that. A list found to be out of order is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from botocore.exceptions import ClientError

from gateway.errors import (
    GatewayError,
    KeyTaken,
    NotFound,
    Refused,
    StoreDenied,
    StoreUnavailable,
    Unavailable,
)
from gateway.store.bucket import check_key, check_size, deadline_s, is_key
from gateway.store.calls import Calls, moved
from gateway.store.credentials import Credentials, CredentialsSource
from gateway.store.location import Location
from gateway.store.s3_errors import (
    KeysRefused,
    RightLacks,
    code_of,
    explain,
    is_denied,
    lacking,
    status_of,
)
from gateway.store.s3_get import Keys, Page, PlainGets
from gateway.store.s3_session import session
from gateway.store.s3_trust import authorities
from gateway.store.s3_wire import make_breakable

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_AT_ONCE = 8
_PART = 1 << 14  # at the least rate it takes 4 s
_LIST_BYTES = 1 << 18  # a thousand names, as long as a gateway's
_CONNECT_S = 3
_READ_S = 10  # of silence; with boto3's three attempts after the plain one a hanging server costs 40 s

_EMPTY_PAGES = 100  # in a row

T = TypeVar("T")


class _Start(TypedDict, total=False):
    """Where a list begins."""

    StartAfter: str
    ContinuationToken: str


class S3Bucket:
    """`Bucket` on an S3 server."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._name, slash, prefix = location.url.removeprefix("s3://").partition("/")
        self._root = prefix + slash
        self._calls = Calls(_AT_ONCE, self._where)
        self._made = threading.Lock()
        self._client_or_none: S3Client | None = None
        # Its `of_call` are the keys that the location's source gave for the call of this thread.
        self._keys = threading.local()
        self._settled: set[Credentials] = set()  # those of it that a denial is not the fault of
        self._sign = None if location.credentials is None else self._present
        self._plain = PlainGets.of(location, (_CONNECT_S, _READ_S), _AT_ONCE, self._sign)
        self._conditional: bool | None = None  # whether the server minds If-None-Match; None: not known yet

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        check_key(key)
        # The first object that is written once is put up to three times: see `_put_if_absent`.
        await self._run(key, partial(self._put, key, data, replace), f"putting {key!r}", 3 * len(data))

    async def get(self, key: str) -> bytes:
        check_key(key)
        return await self._run(key, partial(self._get, key), f"getting {key!r}")

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        last, more = _shortly_before(self._root + after) if after else "", True
        while more:
            page = partial(self._page, prefix=prefix, last=last)
            names, more = await self._run(prefix, page, f"listing {prefix!r}", _LIST_BYTES)
            for last in names:
                key = last.removeprefix(self._root)
                if is_key(key) and key > after:
                    yield key

    async def delete(self, key: str) -> None:
        check_key(key)
        await self._run(key, partial(self._delete, key), f"deleting {key!r}")

    async def keeps_first(self, key: str, data: bytes) -> bool:
        """Put `data` twice, whatever is there: whether the server itself refuses the second put of a key that
        is written once. With one that does not, of two writers at the same time the last one wins."""
        check_key(key)
        return await self._run(key, partial(self._keeps_first, key, data), f"putting {key!r}", 2 * len(data))

    async def let_browsers_in(self, rule: Mapping[str, object]) -> bool:
        """Add a rule of cross-origin requests (CORS) to the bucket's, in place of one with the same ID; False
        where the server keeps none for a bucket."""
        return await self._run("", partial(self._let_browsers_in, rule), "setting the rules of browsers")

    async def aclose(self) -> None:
        await self._calls.aclose()
        if self._client_or_none is not None:
            self._client_or_none.close()
        if self._plain is not None:
            self._plain.close()

    @property
    def _where(self) -> str:
        return f"the store {self._location.url} at {self._location.endpoint or 'the default endpoint'}"

    async def _run(self, key: str, call: Callable[[], T], what: str, size: int = 0) -> T:
        """Make `call`, about what is at `key` or begins so, on a thread. It is signed with the credentials
        that the location's source, if it has one, gives for it. Where the store refuses them, the source is
        asked for others, and `call` made again, once."""
        source = self._location.credentials
        if source is None:
            return await self._call(call, what, size)
        used = await self._ask(source, key)
        try:
            return await self._call(call, what, size, used)
        except KeysRefused as error:
            if isinstance(error, RightLacks) and used in self._settled:
                raise
            try:
                others = await self._ask(source, key, refused=used)
            except StoreUnavailable as none:
                raise StoreDenied(f"{error}; {none}") from None
            self._settled.discard(used)
            if others == used:
                self._settled.add(used)
                raise
        try:
            return await self._call(call, what, size, others)
        except RightLacks:
            self._settled.add(others)
            raise

    async def _ask(
        self, source: CredentialsSource, key: str, refused: Credentials | None = None
    ) -> Credentials:
        """What the source gives; StoreUnavailable where it has nothing to give."""
        try:
            async with asyncio.timeout(deadline_s(0)):
                return await source.present(key, refused)
        except TimeoutError:
            raise StoreUnavailable(
                f"{self._where} cannot be used now: its credentials were not there in {deadline_s(0):.0f} s"
            ) from None
        except StoreDenied:
            raise
        except Unavailable as error:
            raise StoreUnavailable(f"{self._where} cannot be used now: {error}") from None

    def _present(self) -> Keys:
        """The keys to sign this thread's request with, where the location has a source of them."""
        keys: Keys = self._keys.of_call
        return keys

    async def _call(
        self, call: Callable[[], T], what: str, size: int, credentials: Credentials | None = None
    ) -> T:
        """Make `call` on a thread of its own, and turn boto3's errors into this project's."""

        def work() -> T:
            if credentials is not None:
                self._keys.of_call = Keys.of(credentials)
            try:
                return call()
            except GatewayError:
                raise
            except Exception as error:  # what a hostile answer makes boto3 raise has no common base
                failed = explain(error, self._where, self._location.advice)
            # Outside, so that it does not keep botocore's: that holds the request, and with it its signature,
            # and an answer with its connection.
            raise failed

        return await self._calls.run(work, what, size)

    def _client(self) -> S3Client:
        """boto3's client, made at first use: that reads files."""
        with self._made:
            if self._client_or_none is None:
                from botocore.config import Config  # noqa: PLC0415 - most reads do without it

                place = self._location
                self._client_or_none = client = session(self._sign).client(
                    "s3",
                    endpoint_url=place.endpoint,
                    region_name=place.region,
                    aws_access_key_id=place.access_key,
                    aws_secret_access_key=place.secret_key,
                    aws_session_token=place.session_token,
                    verify=authorities(place),
                    config=Config(
                        connect_timeout=_CONNECT_S,
                        read_timeout=_READ_S,
                        max_pool_connections=_AT_ONCE,
                        retries={"mode": "standard"},
                        proxies={"http": place.proxy, "https": place.proxy} if place.proxy else None,
                        s3={
                            "addressing_style": place.addressing or ("path" if place.endpoint else "auto"),
                            "payload_signing_enabled": True,  # which a Content-MD5 would else turn off
                        },
                        request_checksum_calculation=place.checksums,
                        response_checksum_validation=place.checksums,
                    ),
                )
                # Redirected without a region's name, boto3 would ask for it so, and be redirected again.
                client.meta.events.register("before-call.s3.HeadBucket", _unasked)
                make_breakable(client._endpoint.http_session)  # type: ignore[attr-defined]
            return self._client_or_none

    def _put(self, key: str, data: bytes, replace: bool) -> None:
        if not replace:
            if not self._conditional and self._holds(key, data):
                return
            if self._conditional is not False and self._put_if_absent(key, data):
                return
        self._send(key, data)

    def _keeps_first(self, key: str, data: bytes) -> bool:
        self._send(key, data)
        return self._refuses(key, data)

    def _refuses(self, key: str, data: bytes) -> bool:
        """Whether the server refuses, on the condition that nothing is there, to put what it holds."""
        try:
            self._send(key, data, if_absent=True)
        except ClientError as error:
            if status_of(error) == 412:
                return True
            if not _not_implemented(error):
                raise
        return False

    def _put_if_absent(self, key: str, data: bytes) -> bool:
        """Put on the condition that nothing is there; False if the server does not support conditions."""
        try:
            self._send(key, data, if_absent=True)
            if self._conditional is None:
                self._conditional = self._refuses(key, data)
        except ClientError as error:
            if _not_implemented(error):
                self._conditional = False
                return False
            # 412: something is there. 409: another put of this key is under way.
            if status_of(error) not in (409, 412):
                raise
            if status_of(error) == 412:
                self._conditional = True
            if not self._holds(key, data):
                raise StoreUnavailable(f"{self._where} has other writers at {key!r}; try again") from None
        return True

    def _send(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Put, if wanted on the condition that nothing is there."""
        # A bucket with object lock asks for this, or for one of the newer checksums.
        md5 = b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        put = partial(self._client().put_object, Bucket=self._name, Key=self._root + key, Body=data)
        self._must_have(put(ContentMD5=md5, IfNoneMatch="*") if if_absent else put(ContentMD5=md5), "ETag")

    def _holds(self, key: str, data: bytes) -> bool:
        """Whether `data` is under `key`; False where nothing is, KeyTaken where something else is."""
        try:
            same = self._get(key) == data
        except NotFound:
            return False
        except Refused:  # far longer than `data`
            same = False
        if not same:
            raise KeyTaken(f"{self._where} already holds other bytes under {key!r}, which is written once")
        return True

    def _get(self, key: str) -> bytes:
        try:
            data = None if self._plain is None else self._plain.get(self._root + key)
        except NotFound:
            raise NotFound(f"{self._where} has no {key!r}") from None
        return self._get_through_boto3(key) if data is None else data

    def _get_through_boto3(self, key: str) -> bytes:
        try:
            answer = self._client().get_object(Bucket=self._name, Key=self._root + key)
        except ClientError as error:
            if code_of(error) == "NoSuchKey":  # a 404 without it is some other server's
                raise NotFound(f"{self._where} has no {key!r}") from None
            if is_denied(error) and not self._may_list(key):
                raise lacking(
                    f"s3:ListBucket, without which the server does not say whether {key!r} is there, or"
                    " s3:GetObject",
                    self._where,
                ) from None
            raise
        with closing(answer["Body"]) as body:
            self._must_have(answer, "ETag")
            parts = bytearray()
            while part := body.read(_PART):  # to the end, where a truncated body shows
                moved(len(part))
                parts += part
                check_size(len(parts), key)
        return bytes(parts)

    def _may_list(self, key: str) -> bool:
        """Whether the credentials have the right to list, without which S3 says of what is absent, too, that
        it may not be read."""
        try:
            self._client().list_objects_v2(Bucket=self._name, Prefix=self._root + key, MaxKeys=1)
        except ClientError as error:
            return not is_denied(error)
        return True

    def _delete(self, key: str) -> None:
        self._client().delete_object(Bucket=self._name, Key=self._root + key)

    def _let_browsers_in(self, rule: Mapping[str, object]) -> bool:
        try:
            rules: list[Any] = self._client().get_bucket_cors(Bucket=self._name)["CORSRules"]
        except ClientError as error:
            if _not_implemented(error):
                return False
            if code_of(error) != "NoSuchCORSConfiguration":
                raise
            rules = []
        rules = [*(one for one in rules if one.get("ID") != rule["ID"]), rule]
        try:
            self._client().put_bucket_cors(Bucket=self._name, CORSConfiguration={"CORSRules": rules})
        except ClientError as error:
            if _not_implemented(error):
                return False
            raise
        return True

    def _page(self, prefix: str, last: str) -> Page:
        """A page's object names strictly after `last`, and whether there are more."""
        page = None if self._plain is None else self._plain.page(self._root + prefix, last)
        names, more = self._page_through_boto3(prefix, last) if page is None else page
        if more and not names and page is not None:
            names, more = self._page_through_boto3(prefix, last)
        if names[:1] == [last]:  # RustFS begins with the name after which it is asked to list
            names = names[1:]
        for before, name in pairwise([last, *names]):
            if name <= before:
                raise StoreUnavailable(
                    f"{self._where} does not list its keys in the order of their bytes: {name!r} came after"
                    f" {before!r}"
                )
        if more and not names:
            raise StoreUnavailable(f"{self._where} says that a list continues, but sends no more of it")
        return names, more

    def _page_through_boto3(self, prefix: str, last: str) -> Page:
        """As `_page`. Servers may send empty pages, each with a token that leads to the next one."""
        start: _Start = {"StartAfter": last}
        for _ in range(_EMPTY_PAGES):
            answer = self._client().list_objects_v2(Bucket=self._name, Prefix=self._root + prefix, **start)
            self._must_have(answer, "IsTruncated")
            names, more = [entry["Key"] for entry in answer.get("Contents", [])], answer["IsTruncated"]
            if names or not more or not (token := answer.get("NextContinuationToken")):
                break
            start = {"ContinuationToken": token}
        return names, more

    def _must_have(self, answer: Mapping[str, object], field: str) -> None:
        """StoreUnavailable for a success that no S3 server sent: a captive portal says 200 to everything."""
        if field not in answer:
            raise StoreUnavailable(
                f"{self._where} cannot be used now: something that is not an S3 server answers for it"
            )


def _unasked(**_: object) -> Any:
    """An answer that names no region, for what boto3 does not need to ask."""
    return SimpleNamespace(status_code=404), {"ResponseMetadata": {"HTTPHeaders": {}}}


def _not_implemented(error: ClientError) -> bool:
    """Whether the server says that it does not support what was asked, such as If-None-Match."""
    return status_of(error) == 501 or code_of(error) == "NotImplemented"


def _shortly_before(after: str) -> str:
    """The name after which a server lists, so that nothing after `after` is left out: SeaweedFS, asked for
    what comes after a folder's name, skips the folder."""
    start = after.rstrip("/")[:-1]
    while start.endswith("/"):
        start = start.rstrip("/")[:-1]
    return start
