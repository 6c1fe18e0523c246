"""`gateway command`: providers' commands to this home, and the household's decisions on them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

import click

from gateway.cli.config import config_option
from gateway.cli.output import echo, examples, json_option, print_json, print_table, printable, recent_time
from gateway.config import Config
from gateway.control.client import ControlClient
from gateway.control.commands import CommandStatus
from gateway.errors import UsageError

_LIST, _ALLOW = "gateway command list", "gateway command allow 3f2a"


@click.group(epilog=examples(_LIST, _ALLOW, "gateway command refuse 3f2a"))
def command() -> None:
    """See what providers command, decide where the household is asked, and end limits.

    [[commands]] in the configuration says whose commands are carried out, asked about or refused.
    """


@command.command("list", short_help="List providers' commands.", epilog=examples(_LIST, f"{_LIST} --json"))
@config_option
@click.option("--open", "open_only", is_flag=True, help="Only those that are asked about, wait or run.")
@json_option
def list_(config: Config, open_only: bool, as_json: bool) -> None:
    """List the commands that came, the latest first, and what became of them."""
    found = asyncio.run(ControlClient(config.gateway.socket).commands())
    if open_only:
        found = tuple(one for one in found if one.state in ("asks", "waits", "running"))
    if as_json:
        print_json({"commands": [one.model_dump(exclude_unset=True) for one in found]})
        return
    print_table(["id", "provider", "command", "meter", "from", "until", "state", "because"], map(_row, found))
    for one in found:
        if one.text is not None:
            echo(printable(one.text), f"{one.id[:8]} says: ")
        if one.fault is not None:
            echo(printable(one.fault), f"{one.id[:8]}: ")
    if not found:
        click.echo("no command came", err=True)


def _row(one: CommandStatus) -> list[str]:
    power = "" if one.limit_w is None else f" to {one.limit_w} W"
    times = (recent_time(ms // 1000 * 1000) for ms in (one.from_ms, one.until_ms))
    return [one.id, one.provider, f"{one.kind}{power}", one.meter or "-", *times, one.state, one.reason]


_id_argument = click.argument("command_id", metavar="ID")


@command.command("allow", short_help="Have a command carried out.", epilog=examples(_ALLOW))
@config_option
@_id_argument
@json_option
def allow(config: Config, command_id: str, as_json: bool) -> None:
    """Have the command ID carried out, of which the household is asked. Its first digits are enough."""
    _decide(config, command_id, "allow", as_json)


@command.command("refuse", short_help="Refuse a command.", epilog=examples("gateway command refuse 3f2a"))
@config_option
@_id_argument
@json_option
def refuse(config: Config, command_id: str, as_json: bool) -> None:
    """Refuse the command ID, of which the household is asked. Its first digits are enough."""
    _decide(config, command_id, "refuse", as_json)


@command.command("end", short_help="End a limit.", epilog=examples("gateway command end 3f2a"))
@config_option
@_id_argument
@json_option
def end(config: Config, command_id: str, as_json: bool) -> None:
    """End the limit ID before its time is over. Its first digits are enough.

    Its provider gets a signed receipt of that. Limits that are carried out without asking end by their time
    alone.
    """
    _decide(config, command_id, "end", as_json)


def _decide(
    config: Config, command_id: str, decision: Literal["allow", "refuse", "end"], as_json: bool
) -> None:
    client = ControlClient(config.gateway.socket)

    async def decided() -> CommandStatus:
        one = _named(await client.commands(), command_id, ends=decision == "end")
        return await client.decide_command(one.id, decision)

    status = asyncio.run(decided())
    if as_json:
        print_json(status.model_dump(exclude_unset=True))
    else:
        echo(printable(f"{status.provider}, {status.kind}: {status.reason}"))


def _named(commands: Sequence[CommandStatus], command_id: str, *, ends: bool) -> CommandStatus:
    """The command whose id begins with these digits: where several do, of those asked about, or of limits
    that can be ended where it `ends`."""
    found = [one for one in commands if command_id and one.id.startswith(command_id.lower())]
    asked = [one for one in found if (one.endable if ends else one.state == "asks")]
    if len(asked or found) != 1:
        which = "several commands begin" if found else "no command begins"
        raise UsageError(f"{which} with {command_id!r}: gateway command list shows their ids")
    return (asked or found)[0]
