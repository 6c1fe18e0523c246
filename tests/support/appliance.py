"""The appliance's root, as image/build.sh makes it for this machine, booted in a container by systemd-nspawn.

The root is mounted read-only; /data, /var and what of /etc comes from the data partition are folders of the
test, as the initramfs mounts them on a board. The TPM is swtpm, whose socket is bound into the container: a
container has no TPM device of its own. The network is the container's own, with a loopback alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

DEADLINE_S = 90.0  # far above what a boot takes on a loaded machine


def built_root() -> Path:
    """Where `image/build.sh --arch amd64 --variant ci` puts the root."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gateway/image/amd64/root"


def missing() -> str | None:
    """What this machine lacks to boot it, a sentence; None where nothing is missing."""
    if os.geteuid():
        return "booting a container takes root"
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not here: apt-get install systemd-container"
    if not built_root().is_dir():
        return "the appliance's root is not built: run image/build.sh --arch amd64 --variant ci"
    return None


class Appliance:
    """A board with `folder` as its data partition; on between `start` and `stop`."""

    def __init__(self, folder: Path, tpm: Path) -> None:
        self.data = folder / "data"
        self.config = folder / "config"
        self._tpm = tpm
        self._log = folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._init = 0
        for place in ("var", "etc/gateway", "etc/credstore.encrypted"):
            (self.data / place).mkdir(parents=True)
        self.config.mkdir()
        (self.data / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")

    def start(self) -> None:
        """Power on; returns once every unit that starts at boot has started, or failed to."""
        binds = {
            self.data: "/data",
            self.config: "/boot/config",
            self._tpm: "/run/tpm",
            **{
                self.data / place: f"/{place}"
                for place in ("var", "etc/gateway", "etc/credstore.encrypted", "etc/machine-id")
            },
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--boot", "--read-only", f"--directory={built_root()}"),
                    *("--machine=gateway-test", "--hostname=gateway", "--register=no", "--keep-unit"),
                    *("--private-network", "--link-journal=no", "--console=pipe"),
                    *(f"--bind={here}:{there}" for here, there in binds.items()),
                ],
                # systemd 257 boots with the second version of control groups only.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.until("boot", lambda: self._find_init() and self.run("true", check=False).returncode == 0)
        self.until("answer", self._answers)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root."""
        done = subprocess.run(
            ["nsenter", f"--target={self._init}", "--all", *command],
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for it."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the appliance did not {what}: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Shut down, as its power button does."""
        if self._process is not None:
            if self._init:
                self.run("systemctl", "poweroff", check=False)
            try:
                self._process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process, self._init = None, 0

    def _find_init(self) -> bool:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._init = int(children[0]) if children else 0
        return bool(self._init)

    def _answers(self) -> bool:
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in (
            "running",
            "degraded",
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
