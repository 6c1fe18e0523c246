"""What is installed: all files of the package and nothing else, under the one version number."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import gateway

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    result = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("*.whl")
    return ZipFile(path)


def test_a_wheel_holds_every_file_of_the_package_and_no_other(wheel: ZipFile) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert {"gateway/py.typed", "gateway/config/example.toml", "gateway/wire/gw1.cddl"} < files
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files


def test_the_wheel_has_the_version_of_the_package(wheel: ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    assert Parser().parsestr(wheel.read(name).decode())["Version"] == gateway.__version__


def test_no_other_file_tells_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (locked,) = [
        package
        for package in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
        if package["name"] == "gateway"
    ]
    assert "version" not in project
    assert "version" not in locked


def test_the_installed_program_is_named_after_the_version(tmp_path: Path) -> None:
    command = [str(ROOT / "provisioning" / "install.sh"), "--dry-run"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert f"/opt/gateway/{gateway.__version__}-" in result.stdout
