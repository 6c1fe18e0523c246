"""Whether the floors of coverage hold, in a project whose rooms have a module and a test each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.floors import FLOORS

HALF = "def reached(x):\n    if x:\n        return 1\n    return 2\n"


def project(folder: Path, content: dict[str, str]) -> None:
    """The rooms' modules; each test reaches what `reached(True)` does, another folder's test all of each."""
    for room in FLOORS:
        for name, text in {
            f"gateway/{room}/__init__.py": "",
            f"gateway/{room}/part.py": content.get(room, "def reached(x):\n    return x\n"),
            f"tests/{room}/test_{room}.py": (
                f"from gateway.{room}.part import reached\ndef test() -> None:\n    reached(True)\n"
            ),
            f"tests/zoo/test_{room}_too.py": (
                f"from gateway.{room}.part import reached\ndef test() -> None:\n    reached(False)\n"
            ),
        }.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    # A module that a test which does not count imports first.
    (folder / "gateway/trust/late.py").write_text("def reached(x):\n    return x\n")
    (folder / "tests/attic").mkdir()
    (folder / "tests/attic/test_early.py").write_text("def test() -> None:\n    import gateway.trust.late\n")
    with (folder / "tests/trust/test_trust.py").open("a") as file:
        file.write("    from gateway.trust import late\n    late.reached(True)\n")
    (folder / "gateway/__init__.py").touch()
    (folder / "tests/conftest.py").write_text("import gateway.chain.part\n")
    shutil.copy(Path(__file__).with_name("floors.py"), folder / "tests")


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [*(sys.executable, "-m", "pytest", "-p", "tests.floors"), "--import-mode=importlib"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_rooms_whose_tests_reach_all_of_them_pass(tmp_path: Path) -> None:
    project(tmp_path, {})
    result = run(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "What the rooms' own tests reach: chain 100.0 %, ledger 100.0 %, " in result.stdout
    assert " 11 passed" in result.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_room_below_its_floor_fails_the_run_and_is_named(tmp_path: Path) -> None:
    project(tmp_path, {"stream": HALF})
    result = run(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    said = [line for line in result.stdout.splitlines() if "the floor is" in line]
    assert said == [
        "The tests of gateway/stream reach 66.7 % of its lines and branches:"
        f" the floor is {FLOORS['stream']} % (tests/floors.py)"
    ]
    assert " 11 passed" in result.stdout.splitlines()[-1]
