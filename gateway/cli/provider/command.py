"""`gateway provider command`: commands to a home's gateway, and the receipts that come back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import click

from gateway.cli.output import examples, json_option, local_time, print_json, printable
from gateway.cli.provider.place import key_option, opened_store, store_options
from gateway.cli.values import HexId, Moment
from gateway.errors import UsageError
from gateway.host.clock import SystemClock, unix_ms
from gateway.provider.commands import check_answers, read_receipt, sign_command
from gateway.provider.identity import open_identity
from gateway.store.location import Location
from gateway.wire.command import MAX_SERIAL, CommandKind, Receipt

_NEW = (
    "gateway provider command new --key acme --stream 5f0c... --kind limit --limit 4200 "
    "--until 2026-11-22T20:00 -o limit.cose"
)
_RECEIPT = "gateway provider command receipt receipt.cose --store s3://home --signer 91ab..."


@click.group("command", epilog=examples(_NEW, _RECEIPT))
def command() -> None:
    """Command a home's gateway, and check its receipts.

    A gateway carries out what its household lets you command: to disconnect the home or to reconnect it, to
    limit the power that it draws, or to show a message. It answers with signed receipts.
    """


@command.command("new", short_help="Sign a command into a file.", epilog=examples(_NEW))
@key_option
@click.option("--stream", required=True, type=HexId(), help="The stream of the meter.")
@click.option("--kind", required=True, type=click.Choice(get_args(CommandKind)), help="What to do.")
@click.option("--limit", "limit_w", type=int, metavar="W", help="Of a limit: the most to be drawn.")
@click.option("--text", help="Shown to the household; of a message, the message.")
@click.option("--from", "from_ms", type=Moment(), help="When it begins.  [default: now]")
@click.option(
    "--until",
    "until_ms",
    required=True,
    type=Moment(),
    help="When a limit ends, and else when it is too late.",
)
@click.option(
    "--serial",
    type=click.IntRange(0, MAX_SERIAL),
    help="Higher than in all your commands to the stream.  [default: the time in ms]",
)
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The new file.",
)
@json_option
def new(
    folder: Path,
    stream: bytes,
    kind: CommandKind,
    limit_w: int | None,
    text: str | None,
    from_ms: int | None,
    until_ms: int,
    serial: int | None,
    target: Path,
    as_json: bool,
) -> None:
    """Sign a command into a new file, which goes to the home over your broker."""
    made, data = sign_command(
        open_identity(folder),
        stream,
        kind,
        now_ms=unix_ms(SystemClock("host")),
        until_ms=until_ms,
        from_ms=from_ms,
        limit_w=limit_w,
        text=text,
        serial=serial,
    )
    try:
        with target.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(f"{target} exists, and a command is never overwritten: name a new file") from None
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from None
    if as_json:
        print_json(
            {
                "id": made.id.hex(),
                "stream": made.stream.hex(),
                "serial": made.serial,
                "kind": made.kind,
                "limit_w": made.limit_w,
                "text": made.text,
                "from_ms": made.from_ms,
                "until_ms": made.until_ms,
            }
        )
        return
    power = "" if made.limit_w is None else f" to {made.limit_w} W"
    click.echo(f"{made.kind}{power}, {local_time(made.from_ms)} to {local_time(made.until_ms)}")
    click.echo(f"id      {made.id.hex()}")
    click.echo(f"serial  {made.serial}")


@command.command("receipt", short_help="Verify a receipt.", epilog=examples(_RECEIPT))
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@store_options
@click.option("--signer", required=True, type=HexId(), help="The kid of the gateway's signing key.")
@click.option("--key", "folder", type=click.Path(path_type=Path), help="The folder of `provider new`.")
@click.option(
    "--command",
    "command_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The command that it must be for.",
)
@json_option
def receipt(
    path: Path,
    location: Location,
    signer: bytes,
    folder: Path | None,
    command_file: Path | None,
    as_json: bool,
) -> None:
    """Verify the gateway's receipt in FILE, and print what became of the command."""
    data = _bytes(path)

    async def read() -> Receipt:
        async with opened_store(location, folder, keep=False) as bucket:
            return await read_receipt(data, bucket, signer, str(path))

    found = asyncio.run(read())
    if command_file is not None:
        check_answers(found, _bytes(command_file), str(path))
    if as_json:
        print_json(
            {
                "id": found.id.hex(),
                "command": found.command.hex(),
                "stream": found.stream.hex(),
                "number": found.number,
                "state": found.state,
                "code": found.code,
                "text": found.text,
                "time_ms": found.time_ms,
                "switch": found.switch,
                "limit_w": found.limit_w,
                "previous": None if found.previous is None else found.previous.hex(),
            }
        )
        return
    click.echo(printable(f"{found.state} ({found.code}): {found.text}"))
    rows = [
        ("command", found.id.hex()),
        ("time", local_time(found.time_ms)),
        ("receipt", f"number {found.number} of this command"),
        ("supply", found.switch),
        ("limit", None if found.limit_w is None else f"{found.limit_w} W"),
    ]
    for name, value in rows:
        if value is not None:
            click.echo(f"{name:<7}  {value}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
