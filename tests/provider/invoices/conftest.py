"""The rules by which invoices are checked, loaded once for all tests here."""

from __future__ import annotations

import os

import pytest

from tests.support.en16931 import Rules, rules_folder


@pytest.fixture(scope="session")
def rules() -> Rules:
    """The rules; skips where they are not fetched, unless GATEWAY_REQUIRE_EN16931=1."""
    folder = rules_folder()
    if not folder.exists():
        missing = "the rules of EN 16931 are not here: run provisioning/en16931.sh"
        if os.environ.get("GATEWAY_REQUIRE_EN16931") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return Rules(folder)
