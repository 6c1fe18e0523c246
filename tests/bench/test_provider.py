"""`gateway bench provider` runs as documented: both sides read the same year, and agree about it."""

from __future__ import annotations

import json

import pytest

from gateway.bench import provider
from gateway.cli.main import main


@pytest.mark.slow
def test_it_measures_every_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provider, "_REPEAT", 2)
    assert main(["bench", "provider", "--json"]) == 0
    found = {figure["name"]: figure for figure in json.loads(capsys.readouterr().out)}
    processes = {f"year_csv{again}{program}" for again in ("", "_again") for program in ("", "_program")}
    assert found.keys() == {"year_provider", "year_again"} | processes
    for figure in found.values():
        assert figure["ratio"] == figure["ours"] / figure["rival"]
        assert figure["rival"] > 0
