"""A small image of the appliance: a GPT with the FAT partitions CONFIG and boot-a, made without root."""

from __future__ import annotations

import shutil
import struct
import subprocess
import uuid
import zlib
from pathlib import Path

import pytest

from gateway.appliance.release import MANIFEST, Release

SECTOR = 512
FIRST, SECTORS = 2048, 4096
RELEASE = Release("gateway-2026.11.1", "2026.11.1", 7, "rpi4", "1" * 64, "2" * 64)


def write_image(
    path: Path, release: Release | None = RELEASE, names: tuple[str, ...] = ("CONFIG", "boot-a")
) -> None:
    """An image with a partition of 2 MiB for each name, one after the other."""
    if shutil.which("mformat") is None:
        pytest.skip("mtools are not here: apt-get install mtools")
    sectors = FIRST + SECTORS * (len(names) + 1)
    with path.open("wb") as file:
        file.truncate(sectors * SECTOR)
        file.seek(SECTOR)
        file.write(_gpt(names, sectors))
    for number, name in enumerate(names):
        drive = f"{path}@@{(FIRST + number * SECTORS) * SECTOR}"
        subprocess.run(["mformat", "-i", drive, "-T", str(SECTORS), "::"], check=True)
        if name == "boot-a" and release is not None:
            manifest = path.with_name(MANIFEST)
            manifest.write_bytes(release.encode())
            subprocess.run(["mcopy", "-i", drive, manifest, f"::{MANIFEST}"], check=True)


def _gpt(names: tuple[str, ...], sectors: int) -> bytes:
    """The primary header and its 128 entries."""
    entries = b""
    for number, name in enumerate(names):
        first = FIRST + number * SECTORS
        entries += (
            uuid.uuid4().bytes + uuid.uuid4().bytes + struct.pack("<QQQ", first, first + SECTORS - 1, 0)
        )
        entries += name.encode("utf-16-le").ljust(72, b"\0")
    entries = entries.ljust(128 * 128, b"\0")
    fields = (
        b"EFI PART",
        0x10000,
        92,
        0,
        0,
        1,
        sectors - 1,
        34,
        sectors - 34,
        uuid.uuid4().bytes,
        2,
        128,
        128,
    )
    header = struct.pack("<8sIIIIQQQQ16sQIII", *fields, zlib.crc32(entries))
    return header.ljust(SECTOR, b"\0") + entries


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.img"
    write_image(path)
    return path
