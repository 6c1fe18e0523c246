"""`gateway doctor`: checks each part on its own, and says what to do."""

from __future__ import annotations

import asyncio
import dataclasses

import click

from gateway.cli.codes import exit_code
from gateway.cli.config import config_option
from gateway.cli.output import examples, json_option, print_json, printable
from gateway.config import Config
from gateway.daemon.doctor import Diagnosis, examine
from gateway.errors import GatewayError, Unavailable


@click.command(epilog=examples("gateway doctor", "sudo gateway doctor --json"))
@config_option
@json_option
def command(config: Config, as_json: bool) -> int:
    """Check clock, TPM, meters, ledger and store, and say what to do. Exit 0 if all is well, 1 if
    readings are not sealed, 4 if only something else is wrong, such as the store."""
    return asyncio.run(_examine(config, as_json))


async def _examine(config: Config, as_json: bool) -> int:
    found: list[Diagnosis] = []
    async for diagnosis in examine(config):
        found.append(diagnosis)
        if not as_json:
            mark = click.style("ok  ", fg="green") if diagnosis.ok else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {diagnosis.part}: {printable(diagnosis.sentence)}")
    if as_json:
        print_json([dataclasses.asdict(diagnosis) for diagnosis in found])
    if not all(diagnosis.sealing for diagnosis in found):
        return exit_code(GatewayError)
    return 0 if all(diagnosis.ok for diagnosis in found) else exit_code(Unavailable)
