"""Runs the scripts tests/cli/*.txt: what a person types, and what they then see.

    # a comment
    $ gateway config check gateway.toml
    gateway.toml is valid.
    ...
    ! gateway: a line on stderr
    [exit 2]

`$ ` begins a command for /bin/sh, `> ` goes on with it (a here-document, say). Below it stand all of
its stdout, then all of its stderr (each line after `! `), then its exit code unless that is 0. `...`
stands for any text in a line and, alone, for any lines; blank lines count for nothing. A script's
commands share one fresh folder.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent
TIMEOUT_S = 60


@dataclass(slots=True)
class Step:
    line: int
    command: str
    expected: list[str] = field(default_factory=list)


def read(script: str) -> list[Step]:
    """The commands of a script, each with the lines that are expected of it."""
    steps: list[Step] = []
    for number, line in enumerate(script.splitlines(), start=1):
        if line.startswith("$ "):
            steps.append(Step(number, line[2:]))
        elif line.startswith("> ") or line == ">":
            steps[-1].command += "\n" + line[2:]
        elif line.strip() and not line.startswith("# "):
            steps[-1].expected.append(line)
    return steps


def run(command: str, folder: Path) -> list[str]:
    """What a person sees of a command, written as in a script."""
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "TZ": "Europe/Zurich",
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as shell:
        try:
            out, err = shell.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            out, err = shell.communicate()
            err += f"(killed after {TIMEOUT_S} s)"
    seen = [line for line in out.splitlines() if line.strip()]
    seen += [f"! {line}" for line in err.splitlines() if line.strip()]
    return seen + ([f"[exit {shell.returncode}]"] if shell.returncode else [])


def matches(expected: list[str], seen: list[str]) -> bool:
    """Whether the lines are the expected ones."""
    lines = (
        r"(.*\n)*" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in expected
    )
    return re.fullmatch("".join(lines), "".join(line + "\n" for line in seen)) is not None


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.txt")), ids=lambda path: path.stem)
def test_script(script: Path, tmp_path: Path) -> None:
    for step in read(script.read_text(encoding="utf-8")):
        seen = run(step.command, tmp_path)
        if not matches(step.expected, seen):
            shown = "\n".join(["expected:", *step.expected, "", "seen:", *seen])
            pytest.fail(f"{script.name}, line {step.line}: $ {step.command}\n{shown}", pytrace=False)


@pytest.mark.parametrize(
    ("expected", "seen", "match"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
        (["..."], [], True),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "..."], ["b"], False),
        (["a ... c"], ["a b c"], True),
        (["a ... c"], ["a b", "c"], False),
        (["a.c"], ["abc"], False),
        ([], ["[exit 1]"], False),
    ],
)
def test_the_runner_itself(expected: list[str], seen: list[str], match: bool) -> None:
    assert matches(expected, seen) is match
