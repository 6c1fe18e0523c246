"""The types of the TypeScript hold, in the reader and in what tests it."""

from __future__ import annotations

import hatch_build
from tests.household.web.reader import Reader


def test_types(process: Reader) -> None:
    hatch_build.check()
    assert (hatch_build.WORK / "tests/driver.ts").exists()  # which was looked at too
