"""The reader in a process of node, one for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.household.web.reader import Reader, bundle


@pytest.fixture(scope="package")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(bundle(tmp_path_factory.mktemp("driver")))
    yield reader
    reader.close()


@pytest.fixture
def reader(process: Reader) -> Reader:
    """The process, with an empty store."""
    process.holds({})
    process("asked")
    return process
