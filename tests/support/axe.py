"""axe, which finds what keeps people who use a page without a mouse, or without seeing it, from using it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Page

ROOT = Path(__file__).resolve().parents[2]
_FILE = ROOT / "build/web/node_modules/axe-core/axe.min.js"


@cache
def _source() -> str:
    """The script, as package-lock.json has it: the check of the types installs it too."""
    if not _FILE.exists():
        subprocess.run([sys.executable, "hatch_build.py", "--check"], cwd=ROOT, check=True)
    return _FILE.read_text(encoding="utf-8")


async def violations(page: Page) -> list[str]:
    """What breaks WCAG 2.2, level AA, or a good practice, on the page as it is: a line for each element."""
    await page.evaluate(_source())
    found: dict[str, Any] = await page.evaluate("axe.run()")
    return [
        f"{rule['id']}: {node['html']}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
