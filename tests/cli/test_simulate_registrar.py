"""`gateway simulate fleet --registrar` in a folder that is somebody's already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.stream.stream import Provider


def has_a_registrar(folder: Path) -> None:
    folder.mkdir()
    (folder / "registrar.toml").write_text('[registrar]\nname = "Registrar"\nsoftware_roots = true\n')


def has_a_centres_keys(folder: Path) -> None:
    Provider.new(folder / "centre")


def has_a_registrars_state(folder: Path) -> None:
    (folder / "state").mkdir(parents=True)


@pytest.mark.parametrize("has", [has_a_registrar, has_a_centres_keys, has_a_registrars_state])
def test_simulated_homes_are_not_enrolled_among_real_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], has: Callable[[Path], None]
) -> None:
    folder = tmp_path / "registrar"
    has(folder)
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}
    words = ["--homes", "2", "--to", tmp_path / "store", "--state", tmp_path / "fleet", "--registrar", folder]
    assert main(["simulate", "fleet", *map(str, words)]) == 2
    assert capsys.readouterr().err == (
        f"gateway: {folder} has a registrar, or keys, that were not made for simulated homes: name a new"
        " folder\n"
    )
    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")} == before
