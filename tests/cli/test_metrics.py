"""`gateway metrics` and `gateway status --schema`: what a person and node-exporter see of a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema_rs
import pytest

from gateway.cli import metrics
from gateway.cli.codes import exit_code
from gateway.cli.main import main
from gateway.control.client import ControlClient
from gateway.control.documents import Status
from gateway.errors import LedgerError
from tests.support.exposition import parse, value
from tests.support.home import LINK_UNITS, Home
from tests.support.serving import serving


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f"""
        gateway = {{ state = "{tmp_path}/state", socket = "{tmp_path}/s" }}
        trust = {{ root = "software" }}
        store = {{ url = "{tmp_path}/store" }}
        [[meter]]
        name = "main"
        profile = "eastron-sdm630"
        tcp = {{ host = "127.0.0.1" }}
        """
    )
    return str(path)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    async with Home(tmp_path) as home, serving(home, tmp_path / "s"):
        await home.runs(2 * LINK_UNITS)
        yield home


async def run(*args: str) -> int:
    return await asyncio.to_thread(main, args)


async def test_they_are_printed(home: Home, config: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert await run("metrics", "--config", config) == 0
    text = capfd.readouterr().out
    assert value(text, "up") == value(text, "meter_sealing", meter="1") == 1


async def test_a_textfile_is_replaced_as_a_whole_and_open_to_node_exporter(
    home: Home, config: str, tmp_path: Path
) -> None:
    folder = tmp_path / "textfile"
    folder.mkdir()
    path = folder / "gateway.prom"
    path.write_text("what stood here before, and is longer than the metrics\n" * 400)
    with path.open() as old:
        assert await run("metrics", "--config", config, "--textfile", str(path)) == 0
        assert old.read().startswith("what stood here before")
    assert value(path.read_text(), "up") == 1
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(folder.iterdir()) == [path]


async def test_without_a_gateway_a_textfile_says_so(
    config: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.prom"
    assert await run("metrics", "--config", config, "--textfile", str(path)) == 4
    assert list(parse(path.read_text()).values()) == [0.0]
    assert await run("metrics", "--config", config) == 4
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("no gateway answers at") == 2


async def test_a_mistake_in_the_configuration_leaves_no_old_textfile(
    config: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gateway.prom"
    path.write_text("gateway_up 1\n")
    Path(config).write_text(Path(config).read_text().replace("profile", "profle"))
    assert await run("metrics", "--config", config, "--textfile", str(path)) == 2
    assert list(parse(path.read_text()).values()) == [0.0]
    assert "did you mean profile?" in capfd.readouterr().err


@pytest.mark.parametrize("answers", [True, False])
async def test_a_gateway_that_hangs_or_fails_is_not_up(
    answers: bool,
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def status(self: ControlClient) -> Status:
        if answers:
            raise LedgerError("the ledger is damaged")
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(metrics, "_ANSWER_S", 0.1)
    monkeypatch.setattr(ControlClient, "status", status)
    path = tmp_path / "gateway.prom"
    path.write_text("gateway_up 1\n")
    async with asyncio.timeout(20):
        code = await run("metrics", "--config", config, "--textfile", str(path))
    assert code == (exit_code(LedgerError) if answers else 4)
    assert list(parse(path.read_text()).values()) == [0.0]
    assert ("is damaged" if answers else "does not answer") in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gateway.txt", "node-exporter reads only files whose names end in .prom"),
        ("nowhere/gateway.prom", "cannot be written: No such file or directory"),
    ],
)
async def test_a_file_that_cannot_be(
    home: Home, config: str, tmp_path: Path, name: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await run("metrics", "--config", config, "--textfile", str(tmp_path / name)) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"gateway: {tmp_path / name}")
    assert err.endswith(f"{sentence}\n")
    assert not (tmp_path / name).exists()


async def test_the_schema_is_that_of_the_status_and_needs_no_gateway(
    home: Home, config: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await run("status", "--schema") == 0
    schema = json.loads(capfd.readouterr().out)
    assert await run("status", "--json", "--config", config) == 0
    jsonschema_rs.validate(schema, json.loads(capfd.readouterr().out))
