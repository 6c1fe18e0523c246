"""Debian 13's systemd for the tests of units, in a folder of its own: what the appliance runs, whatever this
machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SUITE = "trixie"
_STUB = "#!/bin/sh\n"


class Trixie:
    """A small Debian 13 in `root`, that has systemd and nothing that would run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, units: list[Path]) -> None:
        """Have these units, and no others of the gateway's, and each program that they start."""
        folder = self.root / "etc/systemd/system"
        for old in folder.glob("gateway*"):
            old.unlink()
        for unit in units:
            shutil.copy(unit, folder)
            for line in unit.read_text().splitlines():
                if line.startswith("ExecStart="):
                    program = self.root / line.removeprefix("ExecStart=").split()[0].lstrip("-+!/")
                    if not program.exists():
                        program.parent.mkdir(parents=True, exist_ok=True)
                        program.write_text(_STUB)
                        program.chmod(0o755)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return subprocess.run(["chroot", self.root, *command], capture_output=True, text=True, check=False)


def missing() -> str | None:
    """What this machine lacks to make it, a sentence; None where nothing is missing."""
    if os.geteuid():
        return "making a Debian 13 takes root"
    return None if shutil.which("mmdebstrap") else "mmdebstrap is not here: apt-get install mmdebstrap"


def made() -> Trixie:
    """It, made once for all runs of this user, in half a minute. AssertionError where that fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = cache / f"gateway/{SUITE}-systemd"
    if not root.is_dir():
        new = root.with_name(f"{root.name}.{os.getpid()}")
        root.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--include=systemd"),
                *("--aptopt=APT::Install-Recommends false", "--aptopt=Acquire::Retries 2"),
                *(SUITE, new, _mirror()),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"a Debian 13 cannot be made: {done.stderr[-2000:]}"
        new.rename(root)
    return Trixie(root)


def _mirror() -> str:
    """That of this machine's apt, or Debian's own."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"],
        capture_output=True,
        text=True,
        check=False,
    )
    return next(iter(asked.stdout.split()), "http://deb.debian.org/debian")
