"""The token of the metrics: what is kept of it, and what opens with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UsageError
from gateway.household.security.metrics_token import MetricsToken, digest_of


def test_a_made_token_opens_until_the_next_is_made_or_it_is_forgotten(tmp_path: Path) -> None:
    token = MetricsToken(tmp_path, None)
    assert not token.any
    first = token.make()
    assert token.any
    assert token.accepts(f"Bearer {first}")
    assert token.accepts(f"bearer {first}")  # schemes have no case: RFC 9110, 11.1
    second = token.make()
    assert not token.accepts(f"Bearer {first}")
    assert token.accepts(f"Bearer {second}")
    token.forget()
    token.forget()
    assert not token.any
    assert not token.accepts(f"Bearer {second}")


def test_only_its_digest_is_kept_and_closed_to_others(tmp_path: Path) -> None:
    made = MetricsToken(tmp_path, None).make()
    (file,) = tmp_path.iterdir()
    assert file.read_text() == digest_of(made)
    assert made not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(made) >= 43


def test_that_of_the_configuration_opens_too(tmp_path: Path) -> None:
    fleets = "a fleet's own token"
    token = MetricsToken(tmp_path, digest_of(fleets))
    made = token.make()
    assert token.accepts(f"Bearer {made}")
    assert token.accepts(f"Bearer {fleets}")
    token.forget()
    assert token.any
    assert not token.accepts(f"Bearer {digest_of(fleets)}")


@given(st.text())
def test_nothing_else_opens(header: str) -> None:
    token = MetricsToken(Path("/nowhere"), digest_of("right"))
    assert token.accepts(header) == (header[:7].lower() == "bearer " and header[7:] == "right")


@pytest.mark.parametrize("kept", ["", "ab", "\x00" * 64, digest_of("right")[:-1]])
def test_a_damaged_file_opens_to_nobody(tmp_path: Path, kept: str) -> None:
    (tmp_path / "metrics-token").write_text(kept)
    token = MetricsToken(tmp_path, None)
    assert not token.accepts("Bearer ")
    assert not token.accepts("Bearer right")


def test_a_disk_that_does_not_keep_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be kept: No such file"):
        MetricsToken(tmp_path / "nowhere", None).make()
