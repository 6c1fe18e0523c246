"""Fixtures for a provider's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stream.stream import Provider


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    """A provider whose folder is new."""
    return Provider.new(tmp_path / "acme")
