"""`gateway bench registrar` runs as documented."""

from __future__ import annotations

import json

import pytest

from gateway.bench import registrar
from gateway.cli.main import main


@pytest.mark.slow
def test_it_measures_every_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registrar, "_ONE_BY_ONE", 3)
    monkeypatch.setattr(registrar, "_TOGETHER", 20)
    assert main(["bench", "registrar", "--json"]) == 0
    found = {figure["name"]: figure for figure in json.loads(capsys.readouterr().out)}
    assert found.keys() == {"registration", "registrations", "authentication", "registrar_nonce", "password"}
    assert all(figure["ours"] > 0 for figure in found.values())
