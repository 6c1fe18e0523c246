"""Fixtures of the registrar's tests; each that uses a database runs on SQLite and on MariaDB."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.registrar.service import Registrar
from tests.store.conftest import server
from tests.stream.conftest import provider
from tests.support.clock import FakeClock
from tests.support.registrar import open_new, settings
from tests.trust.conftest import tpm

__all__ = ["provider", "server", "tpm"]


@pytest.fixture(params=["sqlite", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "mariadb":
        url: str = request.getfixturevalue("mariadb").new_database()
        return url
    return f"sqlite+aiosqlite:///{tmp_path / 'registrar.sqlite'}"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()


@pytest.fixture
async def registrar(database_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Registrar]:
    """A new registrar that registers software roots too."""
    async with open_new(settings(tmp_path / "state", database_url), clock) as one:
        yield one
