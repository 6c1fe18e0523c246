"""`python -m tests.fuzz.child GUIDE TABLE TARGET RUNS SECONDS FOLDER`: one target of the module TABLE, in a
process of its own, its inputs guided by `coverage` (atheris) or by `chance`.

Writes a line of JSON a second to its standard output: {"tried": ..., "failed": null or what}. FOLDER/input
holds the input that was tried last, whatever became of the process.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import random
import resource
import sys
import time
import traceback
from itertools import chain
from pathlib import Path
from typing import NoReturn

from tests.fuzz.engine import LONG, Failed, Target, Trial, long_inputs, longest, mutations

MOST_MEMORY = 1 << 28  # what a target may have beyond what its process began with
_STUCK_S = 60  # for what holds the interpreter; what does not ends after LIMIT_S of CPU time


def main(guide: str, table: str, name: str, runs: int, seconds: float, folder: Path) -> None:
    if guide == "chance":
        _by_chance(_Run(_target(table, name), runs, seconds, folder))
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["gateway"]):
        target = _target(table, name)
    run, seeds = _Run(target, runs, seconds, folder), target.seeds()
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    _limit_memory()
    options = (f"-max_len={longest(seeds)}", f"-timeout={_STUCK_S}", "-rss_limit_mb=0", "-verbosity=0")
    atheris.Setup(["", *options, f"-artifact_prefix={folder}/", str(corpus)], run)
    atheris.Fuzz()


class _Run:
    """Tries inputs until one fails or there were enough, and then ends the process."""

    def __init__(self, target: Target, runs: int, seconds: float, folder: Path) -> None:
        self.target = target
        self._trial = Trial(target)
        self._runs = runs
        self._said = time.monotonic()
        self._until = self._said + seconds
        with (folder / "input").open("w+b") as file:
            file.truncate(8 + 4 * LONG)
            self._kept = mmap.mmap(file.fileno(), 0)

    def __call__(self, data: bytes) -> None:
        self._keep(data)
        try:
            self._trial(data)
        except Failed as failure:
            self._end(failure)
        now = time.monotonic()
        if self._trial.tried >= self._runs or now >= self._until:
            self._end(None)
        if now - self._said >= 1:
            self._said = now
            self._say(None)

    def _keep(self, data: bytes) -> None:
        self._kept[: 8 + len(data)] = len(data).to_bytes(8, "big") + data

    def _say(self, failed: str | None) -> None:
        print(json.dumps({"tried": self._trial.tried, "failed": failed}), flush=True)

    def _end(self, failure: Failed | None) -> NoReturn:
        if failure is not None:
            traceback.print_exception(failure.__cause__ or failure)
            sys.stderr.flush()
        self._say(None if failure is None else str(failure))
        os._exit(failure is not None)  # libFuzzer would have more to say


def _by_chance(run: _Run) -> NoReturn:
    seeds = run.target.seeds()
    _limit_memory()
    for data in chain(long_inputs(seeds), mutations(seeds, random.Random())):
        run(data)
    raise AssertionError  # mutations() never ends


def _target(table: str, name: str) -> Target:
    targets: dict[str, Target] = importlib.import_module(table).TARGETS
    return targets[name]


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    its_guide, its_table, its_name, its_runs, its_seconds, its_folder = sys.argv[1:]
    main(its_guide, its_table, its_name, int(its_runs), float(its_seconds), Path(its_folder))
