"""The release that has booted: what the image's manifest says of itself, and from which slot of the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, NamedTuple

_BOOT = Path("/boot/firmware")
_PARTITIONS = Path("/dev/disk/by-partlabel")


class Release(NamedTuple):
    """The release's name, and its slot; None where the names of the partitions do not say it."""

    name: str
    slot: Literal["a", "b"] | None


def booted(boot: Path = _BOOT, partitions: Path = _PARTITIONS) -> Release | None:
    """The release whose boot partition is mounted at `boot`; None on a machine that was not made from the
    image. Only for display: the manifest's signature is checked where a release is installed and measured."""
    try:
        name = json.loads((boot / "release.json").read_bytes())["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Release(name, _slot(boot, partitions)) if isinstance(name, str) else None


def _slot(boot: Path, partitions: Path) -> Literal["a", "b"] | None:
    """By the device, since the kernel's command line lies in a part of /proc that the service cannot see."""
    slots: tuple[Literal["a", "b"], ...] = ("a", "b")
    for slot in slots:
        try:
            if boot.stat().st_dev == (partitions / f"boot-{slot}").stat().st_rdev:
                return slot
        except OSError:
            continue
    return None
