"""The appliance's image file: its partitions, its release, and a copy of it with a home's first-boot file.

A partition is found by its name in the GPT (UEFI specification 2.10, section 5.3). Files in its FAT
partitions are read and written by mtools, which needs no root.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gateway.appliance.owner_file import NAME
from gateway.appliance.release import MANIFEST, Release
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.host.files import sync_folder

_SECTOR = 512
_CONFIG, _BOOT = "CONFIG", "boot-a"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that was read: its release's manifest, its SHA-256 in hexadecimal digits, and where its
    partitions begin, in bytes."""

    path: Path
    manifest: bytes
    sha256: str
    config: int
    boot: int

    @property
    def release(self) -> str:
        """The name of its release."""
        return Release.decode(self.manifest).name

    @classmethod
    def read(cls, path: Path) -> Self:
        """UsageError for a file that is not an image of the appliance."""
        found = partitions(path)
        if _CONFIG not in found or _BOOT not in found:
            names = ", ".join(found) or "none with a name"
            raise UsageError(
                f"{path} has the partitions {names}, and an image of the gateway has {_CONFIG} and {_BOOT}"
            )
        manifest = read_file(path, found[_BOOT], MANIFEST)
        if manifest is None:
            raise UsageError(f"{path} has no {MANIFEST} in its partition {_BOOT}: no image of the gateway")
        Release.decode(manifest, f"{MANIFEST} of {path}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path, manifest, digest, found[_CONFIG], found[_BOOT])

    def copy_for(self, file: Path, copy: Path) -> None:
        """Make `copy`, this image with the first-boot file `file`; it is there once it is whole. Where the
        file system can, the two share their blocks."""
        new = copy.with_name(f".{copy.name}.new")
        # The copy holds the home's secrets.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        try:
            _run("cp", "--reflink=auto", "--sparse=always", str(self.path), str(new))
            _run("mcopy", "-o", "-i", f"{new}@@{self.config}", str(file), f"::{NAME}")
            with new.open("rb") as written:
                os.fsync(written.fileno())
            new.replace(copy)
        except (GatewayError, OSError):
            new.unlink()
            raise
        sync_folder(copy.parent)

    def is_in(self, copy: Path, file: Path) -> bool:
        """Whether `copy` was made of an image of this release with this first-boot file."""
        return (
            copy.exists()
            and copy.stat().st_size == self.path.stat().st_size
            and read_file(copy, self.boot, MANIFEST) == self.manifest
            and read_file(copy, self.config, NAME) == file.read_bytes()
        )


def partitions(path: Path) -> dict[str, int]:
    """Where each partition begins, in bytes, by its name. UsageError where there is no GPT."""
    try:
        with path.open("rb") as file:
            file.seek(_SECTOR)
            header = file.read(92)
            if header[:8] != b"EFI PART":
                packed = " Unpack it first." if path.suffix in (".zst", ".xz", ".gz", ".zip") else ""
                raise UsageError(f"{path} is not the image of a card: it has no GPT.{packed}")
            if len(header) < 92:
                raise UsageError(f"{path} has a damaged GPT")
            (last,) = struct.unpack_from("<Q", header, 32)  # the copy of this header, at the image's end
            first, count, size = struct.unpack_from("<QII", header, 72)
            if not 128 <= size <= 4096 or count > 128:
                raise UsageError(f"{path} has a damaged GPT")
            if os.fstat(file.fileno()).st_size < (max(first, last) + 1) * _SECTOR:
                raise UsageError(f"{path} is cut off: it ends before the last sector of its GPT")
            file.seek(first * _SECTOR)
            table = file.read(count * size)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    found = {}
    for entry in (table[n : n + size] for n in range(0, len(table) - size + 1, size)):
        name = entry[56:128].decode("utf-16-le", "replace").partition("\0")[0]
        if entry[:16] != bytes(16) and name:
            found[name] = int(struct.unpack_from("<Q", entry, 32)[0]) * _SECTOR
    return found


def read_file(path: Path, offset: int, name: str) -> bytes | None:
    """A file of the FAT partition that begins at `offset`; None where it is not there."""
    done = _mtools("mtype", "-i", f"{path}@@{offset}", f"::{name}")
    return None if done.returncode else done.stdout


def _mtools(*command: str) -> subprocess.CompletedProcess[bytes]:
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{command[0]} is not installed: apt-get install mtools")
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
    return subprocess.run(command, env=environment, capture_output=True, check=False)


def _run(*command: str) -> None:
    done = _mtools(*command)
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        said = last.removeprefix(f"{command[0]}: ")
        raise Unavailable(f"{command[0]} failed: {said}; mend that, and run the same again")
