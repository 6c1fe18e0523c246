"""The configuration that the setup is making, as it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.household.draft import Draft


def test_it_can_be_left_and_gone_on_with(tmp_path: Path) -> None:
    draft = Draft.open(tmp_path)
    draft.add_meter(
        {"name": "main", "profile": "p1", "keys": "./secrets/meter-main"}, {"meter-main": "SECRET"}
    )
    again = Draft.open(tmp_path)
    assert again.meters == draft.meters
    assert again.lost == ("main",)
    assert b"SECRET" not in (tmp_path / "draft.json").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b'{"trust": [], "meters": [], "store": {}}',
        b'{"trust": {}, "meters": [1], "store": {}}',
        b'{"trust": {}, "meters": [{}], "store": {}}',
    ],
)
def test_a_damaged_one_begins_anew(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "draft.json").write_bytes(damage)
    draft = Draft.open(tmp_path)
    draft.add_meter({"name": "main"}, {})
    assert draft.meters == [{"name": "main"}]
