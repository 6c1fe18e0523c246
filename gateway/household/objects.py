"""The bucket as the household reads it: through the gateway's control socket, without storage credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.control.client import ControlClient
from gateway.errors import StoreDenied, StoreUnavailable, Unavailable
from gateway.store.bucket import check_key


class ControlBucket:
    """`Bucket` of the gateway's own streams and of price series, to be read only. The gateway answers with
    what lies in its store, and with what is on its way there. UsageError for a key of anything else."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    async def put(self, key: str, data: bytes, *, replace: bool = False) -> None:
        raise StoreDenied(f"{key!r} cannot be stored: the household only reads the gateway's objects")

    async def get(self, key: str) -> bytes:
        check_key(key)
        try:
            return await self._client.get_object(key)
        except Unavailable as error:
            raise StoreUnavailable(str(error)) from None

    async def list(self, prefix: str, after: str = "") -> AsyncIterator[str]:
        more = True
        while more:
            try:
                answer = await self._client.list_objects(prefix, after)
            except Unavailable as error:
                raise StoreUnavailable(str(error)) from None
            for one in answer.objects:
                yield one.key
                after = one.key
            more = answer.more

    async def delete(self, key: str) -> None:
        raise StoreDenied(f"{key!r} cannot be removed: the household only reads the gateway's objects")

    async def aclose(self) -> None:
        pass
