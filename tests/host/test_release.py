"""The release that has booted, as a mounted boot partition says it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.host.release import Release, booted


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    folder = tmp_path / "firmware"
    folder.mkdir()
    (folder / "release.json").write_text(json.dumps({"format": 1, "name": "gateway-2026.11.1", "epoch": 7}))
    return folder


def test_its_name_and_the_slot_whose_partition_is_mounted(
    boot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat
    devices = {"boot-a": os.makedev(179, 2), "boot-b": os.makedev(179, 3)}

    def of_a_card(path: Path, **options: bool) -> object:
        if path == boot:
            return SimpleNamespace(st_dev=devices["boot-b"])
        return SimpleNamespace(st_rdev=devices[path.name]) if path.name in devices else stat(path, **options)

    assert booted(boot, tmp_path) == Release("gateway-2026.11.1", None)
    monkeypatch.setattr(Path, "stat", of_a_card)
    assert booted(boot, tmp_path) == Release("gateway-2026.11.1", "b")
    del devices["boot-a"]  # a card on which the other slot was not made yet
    assert booted(boot, tmp_path) == Release("gateway-2026.11.1", "b")


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "{}", '{"name": 3}', "[" * 100_000])
def test_a_manifest_that_is_none(boot: Path, tmp_path: Path, text: str) -> None:
    (boot / "release.json").write_text(text)
    assert booted(boot, tmp_path) is None


def test_a_machine_without_an_image(tmp_path: Path) -> None:
    assert booted(tmp_path / "nowhere", tmp_path) is None
