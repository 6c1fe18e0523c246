"""What a household is shown, and asked, before something is granted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from gateway.cli.output import printable
from gateway.control.documents import ConsentStatus, StrangerStatus, VerifiedStatus
from gateway.errors import NotGranted


def verified(known: VerifiedStatus) -> str:
    """A sentence about a card that a registrar vouches for."""
    return printable(f"the card of {known.name} is verified by {known.registrar}")


def bits(most: float) -> str:
    """A sentence about how much one bill says."""
    return f"each bill says at most {most:.1f} bits: it is one of some {2**most:.0f} amounts"


def compare(strangers: Sequence[StrangerStatus], as_json: bool) -> tuple[str, ...]:
    """Show the fingerprints of cards that nothing was granted to before, and ask about each; those confirmed.
    NotGranted if nobody can be asked, or the answer is no."""
    for one in strangers:
        click.echo(
            printable(
                f"This is the first grant to the card of {one.name}, with the fingerprint {one.fingerprint}"
            ),
            err=True,
        )
        if one.namesake:
            click.echo(
                printable(
                    f"Another card of {one.name} was granted something before: if {one.name} did not tell "
                    "you of new keys, this card is somebody else's"
                ),
                err=True,
            )
        question = printable(f"Has {one.name} told you the same fingerprint by another way?")
        if not _agreed(question, as_json):
            raise NotGranted(
                "nothing was granted: compare the fingerprint with the one that the provider told you by "
                "another way, and grant with --fingerprint"
            )
    return tuple(one.fingerprint for one in strangers)


def confirm(found: Sequence[str], question: str, as_json: bool) -> None:
    """Show what the check found, and ask; NotGranted if nobody can be asked, or the answer is no."""
    if not found:
        return
    for sentence in found:
        click.echo(sentence, err=True)
    if not _agreed(question, as_json):
        raise NotGranted(
            "nothing was granted; --yes grants it although more becomes known than the grant says"
        )


def sentences(consent: ConsentStatus) -> list[str]:
    """What the check found, a sentence for each finding."""
    pooled = [f"if all providers pool what they hold: {sentence}" for sentence in consent.pooled]
    return [*consent.provider, *pooled]


def _agreed(question: str, as_json: bool) -> bool:
    return not as_json and sys.stdin.isatty() and click.confirm(question, err=True)
