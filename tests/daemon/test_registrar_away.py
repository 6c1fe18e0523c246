"""A gateway whose store's credentials come from a registrar that is away for a week.

On a real S3 server, with sessions of a real STS; only time is driven.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.chain.layout import Layout
from gateway.control.documents import RegistrationOrder
from gateway.daemon.registration import Registration
from gateway.errors import Unavailable
from gateway.registrar.server import serving
from gateway.registrar.settings import ListenSection, StoreSection
from gateway.store.bucket import Bucket
from gateway.store.credentials import Credentials
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from gateway.wire import names
from tests.support.clock import FakeClock
from tests.support.faulty import FaultyBucket
from tests.support.home import LINK_UNITS, Home
from tests.support.registrar import open_new, settings
from tests.support.servers import BUCKET, ROLE, S3Server

PASSWORD = "correct horse"
WEEK_S = 7 * 86_400


class Source:
    """The registration of a home's gateway, once the home has begun."""

    registration: Registration | None = None

    async def present(self, key: str, refused: Credentials | None = None) -> Credentials:
        assert self.registration is not None
        return await self.registration.present(key, refused)


@asynccontextmanager
async def opened(location: Location) -> AsyncIterator[Bucket]:
    bucket = open_bucket(location)
    try:
        yield bucket
    finally:
        await bucket.aclose()


def now(home: Home) -> FakeClock:
    """A clock of the registrar's own that shows the home's time: a test waits for sleepers on the home's."""
    return FakeClock(home.clock.wall() / 1e9)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_over_a_week_without_the_registrar_nothing_is_lost(tmp_path: Path, seaweedfs: S3Server) -> None:
    url = f"s3://{BUCKET}/away/{secrets.token_hex(6)}"
    keys = tmp_path / "s3"
    keys.touch(mode=0o600)
    keys.write_text(f"access_key_id={seaweedfs.access_key}\nsecret_access_key={seaweedfs.secret_key}\n")
    chosen = settings(tmp_path / "registrar").model_copy(
        update={
            "listen": ListenSection(port=free_port()),
            "store": StoreSection(
                url=url, endpoint=seaweedfs.endpoint, region="us-east-1", credentials=keys, role=ROLE
            ),
        }
    )
    source = Source()
    home = Home(
        tmp_path / "home", layout=Layout(60_000, LINK_UNITS), chunk_units=LINK_UNITS, start_s=time.time() // 1
    )
    location = Location.parse(url, seaweedfs.endpoint, "us-east-1", credentials=source)
    async with opened(location) as bucket:
        home.bucket = FaultyBucket(bucket)
        async with home:
            await home.runs(2 * LINK_UNITS)
            source.registration = registration = Registration(home.state, home.root, home.ledger, home.clock)
            async with open_new(chosen, now(home)) as registrar, serving(registrar) as address:
                await registrar.accounts.add("mueller", "household", PASSWORD)
                with pytest.raises(Unavailable, match="is not registered yet"):
                    await registration.present("v1/")
                await registration.register(
                    RegistrationOrder(
                        url=address,
                        user="mueller",
                        password=PASSWORD,
                        registrar_kid=registrar.identity.card.kid.hex(),
                        name="gateway",
                    )
                )
                await home.publish()
                assert await home.ledger.backlog() == 0, home.publisher.fault
                stream = await home.stream()
                given = await registration.present(names.head(stream.id))

            # The registrar is away. What was given lasts for hours; then what is sealed waits.
            await home.runs(LINK_UNITS)
            await home.publish()
            assert await home.ledger.backlog() == 0
            for _ in range(7):
                home.reads(WEEK_S / 7)
                await home.runs(5)
                await home.commit()
                await home.publish()
            waiting = await home.ledger.backlog()
            assert waiting > 7
            assert home.publisher.fault is not None
            with pytest.raises(Unavailable, match="does not answer"):
                await registration.present(names.head(stream.id))
            status = registration.status()
            assert status is not None
            assert "does not answer" in (status.error or "")

            # It is back: without a word from anybody, all that waited is sent.
            async with open_new(chosen, now(home)) as registrar, serving(registrar):
                for _ in range(60):
                    home.clock.pass_s(600)
                    await home.publish()
                    if not await home.ledger.backlog():
                        break
                assert await home.ledger.backlog() == 0, home.publisher.fault
                assert (await registration.present(names.head(stream.id))) != given
                assert registration.status().error is None  # type: ignore[union-attr]
                await home.runs(LINK_UNITS)
                await home.publish()
                await home.check_energy()
