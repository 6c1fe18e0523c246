"""`gateway meters show`."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.meters.list import document
from gateway.cli.output import echo, examples, json_option, print_json, print_table
from gateway.meters.modbus.model import ModbusModel, Register
from gateway.meters.profile import load_profile


@click.command(
    epilog=examples("gateway meters show eastron-sdm630", "gateway meters show sml-generic --json")
)
@click.argument("profile_id", metavar="PROFILE")
@json_option
def command(profile_id: str, as_json: bool) -> None:
    """Show PROFILE: the registers that it reads, its sources, and its caveats."""
    profile = load_profile(profile_id)
    registers = profile.model.registers if isinstance(profile.model, ModbusModel) else ()
    if as_json:
        print_json(
            document(profile)
            | {
                "caveats": profile.caveats,
                "source": profile.source,
                "registers": [_register(register) for register in registers],
            }
        )
        return
    echo(", ".join(profile.products), f"{profile.id}: ")
    for title, lines in (
        ("also sold as", (", ".join(profile.also),) if profile.also else ()),
        ("protocol", (profile.protocol,)),
        ("reached by", (profile.reached_by,)),
        ("lanes", (", ".join(profile.lanes),)),
        ("status", (profile.status,)),
        ("beware", profile.caveats),
        ("source", profile.source),
    ):
        for line in lines:
            echo(line, f"{title:<14}")
    if registers:
        click.echo()
        rows = [[_shown(value) for value in _register(register).values()] for register in registers]
        print_table(list(_register(registers[0])), rows, numbers=["address", "scale"])


def _shown(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _register(register: Register) -> dict[str, Any]:
    return {
        "name": register.name,
        "obis": register.obis,
        "table": register.table,
        "address": register.address,
        "type": register.type,
        "words": register.word_order,
        "scale": str(register.scale),
        "unit": register.unit,
        "optional": register.optional,
    }
