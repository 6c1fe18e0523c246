"""`gateway grant requests`, `new --request` and `decline`: whatever was asked, and whoever answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import grant as module
from gateway.cli.main import main
from gateway.control.documents import (
    ConsentStatus,
    GrantAnswer,
    GrantRequest,
    GrantStatus,
    RequestStatus,
)
from gateway.errors import Unavailable

ASKED = RequestStatus(
    id="3f2a" + 28 * "0",
    provider="Stadtwerk",
    verified_by="Registrar Nord",
    meter="main",
    card=b"card",
    kind="windows",
    granularity="15min",
    zone="UTC",
    lanes=("import",),
    purpose="dynamic tariff",
    from_ms=None,
    until_ms=None,
    tariff=None,
    received_ms=0,
)
MADE = GrantStatus.model_construct(
    id=32 * "1",
    stream=32 * "2",
    meter="main",
    provider="Stadtwerk",
    kind="windows",
    lanes=("import",),
    granularity="15min",
    zone="UTC",
    purpose="dynamic tariff",
    from_ms=0,
    until_ms=None,
    k_min=None,
)

CONFIG = """
[gateway]
state = "state"
[store]
url = "store"
[[meter]]
name = "main"
profile = "eastron-sdm630"
tcp = { host = "127.0.0.1", port = 1 }
"""


@dataclass
class Gateway:
    """A gateway with requests, in the place of its control socket."""

    asked: list[RequestStatus] = field(default_factory=lambda: [ASKED])
    granted: int = 0
    decided: list[tuple[str, str]] = field(default_factory=list)
    away: bool = False

    async def requests(self) -> tuple[RequestStatus, ...]:
        return tuple(self.asked)

    async def grant(self, request: GrantRequest) -> GrantAnswer:
        self.granted += 1
        consent = ConsentStatus(provider=(), pooled=())
        return GrantAnswer.model_construct(grants=(MADE,), consent=consent, strangers=(), verified=())

    async def decide(self, request: str, state: str) -> None:
        if self.away:
            raise Unavailable("the registrar does not answer")
        self.decided.append((request, state))

    async def status(self) -> Any:
        return type("Status", (), {"signer": 32 * "3"})


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gateway:
    one = Gateway()
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG)
    monkeypatch.setenv("GATEWAY_CONFIG", str(config))
    monkeypatch.setattr(module, "ControlClient", lambda _socket: one)
    return one


def test_a_request_of_absurd_times_is_shown_and_hides_no_other(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.asked.insert(0, ASKED.model_copy(update={"from_ms": 2**64 - 2, "until_ms": 2**64 - 1}))
    assert main(["grant", "requests"]) == 0
    assert capsys.readouterr().out.count("Stadtwerk, verified by Registrar Nord") == 2


@pytest.mark.parametrize("command", [["grant", "new", "--request", ""], ["grant", "decline", ""]])
def test_an_empty_id_is_no_request_even_of_one(
    gateway: Gateway, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) != 0
    assert (gateway.granted, gateway.decided) == (0, [])
    assert "no requests begin with ''" in capsys.readouterr().err


def test_a_grant_that_the_registrar_does_not_hear_of_is_said_to_be_made(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grant", "new", "--request", "3f2a", "--yes"]) == 0
    assert gateway.decided == [(ASKED.id, "granted")]
    gateway.away = True
    capsys.readouterr()
    assert main(["grant", "new", "--request", "3f2a", "--yes"]) != 0
    shown = capsys.readouterr()
    assert "Stadtwerk may now open" in shown.out
    assert "the grant was made, and the registrar does not know it" in shown.err
    assert "do not grant it again" in shown.err
