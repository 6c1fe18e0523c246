"""Writes a home's image onto a card, and reads it back.

Only a whole disk that can be taken out is written, an SD card or a disk at USB (or a loop device, for a
trial), and only while nothing of it is mounted or otherwise in use. Linux is asked through sysfs and
/proc/self/mountinfo (proc(5)), and the exclusive open refuses what came into use since (open(2), O_EXCL on a
block device).
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Unavailable, UsageError

_CHUNK = 4 << 20
_BLKFLSBUF = 0x1261
"""linux/fs.h: forget what is cached of a block device, so that reading reads the card."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where the kernel tells of its devices; other folders in tests."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that may be written: its size in bytes, and what it is called by its maker, for a person."""

    path: Path
    size: int
    model: str


def removable_disk(device: Path, kernel: Kernel = Kernel()) -> Disk:
    """The disk at `device`. UsageError unless it is a whole disk that can be taken out and is not in use."""
    path = device.resolve()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UsageError(f"{device} is not there: {error.strerror}; lsblk lists the disks") from None
    if not stat.S_ISBLK(mode):
        raise UsageError(f"{device} is not a disk: a card reader's is /dev/sdX or /dev/mmcblkN (lsblk)")
    entry = kernel.sys / "class/block" / path.name
    if (entry / "partition").exists():
        raise UsageError(f"{device} is a partition: name the whole disk, {_whole(path)}")
    if not _can_be_taken_out(entry, path.name):
        raise UsageError(f"{device} is a disk that is built in: only a card or a disk at USB is written")
    for part in [entry, *sorted(one.parent for one in entry.glob("*/partition"))]:
        if (why := _use(part, kernel)) is not None:
            raise UsageError(f"{device} is in use: /dev/{part.name} {why}")
    size = int(_read(entry / "size") or 0) * 512  # always in 512 bytes, whatever the disk's own blocks are
    if size == 0:
        raise UsageError(f"{device} has no card in it")
    model = " ".join(filter(None, (_read(entry / "device" / one) for one in ("vendor", "model", "name"))))
    return Disk(path, size, model)


def write_card(image: Path, disk: Disk, progress: Callable[[str, int, int], None]) -> None:
    """Write an image and read it back; `progress` gets "written" or "read back", bytes so far and of all.
    UsageError for an image that does not fit, Unavailable where the card fails."""
    total = image.stat().st_size
    if total > disk.size:
        raise UsageError(f"{image} has {total} bytes, and {disk.path} only {disk.size}: take a larger card")
    try:
        handle = os.open(disk.path, os.O_RDWR | os.O_EXCL)
    except OSError as error:
        raise Unavailable(f"{disk.path} cannot be opened: {error.strerror}") from None
    try:
        with image.open("rb") as source:
            while chunk := source.read(_CHUNK):
                while chunk:
                    chunk = chunk[os.write(handle, chunk) :]
                progress("written", source.tell(), total)
        os.fsync(handle)
        fcntl.ioctl(handle, _BLKFLSBUF)
        _compare(image, handle, disk, progress)
    except OSError as error:
        raise Unavailable(f"the card in {disk.path} failed: {error.strerror}; try another") from None
    finally:
        os.close(handle)


def _compare(image: Path, handle: int, disk: Disk, progress: Callable[[str, int, int], None]) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    with image.open("rb") as source:
        while chunk := source.read(_CHUNK):
            at = source.tell() - len(chunk)
            if os.pread(handle, len(chunk), at) != chunk:
                raise Unavailable(
                    f"{disk.path} returns other bytes than were written, below byte {source.tell()}: the "
                    "card is worn or forged; try another"
                )
            progress("read back", source.tell(), image.stat().st_size)


def _whole(path: Path) -> str:
    """The disk of a partition, as its name says."""
    return re.sub(r"(?<=\d)p\d+$|(?<=[a-z])\d+$", "", str(path))


def _can_be_taken_out(entry: Path, name: str) -> bool:
    if name.startswith("loop"):
        return True
    if name.startswith("mmcblk"):
        return _read(entry / "device/type") == "SD"  # the other type, MMC, is soldered on
    return _read(entry / "removable") == "1" or "/usb" in str(entry.resolve())


def _use(entry: Path, kernel: Kernel) -> str | None:
    """What a disk or partition is in use for; None where it is not."""
    number = _read(entry / "dev")
    for line in (_read(kernel.proc / "self/mountinfo") or "").splitlines():
        fields = line.split(" ")
        if fields[2] == number or f"/dev/{entry.name}" in fields:
            return f"is mounted at {fields[4]}: umount it first"
    if re.search(rf"^/dev/{re.escape(entry.name)}\s", _read(kernel.proc / "swaps") or "", re.MULTILINE):
        return "is swapped to"
    if holders := sorted(one.name for one in entry.glob("holders/*")):
        return f"belongs to {', '.join(holders)}"
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
