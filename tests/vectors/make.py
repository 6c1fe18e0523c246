"""Makes the test vectors, without the gateway's code.

    python -m tests.vectors.make

writes the JSON files beside this one. Run again, it writes the same bytes: the one thing that is random
by nature, the ML-KEM half of a sealed K_0, is kept from the file as long as it opens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.vectors import bucket, calendars, commands, gate, kinds, pages, prices, scheme

HERE = Path(__file__).parent


def everything() -> dict[str, dict[str, Any]]:
    """All files by name."""
    return {
        "keys": scheme.keys(),
        "keystream": scheme.keystream(),
        "seal": scheme.seal(),
        "nonce": scheme.nonce(),
        "token": scheme.token(),
        "bill": kinds.bill(),
        "load": kinds.load(),
        "raw": kinds.raw(),
        "grant": bucket.grant(stored("grant")),
        "granularity": calendars.granularity(),
        "objects": bucket.objects(stored("objects")),
        "pages": pages.pages(stored("pages")),
        "prices": prices.prices(),
        "commands": commands.commands(),
        "gate": gate.gate(),
    }


def stored(name: str) -> dict[str, Any] | None:
    """A file as it stands; None where there is none yet."""
    path = HERE / f"{name}.json"
    content: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.exists() else None
    return content


def text(content: dict[str, Any]) -> str:
    """A file's text."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, content in everything().items():
        (HERE / f"{name}.json").write_text(text(content), "utf-8")
