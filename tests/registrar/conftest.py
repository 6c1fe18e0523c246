"""Real S3 servers, each, and a provider whose folder is new."""

from __future__ import annotations

from tests.store.conftest import server
from tests.stream.conftest import provider

__all__ = ["provider", "server"]
