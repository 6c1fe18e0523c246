"""`gateway release`, for whoever builds images, and for the image's early services."""

from __future__ import annotations

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples

KEYS = "gateway release new-keys"
MANIFEST = (
    "gateway release manifest --version 2026.11.1 --epoch 7 --machine rpi4 --root root.erofs --boot boot/ "
    "> boot/release.json"
)
SIGN = "gateway release sign boot/release.json"
APPROVE = "gateway release approve boot/release.json"
MEASURE = "gateway release measure"
CONFIRM = "sudo gateway release confirm"
FEED = "gateway release feed --manifest boot/release.json /srv/releases/rpi4/gateway-2026.11.1.raucb"
SHOW = "gateway release show boot/ --certificate release-keys/update.cert.pem"

# name: (module, short help), in the order in which a release is made.
_COMMANDS = {
    "new-keys": ("gateway.cli.release.keys:new_keys", "Make the keys of releases."),
    "manifest": ("gateway.cli.release.manifest:manifest", "Print the manifest of a release."),
    "sign": ("gateway.cli.release.manifest:sign", "Sign a manifest with the update key."),
    "approve": ("gateway.cli.release.approval:approve", "Let machines open their root to a release."),
    "feed": ("gateway.cli.release.manifest:feed", "Offer a release and its bundle in a feed."),
    "show": ("gateway.cli.release.manifest:show", "Show a manifest, and check its signature."),
    "measure": ("gateway.cli.release.approval:measure", "Measure the release that booted into the TPM."),
    "confirm": ("gateway.cli.release.approval:confirm", "Refuse the root to older releases from now on."),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS, epilog=examples(KEYS, MANIFEST, SIGN, APPROVE, FEED, SHOW))
def command() -> None:
    """Releases of the appliance's image: their keys, manifests and signatures."""
