"""The signed tarball: the same bytes for a commit, and nothing runs from one whose signature is not right."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.appliance.keys import UPDATE_CERTIFICATE, UPDATE_KEY, make_keys

ROOT = Path(__file__).parents[2]
NAME = "gateway-0.9.1"
FILES = (f"{NAME}.tar.zst", "SHA256SUMS", "SHA256SUMS.sig")

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("git", "zstd", "openssl")),
    reason="git, zstd or openssl is not here",
)


def run(*command: str | Path, folder: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", **changed}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project with a page that is built, in one commit, its keys, and its tarball."""
    folder = tmp_path_factory.mktemp("made") / "project"
    for place, text in {
        "gateway/__init__.py": '__version__ = "0.9.1"\n',
        "gateway/household/__init__.py": "",
        "hatch_build.py": "import pathlib\ndef up_to_date():\n"
        "    return pathlib.Path('gateway/household/built/stamp').read_text() == 'right'\n",
        ".gitignore": "built/\n.venv/\ndist*/\nrelease-keys/\n",
    }.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    (folder / "provisioning").mkdir()
    for name in ("tarball.sh", "lib.sh"):
        shutil.copy(ROOT / "provisioning" / name, folder / "provisioning")
    installer = folder / "provisioning/install.sh"
    installer.write_text('#!/bin/sh\necho "installed with $*"\n')
    installer.chmod(0o755)
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "One"],
    ):
        assert run("git", *command, folder=folder).returncode == 0
    (folder / "gateway/household/built").mkdir()
    (folder / "gateway/household/built/stamp").write_text("right")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    make_keys(folder / "release-keys")
    done = make(folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of the project, elsewhere."""
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))


@pytest.fixture
def dist(project: Path) -> Path:
    return project / "dist"


def make(project: Path, *arguments: str | Path, **changed: str) -> subprocess.CompletedProcess[str]:
    return run("bash", "provisioning/tarball.sh", *arguments, folder=project, **changed)


def test_a_commit_has_one_tarball_and_openssl_checks_it(made: Path, project: Path, tmp_path: Path) -> None:
    assert {path.name for path in (made / "dist").iterdir()} == set(FILES)
    # Elsewhere, at another time, under another umask and locale.
    for path in project.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".git" not in path.parts:
            os.utime(path, (1, 1))
            path.chmod(0o600 if "built" in path.parts else path.stat().st_mode | 0o020)
    again = run(
        "sh",
        "-c",
        "umask 077; exec bash provisioning/tarball.sh dist2",
        folder=project,
        LC_ALL="C",
        TZ="Asia/Tokyo",
    )
    assert (again.returncode, again.stderr) == (0, "")
    first, second = ((folder / FILES[0]).read_bytes() for folder in (made / "dist", project / "dist2"))
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    listed = run("tar", "--list", "--file", made / "dist" / FILES[0], folder=tmp_path).stdout.splitlines()
    assert f"{NAME}/gateway/household/built/stamp" in listed
    assert not [name for name in listed if "release-keys" in name or ".venv" in name or "__pycache__" in name]


def test_what_is_not_ready_is_named(project: Path) -> None:
    before = (project / "dist" / FILES[0]).read_bytes()
    (project / "gateway/household/built/stamp").write_text("wrong")
    made = make(project)
    assert (made.returncode, "The page as built is of another commit" in made.stderr) == (2, True)
    (project / "gateway/__init__.py").write_text('__version__ = "0.9.2"\n')
    made = make(project)
    assert (made.returncode, "changes that are in no commit" in made.stderr) == (2, True)
    made = make(project, "--key", "nowhere")
    assert (made.returncode, "gateway release new-keys" in made.stderr) == (2, True)
    assert make(project, "--frob").returncode == 2
    assert (project / "dist" / FILES[0]).read_bytes() == before


def install(dist: Path, place: Path, certificate: Path | None = None) -> subprocess.CompletedProcess[str]:
    """install.sh's from_tarball, with its own folders in `place`."""
    lines = f"""
        set -euo pipefail
        source provisioning/lib.sh
        eval "$(sed -n "/^from_tarball() {{/,/^}}/p" provisioning/install.sh)"
        cache={place}/cache kept_certificate={place}/opt/update.cert.pem
        tarball={dist / FILES[0]} certificate={certificate or ""} rest=(apply --p1)
        from_tarball
    """
    return run("bash", "-c", lines, folder=ROOT)


class TestInstalling:
    def test_the_certificate_is_named_once(self, dist: Path, tmp_path: Path) -> None:
        refused = install(dist, tmp_path)
        assert refused.returncode == 2
        assert "with --certificate" in refused.stderr
        certificate = dist.parent / "release-keys" / UPDATE_CERTIFICATE
        for named in (certificate, None):
            done = install(dist, tmp_path, named)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.splitlines()[-1] == "installed with apply --p1"
        assert (tmp_path / "opt/update.cert.pem").read_bytes() == certificate.read_bytes()

    @pytest.mark.parametrize(
        "what", ["tarball", "sums", "signature", "other key", "name", "no signature", "no key"]
    )
    def test_nothing_runs_from_another_one(self, what: str, dist: Path, tmp_path: Path) -> None:
        certificate = dist.parent / "release-keys" / UPDATE_CERTIFICATE
        tarball, sums, signature = (dist / name for name in FILES)
        if what == "tarball":
            tarball.write_bytes(tarball.read_bytes() + b"\0")
        elif what == "sums":
            tarball.write_bytes(b"another")
            sums.write_text(f"{hashlib.sha256(b'another').hexdigest()}  {FILES[0]}\n")
        elif what == "signature":
            data = bytearray(signature.read_bytes())
            data[-1] ^= 1
            signature.write_bytes(data)
        elif what == "other key":
            make_keys(tmp_path / "others")
            certificate = tmp_path / "others" / UPDATE_CERTIFICATE
        elif what == "name":
            sums.write_text(sums.read_text().replace(NAME, "gateway-0x9.1"))
            key = dist.parent / "release-keys" / UPDATE_KEY
            run("openssl", "dgst", "-sha256", "-sign", key, "-out", signature, sums, folder=dist)
        elif what == "no signature":
            signature.unlink()
        else:
            certificate = sums
        done = install(dist, tmp_path, certificate)
        assert done.returncode == (2 if what in ("no signature", "no key") else 3), done.stderr
        assert "installed" not in done.stdout
        assert not (tmp_path / "opt").exists()
        assert not list((tmp_path / "cache/release").glob("gateway-*/"))
