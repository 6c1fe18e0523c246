"""A home whose gateway runs, the pages that ask it, and providers with cards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.chain.layout import Layout
from gateway.household.configuration import HouseholdConfig, HouseholdSection, ListenSection
from gateway.household.home import Household, open_household
from tests.support.clock import FakeClock
from tests.support.home import MEMORY, Home
from tests.support.pages import PASSWORD
from tests.support.provider import Provider
from tests.support.serving import serving

UNIT_MS, LINK_UNITS = 900_000, 8
BEGIN_S = datetime(2026, 5, 28, 20, tzinfo=UTC).timestamp()
ZONE = "Europe/Berlin"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder where fsync costs nothing."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    """A day and a half of quarter hours, in links of two hours."""
    layout = Layout(UNIT_MS, LINK_UNITS)
    async with Home(tmp_path / "h", layout=layout, chunk_units=LINK_UNITS, start_s=BEGIN_S) as home:
        await home.runs(150, every=30)
        await home.publish()
        yield home


@pytest.fixture
def clock(home: Home) -> FakeClock:
    """The home's own clock."""
    return home.clock


@pytest.fixture
async def household(home: Home, tmp_path: Path) -> AsyncIterator[Household]:
    """The pages of the home, whose gateway answers."""
    socket = tmp_path / "s"
    config = HouseholdConfig(
        household=HouseholdSection(state=tmp_path / "household", socket=socket),
        listen=ListenSection(host="127.0.0.1", port=0, tls=False),
    )
    async with serving(home, socket), open_household(config, home.clock) as opened:
        opened.settings.change(zone=ZONE)
        await opened.password.choose(opened.password.setup_code(), PASSWORD, "")
        yield opened


@pytest.fixture
def provider(home: Home) -> Provider:
    """One that nothing was granted to."""
    return Provider(home.clock.now_ms)
