"""The demo's screen: its steps, what it waits for, and the results.

`Screen` prints a line for each event. `LiveScreen`, for a terminal, shows the same as a picture that is
redrawn four times a second.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from provisioning.demo import views
from provisioning.demo.minutes import Minute

_DRAWN_EVERY_S = 0.25
_BAR_CHARS = 16


@dataclass(slots=True)
class Step:
    """A step before the first minute; `took` is its duration in seconds, once it is done."""

    name: str
    text: str
    began: float = field(default_factory=time.monotonic)
    took: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait for an event, from `began` to `until` (seconds of Unix time)."""

    what: str
    until: float
    began: float = field(default_factory=time.time)

    def __str__(self) -> str:
        left = self.until - time.time()
        if left < 0.5:
            return "closed; its last ciphertexts and its token are on their way"
        return f"{self.what} at {views.clock_time(self.until)}, {views.span(left)} left"

    @property
    def share(self) -> float:
        """The share of it that is over."""
        return min((time.time() - self.began) / max(self.until - self.began, 1), 1)


class Screen:
    """A screen of plain lines. With `software` each table says that there is no TPM."""

    def __init__(self, console: Console, software: bool) -> None:
        self.minutes: list[Minute] = []
        self._console = console
        self._banner = views.banner(software)
        self._steps: list[Step] = []
        self._wait: Wait | None = None
        self._refused: RenderableType = ""
        self._hint = Text()
        self._last: Text | None = None

    async def __aenter__(self) -> Self:
        if self._banner:
            self._print(*self._banner)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._last is not None:
            self._console.print(self._last)

    def begin(self, name: str, doing: str) -> Step:
        """Show that a step begins."""
        step = Step(name, doing)
        self._steps.append(step)
        return step

    def done(self, step: Step, result: str) -> None:
        """Show that a step is done."""
        step.text, step.took = result, time.monotonic() - step.began
        self._print(Text(f"{step.name:9} {result} ({step.took:.1f} s)"))

    def wait(self, what: str, until: float) -> None:
        """Show what is waited for from now on."""
        self._wait = Wait(what, until)
        if not self.minutes:
            self._print(Text(str(self._wait)))

    def first(self, minute: Minute, sentence: str, code: int) -> None:
        """Show the first minute that opened, and how the provider's request for finer windows ended."""
        self.minutes.append(minute)
        self._refused = views.refused(sentence, code)
        self._print("", *self._answers(1))

    def more(self, minute: Minute) -> None:
        """Show another minute that opened."""
        self.minutes.append(minute)
        self._print(views.opened([minute], headed=False))

    def hint(self, text: str) -> None:
        """Show what a person can do while it runs."""
        self._hint = Text(text, "dim")
        self._print(self._hint)

    def stopping(self) -> None:
        """Show that the parts are being stopped."""
        self._wait, self._hint = None, Text("stopping", "dim")

    def end(self, text: str, style: str = "") -> None:
        """Set the last line, to be shown when everything has stopped."""
        self._last = Text(text, style)

    def _print(self, *things: RenderableType) -> None:
        with self._console.capture() as captured:
            self._console.print(Group(*things))
        lines = (line.rstrip() for line in captured.get().splitlines())  # tables are padded
        print("\n".join(lines), file=self._console.file, flush=True)

    def _answers(self, most: int) -> list[RenderableType]:
        """The last `most` minutes as each party sees them, and the refusal."""
        shown = self.minutes[len(self.minutes) - most :]
        earlier = self.minutes[: len(self.minutes) - most]
        return [
            *self._banner,
            Text(views.OPENED, "bold"),
            *([views.earlier(earlier)] if earlier else []),
            views.opened(shown),
            "",
            Text(views.SEALED, "bold"),
            views.sealed(shown),
            "",
            Text(views.REFUSED, "bold"),
            self._refused,
            "",
        ]


class LiveScreen(Screen):
    """A screen on a terminal: the steps until the first minute, then the minutes."""

    def __init__(self, console: Console, software: bool) -> None:
        super().__init__(console, software)
        self._ascii = console.options.ascii_only
        self._under_way: RenderableType = Spinner("line" if self._ascii else "dots", style="cyan")

    async def __aenter__(self) -> Self:
        self._live = Live(console=self._console, auto_refresh=False, get_renderable=self.picture)
        self._live.start()
        self._drawing = asyncio.create_task(self._draw())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._drawing.cancel()
        await asyncio.gather(self._drawing, return_exceptions=True)
        self._wait, self._hint = None, Text()
        self._under_way = Text("x" if self._ascii else "✗", "red")
        self._live.refresh()
        self._live.stop()
        await super().__aexit__(*error)

    def first(self, minute: Minute, sentence: str, code: int) -> None:
        self._console.print(Group(*self._banner, self._progress(), ""))  # above the picture, to stay
        super().first(minute, sentence, code)

    def _print(self, *things: RenderableType) -> None:
        pass

    async def _draw(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(_DRAWN_EVERY_S)

    def picture(self) -> RenderableType:
        """The picture on the terminal now, with as many of the last minutes as fit."""
        footer = [*self._countdown(), *([self._hint] if self._hint else [])]
        if not self.minutes:
            return Group(*self._banner, self._progress(), "", *footer)
        other = self._console.render_lines(Group(*self._answers(0), *footer))
        fit = (self._console.height - len(other) - 1) // 2  # a minute stands in two tables
        return Group(*self._answers(min(max(fit, 1), len(self.minutes))), *footer)

    def _progress(self) -> RenderableType:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", no_wrap=True)
        done = Text("*" if self._ascii else "✓", "green")
        for step in self._steps:
            took = time.monotonic() - step.began if step.took is None else step.took
            mark = self._under_way if step.took is None else done
            table.add_row(mark, Text(step.name, "bold"), Text(step.text), Text(f"{took:.1f} s", "dim"))
        return table

    def _countdown(self) -> list[RenderableType]:
        if self._wait is None:
            return []
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(ProgressBar(1, self._wait.share, width=_BAR_CHARS), Text(str(self._wait)))
        return [grid]
