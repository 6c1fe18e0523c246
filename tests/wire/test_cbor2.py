"""cbor2 5 and cbor2 6 read and write the same: this folder's tests run under both."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MAJORS = {"5", "6"}


def uv() -> str:
    """The program that provisioning/lib.sh keeps."""
    pinned = re.search(r"^uv==(\S+)", (ROOT / "provisioning/uv.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = cache / "gateway" / f"uv-{pinned[1]}"
    found = str(kept) if kept.exists() else shutil.which("uv")
    if found is None:
        pytest.skip(f"uv is neither at {kept} nor in PATH: provisioning/test.sh puts it there")
    return found


@pytest.mark.slow
def test_the_other_cbor2_passes_the_same_tests(tmp_path: Path) -> None:
    """The one that is not installed comes from PyPI, into a folder that the tests find first."""
    [other] = MAJORS - {version("cbor2").partition(".")[0]}
    installed = subprocess.run(
        [
            *(uv(), "pip", "install", "--python", sys.executable, "--target", str(tmp_path), "--no-deps"),
            *(
                "--only-binary",
                ":all:",
                "--require-hashes",
                "--requirement",
                str(HERE / f"cbor2-{other}.txt"),
            ),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert installed.returncode == 0, installed.stderr
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    told = "import cbor2, importlib.metadata as m; print(m.version('cbor2'), cbor2.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", told], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert re.fullmatch(rf"{other}\.\S+ {re.escape(str(tmp_path))}/.*\n", shown)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE)]
    run = subprocess.run(
        [*command, f"--ignore={__file__}"],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) > 400
