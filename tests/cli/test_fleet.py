"""`gateway fleet make --image` and `flash`, up to a card that has the home's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import fleet
from gateway.cli.main import main
from gateway.fleet.flash import Disk
from gateway.fleet.image import partitions, read_file
from tests.fleet.conftest import RELEASE, write_image


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that stands for the card reader's disk; the folder is the present one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUDO_USER", "anna")
    path = tmp_path / "card"
    path.write_bytes(bytes(8 << 20))
    monkeypatch.setattr(fleet, "removable_disk", lambda device: Disk(device, 8 << 20, "Reader"))
    monkeypatch.setattr("fcntl.ioctl", lambda *_: 0)
    write_image(tmp_path / "gateway.img")
    Path("homes.csv").write_text("home,hostname\nmuller,cellar\n")
    return path


def test_an_image_is_made_and_flashed(card: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "make", "homes.csv", "--image", "gateway.img"]) == 0
    assert main(["fleet", "flash", "muller", "--device", "card"]) == 3
    assert card.read_bytes() == bytes(8 << 20)
    assert "nothing was written; --yes writes without being asked" in capfd.readouterr().err
    assert main(["fleet", "flash", "muller", "--device", "card", "--yes"]) == 0
    assert capfd.readouterr().out == "card has the image of muller, and was read back.\n"
    written = read_file(card, partitions(card)["CONFIG"], "gateway.toml")
    assert written == Path("fleet/muller/gateway.toml").read_bytes()
    assert b'hostname = "cellar"' in written
    assert main(["fleet", "show", "--json"]) == 0
    [device] = json.loads(capfd.readouterr().out)
    assert (device["home"], device["hostname"], device["made_by"]) == ("muller", "cellar", "anna")
    [flashed] = device["cards"]
    assert (flashed["release"], flashed["flashed_by"]) == (RELEASE.name, "anna")
    assert flashed["image_sha256"] == device["image_sha256"]
    assert len(device["image_sha256"]) == 64


@pytest.mark.parametrize("left", [0, 600, 2 << 20])
def test_an_image_that_was_cut_off_is_not_flashed(
    card: Path, left: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "make", "homes.csv", "--image", "gateway.img"]) == 0
    image = Path("fleet/muller/gateway.img")
    image.write_bytes(image.read_bytes()[:left])
    capfd.readouterr()
    assert main(["fleet", "flash", "muller", "--device", "card", "--yes"]) == 2
    assert "fleet/muller/gateway.img" in capfd.readouterr().err
    assert card.read_bytes() == bytes(8 << 20)


def test_a_card_that_fails_is_not_in_the_register(
    card: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    assert main(["fleet", "make", "homes.csv", "--image", "gateway.img"]) == 0
    monkeypatch.setattr("fcntl.ioctl", broken)
    assert main(["fleet", "flash", "muller", "--device", "card", "--yes"]) == 4
    capfd.readouterr()
    assert main(["fleet", "show", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["cards"] == []


def test_for_scripts(card: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> list[dict[str, object]]:
        capfd.readouterr()
        assert main(["fleet", *words, "homes.csv", "--json"]) == 0
        found: list[dict[str, object]] = json.loads(capfd.readouterr().out)
        return found

    names = [row["home"] for row in said("plan")]
    assert said("plan") == [{"home": name, "new": True} for name in names]
    made = said("make")
    assert [(row["home"], row["made"]) for row in made] == [(name, True) for name in names]
    assert said("make") == [{**row, "made": False} for row in made]
    assert said("plan") == [{"home": name, "new": False} for name in names]


def test_help_shows_a_table_within_80_columns(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("plan", "make"):
        assert main(["fleet", name, "--help"]) == 0
        shown = capfd.readouterr().out
        assert "home,wifi-country,wifi-ssid,wifi-password,meter\n" in shown
        assert max(map(len, shown.splitlines())) <= 80


def test_a_mistake_of_many_rows_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"home-{number},-" for number in range(12)]
    Path("homes.csv").write_text("\n".join(["home,hostname", "fine,cellar", *rows]))
    assert main(["fleet", "plan", "homes.csv"]) == 2
    out, err = capfd.readouterr()
    assert out == "fine: a new file\n"
    mistake, left_out = err.splitlines()
    assert mistake.startswith(
        "gateway: homes.csv, lines 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 2 more: [first-boot]"
    )
    assert left_out == "gateway: 12 of 13 rows left out because of mistakes"
