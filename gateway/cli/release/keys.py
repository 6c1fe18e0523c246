"""`gateway release new-keys`, and the option that names their folder."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.appliance.keys import make_keys
from gateway.cli.output import examples, json_option, print_json
from gateway.cli.release.group import KEYS

keys_option = click.option(
    "--keys",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("release-keys"),
    show_default=True,
    help="The folder with the keys of releases.",
)


@click.command("new-keys", epilog=examples(KEYS, f"{KEYS} --keys /media/stick/release-keys"))
@keys_option
@json_option
def new_keys(keys: Path, as_json: bool) -> None:
    """Make the keys of releases: the update key, which signs manifests and bundles, and the approval key,
    which signs what a release may open. The folder must not have any yet.

    The machines of a fleet trust these keys as long as they live. Keep a copy off line, and keep both out of
    the repository: whoever has them can install software on every machine.
    """
    files = make_keys(keys)
    if as_json:
        print_json({name: str(path) for name, path in files.items()})
        return
    for path in files.values():
        click.echo(f"{path}")
    click.echo("Keep a copy of this folder off line: images built with it trust no other keys.")
