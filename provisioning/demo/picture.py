"""The README's picture of what the demo prints, drawn by:

FORCE_COLOR=1 COLUMNS=98 provisioning/try.sh --once 2>/dev/null |
    .venv/bin/python -m provisioning.demo.picture > provisioning/try.svg
"""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

_COLUMNS = 100
_THEME = TerminalTheme(
    (24, 26, 31),
    (208, 212, 220),
    [(24, 26, 31), (235, 110, 105), (130, 200, 120), (225, 190, 110), (110, 165, 235)],
)
# No font is fetched: the reader's own monospaced one will do.
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
 font-size: {char_height}px; line-height: {line_height}px; white-space: pre; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
<rect width="{width}" height="{height}" rx="8" fill="#181a1f"/>
<g transform="translate({terminal_x}, 20)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g></g></svg>
"""


def picture(printed: str) -> str:
    """The SVG of a terminal with these lines."""
    console = Console(width=_COLUMNS, record=True, file=io.StringIO(), highlight=False)
    console.print(Text("$ ./provisioning/try.sh --once", "bold"))
    for line in printed.rstrip().splitlines():
        if not re.match(r"\[\d/\d\]|the first minute", line):  # installing, waiting
            console.print(Text.from_ansi(line))
    return console.export_svg(theme=_THEME, code_format=_SVG, unique_id="try")


if __name__ == "__main__":
    sys.stdout.write(picture(sys.stdin.read()))
