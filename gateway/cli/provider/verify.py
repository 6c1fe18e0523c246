"""`gateway provider verify`: a whole stream, checked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from gateway.cli.codes import exit_code
from gateway.cli.output import examples, json_option, local_time, print_json
from gateway.cli.provider.examples import VERIFY
from gateway.cli.provider.place import Place, place_options
from gateway.errors import Refused
from gateway.provider.identity import open_identity
from gateway.stream.chunks import Problem
from gateway.stream.seen import Seen
from gateway.stream.verify import Tally, verify


@click.command("verify", short_help="Check all of a stream.", epilog=examples(VERIFY))
@click.option(
    "--key",
    "folder",
    type=click.Path(path_type=Path),
    help="Your folder: compare with what was seen before, and record what is seen now.",
)
@place_options
@json_option
def command(folder: Path | None, place: Place, as_json: bool) -> int:
    """Check all of a stream, from its first chunk to its head, and name each object that is invalid.

    Ends with exit code 0 if everything is valid, 5 if not.
    """
    seen = None
    if folder is not None:
        open_identity(folder)
        seen = Seen(folder, place.stream)
    problems: list[Problem] = []
    with _progress() as (on_chunk, say):

        def on_problem(problem: Problem) -> None:
            problems.append(problem)
            if not as_json:
                say(problem.text)

        tally = asyncio.run(_verify(place, seen, on_problem, on_chunk))
    if as_json:
        print_json(_document(place, tally, problems))
    else:
        click.echo(_summary(tally))
    return exit_code(Refused) if tally.problems else 0


async def _verify(
    place: Place,
    seen: Seen | None,
    on_problem: Callable[[Problem], None],
    on_chunk: Callable[[Tally], None],
) -> Tally:
    async with place.bucket() as bucket:
        return await verify(bucket, place.stream, place.signer, seen, on_problem, on_chunk)


def _summary(tally: Tally) -> str:
    looked_at = ", ".join(
        (
            _count(tally.chunks, "chunk"),
            _count(tally.units, "unit"),
            _count(tally.incarnations, "incarnation"),
            _count(tally.grants, "grant"),
            _count(tally.bundles, "token bundle"),
            _count(tally.pages, "page"),
        )
    )
    head = f"; head signed at {local_time(tally.head.time_ms)}" if tally.head is not None else ""
    ending = _count(tally.problems, "problem") if tally.problems else "everything is valid"
    return f"{looked_at}{head}: {ending}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _document(place: Place, tally: Tally, problems: list[Problem]) -> dict[str, object]:
    head = tally.head
    return {
        "stream": place.stream.hex(),
        "chunks": tally.chunks,
        "units": tally.units,
        "incarnations": tally.incarnations,
        "grants": tally.grants,
        "bundles": tally.bundles,
        "pages": tally.pages,
        "head": {"seq": head.seq, "next_unit": head.next_unit, "time_ms": head.time_ms} if head else None,
        "problems": [{"object": problem.key, "reason": problem.text} for problem in problems],
    }


@contextmanager
def _progress() -> Iterator[tuple[Callable[[Tally], None], Callable[[str], None]]]:
    """Functions to call after each chunk and with a sentence for stdout. On a terminal stderr has a bar."""
    if not sys.stderr.isatty():
        yield lambda _tally: None, click.echo
        return
    from rich.console import Console  # noqa: PLC0415 - rich takes longer to import than most commands to run
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("chunks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("", total=None)

        def on_chunk(tally: Tally) -> None:
            bar.update(task, completed=tally.chunks, total=tally.head.seq + 1 if tally.head else None)

        def say(text: str) -> None:
            # Where stdout is the same terminal, the bar must make room.
            if sys.stdout.isatty():
                bar.console.print(text, soft_wrap=True, markup=False, highlight=False)
            else:
                click.echo(text)

        yield on_chunk, say
