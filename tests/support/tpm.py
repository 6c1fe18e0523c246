"""A real TPM 2.0 for tests and demos: swtpm on Unix sockets, so that any number run side by side.

    with swtpm(tmp_path / "tpm") as tpm:
        root = await open_root("tpm", folder, tpm.tcti)

Manufacturing (seeds, endorsement keys and their certificates) takes most of a second, so it happens once a
process; each new folder starts as a copy of that one TPM. `manufacture` makes another one. `maker` is the CA
that certifies both.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

DEADLINE_S = 20.0  # far above what starting or stopping takes on a loaded machine


class swtpm:
    """A software TPM whose state lives in `folder`; running between `start` and `stop`."""

    def __init__(self, folder: Path) -> None:
        self._state = folder
        self._sockets = Path(
            tempfile.mkdtemp(prefix="tpm-", dir="/tmp")
        )  # a socket's path is 108 bytes at most
        self._process: subprocess.Popen[bytes] | None = None
        if not folder.exists():
            shutil.copytree(_made()[1], folder)

    @property
    def tcti(self) -> str:
        """Where tpm2-tss finds it."""
        return f"swtpm:path={self._sockets / 'tpm'}"

    def start(self) -> None:
        """Power on; returns once it takes connections."""
        if self._process is not None:
            raise RuntimeError("this TPM is running already")
        server, control = self._sockets / "tpm", self._sockets / "tpm.ctrl"
        for path in (server, control):
            path.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._state}"),
                *("--server", f"type=unixio,path={server}", "--ctrl", f"type=unixio,path={control}"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + DEADLINE_S
        while not _answers(server, control):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"swtpm did not start on {self._state}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Power off in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Power lost in the middle of whatever it was doing."""
        self._end(signal.SIGKILL)

    def power_cycle(self) -> None:
        self.stop()
        self.start()

    def hang(self) -> None:
        """Take commands, and answer none, until `go_on`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again, also what was asked meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def reset(self) -> None:
        """Pulse the reset line: what the TPM held for its users is gone, and nobody starts it again."""
        subprocess.run(
            ["swtpm_ioctl", "--unix", str(self._sockets / "tpm.ctrl"), "-i"], check=True, capture_output=True
        )

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(DEADLINE_S)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._sockets)


class Maker:
    """A maker of TPMs, in `folder`: a root CA and an intermediate one, as swtpm_localca makes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config, self._options = folder / "localca.conf", folder / "localca.options"
        self._config.write_text(
            f"statedir = {folder}\nsigningkey = {folder}/key.pem\nissuercert = {folder}/cert.pem\n"
            f"certserial = {folder}/serial\n"
        )
        self._options.write_text(
            "--platform-manufacturer gateway\n--platform-version 1\n--platform-model test\n"
        )

    @property
    def certificates(self) -> tuple[Path, Path]:
        """Of the root and of the intermediate, PEM; there once it has made a TPM."""
        return self._folder / "swtpm-localca-rootca-cert.pem", self._folder / "cert.pem"

    @property
    def key(self) -> Path:
        """The intermediate's private key, PEM."""
        return self._folder / "key.pem"

    def make(self, state: Path) -> None:
        """A new TPM, unlike any other: RSA-2048 and P-384 endorsement keys with their certificates."""
        state.mkdir(parents=True)
        setup = self._folder / "setup.conf"
        setup.write_text(
            f"create_certs_tool = {shutil.which('swtpm_localca') or '/usr/bin/swtpm_localca'}\n"
            f"create_certs_tool_config = {self._config}\n"
            f"create_certs_tool_options = {self._options}\n"
        )
        _run(
            *("swtpm_setup", "--tpm2", "--ecc", "--create-ek-cert", "--tpmstate", str(state)),
            *("--config", str(setup), "--overwrite"),
        )

    def certify(self, key: str) -> bytes:
        """A certificate (DER) of another endorsement key, "x=HEX,y=HEX,id=secp256r1"."""
        with tempfile.TemporaryDirectory() as made:
            _run(
                *("swtpm_localca", "--type", "ek", "--ek", key, "--dir", made, "--tpm2"),
                *("--configfile", str(self._config), "--optsfile", str(self._options)),
                *("--tpm-spec-family", "2.0", "--tpm-spec-revision", "164", "--tpm-spec-level", "0"),
                *("--tpm-manufacturer", "id:49465800", "--tpm-model", "SLB9670", "--tpm-version", "id:0007"),
            )
            return (Path(made) / "ek.cert").read_bytes()


def maker() -> Maker:
    """The maker of all the TPMs of this process."""
    return _made()[0]


def manufacture(folder: Path) -> None:
    """Make a new TPM, unlike any other."""
    maker().make(folder)


@functools.cache
def _made() -> tuple[Maker, Path]:
    """The maker, and the state of the TPM that is copied."""
    top = Path(tempfile.mkdtemp(prefix="tpm-made-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    (top / "ca").mkdir()
    made = Maker(top / "ca")
    made.make(top / "state")
    return made, top / "state"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")


def _answers(server: Path, control: Path) -> bool:
    """Whether both sockets are served: a random number comes over one, a connection is taken on the other."""
    get_random = bytes.fromhex("8001 0000000c 0000017b 0008")
    with socket.socket(socket.AF_UNIX) as commands, socket.socket(socket.AF_UNIX) as controls:
        for one, path in ((commands, server), (controls, control)):
            one.settimeout(DEADLINE_S)
            if one.connect_ex(str(path)) != 0:
                return False
        commands.sendall(get_random)
        return len(commands.recv(64)) > 10
