"""Brokers for the tests of MQTT; every test that uses one is slow by the rule for real parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mosquitto import Mosquitto, UtilityMosquitto, mosquitto, utility_mosquitto

KID = "0123456789abcdef" * 2


@pytest.fixture
def home_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A plain broker, as one runs it at home."""
    with mosquitto(tmp_path / "home-broker") as server:
        yield server


@pytest.fixture
def utility_broker(tmp_path: Path) -> Iterator[UtilityMosquitto]:
    """A utility's broker, with mutual TLS."""
    with utility_mosquitto(tmp_path / "utility-broker") as server:
        yield server
