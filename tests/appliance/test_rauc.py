"""A real RAUC 1.13 with the image's configuration and handler, asked over D-Bus by the updater's user.

Needs root, loop devices and a Debian 13 with rauc-service: GATEWAY_IMAGE_ROOT names one, such as the root
that `image/build.sh --arch amd64 --variant ci` leaves. Skips without.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.appliance.keys import make_keys
from gateway.appliance.rauc import Rauc, Slots
from gateway.errors import GatewayError

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
IMAGE = HERE.parents[1] / "image/root"
ROOT = Path(os.environ.get("GATEWAY_IMAGE_ROOT", Path("~/.cache/gateway/image/amd64/root").expanduser()))
NEW = "2026.12.0"
_IN_BUILDER = """
mount --bind "$2" "$1/mnt"
mount -t tmpfs tmpfs "$1/tmp"
mount -t proc proc "$1/proc" # RAUC hashes what it has open by /proc/self/fd
exec chroot "$1" "${@:3}"
"""


def _builder() -> Path:
    """The Debian that has what makes bundles, as image/bundle.sh finds it; elsewhere the very root."""
    return next(
        (path for path in ROOT.parents[1].glob("builder-*") if (path / "usr/bin/mksquashfs").exists()), ROOT
    )


@dataclass
class Machine:
    """Slots A and B, of which A runs at first."""

    folder: Path
    keys: Path
    process: subprocess.Popen[str]

    def rauc(self, user: str = "gateway-updater") -> Rauc:
        return Rauc(
            (*self.inside(), "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "rauc")
        )

    def inside(self) -> tuple[str, ...]:
        return (
            *("nsenter", "--mount", f"--target={self.process.pid}"),
            *("chroot", str(self.folder / "root")),
        )

    def boots(self, slot: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{slot}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{slot}\n"

    def reads(self, *path: str) -> str:
        done = subprocess.run(
            [*self.inside(), "cat", "/".join(("", *path))], capture_output=True, text=True, check=True
        )
        return done.stdout

    def bundle(
        self, name: str, compatible: str = "gateway-rpi4", version: str = NEW, keys: Path | None = None
    ) -> Path:
        """A bundle, made by RAUC; its path in the machine."""
        content = self.folder / "bundles" / f"content-{name}"
        content.mkdir()
        (content / "root.img").write_bytes(os.urandom(1_000_000))
        (content / "boot.vfat").write_bytes(os.urandom(500_000))
        (content / "manifest.raucm").write_text(
            f"[update]\ncompatible={compatible}\nversion={version}\n\n[bundle]\nformat=plain\n\n"
            "[image.rootfs]\nfilename=root.img\n\n[image.boot]\nfilename=boot.vfat\n"
        )
        signing = self.folder / "bundles" / f"keys-{name}"
        shutil.copytree(keys or self.keys, signing)
        subprocess.run(
            [
                *(
                    "unshare",
                    "--mount",
                    "bash",
                    "-euc",
                    _IN_BUILDER,
                    "-",
                    _builder(),
                    self.folder / "bundles",
                ),
                *("rauc", "bundle", f"--cert=/mnt/{signing.name}/update.cert.pem"),
                *(f"--key=/mnt/{signing.name}/update.key.pem", f"/mnt/{content.name}", f"/mnt/{name}.raucb"),
            ],
            check=True,
            capture_output=True,
        )
        return Path(f"/bundles/{name}.raucb")

    def holds(self, name: str, slot: str) -> bool:
        """Whether a slot has a bundle's content."""
        content = self.folder / "bundles" / f"content-{name}"
        return all(
            (self.folder / f"{part}-{slot}.img").read_bytes().startswith((content / file).read_bytes())
            for part, file in (("root", "root.img"), ("boot", "boot.vfat"))
        )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("takes root, for a root folder and loop devices")
    if not (ROOT / "usr/lib/systemd/system/rauc.service").exists():
        pytest.skip(f"{ROOT} is not a Debian 13 with rauc-service: name one in GATEWAY_IMAGE_ROOT")
    folder = tmp_path_factory.mktemp("rauc")
    keys = folder / "keys"
    make_keys(keys)
    (folder / "bundles").mkdir()
    command: list[str | Path] = ["unshare", "--mount", "--propagation=private", "sh", HERE / "rauc.sh"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [*command, ROOT, folder, IMAGE, keys],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        machine = Machine(folder, keys, process)
        try:
            machine.boots("a")
            yield machine
        finally:
            process.communicate(timeout=30)


def quiet(*_: object) -> None:
    pass


async def test_an_update_from_the_bundle_to_the_commit_and_back(machine: Machine) -> None:
    rauc = machine.rauc()
    assert await rauc.slots() == Slots("A", "A")
    seen: list[int] = []
    await rauc.install(machine.bundle("new"), lambda percent, _: seen.append(percent))
    assert seen[-1] == 100
    assert seen == sorted(seen)
    assert machine.holds("new", "b")
    assert await rauc.slots() == Slots("A", "B"), "armed"
    assert "boot_partition=2\n[tryboot]" in machine.reads("boot", "config", "autoboot.txt")

    # It hangs, and the old slot runs again.
    machine.boots("a")
    await rauc.mark("bad", "other")
    assert await rauc.slots() == Slots("A", "A")

    # Once more; it works.
    await rauc.install(Path("/bundles/new.raucb"), quiet)
    machine.boots("b")
    assert await rauc.slots() == Slots("B", "B")
    # While it is on trial, RAUC does not write the slot before.
    with pytest.raises(GatewayError, match="slot rootfs"):
        await rauc.install(Path("/bundles/new.raucb"), quiet)
    assert not machine.holds("new", "a")
    await rauc.mark("good", "booted")
    assert "boot_partition=3\n[tryboot]\nboot_partition=2" in machine.reads("boot", "config", "autoboot.txt")
    assert await rauc.slots() == Slots("B", "B")

    # The next one goes to slot A.
    await rauc.install(machine.bundle("next", version="2027.1.0"), quiet)
    assert machine.holds("next", "a")
    assert await rauc.slots() == Slots("B", "A")
    await rauc.mark("bad", "other")
    assert await rauc.slots() == Slots("B", "B")
    with pytest.raises(GatewayError, match="mark-bad booted` failed"):
        await rauc.mark("bad", "booted")


async def test_what_rauc_refuses(machine: Machine, tmp_path: Path) -> None:
    rauc = machine.rauc()
    make_keys(tmp_path / "keys")
    before = await rauc.slots()
    for bundle, said in (
        (machine.bundle("older", version="2026.11.0"), "Version mismatch"),
        (machine.bundle("foreign", compatible="gateway-rpi5"), "Compatible mismatch"),
        (machine.bundle("forged", keys=tmp_path / "keys"), "signature"),
        (Path("/bundles/none.raucb"), "No such file"),
    ):
        with pytest.raises(GatewayError, match=said):
            await rauc.install(bundle, quiet)
    assert await rauc.slots() == before


async def test_another_user_may_not_ask_rauc(machine: Machine) -> None:
    with pytest.raises(GatewayError):
        await machine.rauc("somebody").slots()
    with pytest.raises(GatewayError):
        await machine.rauc("somebody").mark("good", "booted")
