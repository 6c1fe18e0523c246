"""Every parser against inputs that nobody sent: `python -m tests.fuzz` tries all, or those that are named.

Each target runs in processes of its own, guided by coverage where atheris is installed, and by chance. An
input that fails is kept in tests/fuzz/regressions, where pytest tries it from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

from tests.fuzz.engine import KIB_A_BYTE, LIMIT_S, Failed, Target, Trial
from tests.fuzz.targets import TARGETS

REGRESSIONS = Path(__file__).with_name("regressions")


@dataclass(frozen=True, slots=True)
class Result:
    """How a target fared; `kept` is the input that failed."""

    tried: int
    seconds: float
    failed: str | None
    kept: Path | None


def main(arguments: list[str]) -> int:
    """0 where every target keeps to what it must."""
    options = _options(arguments)
    if options.list:
        for target in TARGETS.values():
            print(f"{target.name:20} raises {target.declared.__name__} only, {len(target.seeds())} seeds")
        return 0
    names = options.target or list(TARGETS)
    if options.replay:
        return _replay(TARGETS[names[0]], options.replay)
    print(f"guided by {' and by '.join(_guides())}; at most {LIMIT_S:g} s of CPU time for an input,")
    print(f"and 1 MiB of memory and {KIB_A_BYTE} KiB for each of its bytes")
    print(f"{'target':20} {'inputs':>10} {'seconds':>8} {'inputs/s':>9}")
    results = {}
    for name in names:
        results[name] = result = fuzz(
            name, options.runs, options.seconds, REGRESSIONS, show=sys.stdout.isatty()
        )
        rate = result.tried / result.seconds
        print(
            f"{name:20} {result.tried:10} {result.seconds:8.0f} {rate:9.0f} {result.failed or ''}", flush=True
        )
        if result.kept:
            print(f"  again: {sys.executable} -m tests.fuzz {name} --replay {result.kept}", flush=True)
    failed = [name for name, result in results.items() if result.failed]
    print(f"failed: {', '.join(failed)}" if failed else f"{len(results)} targets, none failed")
    return 1 if failed else 0


def fuzz(
    name: str,
    runs: int,
    seconds: float,
    keep: Path,
    *,
    table: str = "tests.fuzz.targets",
    silent_s: float = 120,
    show: bool = False,
) -> Result:
    """Try a target of the module `table`, and keep in a folder of `keep` what fails: a part of the inputs
    guided by coverage, which is slow and goes deep, the others by chance. A process that says nothing for
    `silent_s` is ended: it holds the interpreter, or waits."""
    begin, tried, failed, kept = time.monotonic(), 0, None, None
    for guide, share in _guides().items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.fuzz.child", guide, table, name]
            command += [str(int(runs * share)), str(seconds * share), folder]
            more, failed = _run(command, Path(folder) / "log", silent_s, f"{name:20}" if show else "")
            tried += more
            if failed is not None:
                kept = _keep(keep / name, Path(folder) / "input")
                break
    return Result(tried, time.monotonic() - begin, failed, kept)


def _guides() -> dict[str, float]:
    """What guides inputs, and which share of them."""
    if importlib.util.find_spec("atheris") is None:
        return {"chance": 1.0}
    return {"coverage": 0.2, "chance": 0.8}


def _run(command: list[str], errors: Path, silent_s: float, show: str) -> tuple[int, str | None]:
    """How many inputs a child tried, and what failed; `show` begins a line that says how far it is."""
    with errors.open("w+") as log:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert child.stdout is not None
        tried, failed = 0, None
        silence = _Silence(child, silent_s)
        for line in child.stdout:
            silence.over()
            said = json.loads(line)
            tried, failed = int(said["tried"]), said["failed"]
            if show:
                print(f"\r{show} {tried:10}", end="\r", flush=True)
        child.wait()
        silence.end()
        child.stdout.close()
        if failed is None and child.returncode:
            failed = f"the process ended with {child.returncode}"
        if failed is not None:
            log.seek(0)
            told = [line for line in log if not line.startswith(("INFO", "WARNING"))]
            print("".join(told[-40:]), file=sys.stderr)
        return tried, failed


class _Silence:
    """Kills a child that says nothing for long."""

    def __init__(self, child: subprocess.Popen[str], seconds: float) -> None:
        self._child = child
        self._seconds = seconds
        self._begin()

    def over(self) -> None:
        self._timer.cancel()
        self._begin()

    def end(self) -> None:
        self._timer.cancel()

    def _begin(self) -> None:
        self._timer = Timer(self._seconds, self._child.kill)
        self._timer.daemon = True
        self._timer.start()


def _keep(folder: Path, last: Path) -> Path | None:
    if not last.exists():
        return None  # it ended before it tried anything
    with last.open("rb") as file:
        data = file.read(int.from_bytes(file.read(8), "big"))
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / hashlib.sha256(data).hexdigest()[:12]
    kept.write_bytes(data)
    return kept


def _replay(target: Target, file: Path) -> int:
    try:
        Trial(target).weigh(file.read_bytes())
    except Failed as failure:
        if failure.__cause__ is not None:
            raise failure.__cause__ from None
        print(failure)
        return 1
    print(f"{target.name} keeps to what it must")
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "target", nargs="*", choices=[*TARGETS, []], metavar="TARGET", help="which; all if none"
    )
    parser.add_argument(
        "--runs", type=int, default=1_000_000, help="inputs for each target (default 1000000)"
    )
    parser.add_argument("--seconds", type=float, default=86_400, help="for each target, at most")
    parser.add_argument("--list", action="store_true", help="say which targets there are")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="try one input on one target")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
