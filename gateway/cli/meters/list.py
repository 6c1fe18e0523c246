"""`gateway meters list`."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import examples, json_option, print_json, print_table, printable
from gateway.errors import UsageError
from gateway.meters.profile import Profile, load_profiles


@click.command(epilog=examples("gateway meters list", "gateway meters list --protocol sml --json"))
@click.option("--protocol", help="Only meters that speak this: modbus, sunspec, sml...")
@json_option
def command(protocol: str | None, as_json: bool) -> None:
    """List the meters that can be read: a profile each, with how it is reached and how far it was checked;
    those of the package, and those of one's own in /etc/gateway/profiles."""
    profiles, mistakes = load_profiles()
    for sentence in mistakes:
        click.echo(f"gateway: {printable(sentence)}", err=True)
    protocols = sorted({profile.protocol for profile in profiles})
    if protocol is not None and protocol not in protocols:
        raise UsageError(f"no meter speaks {protocol!r}; they speak {', '.join(protocols)}")
    profiles = [profile for profile in profiles if protocol in {None, profile.protocol}]
    if as_json:
        print_json([document(profile) for profile in profiles])
        return
    rows = [[p.id, p.protocol, p.reached_by, p.status, ", ".join((*p.products, *p.also))] for p in profiles]
    print_table(["profile", "protocol", "reached by", "status", "products"], rows)


def document(profile: Profile) -> dict[str, Any]:
    """A profile as `--json` shows it."""
    return {
        "profile": profile.id,
        "protocol": profile.protocol,
        "products": profile.products,
        "also": profile.also,
        "reached_by": profile.reached_by,
        "lanes": profile.lanes,
        "status": profile.status,
    }
