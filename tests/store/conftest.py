"""Buckets of each kind, every test with a folder of its own in them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store.bucket import Bucket
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from tests.support.servers import S3Server


@pytest.fixture(params=["seaweedfs", "minio"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each real S3 server."""
    running: S3Server = request.getfixturevalue(request.param)
    return running


@pytest.fixture(params=["directory", "seaweedfs", "minio"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Each kind of place where a bucket can be, with nothing in it."""
    if request.param == "directory":
        return Location.parse(str(tmp_path))
    running: S3Server = request.getfixturevalue(request.param)
    return running.location(secrets.token_hex(8))


@pytest.fixture
async def bucket(location: Location) -> AsyncIterator[Bucket]:
    opened = open_bucket(location)
    yield opened
    await opened.aclose()
