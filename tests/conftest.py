"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

from tests.support import servers
from tests.support.en16931 import Rules, rules_folder
from tests.support.home import MEMORY
from tests.support.mariadb import MariaServer
from tests.support.mariadb import mariadb as running_mariadb
from tests.support.mosquitto import Mosquitto, UtilityMosquitto, mosquitto, utility_mosquitto

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # properties take the time they need: the machine may be busy

REAL_PARTS = {"seaweedfs", "minio", "mariadb", "tpm", "home_broker", "utility_broker"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what uses a real server or a TPM, by a fixture or by a parameter that names one."""
    for item in items:
        if isinstance(item, pytest.Function):
            parameters = item.callspec.params.values() if hasattr(item, "callspec") else []
            if REAL_PARTS & {*item.fixturenames, *(value for value in parameters if isinstance(value, str))}:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    """A SeaweedFS for the whole run. A test that stops it starts it again."""
    with servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3Server]:
    """A MinIO for the whole run; skips where it is not built, unless GATEWAY_REQUIRE_MINIO=1."""
    if not servers.minio_binary().exists():
        missing = "MinIO is not built: run provisioning/minio.sh (4 to 5 minutes, once)"
        if os.environ.get("GATEWAY_REQUIRE_MINIO") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with servers.minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    """A MariaDB for the whole run, with a new database for each test."""
    # Not pytest's folder: the path of a socket has at most 107 bytes.
    with TemporaryDirectory(prefix="mariadb-", dir=MEMORY) as folder, running_mariadb(Path(folder)) as server:
        yield server


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


@pytest.fixture(scope="session")
def invoice_rules() -> Rules:
    """The rules of electronic invoices; skips without them, unless GATEWAY_REQUIRE_EN16931=1."""
    folder = rules_folder()
    if not folder.exists():
        missing = "the rules of EN 16931 are not here: run provisioning/en16931.sh"
        if os.environ.get("GATEWAY_REQUIRE_EN16931") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return Rules(folder)
