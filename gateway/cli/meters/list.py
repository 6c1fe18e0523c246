"""`gateway meters list`."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.output import examples, json_option, print_json, print_table
from gateway.errors import UsageError
from gateway.meters.profile import Profile, load_profile, profile_ids


@click.command(epilog=examples("gateway meters list", "gateway meters list --protocol sml --json"))
@click.option("--protocol", help="Only meters that speak this: modbus, sunspec, sml...")
@json_option
def command(protocol: str | None, as_json: bool) -> None:
    """List the meters that can be read: a profile each, with how it is reached and how far it was checked."""
    profiles = [load_profile(profile_id) for profile_id in profile_ids()]
    protocols = sorted({profile.protocol for profile in profiles})
    if protocol is not None and protocol not in protocols:
        raise UsageError(f"no meter speaks {protocol!r}; they speak {', '.join(protocols)}")
    profiles = [profile for profile in profiles if protocol in {None, profile.protocol}]
    if as_json:
        print_json([document(profile) for profile in profiles])
        return
    rows = [[p.id, p.protocol, p.reached_by, p.status, ", ".join(p.products)] for p in profiles]
    print_table(["profile", "protocol", "reached by", "status", "products"], rows)


def document(profile: Profile) -> dict[str, Any]:
    """A profile as `--json` shows it."""
    return {
        "profile": profile.id,
        "protocol": profile.protocol,
        "products": profile.products,
        "reached_by": profile.reached_by,
        "lanes": profile.lanes,
        "status": profile.status,
    }
