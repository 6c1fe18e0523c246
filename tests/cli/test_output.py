"""Numbers, times and tables, as they reach a terminal or a pipe."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.output import json_option, kwh, local_time, offset, print_json, print_table, printable


@given(st.integers(-(2**63), 2**63 - 1))
def test_kwh_is_exact(mwh: int) -> None:
    assert Decimal(kwh(mwh)) * 1_000_000 == mwh
    assert len(kwh(mwh).partition(".")[2]) == 6


@pytest.mark.parametrize(
    ("mwh", "text"),
    [
        (0, "0.000000"),
        (1, "0.000001"),
        (-1, "-0.000001"),
        (-1_500_000, "-1.500000"),
        (2**63 - 1, "9223372036854.775807"),
    ],
)
def test_kwh(mwh: int, text: str) -> None:
    assert kwh(mwh) == text


@pytest.fixture
def _zurich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_zurich")
@pytest.mark.parametrize(
    ("unix_ms", "text"),
    [
        (0, "1970-01-01T01:00:00+01:00"),
        (1_782_000_000_000, "2026-06-21T02:00:00+02:00"),
        (1_782_000_000_001, "2026-06-21T02:00:00.001+02:00"),
        (1_792_889_999_000, "2026-10-25T02:59:59+02:00"),
        (1_792_890_000_000, "2026-10-25T02:00:00+01:00"),
        (253_402_300_800_000, "253402300800000 ms after 1970"),
        (253_402_300_799_000, "253402300799000 ms after 1970"),
        (2**64 - 1, "18446744073709551615 ms after 1970"),
    ],
)
def test_times_are_local_with_their_offset(unix_ms: int, text: str) -> None:
    assert local_time(unix_ms) == text


def test_a_table_in_a_pipe_is_aligned_and_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["10:00", "1.5", "x" * 200], ["10:15", "10.25", "[bold]"]]
    print_table(["from", "kWh", "note"], rows, numbers=["kWh"])
    assert capsys.readouterr().out.splitlines() == [
        "from     kWh  note",
        "10:00    1.5  " + "x" * 200,
        "10:15  10.25  [bold]",
    ]
    print_table(["from", "kWh"], [])
    assert capsys.readouterr().out == "from  kWh\n"


def test_what_comes_from_elsewhere_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("Stadtwerk Zürich\x1b[2K\r\n") == "Stadtwerk Zürich\ufffd[2K\ufffd\ufffd"
    print_table(["name"], [["a\x1b[31m"]])
    assert "\x1b" not in capsys.readouterr().out


def on_a_terminal(code: str, **env: str) -> str:
    """What a terminal of 60 columns receives of some Python code."""
    controller, terminal = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "60", "LC_ALL": "C.UTF-8"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=terminal, env=environment | env) as process:
        os.close(terminal)
        received = io.BytesIO()
        try:
            while data := os.read(controller, 4096):
                received.write(data)
        except OSError:  # EIO: the last holder of the terminal has closed it
            pass
        finally:
            os.close(controller)
    assert process.returncode == 0
    return received.getvalue().decode()


def test_a_table_on_a_terminal_is_ruled_and_fits() -> None:
    seen = on_a_terminal(
        "from gateway.cli.output import print_table;"
        "print_table(['name', 'kWh'], [['[b]a[/b]', '1.5'], ['b' * 80, '22.5']], numbers=['kWh'])"
    )
    assert "─" in seen
    assert "[b]a[/b]" in seen
    assert "\x1b" not in seen
    assert all(len(line) <= 60 for line in seen.splitlines())


def test_a_table_on_a_terminal_loses_nothing() -> None:
    """An id that ends in dots cannot be copied."""
    seen = on_a_terminal(
        "from gateway.cli.output import print_table;"
        "print_table(['id', 'what'], [['4e' * 16, 'two or more words of a sentence that is long']])"
    )
    assert [line.rstrip() for line in seen.splitlines()[2:]] == [
        f"{'4e' * 16}  two or more words of a",
        f"{'':34}sentence that is long",
    ]
    seen = on_a_terminal(
        "from gateway.cli.output import print_table; print_table(['a', 'b'], [['x' * 70, 'y' * 40]])"
    )
    assert (seen.count("x"), seen.count("y")) == (70, 40)
    assert all(len(line.rstrip()) <= 60 for line in seen.splitlines())


def test_ids_on_a_terminal_are_broken_last() -> None:
    row = "['4e' * 16, '2026-09-18T22:00:00+00:00', '2026-11-27T23:00:00+00:00']"
    code = f"from gateway.cli.output import print_table; print_table(['id', 'from', 'until'], [{row}])"
    seen = on_a_terminal(code)
    assert "4e" * 16 in seen
    assert all(len(line.rstrip()) <= 60 for line in seen.splitlines())
    narrow = on_a_terminal(code, COLUMNS="30")
    assert all(len(line.rstrip()) <= 30 for line in narrow.splitlines())
    assert narrow.count("e") == 16  # none is cut off


def test_a_sentence_on_a_terminal_is_broken_between_words() -> None:
    code = (
        "from gateway.cli.output import echo;"
        "echo('word ' * 14 + 'https://example.org/' + 'x' * 60, 'beware  ')"
    )
    assert on_a_terminal(code).splitlines() == [
        "beware  " + " ".join(["word"] * 10),
        " " * 8 + " ".join(["word"] * 4),
        " " * 8 + "https://example.org/" + "x" * 60,
    ]
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert piped == "beware  " + "word " * 14 + "https://example.org/" + "x" * 60 + "\n"


def test_a_recent_time_is_short_where_a_person_reads_it() -> None:
    code = (
        "import time; from gateway.cli.output import recent_time;"
        "print(recent_time(86_400_000), recent_time(time.time_ns() // 1_000_000 // 60_000 * 60_000))"
    )
    assert re.fullmatch(r"1970-01-02 00:00:00 \d\d:\d\d:00\r\n", on_a_terminal(code, TZ="UTC"))
    env = {"PATH": os.environ["PATH"], "TZ": "UTC"}
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert piped.stdout.startswith("1970-01-02T00:00:00+00:00 ")


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [(-0.04, 1, "0.0 s"), (0.04, 1, "0.0 s"), (-0.06, 1, "-0.1 s"), (61.3, 0, "+61 s"), (-10, 0, "-10 s")],
)
def test_how_far_a_clock_is_off(seconds: float, digits: int, text: str) -> None:
    assert offset(seconds, digits) == text


def test_colour_is_off_where_it_is_not_wanted() -> None:
    code = (
        "import click, gateway.cli.main as cli;"
        "cli.cli.invoke = lambda context: click.secho('right', fg='green');"
        "cli.main(['config'])"
    )
    assert on_a_terminal(code) == "\x1b[32mright\x1b[0m\r\n"
    assert on_a_terminal(code, NO_COLOR="1") == "right\r\n"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert piped.stdout == "right\n"


def test_json_is_one_document() -> None:
    @click.command
    @json_option
    def show(as_json: bool) -> None:
        print_json({"name": "Zürich\x1b", "mwh": 2**63 - 1} if as_json else {})

    assert json.loads(CliRunner().invoke(show, []).output) == {}
    output = CliRunner().invoke(show, ["--json"]).output
    assert json.loads(output) == {"name": "Zürich\x1b", "mwh": 2**63 - 1}
    assert "Zürich" in output
    assert "\x1b" not in output
