"""An older gateway that starts on a newer one's ledger, as after a way back."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.codes import exit_code
from gateway.errors import NewerLedger
from gateway.ledger.ledger import Ledger
from gateway.ledger.migrations import VERSION

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("setup", [False, True])
def test_it_says_so_ends_with_a_code_of_its_own_and_leaves_the_files(tmp_path: Path, setup: bool) -> None:
    config, ledger = tmp_path / "gateway.toml", tmp_path / "state/ledger.sqlite"
    config.write_text(
        f"""
        gateway = {{ state = "{tmp_path}/state", socket = "{tmp_path}/s" }}
        trust = {{ root = "software" }}
        store = {{ url = "{tmp_path}" }}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1", port = 1 }}
        """
    )

    async def make() -> None:
        await (await Ledger.open(ledger)).close()

    asyncio.run(make())
    newer = sqlite3.connect(ledger, isolation_level=None)
    newer.execute("PRAGMA wal_autocheckpoint = 0")
    newer.execute(f"PRAGMA user_version = {VERSION + 1}")
    files = (ledger, ledger.with_name("ledger.sqlite-wal"))
    before = [file.read_bytes() for file in files]
    assert all(before)
    newer.close()
    for file, data in zip(files, before, strict=True):
        file.write_bytes(data)  # as a power cut leaves them

    words = ["--setup", str(tmp_path / "s")] if setup else []
    done = subprocess.run(
        [str(Path(sys.executable).with_name("gateway")), "run", "--config", str(config), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == exit_code(NewerLedger) == 6
    assert f"has version {VERSION + 1}, but this gateway supports versions up to {VERSION}" in done.stderr
    assert [file.read_bytes() for file in files] == before
