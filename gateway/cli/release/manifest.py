"""`gateway release manifest`, `sign`, `feed` and `show`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway.appliance import release as releases
from gateway.appliance.feed import LATEST, LATEST_SIGNATURE, Latest
from gateway.appliance.keys import UPDATE_KEY
from gateway.appliance.release import MOST_EPOCH, Release
from gateway.appliance.update import BOOT, CERTIFICATE
from gateway.cli.output import examples, json_option, print_json
from gateway.cli.release.group import FEED, MANIFEST, SHOW, SIGN
from gateway.cli.release.keys import keys_option
from gateway.errors import Refused, UsageError
from gateway.host.files import write_all_durably, write_durably

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(epilog=examples(MANIFEST))
@click.option("--version", required=True, help="Three numbers, such as 2026.11.1.")
@click.option("--epoch", required=True, type=click.IntRange(1, MOST_EPOCH), help="A number that only grows.")
@click.option("--machine", required=True, help="The board, such as rpi4.")
@click.option("--root", required=True, type=_FILE, help="The image of the root file system.")
@click.option("--boot", required=True, type=_FOLDER, help="The folder with the boot partition's files.")
@click.option("--verity", metavar="HASH", help="The root hash of the root's dm-verity tree, if it has one.")
@click.option("--name", help="[default: gateway- and the version]")
def manifest(
    version: str, epoch: int, machine: str, root: Path, boot: Path, verity: str | None, name: str | None
) -> None:
    """Print the manifest of a release, release.json: what it is called, for which board it is, and the hashes
    of its files.

    The folder of --boot must be complete but for release.json, release.json.sig and approval.cbor, which no
    hash includes.
    """
    try:
        digest = releases.file_digest(root)
    except OSError as error:
        raise UsageError(f"{root} cannot be read: {error.strerror}") from None
    if not root.stat().st_size:
        raise UsageError(f"{root} is empty: expected the image of the root file system")
    release = Release(
        name=name or f"gateway-{version}",
        version=version,
        epoch=epoch,
        machine=machine,
        root=digest,
        boot=releases.boot_digest(boot),
        verity=verity,
    )
    sys.stdout.write(release.encode().decode())


@click.command(epilog=examples(SIGN, f"{SIGN} --keys /media/stick/release-keys"))
@click.argument("file", type=_FILE)
@keys_option
def sign(file: Path, keys: Path) -> None:
    """Sign the manifest FILE with the update key. The signature goes into FILE.sig."""
    data = releases.read_file(file, "the release's manifest")
    release = Release.decode(data, str(file))
    path = file.with_name(f"{file.name}.sig")
    signature = releases.sign(releases.read_key(keys / UPDATE_KEY), data)
    try:
        write_durably(path, signature, mode=0o644)
    except OSError as error:
        raise UsageError(f"the signature cannot be written beside {file}: {error.strerror}") from None
    click.echo(f"{path}: {release.name} is signed.")


@click.command(epilog=examples(FEED))
@click.argument("bundle", type=_FILE)
@click.option("--manifest", "file", required=True, type=_FILE, help="The release's manifest, release.json.")
@keys_option
def feed(bundle: Path, file: Path, keys: Path) -> None:
    """Offer the release whose bundle is BUNDLE: write latest.json and latest.json.sig beside it, in the
    folder that machines ask for updates. What it offered before is replaced; older bundles may be removed."""
    latest = Latest.of(Release.decode(releases.read_file(file, "the release's manifest"), str(file)), bundle)
    before = _offered(bundle.with_name(LATEST))
    if (
        before is not None
        and before.release != latest.release
        and before.release.order >= latest.release.order
    ):
        click.echo(
            f"gateway: it offered {before.release.name} before: machines that run that see no update in"
            f" {latest.release.name}, whose version is not higher",
            err=True,
        )
    data = latest.encode()
    signature = releases.sign(releases.read_key(keys / UPDATE_KEY), data)
    try:
        write_all_durably(
            {bundle.with_name(LATEST_SIGNATURE): signature, bundle.with_name(LATEST): data}, mode=0o644
        )
    except OSError as error:
        raise UsageError(f"{bundle.parent} cannot be written: {error.strerror}") from None
    click.echo(f"{bundle.parent} offers {latest.release.name}.")


def _offered(path: Path) -> Latest | None:
    """What a feed offers so far; None where it is new, or damaged."""
    try:
        return Latest.decode(path.read_bytes())
    except (OSError, Refused):
        return None


@click.command(epilog=examples(SHOW, "gateway release show", "gateway release show --json"))
@click.argument("folder", type=_FOLDER, default=BOOT)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    default=CERTIFICATE,
    show_default=True,
    help="The certificate of the update key.",
)
@json_option
def show(folder: Path, certificate: Path, as_json: bool) -> None:
    """Show the release whose boot partition is at FOLDER, /boot/firmware unless given. Exit 5 where its
    manifest is not signed by the update key, or the boot partition's files are not those that it names."""
    if certificate == CERTIFICATE and not certificate.exists():
        raise UsageError(
            f"there is no {CERTIFICATE}, as this is not the appliance's image: give "
            "--certificate release-keys/update.cert.pem"
        )
    release = releases.read_release(folder, releases.read_certificate(certificate))
    if releases.boot_digest(folder) != release.boot:
        raise Refused(
            f"the files in {folder} are not those of {release.name}: one was changed, added or removed since"
        )
    if as_json:
        print_json(release.document())
        return
    click.echo(f"{release.name}, version {release.version}, epoch {release.epoch}, for {release.machine}")
    click.echo(f"boot: {release.boot}, as the files in {folder}")
    click.echo(f"root: {release.root}")
    if release.verity is not None:
        click.echo(f"root hash of dm-verity: {release.verity}")
