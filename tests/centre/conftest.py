"""Fixtures of the load monitoring centre."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.home import MEMORY
from tests.support.servers import wait_for


@pytest.fixture
def tmp_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in memory, and a machine whose disks need not be waited for."""
    monkeypatch.setattr(os, "sync", lambda: None)
    with TemporaryDirectory(prefix="centre-", dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Dask scheduler with two workers, each a process of its own."""
    folder = tmp_path_factory.mktemp("dask")
    found = folder / "scheduler.json"
    cli = [sys.executable, "-W", "ignore", "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(found)]
    with ExitStack() as stack:
        commands = [[*cli, *options]]
        for _ in range(2):
            worker = [sys.executable, "-W", "ignore", "-m", "distributed.cli.dask_worker"]
            worker += ["--scheduler-file", str(found), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
            commands.append([*worker, "--host", "127.0.0.1", "--local-directory", str(folder)])
        for number, command in enumerate(commands):
            log = stack.enter_context((folder / f"{number}.log").open("wb"))
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        assert wait_for(lambda: found.exists() and found.stat().st_size > 0, 60)
        yield str(json.loads(found.read_text())["address"])
