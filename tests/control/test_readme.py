"""What gateway/control/README.md says of metrics: their names, and rules that Prometheus takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.control import health
from gateway.control.documents import DiskStatus
from gateway.control.metrics import render
from tests.support.exposition import parse
from tests.support.pages import status

README = (Path(health.__file__).parent / "README.md").read_text(encoding="utf-8")


def test_it_has_each_metric_and_no_other() -> None:
    full = status(started_ms=1, starts=1, disk=DiskStatus(size_bytes=1, free_bytes=1))
    there = {name for name, _ in parse(render(full))}
    assert set(re.findall(r"\bgateway_\w+", README)) == there


def test_it_has_each_reason_of_health() -> None:
    for reason in health.Reason.__args__:  # type: ignore[attr-defined]
        assert f"`{reason}`" in README


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here: apt-get install prometheus"
)
@pytest.mark.parametrize(("begins", "check"), [("groups:", "rules"), ("scrape_configs:", "config")])
def test_prometheus_takes_its_examples(begins: str, check: str, tmp_path: Path) -> None:
    found = re.search(rf"^    {begins}\n(?:    .*\n)+", README, re.MULTILINE)
    assert found is not None
    file = tmp_path / "example.yml"
    file.write_text(re.sub("^    ", "", found[0], flags=re.MULTILINE))
    only_syntax = ["--syntax-only"] if check == "config" else []  # the files that it names are not here
    done = subprocess.run(
        ["promtool", "check", check, *only_syntax, file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
