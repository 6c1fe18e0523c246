"""The doctor on a store with credentials from the registrar, which the running gateway alone has."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config
from gateway.control.client import ControlClient
from gateway.control.documents import Status, StoreStatus
from gateway.daemon.doctor import Diagnosis, examine

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
