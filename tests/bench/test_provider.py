"""`gateway bench provider` runs as documented: both sides read the same year, and agree about it."""

from __future__ import annotations

import json

import pytest

from gateway.bench import homes, provider
from gateway.cli.main import main


@pytest.mark.slow
def test_it_measures_every_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provider, "_REPEAT", 2)
    monkeypatch.setattr(homes, "_REPEAT", 1)
    assert main(["bench", "provider", "--homes", "20", "--json"]) == 0
    found = {figure["name"]: figure for figure in json.loads(capsys.readouterr().out)}
    processes = {f"year_csv{again}{program}" for again in ("", "_again") for program in ("", "_program")}
    days = {f"homes_{where}_{when}" for where in ("memory", "s3") for when in ("first", "again")}
    days |= {"homes_s3_first_cpu", "homes_s3_again_cpu", "homes_s3_duckdb", "homes_process"}
    assert found.keys() == {"year_provider", "year_again"} | processes | days
    for figure in found.values():
        assert figure["ratio"] == figure["ours"] / figure["rival"]
        assert figure["rival"] > 0
