#!/usr/bin/env python3
"""A machine that boots the image: QEMU, and a stand-in for what a Raspberry Pi's firmware does before the
kernel.

The firmware's part is to read autoboot.txt from the partition CONFIG, to choose the boot partition, and to
start the kernel, initramfs and command line that config.txt there names. A reboot with the argument "0
tryboot" makes it take the section [tryboot] for one boot. QEMU has no such firmware, so this program reads
the same files from the image, with mtools, and gives them to QEMU. In the machine are the card, a second disk
with a TPM in software (see tpm-disk in inside.sh), a network behind which this machine is 10.0.2.2, and a
serial line on USB for a meter.

Needs Debian's packages qemu-system-arm and mtools.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

TRYBOOT = re.compile(rb"reboot: Restarting system with command '0 tryboot'")
DOWN = re.compile(rb"reboot: Power down|reboot: System halted")

# Starts the TPM of the second disk before anything that may want one. It reaches the machine on the kernel's
# command line, so that the image has nothing of it.
TPM_UNIT = """[Unit]
DefaultDependencies=no
Requires=dev-disk-by\\x2dlabel-gwtpm.device
After=dev-disk-by\\x2dlabel-gwtpm.device systemd-tmpfiles-setup-dev.service
Before=tpm2.target gateway-measure.service gateway-first-boot.service gateway.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'mkdir /run/tpm && mount -o sync LABEL=gwtpm /run/tpm && sh /run/tpm/start'
"""


class Broken(Exception):
    """The image or the machine is not as it should be. The message is for a person."""


@dataclass(frozen=True, slots=True)
class Partition:
    number: int
    name: str
    offset: int
    """in bytes"""
    size: int
    """in bytes"""


@dataclass(frozen=True, slots=True)
class Card:
    """An image of a card, or a card: a file with a GPT."""

    path: Path

    def partitions(self) -> dict[int, Partition]:
        """By number. Raises Broken where there is no GPT."""
        with self.path.open("rb") as file:
            file.seek(512)
            header = file.read(92)
            if header[:8] != b"EFI PART":
                raise Broken(f"{self.path} has no GPT: image/build.sh makes images that have one.")
            start, count, size = struct.unpack_from("<QII", header, 72)
            file.seek(start * 512)
            entries = [file.read(size) for _ in range(count)]
        found = {}
        for number, entry in enumerate(entries, 1):
            if any(entry[:16]):
                first, last = struct.unpack_from("<QQ", entry, 32)
                name = entry[56:128].decode("utf-16-le").rstrip("\0")
                found[number] = Partition(number, name, first * 512, (last - first + 1) * 512)
        return found

    def read(self, number: int, name: str) -> bytes:
        """A file of a FAT partition. Raises Broken where it is missing."""
        result = subprocess.run(
            ["mcopy", "-n", "-i", self._place(number), f"::{name}", "-"], capture_output=True, check=False
        )
        if result.returncode:
            raise Broken(
                f"Partition {number} of {self.path} has no file {name}: {result.stderr.decode().strip()}"
            )
        return result.stdout

    def write(self, number: int, name: str, content: bytes) -> None:
        """A file into a FAT partition, as a person does who has the card in a reader."""
        with TemporaryDirectory() as folder:
            file = Path(folder) / "file"
            file.write_bytes(content)
            subprocess.run(["mcopy", "-o", "-i", self._place(number), str(file), f"::{name}"], check=True)

    def _place(self, number: int) -> str:
        partitions = self.partitions()
        if number not in partitions:
            raise Broken(f"{self.path} has no partition {number}.")
        return f"{self.path}@@{partitions[number].offset}"


@dataclass(frozen=True, slots=True)
class Boot:
    """What the firmware starts."""

    slot: str
    """"a" or "b" """
    kernel: bytes
    initrd: bytes
    command_line: str


def firmware(card: Card, *, tryboot: bool = False) -> Boot:
    """What a Pi's firmware starts from this card. Raises Broken where it would find nothing."""
    autoboot = ConfigParser()
    autoboot.read_string(card.read(1, "autoboot.txt").decode())
    section = "tryboot" if tryboot and autoboot.has_section("tryboot") else "all"
    number = autoboot.getint(section, "boot_partition")
    options = dict(
        re.split(r"[ =]", line, maxsplit=1)
        for line in card.read(number, "config.txt").decode().splitlines()
        if re.match(r"[a-z]", line)
    )
    return Boot(
        slot={2: "a", 3: "b"}[number],
        kernel=card.read(number, options["kernel"]),
        initrd=card.read(number, options["initramfs"].split()[0]),
        command_line=card.read(number, "cmdline.txt").decode().strip(),
    )


@dataclass
class Machine:
    """A board with a card in it."""

    card: Card
    folder: Path
    """for its console's log and its sockets"""
    board: str = "virt"
    tpm: Path | None = None
    """the second disk"""
    forwards: dict[int, int] = field(default_factory=dict)
    """ports of 127.0.0.1 that lead to the machine's"""
    arguments: str = ""
    """more for the kernel's command line"""
    process: subprocess.Popen[bytes] | None = None
    tryboot: bool = False
    slot: str = ""

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    def start(self) -> None:
        """Power on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        boot = firmware(self.card, tryboot=self.tryboot)
        self.tryboot = False
        self.slot = boot.slot
        (self.folder / "kernel").write_bytes(boot.kernel)
        (self.folder / "initrd").write_bytes(boot.initrd)
        (self.folder / "monitor").unlink(missing_ok=True)
        self.console.touch()
        self._mark = self.console.stat().st_size
        # Emulated, everything takes many times as long.
        slow = "systemd.default_device_timeout_sec=900"
        command_line = f"{boot.command_line} gateway.slot={boot.slot} {slow} {self.arguments}"
        if self.tpm:
            unit = base64.b64encode(TPM_UNIT.encode()).decode()
            command_line += f" systemd.set_credential_binary=systemd.extra-unit.tpm.service:{unit}"
            command_line += " systemd.wants=tpm.service"
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in self.forwards.items())
        network = f"user,id=network{forwards}"
        if self.board == "virt":
            command_line += " console=ttyAMA0"
            hardware = [
                *("-M", "virt,gic-version=3", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024"),
                *("-accel", "tcg,thread=multi"),
                *("-drive", f"if=none,file={self.card.path},format=raw,id=card"),
                *("-device", "virtio-blk-pci,drive=card", "-device", "virtio-rng-pci"),
                *("-netdev", network, "-device", "virtio-net-pci,netdev=network,romfile="),
                *("-device", "qemu-xhci", "-serial", "chardev:console"),
            ]
        else:
            size = self.card.path.stat().st_size
            if size & (size - 1):
                raise Broken(
                    f"This board's reader takes cards whose size is a power of two, and {self.card.path} has "
                    f"{size} bytes: truncate --size 4G {self.card.path} makes it one."
                )
            # QEMU has this board's watchdog without its time: arming it resets the board at once. It has no
            # clock, and no time server.
            command_line += f" systemd.watchdog_sec=0 systemd.clock_usec={time.time_ns() // 1000}"
            tree = self.folder / "board.dtb"
            tree.write_bytes(self.card.read({"a": 2, "b": 3}[boot.slot], "bcm2837-rpi-3-b.dtb"))
            hardware = [
                *("-M", "raspi3b", "-dtb", str(tree)),
                *("-drive", f"if=sd,file={self.card.path},format=raw,id=card"),
                # Linux calls it eth0, as a Pi's own, if its address is not a local one.
                *("-netdev", network, "-device", "usb-net,netdev=network,mac=b8:27:eb:00:00:01"),
                *("-serial", "null", "-serial", "chardev:console"),
            ]
        if self.tpm:
            hardware += ["-drive", f"if=none,file={self.tpm},format=raw,id=tpm"]
            hardware += [
                "-device",
                "virtio-blk-pci,drive=tpm" if self.board == "virt" else "usb-storage,drive=tpm",
            ]
        hardware += ["-chardev", "pty,id=meter", "-device", "usb-serial,chardev=meter"]
        command = [
            *("qemu-system-aarch64", "-display", "none", "-no-reboot", *hardware),
            *("-chardev", f"file,id=console,path={self.console},append=on"),
            *("-qmp", f"unix:{self.folder}/monitor,server=on,wait=off"),
            *("-kernel", str(self.folder / "kernel"), "-initrd", str(self.folder / "initrd")),
            *("-append", command_line),
        ]
        with (self.folder / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not (self.folder / "monitor").exists():
            self._check_ended()
            time.sleep(0.05)

    def said(self) -> bytes:
        """What the console has shown since the power was switched on."""
        with self.console.open("rb") as file:
            file.seek(self._mark)
            return file.read()

    def wait_for(self, pattern: str, timeout: float) -> re.Match[bytes]:
        """Until the console shows it. Raises Broken after `timeout` seconds, or at the machine's end."""
        wanted, deadline = re.compile(pattern.encode()), time.monotonic() + timeout
        while True:
            ended = self.process is None or self.process.poll() is not None
            if found := wanted.search(self.said()):
                return found
            if ended or time.monotonic() > deadline:
                end = self.said()[-2000:].decode(errors="replace")
                why = "the machine ended" if ended else f"{timeout:.0f} s went by"
                raise Broken(f"The console never showed {pattern!r}: {why}. Its end:\n{end}")
            time.sleep(0.2)

    def cut(self) -> None:
        """Switch the power off, at once."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ended(self, timeout: float) -> str:
        """Wait for its end: "reboot" or "off". Raises Broken after `timeout` seconds."""
        assert self.process
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Broken(f"The machine still runs after {timeout:.0f} s.") from None
        self._check_ended()
        self.process = None
        self.tryboot = bool(TRYBOOT.search(self.said()))
        return "off" if DOWN.search(self.said()) else "reboot"

    def _check_ended(self) -> None:
        """Raises Broken where QEMU has ended with an error."""
        if self.process and self.process.poll():
            raise Broken(f"QEMU ended: {(self.folder / 'qemu.log').read_text()[-500:]}")

    def monitor(self, command: str) -> object:
        """Ask QEMU, by its machine protocol."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as stream:
            connection.connect(str(self.folder / "monitor"))
            stream.readline()
            for line in ("qmp_capabilities", command):
                stream.write(json.dumps({"execute": line}) + "\n")
                stream.flush()
                while "return" not in (answer := json.loads(stream.readline())):
                    pass
        return answer["return"]

    def written(self) -> int:
        """Bytes that went to the card since the power was switched on, by the block layer."""
        for device in self.monitor("query-blockstats"):  # type: ignore[attr-defined]
            if device.get("device") == "card":
                return int(device["stats"]["wr_bytes"])
        raise Broken("QEMU does not know the card.")

    def meter(self) -> str:
        """This machine's end of the serial line, a path of /dev/pts."""
        for device in self.monitor("query-chardev"):  # type: ignore[attr-defined]
            if device["label"] == "meter":
                return str(device["filename"]).removeprefix("pty:")
        raise Broken("QEMU has no serial line for a meter.")


@contextmanager
def powered(machine: Machine) -> Iterator[Machine]:
    """The machine, on, and in the end off."""
    machine.start()
    try:
        yield machine
    finally:
        machine.cut()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Examples:\n  image/vm.py card.img --forward 8443:8443\n"
        "  image/vm.py card.img --board raspi3b --arguments systemd.show_status=1",
    )
    parser.add_argument("card", type=Path, help="an image; it is written to, so take a copy")
    parser.add_argument("--board", choices=("virt", "raspi3b"), default="virt")
    parser.add_argument("--tpm", type=Path, help="the second disk")
    parser.add_argument("--folder", type=Path, default=Path("build/machine"), help="for the console's log")
    parser.add_argument("--forward", action="append", default=[], metavar="HERE:THERE", help="a TCP port")
    parser.add_argument("--arguments", default="", help="more for the kernel's command line")
    options = parser.parse_args()
    forwards = {int(here): int(there) for here, there in (pair.split(":") for pair in options.forward)}
    machine = Machine(
        Card(options.card), options.folder, options.board, options.tpm, forwards, arguments=options.arguments
    )
    try:
        while True:
            with powered(machine):
                print(f"On, from slot {machine.slot}; the console is in {machine.console}", flush=True)
                print(f"The serial line of the meter: {machine.meter()}", flush=True)
                end = machine.ended(1e9)
            print("Off." if end == "off" else "Reboot.", flush=True)
            if end == "off":
                return 0
    except Broken as mistake:
        print(mistake, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
