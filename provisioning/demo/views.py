"""The demo's views, as renderables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.cli.output import kwh, printable
from provisioning.demo.minutes import LANES, Minute

SOFTWARE = "SOFTWARE ROOT, no TPM: anyone who copies this disk can open every reading."
OPENED = "The sums that the provider opened, beside what the meter showed (kWh)"
SEALED = "What the store's owner sees of them: ciphertexts, added up modulo 2^64"
REFUSED = "What the provider gets when it asks for 10-second sums"

_INDENT = (0, 0, 0, 2)


def clock_time(second: float) -> str:
    """A moment as this machine's clock shows it."""
    return datetime.fromtimestamp(second).astimezone().strftime("%H:%M:%S")


def span(seconds: float) -> str:
    """A duration as text: 43 s, 1 min 40 s."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def banner(software: bool) -> list[RenderableType]:
    """The banner on every screen of a run with the software root."""
    return [Text(SOFTWARE, "bold red"), ""] if software else []


def opened(minutes: Sequence[Minute], *, headed: bool = True) -> RenderableType:
    """Each minute as the provider opened it and as the meter showed it, and whether they agree."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_header=headed)
    table.add_column("\nminute", min_width=8)
    for who in ("provider", "meter"):
        for lane in LANES:
            table.add_column(f"{who if lane == LANES[0] else ''}\n{lane}", justify="right", min_width=9)
    table.add_column()
    for minute in minutes:
        values = [kwh(seen[lane]) for seen in (minute.opened, minute.shown) for lane in LANES]
        table.add_row(clock_time(minute.begin), *values, _verdict(minute))
    return Padding(table, _INDENT)


def earlier(minutes: Sequence[Minute]) -> RenderableType:
    """A line for the minutes that no longer fit on the screen."""
    wrong = sum(not minute.agrees for minute in minutes)
    return Text(
        f"  {len(minutes)} minutes before: " + (f"{wrong} DIFFER" if wrong else "all agree"),
        "bold red" if wrong else "dim",
    )


def _verdict(minute: Minute) -> Text:
    if minute.agrees:
        return Text("agree", "bold green")
    return Text("DIFFER", "bold red")


def sealed(minutes: Sequence[Minute]) -> RenderableType:
    """Each minute as the store's owner sees it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("minute", min_width=8)
    for lane in LANES:
        table.add_column(lane, justify="right", min_width=20)
    for minute in minutes:
        table.add_row(clock_time(minute.begin), *(Text(str(minute.sealed[lane]), "yellow") for lane in LANES))
    return Padding(table, _INDENT)


def refused(sentence: str, code: int) -> RenderableType:
    """The end of the provider's command."""
    return Padding(
        Group(
            Text("$ gateway provider read --granularity 10s ...", "dim"),
            Text(printable(sentence)),
            Text(f"(exit code {code})", "dim"),
        ),
        _INDENT,
    )
