"""The provider's side against real S3 servers: listing, steps over grants, and an outage."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import pytest

from gateway.errors import StoreUnavailable
from gateway.provider.query import Query
from gateway.provider.sums import Sums
from gateway.store.bucket import Bucket
from gateway.store.opening import open_bucket
from gateway.stream.reader import StreamReader
from gateway.stream.verify import verify
from tests.provider.reading import DAY_MS, Answer, expected
from tests.stream.stream import START, Home, Provider, random_readings
from tests.support.servers import S3Server


@pytest.fixture(params=["seaweedfs", "minio"])
def server(request: pytest.FixtureRequest) -> S3Server:
    running: S3Server = request.getfixturevalue(request.param)
    return running


@pytest.fixture
async def bucket(server: S3Server) -> AsyncIterator[Bucket]:
    opened = open_bucket(server.location(secrets.token_hex(8)))
    yield opened
    await opened.aclose()


async def put(home: Home, bucket: Bucket) -> None:
    for key, data in home.objects.items():
        await bucket.put(key, data, replace=True)


async def read(home: Home, bucket: Bucket, provider: Provider, query: Query) -> Answer:
    reader = await StreamReader.open(bucket, home.id, home.signer.kid)
    await reader.refresh(time.time_ns() // 1_000_000, DAY_MS)
    sums = await Sums.ask(reader, provider.identity, query)
    return Answer(sums, [row async for row in sums.rows()])


async def test_the_main_job(bucket: Bucket, server: S3Server, provider: Provider) -> None:
    home = Home()
    home.seal(random_readings(400))
    home.grant(provider.card, "10s", bundle=1)
    home.grant(provider.card, "1min", ("import",))
    home.revoke(home.grant(provider.card, "30s", ("export",)))
    await put(home, bucket)

    for query, rows in (
        (Query(), 40),
        (Query("1min"), 6),
        (Query("10s", ("export",), (START + 203) * 1000), 19),
    ):
        answer = await read(home, bucket, provider, query)
        assert len(answer.rows) == rows
        expected(home, answer)

    found: list[str] = []
    await bucket.delete(home.chunks[5])
    await bucket.put(home.chunks[8], b"other bytes", replace=True)
    await bucket.put(home.chunks[2], home.objects[home.chunks[3]], replace=True)
    tally = await verify(
        bucket, home.id, home.signer.kid, None, lambda problem: found.append(problem.key), lambda _: None
    )
    assert found == [home.chunks[2], home.chunks[5], home.chunks[8]]
    assert (tally.problems, tally.grants) == (3, 3)


async def test_a_server_that_is_away_is_not_a_bad_store(server: S3Server, provider: Provider) -> None:
    home = Home()
    home.seal(random_readings(60))
    bucket = open_bucket(server.location(secrets.token_hex(8)))
    try:
        await put(home, bucket)
        await asyncio.to_thread(server.stop)
        try:
            with pytest.raises(StoreUnavailable):
                await verify(bucket, home.id, home.signer.kid, None, lambda _: None, lambda _: None)
        finally:
            await asyncio.to_thread(server.start)
        tally = await verify(bucket, home.id, home.signer.kid, None, lambda _: None, lambda _: None)
        assert (tally.chunks, tally.problems) == (2, 0)
    finally:
        await bucket.aclose()
