"""`gateway release approve`, `measure` and `confirm`."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import click

from gateway.appliance import measure as measuring
from gateway.appliance import release as releases
from gateway.appliance.keys import APPROVAL_KEY
from gateway.appliance.release import MANIFEST, Release
from gateway.cli.codes import POWER_CYCLE
from gateway.cli.output import examples
from gateway.cli.release.group import APPROVE, CONFIRM, MEASURE
from gateway.cli.release.keys import keys_option
from gateway.errors import UsageError
from gateway.host.files import write_durably
from gateway.trust import gate

_tcti_option = click.option(
    "--tcti",
    default=measuring.TCTI,
    show_default=True,
    help="Where the TPM is.",
)


@click.command(epilog=examples(APPROVE, f"{APPROVE} --keys /media/stick/release-keys"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=Path(MANIFEST))
@keys_option
def approve(file: Path, keys: Path) -> None:
    """Approve the release whose manifest is FILE, with the approval key: machines whose root trusts that key
    open it to this release, but not once a release of a higher epoch has proved itself. The approval goes
    into approval.cbor beside FILE. It takes no TPM.
    """
    manifest = releases.read_file(file, "the release's manifest")
    release = Release.decode(manifest, str(file))
    key = releases.read_key(keys / APPROVAL_KEY)
    approval = gate.approve(key, hashlib.sha256(manifest).digest(), release.epoch)
    path = file.with_name(gate.APPROVAL.name)
    try:
        write_durably(path, approval.encode(), mode=0o644)
    except OSError as error:
        raise UsageError(f"the approval cannot be written to {path}: {error.strerror}") from None
    click.echo(f"{path}: {release.name}, epoch {release.epoch}, is approved.")


@click.command(epilog=examples(MEASURE))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=measuring.BOOT)
@_tcti_option
def measure(folder: Path, tcti: str) -> int:
    """Measure the release that booted, whose boot partition is at FOLDER, into the TPM's PCR 14, unless it
    shows there already. Exit 7 where PCR 14 shows something else: switch the machine off and on then.

    The root of an image opens only after this. On a machine that is no image it only ends the TPM's lockout,
    which power cuts bring about and in which the store's credential does not open.
    """
    try:
        measured = asyncio.run(measuring.measure(folder, tcti))
    except measuring.OtherMeasured as error:
        click.echo(f"gateway: {error}", err=True)
        return POWER_CYCLE
    if measured is None:
        click.echo(f"There is no release at {folder} to measure; the TPM is in no lockout.")
        return 0
    release, now = measured
    click.echo(f"{release.name} {'is measured' if now else 'was measured already'}.")
    return 0


@click.command(epilog=examples(CONFIRM))
@_tcti_option
def confirm(tcti: str) -> None:
    """Have the TPM refuse the root to releases of an older epoch than the one that runs. Run it once this
    one has proved itself: there is no way back to an older epoch.
    """
    epoch = asyncio.run(measuring.confirm(tcti))
    if epoch is None:
        raise UsageError(
            f"this machine has no approval key ({gate.APPROVAL_KEY}), so its root opens for every release"
        )
    click.echo(f"The root opens for releases of epoch {epoch} and later.")
