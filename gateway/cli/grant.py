"""`gateway grant`: what the household lets providers open."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import click

from gateway.cli.config import config_option
from gateway.cli.moments import Moment
from gateway.cli.output import examples, json_option, local_time, print_json, print_table
from gateway.cli.remote import ask
from gateway.config import Config
from gateway.errors import UsageError


@click.group(
    epilog=examples(
        "gateway grant new --to card.cose --granularity 15min --purpose 'dynamic tariff'",
        "gateway grant list",
        "gateway grant revoke 3f2a...",
    )
)
def command() -> None:
    """Decide what a provider may open, see it, take it back."""


@command.command(
    epilog=examples(
        "gateway grant new --to card.cose --granularity 15min --purpose 'dynamic tariff'",
        "gateway grant new --to card.cose --granularity day --zone Europe/Berlin --until 2027-01-01"
        " --purpose 'moving out'",
    )
)
@config_option
@click.option(
    "--to",
    "card",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The provider's card.",
)
@click.option("--granularity", required=True, help="The windows it may open: 1min, 15min, 1h, day, month.")
@click.option("--zone", default="UTC", show_default=True, help="Whose days and months, as Europe/Berlin.")
@click.option("--lanes", help="Which of import,export,power,count.  [default: the meter's energy]")
@click.option("--from", "from_ms", type=Moment(), help="The first window's beginning.  [default: now]")
@click.option("--until", "until_ms", type=Moment(), help="The end.  [default: none]")
@click.option("--purpose", required=True, help="What for: it stands in the grant.")
@click.option("--meter", help="Which meter, where there are several.")
@json_option
def new(
    config: Config,
    card: Path,
    granularity: str,
    zone: str,
    lanes: str | None,
    from_ms: int | None,
    until_ms: int | None,
    purpose: str,
    meter: str | None,
    as_json: bool,
) -> None:
    """Let the provider that holds the card open sums, and nothing finer."""
    try:
        card_bytes = card.read_bytes()
    except OSError as error:
        raise UsageError(f"the card {card} cannot be read: {error.strerror}") from None
    grant = ask(
        config,
        "POST",
        "/grants",
        {
            "card": base64.b64encode(card_bytes).decode(),
            "granularity": granularity,
            "zone": zone,
            "lanes": None if lanes is None else [lane.strip() for lane in lanes.split(",")],
            "from_ms": from_ms,
            "until_ms": until_ms,
            "purpose": purpose,
            "meter": meter,
        },
    )
    if as_json:
        print_json(grant)
        return
    click.echo(f"{grant['provider']} may now open {_what(grant)}, for: {grant['purpose']}")
    click.echo(f"grant {grant['id']}; take it back with: gateway grant revoke {grant['id']}")
    signer = ask(config, "GET", "/status")["signer"]
    click.echo(f"the provider reads it with: --stream {grant['stream']} --signer {signer}")


@command.command("list", epilog=examples("gateway grant list", "gateway grant list --json"))
@config_option
@json_option
def list_(config: Config, as_json: bool) -> None:
    """Show all grants."""
    grants = ask(config, "GET", "/grants")
    if as_json:
        print_json(grants)
        return
    if not grants:
        click.echo("Nobody may open anything.")
        return
    rows = [
        [g["id"], g["provider"], _what(g), g["purpose"], str(g["windows_served"]), _state(g)] for g in grants
    ]
    print_table(["grant", "provider", "may open", "for", "windows", "state"], rows, numbers=["windows"])


@command.command(epilog=examples("gateway grant revoke 3f2a9c..."))
@config_option
@click.argument("grant_id", metavar="GRANT")
@json_option
def revoke(config: Config, grant_id: str, as_json: bool) -> None:
    """Take GRANT back: from now on it opens nothing new. The first digits of its id are enough."""
    found = [
        g["id"] for g in ask(config, "GET", "/grants") if grant_id and g["id"].startswith(grant_id.lower())
    ]
    if len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} grants begin with {grant_id!r}; `gateway grant list` shows those there are"
        )
    grant = ask(config, "DELETE", f"/grants/{found[0]}")
    if as_json:
        print_json(grant)
        return
    click.echo(f"grant {grant['id']} of {grant['provider']} is {_state(grant)}")
    click.echo("What it has opened until then stays known to the provider.")


def _what(grant: dict[str, Any]) -> str:
    zone = f" ({grant['zone']})" if grant["granularity"] in ("day", "month") else ""
    until = "" if grant["until_ms"] is None else f" until {local_time(grant['until_ms'])}"
    begin = local_time(grant["from_ms"])
    return f"{grant['granularity']}{zone} sums of {', '.join(grant['lanes'])} from {begin}{until}"


def _state(grant: dict[str, Any]) -> str:
    revoked = grant["revoked_from_ms"]
    return "open" if revoked is None else f"revoked from {local_time(revoked)}"
