"""`gateway fleet`: the cards of many homes, from a table to labelled devices."""

from __future__ import annotations

import dataclasses
import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from gateway.cli.codes import exit_code
from gateway.cli.output import examples, json_option, local_time, print_json, print_table, printable
from gateway.errors import NotGranted, UsageError
from gateway.fleet.flash import removable_disk, write_card
from gateway.fleet.folder import Folder
from gateway.fleet.homes import Faulty, Home, read_homes
from gateway.fleet.image import Image, partitions
from gateway.fleet.labels import Label, write_labels
from gateway.fleet.register import open_register
from gateway.host.clock import SystemClock, unix_ms
from gateway.host.files import write_durably

Command = TypeVar("Command", bound=Callable[..., object])

_MOST_LINES = 10
"""How many of the lines that share a mistake are named."""

_PLAN = "gateway fleet plan homes.csv --template gateway.toml"
_MAKE = "gateway fleet make homes.csv --template gateway.toml --image gateway.img"
_LABELS = "gateway fleet labels labels.pdf"
_FLASH = "sudo gateway fleet flash muller --device /dev/sdb"
_REGISTER = "gateway fleet register muller"
_SHOW = "gateway fleet show"
_PLAN_HELP = """\
Check the table HOMES, and say what `make` would do; nothing is written.

Exit 2 if a row has a mistake."""
_MAKE_HELP = """\
Make a first-boot file for each row of the table HOMES, with a setup code of its own; with --image also the
home's image, with that file in it.

What is there already stays, and a setup code never changes: after an interruption run the same again. The
files hold passwords; remove a home's folder once its device works. A row with a mistake is named with its
line, and the others are made all the same; the exit code is 2 then."""
_TABLE = """\b
The table has a line for each home, in CSV, below a line with its columns:
  home,wifi-country,wifi-ssid,wifi-password,meter
  muller,DE,Muller,correct horse battery,192.168.1.50
  cellar-3,,,,10.0.0.7

\b
home is a name of a to z, 0 to 9 and "-", and no two are the same. These
columns may be there, and a value may be empty: hostname ("gateway" where it
is empty), wifi-country, wifi-ssid, wifi-password, ssh-key, s3-access-key-id,
s3-secret-access-key, and the keys of the meter named main, as far as it needs
them: meter-encryption-key, meter-authentication-key, meter-password. Any
other column fills its place in the template, a gateway.toml in which
{{meter}} stands for the home's value:
  [store]
  url = "s3://energy/{{home}}"
  [[meter]]
  name = "main"
  profile = "eastron-sdm630"
  tcp = { host = "{{meter}}" }"""


def _homes_arguments(command: Command) -> Command:
    command = click.option(
        "--template",
        type=click.Path(path_type=Path),
        help="The configuration of all homes; without one, each home makes its own on its page.",
    )(command)
    return click.argument("homes", type=click.Path(path_type=Path))(command)


def _folder_option(command: Command) -> Command:
    return click.option(
        "--folder",
        type=click.Path(path_type=Path),
        default=Path("fleet"),
        show_default=True,
        callback=lambda _context, _option, path: Folder(path),
        help="Where the homes' files and the register are.",
    )(command)


@click.group(epilog=examples(_PLAN, _MAKE, _LABELS, _FLASH, _SHOW))
def command() -> None:
    """Make the cards of many homes: first-boot files or images, labels for the devices, and a register."""


@command.command(
    short_help="Check a table of homes.",
    help=f"{_PLAN_HELP}\n\n{_TABLE}",
    epilog=examples(_PLAN, "gateway fleet plan homes.csv --json"),
)
@_homes_arguments
@_folder_option
@json_option
def plan(homes: Path, template: Path | None, folder: Folder, as_json: bool) -> int:
    rows, faulty = _rows(homes, template)
    there = {home.name: folder.setup_code(home.name) is not None for home in rows}
    if as_json:
        print_json([{"home": name, "new": not known} for name, known in there.items()])
    else:
        for name, known in there.items():
            click.echo(f"{name}: {'its file is there, and kept up to date' if known else 'a new file'}")
    return _left_out(faulty, rows)


@command.command(
    short_help="Make files or images.",
    help=f"{_MAKE_HELP}\n\n{_TABLE}",
    epilog=examples(_MAKE, "gateway fleet make homes.csv --json"),
)
@_homes_arguments
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    help="The appliance's image, unpacked: make a copy of it for each home.",
)
@_folder_option
@json_option
def make(homes: Path, template: Path | None, image: Path | None, folder: Folder, as_json: bool) -> int:
    rows, faulty = _rows(homes, template)
    done = []
    source = None if image is None else Image.read(image)
    folder.begin()
    with open_register(folder.register, new=True) as register:
        for number, home in enumerate(rows, start=1):
            where = f"[{number}/{len(rows)}] {home.name}"
            if sys.stderr.isatty():
                click.echo(f"\r\033[K{where} ...", err=True, nl=False)
            made = folder.make(home, source)
            known = {device.home: device.release for device in register.devices()}
            stale = source is not None and known.get(home.name) != source.release  # a run that was cut off
            if made or home.name not in known or stale:
                of = None if source is None else (source.release, source.sha256)
                register.make(home.name, home.hostname, of, *_now_by())
            if sys.stderr.isatty():
                click.echo("\r\033[K", err=True, nl=False)
            serial = register.device(home.name).serial
            done.append({"home": home.name, "serial": serial, "made": made})
            if not as_json:
                click.echo(f"{where}: {serial}, {'made' if made else 'kept'}")
    if as_json:
        print_json(done)
    return _left_out(faulty, rows)


@command.command(short_help="Print labels for the devices.", epilog=examples(_LABELS, f"{_LABELS} muller"))
@click.argument("pdf", type=click.Path(path_type=Path))
@click.argument("homes", nargs=-1)
@_folder_option
def labels(pdf: Path, homes: tuple[str, ...], folder: Folder) -> int:
    """Write labels for HOMES, or for all whose file is there, into the file PDF: A4 sheets of 14 labels of
    99.1 x 38.1 mm, such as Avery L7163.

    A label has the page's address, also as a QR code, the setup code and the serial number. So treat the PDF
    as the setup codes.
    """
    with open_register(folder.register) as register:
        wanted = [register.device(home) for home in homes] or register.devices()
    found, code = [], 0
    for device in wanted:
        setup_code = folder.setup_code(device.home)
        if setup_code is not None:
            found.append(Label(device.serial, device.home, device.hostname, setup_code))
        elif homes:
            code = _tell(
                f"{folder.file(device.home)} is not there any more, and nothing else has the setup code"
            )
    if not found:
        raise UsageError(f"no home of {folder.path} has a file: gateway fleet make")
    data = write_labels(found)
    try:
        write_durably(pdf, data)
    except OSError as error:
        raise UsageError(f"{pdf} cannot be written: {error.strerror}") from None
    click.echo(f"{pdf}: {len(found)} labels")
    return code


@command.command(short_help="Write a home's card, and read it back.", epilog=examples(_FLASH))
@click.argument("home")
@click.option(
    "--device",
    type=click.Path(path_type=Path),
    required=True,
    help="The card reader's disk. Disks that are built in or mounted are refused.",
)
@click.option("--yes", is_flag=True, help="Write it without being asked.")
@_folder_option
def flash(home: str, device: Path, yes: bool, folder: Folder) -> None:
    """Write the image of HOME onto a card, read it back, and note it in the register.

    The card's former content is lost.
    """
    with open_register(folder.register) as register:
        register.device(home)
        image = folder.image(home)
        if not image.exists():
            raise UsageError(f"{image} is not there: gateway fleet make --image makes it")
        partitions(image)  # what was cut off, or is packed, boots nowhere
        disk = removable_disk(device)
        what = f"{disk.path}, {printable(disk.model) or 'no name'}, {disk.size / 1e9:.1f} GB"
        if not yes and not (sys.stdin.isatty() and click.confirm(f"Overwrite {what}?", err=True)):
            raise NotGranted("nothing was written; --yes writes without being asked")
        write_card(image, disk, _progress)
        register.flashed(home, *_now_by())
    click.echo(f"{disk.path} has the image of {home}, and was read back.")


@command.command(short_help="Note a card that another tool wrote.", epilog=examples(_REGISTER))
@click.argument("homes", nargs=-1, required=True)
@_folder_option
def register(homes: tuple[str, ...], folder: Folder) -> None:
    """Note in the register that the cards of HOMES were written, by another tool than `flash`."""
    with open_register(folder.register) as register:
        for home in homes:
            register.device(home)
        for home in homes:
            register.flashed(home, *_now_by())
            click.echo(f"{home}: {register.device(home).serial}, noted as written")


@command.command(short_help="Show the register.", epilog=examples(_SHOW, f"{_SHOW} --json"))
@_folder_option
@json_option
def show(folder: Folder, as_json: bool) -> None:
    """Show which devices were made, and when which cards were written, by whom and of which release.

    The register has no secret: share it as you like.
    """
    with open_register(folder.register) as register:
        devices = register.devices()
    if as_json:
        print_json([dataclasses.asdict(device) for device in devices])
        return
    print_table(
        ["home", "serial", "release", "made", "made by", "flashed", "flashed by"],
        [
            [
                device.home,
                device.serial,
                device.release or "-",
                local_time(device.made_ms // 1000 * 1000),
                device.made_by,
                local_time(device.cards[-1].flashed_ms // 1000 * 1000) if device.cards else "-",
                device.cards[-1].flashed_by if device.cards else "-",
            ]
            for device in devices
        ],
    )


def _rows(path: Path, template: Path | None) -> tuple[list[Home], int]:
    """The table's good rows, and how many others it has, whose mistakes are printed, each once."""
    found = read_homes(path, template)
    lines: dict[str, list[int]] = {}
    for row in found:
        for sentence in row.sentences if isinstance(row, Faulty) else ():
            lines.setdefault(sentence, []).append(row.line)
    for sentence, where in lines.items():
        named = ", ".join(map(str, where[:_MOST_LINES]))
        more = f" and {len(where) - _MOST_LINES} more" if len(where) > _MOST_LINES else ""
        _tell(f"{path}, line{'s' if len(where) > 1 else ''} {named}{more}: {sentence}")
    rows = [row for row in found if isinstance(row, Home)]
    return rows, len(found) - len(rows)


def _left_out(faulty: int, rows: list[Home]) -> int:
    """The exit code; after a thousand lines, the mistakes above are out of sight."""
    if not faulty:
        return 0
    return _tell(f"{faulty} of {faulty + len(rows)} rows left out because of mistakes")


def _tell(sentence: str) -> int:
    """Print what is wrong with one of many; the exit code that this makes."""
    click.echo(f"gateway: {sentence}", err=True)
    return exit_code(UsageError)


def _now_by() -> tuple[int, str]:
    """The time, and who does this: the person, not sudo's root."""
    return unix_ms(SystemClock("host")), os.environ.get("SUDO_USER") or getpass.getuser()


def _progress(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        click.echo(f"\r\033[K{what}: {100 * done // max(total, 1)} %{end}", err=True, nl=False)
