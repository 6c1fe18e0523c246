"""The doctor on a store with credentials from the registrar, which the running gateway alone has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config
from gateway.config.model import TrustSection
from gateway.control.client import ControlClient
from gateway.control.documents import Status, StoreStatus
from gateway.daemon.doctor import Diagnosis, examine, examine_root
from gateway.trust.tpm import health
from gateway.trust.tpm.health import Health

URL = "s3://meters/homes"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f"""
        gateway = {{ state = "state", socket = "s" }}
        trust = {{ root = "software" }}
        store = {{ url = "{URL}", endpoint = "http://127.0.0.1:9", credentials = "registrar" }}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1", port = 1 }}
        """
    )
    return Config.load(file)


async def diagnose(config: Config) -> Diagnosis:
    [found] = [one async for one in examine(config) if one.part == "store"]
    return found


async def test_without_the_gateway_nothing_is_known(config: Config) -> None:
    found = await diagnose(config)
    assert not found.ok
    assert found.sentence.startswith(f"{URL}: its credentials come from the registrar, and the running")


@pytest.mark.parametrize(
    ("answered_ms", "error", "ok", "said"),
    [
        (1, None, True, f"{URL}: it answers the gateway, which has the registrar's credentials"),
        (1, "there are no storage credentials", False, "there are no storage credentials"),
        (None, None, False, f"{URL}: it has not answered the gateway yet"),
    ],
)
async def test_what_the_gateway_says_of_it_is_passed_on(
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    answered_ms: int | None,
    error: str | None,
    ok: bool,
    said: str,
) -> None:
    async def status(_: ControlClient) -> Status:
        store = StoreStatus(url=URL, answered_ms=answered_ms, error=error, waiting=0)
        return Status.model_construct(store=store, meters=(), doubts=())

    monkeypatch.setattr(ControlClient, "status", status)
    found = await diagnose(config)
    assert (found.ok, found.sentence) == (ok, said)


@pytest.mark.parametrize(
    ("changed", "ok", "sealing", "said"),
    [
        ({}, True, True, "IFX, firmware 7.85, TPM 2.0 revision 1.38"),
        ({"firmware": "7.62"}, False, True, "the firmware is older than 7.83: update it"),
        ({"sha256": False}, False, False, "has no SHA-256 bank of PCRs: run tpm2_pcrallocate sha256:all"),
        ({"certified": False}, True, True, "without its maker's certificate"),
        ({"missing": ("TPM2_HMAC",), "firmware": "7.62"}, False, False, "lacks TPM2_HMAC"),
        ({"lockout": True}, False, False, "in lockout: run tpm2_dictionarylockout"),
    ],
)
async def test_what_a_tpm_lacks_is_said_with_what_to_do(
    changed: dict[str, Any],
    ok: bool,
    sealing: bool,
    said: str,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    healthy = Health("IFX", "7.85", "1.38", (), lockout=False, sha256=True, certified=True)

    async def inspected(_: str) -> Health:
        return replace(healthy, **changed)

    monkeypatch.setattr(health, "inspect", inspected)
    tpm = config.model_copy(update={"trust": TrustSection()})
    found = await examine_root(tpm)
    assert (found.part, found.ok, found.sealing) == ("TPM", ok, sealing)
    assert said in found.sentence
    assert bool(changed) == (found.sentence != "IFX, firmware 7.85, TPM 2.0 revision 1.38")


async def test_a_simulated_tpm_is_called_so(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    async def inspected(_: str) -> Health:
        return Health("IBM", "8217.1", "1.64", (), lockout=False, sha256=True, certified=False)

    monkeypatch.setattr(health, "inspect", inspected)
    tpm = config.model_copy(update={"trust": TrustSection(tcti="swtpm:path=/run/swtpm")})
    assert "SIMULATED, for trying only" in (await examine_root(tpm)).sentence
