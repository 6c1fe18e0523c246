"""The provider whose folder is new is the same as for a stream's tests."""

from tests.stream.conftest import provider

__all__ = ["provider"]
