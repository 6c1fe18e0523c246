"""`gateway first-boot`: takes the owner's file on the card's FAT partition over, at each boot of an image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.appliance.first_boot import CONFIGURATION, REPORT, Machine, announce, first_boot, run_command
from gateway.cli.output import examples, printable
from gateway.errors import UsageError
from gateway.host.clock import SystemClock

if TYPE_CHECKING:
    from gateway.household.security.password import Password

_HOUSEHOLD = Path("var/lib/gateway-household")
_USER = "gateway-household"


@click.command(epilog=examples("sudo gateway first-boot"))
@click.option(
    "--config-partition",
    "partition",
    type=click.Path(path_type=Path),
    default=Path("/boot/config"),
    show_default=True,
    help="Where the card's FAT partition is mounted.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    show_default=True,
    help="The folder that the machine's files are in, for a trial.",
)
def command(partition: Path, root: Path) -> None:
    """Take gateway.toml on the card's FAT partition over, and wipe it.

    The file is the gateway's configuration with a table [first-boot]: hostname, setup-code, wifi, ssh-key,
    s3, meter-keys. It is checked as a whole first. Bad input is named with its line, on the console, in
    ERROR.txt on the FAT partition and on the page, and leaves everything as it is: correct it, and start
    again.

    Exit 0 also where there is no file; 2 where it has a mistake, 4 where the TPM or the card does not answer.
    """
    machine = Machine(root, partition, run_command if root == Path("/") else _only_here)
    error = first_boot(machine, _check, _SetupCode(root / _HOUSEHOLD))
    if error is not None:
        lines = str(error).splitlines()
        announce(root, [printable(f"gateway.toml was not taken over: {line}") for line in lines])
        raise error
    report = json.loads((root / REPORT).read_text())
    done = report["state"] == "done"
    click.echo("gateway.toml is taken over, and wiped." if done else f"{partition} has no file to take over.")
    for note in report["notes"]:
        click.echo(printable(f"But {note}."))


def _only_here(command: Sequence[str], data: bytes) -> bytes:
    if command[0] != "systemd-creds":
        return b""
    raise UsageError("keys can only be encrypted on the machine that is to use them: leave --root out")


def _check(text: str) -> Sequence[str]:
    # Imported here: every meter's protocol comes with it, and most boots have nothing to take over.
    from gateway.config.check import mistakes_in  # noqa: PLC0415

    path = Path("/") / CONFIGURATION
    return [one.removeprefix(f"{path}: ") for one in mistakes_in(text, path)]


class _SetupCode:
    """The household's setup code, in the folder that its service has, which is made where it is not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def give(self, code: str) -> bool:
        with self._password() as password:
            if password.chosen:
                return False
            password.give(code)
            return True

    @contextmanager
    def _password(self) -> Iterator[Password]:
        try:
            from gateway.household.security.password import Password  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(f"the page needs {error.name}: install gateway[household]") from None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _as_owner(self._folder):
            password = Password(self._folder, SystemClock("host"))
            try:
                yield password
            finally:
                password.close()


@contextmanager
def _as_owner(folder: Path) -> Iterator[None]:
    """As the user of the household's service, where root runs this and there is that user: what is written is
    then the service's own."""
    import pwd  # noqa: PLC0415

    try:
        user = pwd.getpwnam(_USER)
    except KeyError:
        yield
        return
    os.chown(folder, user.pw_uid, user.pw_gid)
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
