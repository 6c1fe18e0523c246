"""`gateway registrar`: what scripts cannot show."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.registrar.settings import example

TIMEOUT_S = 60


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "registrar.toml"
    text = example().replace('# state = "/var/lib/gateway-registrar"', 'state = "state"')
    path.write_text(text.replace("# port = 8443", "port = 0"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_server_answers_until_it_is_stopped(config: Path, ending: int) -> None:
    assert main(["registrar", "init", "--config", str(config)]) == 0
    program = str(Path(sys.executable).with_name("gateway"))
    command = [program, "registrar", "serve", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert "INFO Registrar answers at http://127.0.0.1:" in line
        server.send_signal(ending)
        _, rest = server.communicate(timeout=TIMEOUT_S)
    assert (server.returncode, rest) == (0, "")


def test_the_description_is_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registrar", "openapi"]) == 0
    assert json.loads(capsys.readouterr().out)["openapi"] == "3.1.0"


def test_a_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("gateway.cli.registrar.")]:
        if name not in ("gateway.cli.registrar.group", "gateway.cli.registrar.examples"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "gateway.registrar.service", raising=False)
    for name in [name for name in sys.modules if name.startswith("gateway.registrar.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert main(["registrar", "account", "list"]) == 2
    assert capsys.readouterr().err == (
        "gateway: the package sqlalchemy is missing: install gateway[registrar], which has all that a "
        "registrar needs\n"
    )
    assert main(["registrar", "example"]) == 0


def test_help_loads_no_database(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys\nfrom gateway.cli.main import main\nmain(['registrar', '--help'])\n"
        "sys.exit('sqlalchemy' in sys.modules or 'aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Decide who may register." in done.stdout
