"""Fixtures of the load monitoring centre."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gateway.host import files
from tests.support.home import MEMORY


@pytest.fixture
def tmp_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in memory, and a machine whose disks need not be waited for."""
    monkeypatch.setattr(files.os, "sync", lambda: None)
    with TemporaryDirectory(prefix="centre-", dir=MEMORY) as name:
        yield Path(name)
