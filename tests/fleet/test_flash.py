"""Which disks are written, and that what was written is read back."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import Unavailable, UsageError
from gateway.fleet import flash as module
from gateway.fleet.flash import Disk, Kernel, removable_disk, write_card

MIB = 1 << 20


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A kernel with the disks that a test adds; every file counts as a block device."""
    monkeypatch.setattr(stat, "S_ISBLK", lambda _: True)
    found = Kernel(tmp_path / "sys", tmp_path / "proc")
    (found.proc / "self").mkdir(parents=True)
    (found.proc / "self/mountinfo").write_text("22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
    (found.proc / "swaps").write_text("Filename Type Size\n/dev/sda2 partition 99\n")
    return found


def add(kernel: Kernel, name: str, number: str, bus: str = "usb1", **files: str) -> Path:
    """A disk of 1 GB, and its device file."""
    real = kernel.sys / "devices" / bus / name
    (real / "device").mkdir(parents=True)
    (kernel.sys / "class/block").mkdir(parents=True, exist_ok=True)
    (kernel.sys / "class/block" / name).symlink_to(real)
    (real / "dev").write_text(f"{number}\n")
    (real / "size").write_text("1953125\n")
    for path, text in files.items():
        (real / path.replace("__", "/")).write_text(f"{text}\n")
    device = kernel.sys.parent / name
    device.touch()
    return device


def part(kernel: Kernel, disk: str, name: str, number: str) -> Path:
    folder = kernel.sys / "class/block" / disk / name
    folder.mkdir()
    (folder / "partition").write_text("1\n")
    (folder / "dev").write_text(f"{number}\n")
    (kernel.sys / "class/block" / name).symlink_to(folder)
    device = kernel.sys.parent / name
    device.touch()
    return device


def test_a_card_reader_and_an_sd_slot_are_taken(kernel: Kernel) -> None:
    usb = add(kernel, "sdb", "8:16", device__vendor="Generic ", device__model="SD/MMC")
    assert removable_disk(usb, kernel) == Disk(usb, 1_000_000_000, "Generic SD/MMC")
    slot = add(kernel, "mmcblk0", "179:0", "mmc0", removable="0", device__type="SD", device__name="SC64G")
    part(kernel, "mmcblk0", "mmcblk0p1", "179:1")
    assert removable_disk(slot, kernel).model == "SC64G"
    assert removable_disk(add(kernel, "sdc", "8:32", "ata1", removable="1"), kernel).model == ""


@pytest.mark.parametrize(
    ("name", "bus", "files", "said"),
    [
        ("sdb", "ata1", {"removable": "0"}, "is built in"),
        ("nvme0n1", "pci0", {}, "is built in"),
        ("mmcblk0", "mmc0", {"device__type": "MMC"}, "is built in"),
        ("sdb", "usb1", {"size": "0"}, "has no card in it"),
        ("sdb", "usb1", {"dev": "8:1"}, "is in use: /dev/sdb is mounted at /: umount it first"),
        ("sda2", "usb1", {}, "is in use: /dev/sda2 is swapped to"),
    ],
)
def test_any_other_disk_is_refused(
    name: str, bus: str, files: dict[str, str], said: str, kernel: Kernel
) -> None:
    device = add(kernel, name, "8:16", bus, **files)
    with pytest.raises(UsageError) as error:
        removable_disk(device, kernel)
    assert said in str(error.value)


def test_a_disk_of_which_a_partition_is_in_use_is_refused(kernel: Kernel) -> None:
    device = add(kernel, "sdb", "8:16")
    one = part(kernel, "sdb", "sdb1", "8:17")
    assert removable_disk(device, kernel)
    mounts = kernel.proc / "self/mountinfo"
    before = mounts.read_text()
    mounts.write_text(f"{before}40 22 8:17 / /media/card rw - vfat /dev/sdb1 rw\n")
    with pytest.raises(UsageError, match="/dev/sdb1 is mounted at /media/card"):
        removable_disk(device, kernel)
    mounts.write_text(
        f"{before}40 22 0:50 / /media/card rw - btrfs /dev/sdb1 rw\n"
    )  # whose number is another
    with pytest.raises(UsageError, match="/dev/sdb1 is mounted at /media/card"):
        removable_disk(device, kernel)
    mounts.write_text(before)
    (kernel.sys / "class/block/sdb1/holders/dm-0").mkdir(parents=True)
    with pytest.raises(UsageError, match="/dev/sdb1 belongs to dm-0"):
        removable_disk(device, kernel)
    with pytest.raises(UsageError, match=r"is a partition: name the whole disk, .*/sdb$"):
        removable_disk(one, kernel)


def test_what_is_no_disk(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        removable_disk(tmp_path / "sdz")
    with pytest.raises(UsageError, match="is not a disk"):
        removable_disk(tmp_path)
    with pytest.raises(UsageError, match="is not a disk"):
        removable_disk(Path("/dev/null"))


@pytest.mark.parametrize(
    ("device", "disk"),
    [("/dev/sdb1", "/dev/sdb"), ("/dev/mmcblk0p2", "/dev/mmcblk0"), ("/dev/nvme0n1p3", "/dev/nvme0n1")],
)
def test_the_disk_of_a_partition(device: str, disk: str) -> None:
    assert module._whole(Path(device)) == disk


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A loop device of 12 MiB."""
    backing = tmp_path / "card"
    with backing.open("wb") as file:
        file.truncate(12 * MIB)
    found = subprocess.run(
        ["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip("this takes root, and loop devices")
    yield Path(found.stdout.strip())
    subprocess.run(["losetup", "--detach", found.stdout.strip()], check=True)


@pytest.mark.slow
def test_a_loop_device_is_written_and_read_back(loop: Path, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(os.urandom(9 * MIB + 512))
    seen: list[tuple[str, int, int]] = []
    disk = removable_disk(loop)
    assert disk.size == 12 * MIB
    write_card(image, disk, lambda *now: seen.append(now))
    assert loop.read_bytes()[: 9 * MIB + 512] == image.read_bytes()
    total = 9 * MIB + 512
    steps = [4 * MIB, 8 * MIB, total]
    assert seen == [(what, done, total) for what in ("written", "read back") for done in steps]

    image.write_bytes(bytes(13 * MIB))
    with pytest.raises(UsageError, match="take a larger card"):
        write_card(image, disk, lambda *_: None)


@pytest.mark.slow
def test_a_mounted_loop_device_is_refused_twice(loop: Path, tmp_path: Path) -> None:
    disk = removable_disk(loop)
    subprocess.run(["mkfs.ext4", "-q", loop], check=True, capture_output=True)
    folder = tmp_path / "mounted"
    folder.mkdir()
    if subprocess.run(["mount", loop, folder], capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts no loop device")
    try:
        before = loop.read_bytes()
        with pytest.raises(UsageError, match=f"is mounted at {folder}"):
            removable_disk(loop)
        image = tmp_path / "image"
        image.write_bytes(b"x" * MIB)
        with pytest.raises(Unavailable, match="Device or resource busy"):  # as if mounted in between
            write_card(image, disk, lambda *_: None)
        assert loop.read_bytes() == before
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_card_that_forgets_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, card = tmp_path / "image", tmp_path / "card"
    image.write_bytes(os.urandom(5 * MIB))
    card.write_bytes(bytes(6 * MIB))
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: 0)
    disk = Disk(card, 6 * MIB, "")
    write_card(image, disk, lambda *_: None)
    whole = os.pread
    monkeypatch.setattr(
        os, "pread", lambda fd, n, at: whole(fd, n, at)[:-1] + b"?" if at else whole(fd, n, at)
    )
    with pytest.raises(Unavailable, match=f"below byte {5 * MIB}"):
        write_card(image, disk, lambda *_: None)

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(Unavailable, match="failed: Input/output error; try another"):
        write_card(image, disk, lambda *_: None)
