"""The commands of gateway/centre/README.md, "On a laptop", as a shell runs them: a simulated fleet, its
registrar, the centre and its page."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest

from gateway.stream.times import spell
from tests.centre.test_readme import README
from tests.support.servers import wait_for

pytestmark = pytest.mark.slow

HOMES = 3
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TZ": "UTC"}


def commands() -> dict[str, str]:
    """The commands by their first three words."""
    part = README.partition("## On a laptop\n")[2].partition("\n## ")[0].replace("\\\n", "")
    lines = [line.strip() for line in re.findall(r"^    gateway .*$", part, re.MULTILINE)]
    return {" ".join(line.split()[1:3]): line for line in lines}


def run(command: str, folder: Path) -> str:
    done = subprocess.run(
        command,
        check=False,
        shell=True,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(command: str, folder: Path, ready: str) -> Iterator[str]:
    """A command that goes on; gives the address that stands behind `ready` in its log."""
    log = folder / f"{command.split()[1]}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command.removesuffix("&").split(), cwd=folder, env=ENVIRONMENT, stdout=file, stderr=file
        )
    try:
        assert wait_for(lambda: ready in log.read_text() or process.poll() is not None, 30)
        found = re.search(rf"{ready} (\S+)", log.read_text())
        assert found is not None, log.read_text()
        yield found[1]
    finally:
        process.terminate()
        assert process.wait(20) == 0


def get(url: str) -> str:
    try:
        with urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except URLError:
        return ""


def test_the_commands_for_a_laptop_show_the_load_of_simulated_homes(tmp_path: Path) -> None:
    typed = commands()
    fleet = re.sub(r"--homes \d+", f"--homes {HOMES} --late 0 --broken 0", typed["simulate fleet"])
    fleet = fleet.replace("--chunk 15min", "--chunk 1h")
    assert "registrar serve" in run(fleet, tmp_path)
    settings = tmp_path / "registrar" / "registrar.toml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings.write_text(settings.read_text().replace("port = 8461", f"port = {port}"))
    keys = {path: path.read_bytes() for path in tmp_path.glob("registrar/*/*.c*")}
    again = run(fleet, tmp_path)
    assert "has this fleet already" in again
    assert "for one until now name other places: --to, --state, --registrar" in again
    assert len(keys) == 5
    assert {path: path.read_bytes() for path in keys} == keys
    with running(typed["registrar serve"], tmp_path, "answers at") as url:
        assert url.endswith(f":{port}")
        assert f"{HOMES} of {HOMES} homes have all" in run(typed["centre ingest"], tmp_path)
        shown = json.loads(run(f"{typed['centre load']} --format json", tmp_path))
        found = {one["start"]: one["import_mwh"] for one in shown["windows"] if one["homes"] == HOMES}
        rows = pq.read_table(tmp_path / "fleet" / "truth.parquet").to_pylist()
        truth = {spell(one["start_ms"], 1): one["import"] for one in rows}
        assert len(found) > 90  # all 96, but where the day ends while this runs
        assert found == {start: truth[start] for start in found}
        with running(f"{typed['centre serve']} --port 0", tmp_path, "pages are at") as page:
            assert wait_for(lambda: "ok" in get(f"{page}/healthz"), 30)
            assert f"{HOMES} <span" in get(f"{page}/")
        by_catalogue = (
            typed["centre ingest"].replace("data", "other").replace("fleet/homes.csv", "registrar:")
        )
        assert f"{HOMES} of {HOMES} homes have all" in run(by_catalogue, tmp_path)
