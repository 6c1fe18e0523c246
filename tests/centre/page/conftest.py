"""Fixtures of the operator's pages: a watch with something to see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from gateway.centre.page.entrance import Entrance
from gateway.centre.page.pages import build_app
from gateway.household.files import content
from tests.centre.conftest import tmp_path
from tests.centre.neighbourhood import Neighbourhood, sealed
from tests.centre.watched import Watched

__all__ = ["tmp_path"]

SITE = "Stadtwerk <Nord>"
PASSWORD = "a short sentence"
STRANGE = 'Süd & <b>"West"</b>'
"""The name of a region."""


def filled(kw: float, seconds: int) -> dict[str, list[int]]:
    """A home's readings of so many kW."""
    energy = [round(kw * 10**6 / 3600)] * seconds
    return {"import": energy, "export": [0] * seconds}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Two regions of three homes and two; in one home nothing is sealed after two minutes."""
    street = Neighbourhood.new(tmp_path)
    for number, region in enumerate(("North", "North", "North", STRANGE, STRANGE)):
        home = street.joins(sealed(0), region)
        home.seal(filled(1.5 + number / 8, 130 if number == 2 else 240))
    one = Watched(street, North="4.5")
    yield one
    one.state.close()


def app_of(watched: Watched, password: str | None = None) -> web.Application:
    """The pages of a watch."""
    return build_app(watched.watch, Entrance(watched.clock, password), watched.clock, SITE, content)
