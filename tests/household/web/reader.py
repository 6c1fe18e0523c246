"""The TypeScript reader in a process of node, asked over a pipe."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hatch_build

DRIVER = Path(__file__).with_name("driver.ts")


class ReaderRefused(Exception):
    """What the reader did not accept; `kind` is the class of its error."""

    def __init__(self, sentence: str, kind: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def bundle(folder: Path) -> Path:
    """The driver with the reader, as one script for node."""
    hatch_build.install(types=True)
    tests = hatch_build.WORK / "tests"
    tests.mkdir(exist_ok=True)
    (tests / DRIVER.name).write_text(DRIVER.read_text("utf-8"), "utf-8")
    script = folder / "driver.mjs"
    hatch_build.bundle(f"tests/{DRIVER.name}", script, "--platform=node", "--format=esm", "--target=node22")
    return script


class Reader:
    """The process, which holds one store, one stream and one grant at a time."""

    def __init__(self, script: Path) -> None:
        self._held: dict[str, bytes] = {}
        self._process = subprocess.Popen(
            [str(hatch_build.node_folder() / "bin/node"), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, action: str, **request: Any) -> Any:
        """The answer; ReaderRefused where the reader refused it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"action": action, **request}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "refused" in answer:
            raise ReaderRefused(answer["refused"], answer["as"])
        assert "answer" in answer, answer["failed"]
        return answer["answer"]

    def holds(self, objects: Mapping[str, bytes]) -> None:
        """The store has these objects and no others."""
        changed = {key: data.hex() for key, data in objects.items() if self._held.get(key) != data}
        self("store", objects={**dict.fromkeys(self._held.keys() - objects.keys()), **changed})
        self._held = dict(objects)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
