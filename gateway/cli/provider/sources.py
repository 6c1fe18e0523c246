"""The homes of a command, from a list or the store, and what is said of those that it could not read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import click

from gateway.cli.codes import exit_code
from gateway.cli.output import printable
from gateway.cli.provider.homes import read_text
from gateway.provider.desk import Failure, Home
from gateway.provider.homes import read_desk_homes

homes_option = click.option(
    "--homes",
    "homes_file",
    type=click.Path(allow_dash=True),
    help="CSV of the homes, headed stream,signer or stream,signer,name.  - is stdin.",
)
UNVERIFIED = (
    "the signers are those that the store itself names, unverified: compare each with the household or a"
    " registrar's certificate, and list it with --homes"
)


def homes_of(file: str) -> list[Home]:
    """The homes in the file of `--homes`."""
    return read_desk_homes(read_text(file, "the list of homes"), "stdin" if file == "-" else file)


def print_verification(homes: Iterable[Home]) -> None:
    """Say on stderr where nobody but the store vouches for a signer."""
    if not all(home.verified for home in homes):
        click.echo(UNVERIFIED, err=True)


def print_notes(notes: Iterable[tuple[str, str]]) -> None:
    """Print (stream's id in hex, sentence) to stderr, a sentence that many homes have once."""
    streams: defaultdict[str, list[str]] = defaultdict(list)
    for stream, sentence in notes:
        streams[sentence].append(stream)
    for sentence, having in streams.items():
        who = f"stream {having[0]}" if len(having) == 1 else f"{len(having)} streams"
        click.echo(f"{who}: {sentence}", err=True)


def print_failures(failures: Sequence[Failure]) -> int:
    """Print each failure to stderr; the exit code of the worst, 0 where there is none."""
    for failure in failures:
        for sentence in printable_lines(str(failure)):
            click.echo(f"gateway: {sentence}", err=True)
    return max((exit_code(failure.error) for failure in failures), default=0)


def printable_lines(text: str) -> list[str]:
    """The lines of a text, safe to show."""
    return [printable(line) for line in text.splitlines()]


def failure_documents(failures: Sequence[Failure]) -> list[dict[str, object]]:
    """The failures for print_json."""
    return [{"stream": one.stream.hex(), "kind": one.error.kind, "error": str(one.error)} for one in failures]


def home_document(home: Home) -> dict[str, object]:
    """A home for print_json."""
    document: dict[str, object] = {"stream": home.stream.hex(), "signer": home.signer.hex()}
    if home.name:
        document["name"] = home.name
    return document | {"verified": home.verified}
