"""Every ending of a command is an exit code and, where something was wrong, a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import gateway
from gateway.cli.main import COMMANDS, cli, main
from gateway.errors import GatewayError, StoreUnavailable, UsageError

GATEWAY = str(Path(sys.executable).with_name("gateway"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    """Run a function as a command of its own."""
    monkeypatch.delenv("GATEWAY_DEBUG", raising=False)

    def run_it(action: Callable[[], object]) -> int:
        module = ModuleType("gateway_test_command")
        module.command = click.command(action)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(COMMANDS, "act", (module.__name__, "Act."))
        return main(["act"])

    return run_it


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("action", "code", "said"),
    [
        (lambda: None, 0, ""),
        (lambda: 3, 3, ""),
        (lambda: click.get_current_context().exit(4), 4, ""),
        (raising(GatewayError("It is so.")), 1, "gateway: It is so.\n"),
        (raising(UsageError("One.\nTwo.")), 2, "gateway: One.\ngateway: Two.\n"),
        (raising(StoreUnavailable("Later.")), 4, "gateway: Later.\n"),
        (raising(KeyboardInterrupt()), 130, ""),
        (raising(click.Abort()), 130, ""),
    ],
)
def test_endings(
    action: Callable[[], object],
    code: int,
    said: str,
    run: Callable[[Callable[[], object]], int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(action) == code
    assert capfd.readouterr() == ("", said)


def test_a_bug_is_named_without_its_text(
    run: Callable[[Callable[[], object]], int],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(raising(ValueError("hunter2"))) == 70
    said = capfd.readouterr().err
    assert said.startswith("gateway: this is a bug: ValueError in gateway/cli/main.py, line ")
    assert said.count("\n") == 1
    assert "hunter2" not in said

    monkeypatch.setenv("GATEWAY_DEBUG", "1")
    assert run(raising(ValueError("hunter2"))) == 70
    said = capfd.readouterr().err
    assert said.startswith("Traceback")
    assert "hunter2" in said


def test_a_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [GATEWAY, "config", "example"], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"gateway {gateway.__version__}\n"


def test_help_imports_no_command() -> None:
    """What help imports is what a person waits for on a Pi."""
    run = "import sys; from gateway.cli.main import main; main(['--help'])"
    show = f"{run}; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    imported = set(done.stderr.split())
    commands = {module for module, _ in COMMANDS.values()}
    assert "gateway.cli.output" in imported
    assert not imported & {
        *commands,
        "pydantic",
        "rich",
        "numpy",
        "boto3",
        "tpm2_pytss",
        "pymodbus",
        "asyncio",
    }
    assert all(text in done.stdout for _, text in COMMANDS.values())


def all_commands() -> Iterator[tuple[str, click.Command]]:
    waiting: list[tuple[str, click.Command]] = [("gateway", cli)]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for sub in command.list_commands(context):
                found = command.get_command(context, sub)
                assert found is not None
                waiting.append((f"{name} {sub}", found))


def test_every_command_has_help_and_examples_that_parse() -> None:
    for name, command in all_commands():
        assert command.help, f"{name} has no docstring"
        assert command.epilog, f"{name} has no epilog=examples(...)"
        lines = [line.strip() for line in command.epilog.splitlines()[2:]]
        assert lines, f"{name} has no examples"
        for line in lines:
            assert f" {name} " in f" {line} ", f"{line!r} is no example of {name}"
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.opts[0]} has no help"


def test_ctrl_c_while_a_command_is_imported(tmp_path: Path) -> None:
    """It ends the process: an extension module makes another exception of the interrupt, or crashes."""
    (tmp_path / "extension.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "except KeyboardInterrupt:\n"
        "    raise RuntimeError('CPU dispatcher tracer already initialized') from None\n"
    )
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from gateway.cli.main import COMMANDS, main\n"
        "COMMANDS['act'] = ('extension', 'Act.')\n"
        "sys.exit(main(['act']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")
