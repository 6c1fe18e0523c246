"""What install.sh says of a board, its HAT and its user: each thing that may be wrong, with what to do."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = "boot/firmware/config.txt"


class Board:
    """A machine in a folder, on which `check_machine` is run; `groups` are those of the user gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups: str | None = "gateway dialout tss"
        self.architecture = "arm64"
        self.owner = "tss 660"
        self.configuration = folder / "gateway.toml"
        self.write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
        self.write(CONFIG, "arm_64bit=1\ndtoverlay=tpm-slb9670\n")
        self.write(
            "proc/device-tree/soc/spi@7e204000/tpm@1/compatible", "infineon,slb9670\0tcg,tpm_tis-spi\0"
        )
        self.write("sys/class/spi_master/spi0/dev", "")
        self.write("dev/tpmrm0", "")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.folder / path).unlink()

    def found(self) -> dict[str, tuple[str, str]]:
        """State and sentence of each part."""
        groups = "return 1" if self.groups is None else f"echo {self.groups}"
        lines = f"""
            set -euo pipefail
            board={self.folder}
            source {ROOT}/provisioning/board.sh
            dpkg() {{ echo {self.architecture}; }}
            uname() {{ if [[ $1 == -m ]]; then echo aarch64; else echo 6.12.0-rpi; fi; }}
            id() {{ {groups}; }}
            getent() {{ [[ $2 == tss || $2 == dialout ]]; }}
            stat() {{ echo {self.owner}; }}
            check_machine {self.configuration}
        """
        done = subprocess.run(["bash", "-c", lines], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return {
            part: (state, sentence)
            for state, part, sentence in (line.split("\t") for line in done.stdout.splitlines())
        }

    def faults(self) -> dict[str, str]:
        return {part: sentence for part, (state, sentence) in self.found().items() if state == "FAIL"}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_a_board_in_order(board: Board) -> None:
    assert board.found() == {
        "board": ("ok", "Raspberry Pi 4 Model B Rev 1.4"),
        "system": ("ok", "64 bits, arm64, kernel 6.12.0-rpi"),
        "HAT": ("ok", "the kernel has its chip"),
        "device": ("ok", "/dev/tpmrm0 belongs to the group tss (mode 660)"),
        "user": ("ok", "gateway is in the groups gateway, dialout, tss"),
    }


def test_without_the_overlay(board: Board) -> None:
    board.remove("dev/tpmrm0", "proc/device-tree/soc/spi@7e204000/tpm@1/compatible")
    board.write(CONFIG, "# dtoverlay=tpm-slb9670\n")
    assert board.faults() == {
        "overlay": "no TPM is in the device tree: sudo sh -c 'echo dtoverlay=tpm-slb9670 >> "
        f"/{CONFIG}', then restart"
    }
    board.remove(CONFIG)
    board.write("boot/config.txt", "")
    assert ">> /boot/config.txt'" in board.faults()["overlay"]
    board.write("boot/config.txt", "  dtoverlay=tpm-slb9670,foo\n")
    assert "is not in effect: restart" in board.faults()["overlay"]


def test_without_the_bus_or_the_chip(board: Board) -> None:
    board.remove("dev/tpmrm0")
    found = board.found()
    assert (found["overlay"][0], found["SPI"][0]) == ("ok", "ok")
    assert list(board.faults()) == ["chip"]
    assert "pins 17 to 26" in found["chip"][1]
    board.remove("sys/class/spi_master/spi0/dev")
    (board.folder / "sys/class/spi_master/spi0").rmdir()
    board.write("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert list(board.faults()) == ["SPI"]
    assert "Raspberry Pi's own kernel" in board.faults()["SPI"]


@pytest.mark.parametrize("owner", ["root 600", "root 660", "tss 600"])
def test_a_device_that_the_group_may_not_open(owner: str, board: Board) -> None:
    board.owner = owner
    group, mode = owner.split()
    [sentence] = board.faults().values()
    assert sentence.startswith(
        f"/dev/tpmrm0 has the group {group} and mode {mode}, and not tss and 660: sudo apt-get"
    )


@pytest.mark.parametrize("group", ["tss", "dialout"])
def test_a_user_without_a_group(group: str, board: Board) -> None:
    assert board.groups is not None
    board.groups = board.groups.replace(group, "").strip()
    assert board.faults() == {
        "user": f"gateway is not in the group {group}: sudo usermod --append --groups {group} gateway, then "
        "sudo systemctl restart gateway"
    }


def test_before_the_installation(board: Board) -> None:
    board.groups = None
    assert board.faults() == {}
    assert board.found()["user"][0] == "note"


@pytest.mark.parametrize(
    ("model", "state"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", "ok"),
        ("Raspberry Pi Compute Module 4 Rev 1.0", "ok"),
        ("Raspberry Pi 3 Model B Plus Rev 1.3", "ok"),
        ("Raspberry Pi Zero W Rev 1.1", "FAIL"),
        ("Raspberry Pi 2 Model B Rev 1.1", "FAIL"),
        ("Radxa ROCK 5B", "note"),
    ],
)
def test_other_boards(model: str, state: str, board: Board) -> None:
    board.write("proc/device-tree/model", f"{model}\0")
    found = board.found()["board"]
    assert found[0] == state
    assert found[1].startswith(model)


def test_a_32_bit_system_on_a_64_bit_kernel(board: Board) -> None:
    board.architecture = "armhf"
    [sentence] = board.faults().values()
    assert sentence.startswith("built for armhf on a aarch64 kernel: install a 64-bit Debian")


def test_no_board_and_no_tpm(board: Board) -> None:
    board.remove("proc/device-tree/model", "dev/tpmrm0")
    assert board.found()["board"][0] == "note"
    assert list(board.faults()) == ["device"]


@pytest.mark.parametrize(
    ("text", "state", "said"),
    [
        ('[trust]\nroot = "software"\n', "note", "none is wanted"),
        ("[ store ]\n[trust] # here\n  root='software'\n", "note", "none is wanted"),
        ('[trust]\ntcti = "swtpm:path=/run/swtpm"\n', "note", "a simulated one (swtpm)"),
        ('[trust]\n# root = "software"\n', None, ""),
        ('[trust]\ntcti = "device:/dev/tpmrm0"\n[tariff]\nroot = "software"\n', None, ""),
    ],
)
def test_what_the_configuration_wants(text: str, state: str | None, said: str, board: Board) -> None:
    board.remove("dev/tpmrm0")
    board.configuration.write_text(text)
    found = board.found()
    if state is None:
        assert "chip" in board.faults()
        return
    assert found["TPM"][0] == state
    assert said in found["TPM"][1]
    assert board.faults() == {}


class TestDoctor:
    """The verb, with a gateway that is a script."""

    @pytest.fixture
    def link(self, tmp_path: Path) -> Path:
        path = tmp_path / "gateway"
        path.write_text(
            "#!/bin/sh\n"
            'if [ "$2" = --json ]; then echo \'[{"part": "clock", "ok": true}]\'\n'
            'else echo "ok    clock: $*"; fi\n'
            'exit "${CODE:-0}"\n'
        )
        path.chmod(0o755)
        (tmp_path / "gateway.toml").touch()
        return path

    def examine(
        self, link: Path, faulty: bool, json: str = "", code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        state = "FAIL" if faulty else "ok"
        lines = "set -euo pipefail; source provisioning/board.sh\n"
        for name in ("examine", "examine_gateway", "show_found"):
            lines += f'eval "$(sed -n "/^{name}() {{/,/^}}/p" provisioning/install.sh)"\n'
        lines += """eval "$(sed -n "/^as_json='/,/'$/p" provisioning/install.sh)"\n"""
        lines += f"check_machine() {{ say {state} device 'a sentence: with a colon'; }}\n"
        lines += f"link={link} configuration={link.parent}/gateway.toml json={json}; examine"
        return subprocess.run(
            ["bash", "-c", lines],
            cwd=ROOT,
            env={**os.environ, "CODE": str(code)},
            capture_output=True,
            text=True,
            check=False,
        )

    @pytest.mark.parametrize(
        ("faulty", "code", "ends"), [(False, 0, 0), (True, 0, 1), (False, 4, 4), (False, 1, 1), (True, 4, 1)]
    )
    def test_both_count(self, faulty: bool, code: int, ends: int, link: Path) -> None:
        shown = self.examine(link, faulty, code=code)
        state = "FAIL" if faulty else "ok  "
        assert shown.stdout.splitlines() == [
            f"{state}  device: a sentence: with a colon",
            f"ok    clock: doctor --config {link.parent}/gateway.toml",
        ]
        document = self.examine(link, faulty, json="yes", code=code)
        assert json.loads(document.stdout) == [
            {
                "part": "device",
                "ok": not faulty,
                "sentence": "a sentence: with a colon",
                "sealing": not faulty,
            },
            {"part": "clock", "ok": True},
        ]
        assert (shown.returncode, document.returncode) == (ends, ends)

    def test_before_the_installation_it_says_how_to_go_on(self, link: Path) -> None:
        link.unlink()
        shown = self.examine(link, False)
        assert shown.stdout.splitlines()[-1].startswith("note  gateway: is not installed")
        assert shown.returncode == 0
        assert json.loads(self.examine(link, False, json="yes").stdout)[-1]["part"] == "gateway"
