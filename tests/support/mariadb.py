"""A real MariaDB for tests: Debian's `mariadbd` in a folder, on a Unix socket of its own and no port.

with mariadb(folder) as server:
    url = server.new_database()      # mysql+asyncmy://...
"""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers import ServerFailed, wait_for

_READY_S = 60
_FLAGS = (
    "--no-defaults",
    "--skip-networking",
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
)


@dataclass
class MariaServer:
    """A running server, reached as root by its socket."""

    folder: Path
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        if not wait_for(self._answers, _READY_S):
            self.stop()
            raise ServerFailed((self.folder / "log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        """Kill it: an outage. What was committed stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def new_database(self) -> str:
        """The URL of an empty database with the server's default collation, which is not a binary one."""
        name = f"registrar{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"mysql+asyncmy://{getpass.getuser()}@localhost/{name}?unix_socket={self.socket}"

    def run(self, statement: str) -> None:
        """Run SQL as the administrator."""
        command = ["mariadb", "--no-defaults", f"--socket={self.socket}", "-e", statement]
        subprocess.run(command, check=True, capture_output=True)

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise ServerFailed((self.folder / "log").read_text(errors="replace")[-2000:])
        ping = ["mariadb-admin", "--no-defaults", f"--socket={self.socket}", "ping"]
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0


@contextmanager
def mariadb(folder: Path) -> Iterator[MariaServer]:
    """MariaDB with its data in `folder`, whose path must be short: a socket's has at most 107 bytes."""
    data, user = folder / "data", getpass.getuser()
    where = [f"--datadir={data}", f"--user={user}"]
    install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=socket"]
    done = subprocess.run(
        [*install, f"--auth-root-socket-user={user}", "--skip-test-db", *where],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(done.stdout + done.stderr)
    daemon = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin") or "mariadbd"
    server = MariaServer(
        folder,
        [daemon, *_FLAGS, *where, f"--socket={folder / 's'}", f"--pid-file={folder / 'pid'}"],
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()
