"""`gateway command` and `gateway provider command receipt`: what a household and a utility see."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.cli import command as module
from gateway.cli.main import main
from gateway.control.commands import CommandStatus
from gateway.wire import cose
from tests.cli.test_grant_requests import CONFIG
from tests.support.commanded import CommandedHome

LIMIT = CommandStatus(
    id="3f2a" + 28 * "0",
    provider="Netz \x1b[31m",
    provider_kid=32 * "1",
    kind="limit",
    meter="main",
    text="Engpass\x07",
    limit_w=4200,
    from_ms=1_780_000_000_000,
    until_ms=1_780_003_600_000,
    received_ms=1_780_000_000_000,
    state="running",
    code="limited",
    reason="the limit is in force",
    receipt=b"receipt",
    fault="commands to meter main: it does not answer",
)
ASKED = LIMIT.model_copy(
    update={
        "id": "3f2b" + 28 * "0",
        "kind": "disconnect",
        "limit_w": None,
        "text": None,
        "fault": None,
        "state": "asks",
        "reason": "the household is asked",
    }
)


@dataclass
class Gateway:
    """A gateway with commands, in the place of its control socket."""

    held: list[CommandStatus] = field(default_factory=lambda: [ASKED, LIMIT])
    decided: list[tuple[str, str]] = field(default_factory=list)

    async def commands(self) -> tuple[CommandStatus, ...]:
        return tuple(self.held)

    async def decide_command(self, command: str, decision: str) -> CommandStatus:
        self.decided.append((command, decision))
        return ASKED.model_copy(update={"reason": "decided"})


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gateway:
    one = Gateway()
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG)
    monkeypatch.setenv("GATEWAY_CONFIG", str(config))
    monkeypatch.setattr(module, "ControlClient", lambda _socket: one)
    return one


def test_the_list_shows_text_as_text(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["command", "list"]) == 0
    shown = capsys.readouterr().out
    assert "limit to 4200 W" in shown
    assert "3f2a0000 says: Engpass\N{REPLACEMENT CHARACTER}" in shown
    assert "3f2a0000: commands to meter main: it does not answer" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    gateway.held = [LIMIT.model_copy(update={"state": "ended"})]
    assert main(["command", "list", "--open"]) == 0
    assert capsys.readouterr().err == "no command came\n"
    assert main(["command", "list", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["commands"]
    assert (one["state"], one["limit_w"], "act" in one) == ("ended", 4200, False)


@pytest.mark.parametrize("decision", ["allow", "refuse"])
def test_a_decision(gateway: Gateway, decision: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["command", decision, "3F2"]) == 0  # the one that is asked about
    assert gateway.decided == [(ASKED.id, decision)]
    assert "disconnect: decided" in capsys.readouterr().out
    for wrong in ("", "4", "zzz"):
        assert main(["command", decision, wrong]) == 2
        assert f"no command begins with '{wrong}'" in capsys.readouterr().err
    gateway.held = [ASKED, ASKED.model_copy(update={"id": "3f2c" + 28 * "0"})]
    assert main(["command", decision, "3f2"]) == 2
    assert "several commands begin with '3f2'" in capsys.readouterr().err
    assert len(gateway.decided) == 1


def test_a_utility_verifies_a_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = CommandedHome(tmp_path)
    command, receipt = tmp_path / "command.cose", tmp_path / "receipt.cose"

    async def carried_out() -> str:
        await home.begins()
        await home.publish()
        data = home.allowed.signs(home.commands_of(home.allowed, "limit"))
        command.write_bytes(data)
        sent = await home.session.commander.receive(data)
        await home.step()
        receipt.write_bytes((await home.status(sent.id)).receipt)
        signer = cose.kid_of(home.root.public_key).hex()
        await home.crash()
        return signer

    signer = asyncio.run(carried_out())
    verify = ["provider", "command", "receipt", str(receipt)]
    verify += ["--store", str(tmp_path / "store"), "--signer", signer]
    assert main([*verify, "--command", str(command)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("running (limited): the limit is in force\n")
    assert "limit    4200 W" in shown
    assert main([*verify, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["state"], document["limit_w"], document["number"]) == ("running", 4200, 1)
    assert main([*verify, "--command", str(receipt)]) == 5
    assert "is a receipt for another command" in capsys.readouterr().err
    receipt.write_bytes(receipt.read_bytes()[:-1] + b"\0")
    assert main(verify) == 5
    assert main([*verify[:-1], 32 * "0"]) == 5


def test_a_limit_is_ended_by_its_first_digits(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["command", "end", "3f2a"]) == 0
    assert gateway.decided == [(LIMIT.id, "end")]
    gateway.held = [LIMIT.model_copy(update={"endable": True}), ASKED]
    assert main(["command", "end", "3f2"]) == 0  # of two, the one that can be ended
    assert gateway.decided[-1] == (LIMIT.id, "end")
    assert main(["command", "allow", "3f2"]) == 0
    assert gateway.decided[-1] == (ASKED.id, "allow")
    gateway.held = [ASKED, LIMIT]
    assert main(["command", "end", "3f2"]) == 2
    assert "several commands begin with '3f2'" in capsys.readouterr().err
