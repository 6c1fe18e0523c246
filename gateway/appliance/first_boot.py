"""The first boot: takes the owner's file on the FAT partition over once, and wipes it.

The file is checked as a whole before anything is written. Then each thing goes to its place, and the file is
overwritten in place and replaced by a comment. After a power cut the next boot goes on: until the wipe
begins, the file is still there and is taken over once more; from then on a mark with the file's SHA-256 says
that only the wipe is left. What is wrong with a file is on the console, in the report that the page shows,
and in ERROR.txt beside the file; the owner corrects it on any computer, and the next boot tries again.

Overwriting in place reaches the clusters that the file has. It cannot reach what the card's own controller
put aside when it moved them, nor copies that an editor made beside the file, or on the owner's computer.

On an image /etc is read-only. Host name, Wi-Fi and SSH key go to /data/etc, the folder of the data partition
from which the image's units take them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Protocol

from gateway.appliance.owner_file import (
    NAME,
    Check,
    MeterKeys,
    OwnerFile,
    S3Keys,
    Wifi,
    parse,
    tables,
    unused,
)
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.host.files import sync_folder, write_durably

REPORT = Path("run/gateway-first-boot.json")
ERROR = "ERROR.txt"
_MARK = Path("var/lib/gateway-first-boot/to-wipe")
CONFIGURATION = Path("etc/gateway/gateway.toml")
CREDENTIALS = Path("etc/credstore.encrypted")
HOSTNAME = Path("data/etc/hostname")
WIFI = Path("data/etc/wpa_supplicant/wpa_supplicant-wlan0.conf")
SSH_KEYS = Path("data/etc/ssh/authorized_keys")
_WIPED = (
    b"# The gateway has taken over what stood here, and wiped it, since it may hold passwords and keys.\n"
    b"# To change something, use the gateway's page, or write a new file: README.txt says how.\n"
)
_HOST_ONLY = (
    "{} are encrypted with a key on this machine's card alone, since the configuration says that "
    "there is no TPM: whoever copies the card can read them"
)

State = Literal["nothing", "done", "failed"]
"""The outcome of one boot; `nothing` where there was nothing to take over."""
Run = Callable[[Sequence[str], bytes], bytes]
"""Runs a command with these bytes on its standard input, and gives its standard output. Unavailable, with a
sentence, where it fails."""


class SetupCode(Protocol):
    """The setup code of the household's page."""

    def give(self, code: str) -> bool:
        """Take a code in place of the present one; False once a password is chosen, when none is valid."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where first boot works: the root folder, the mounted FAT partition, and how commands are run."""

    root: Path
    partition: Path
    run: Run

    @property
    def file(self) -> Path:
        return self.partition / NAME

    @property
    def mark(self) -> Path:
        """There from the moment that all is taken over until the file is wiped; holds the file's SHA-256."""
        return self.root / _MARK


def first_boot(machine: Machine, check: Check, setup_code: SetupCode) -> GatewayError | None:
    """Take the owner's file over, if there is one. The error that stopped that, which is also in the report
    and beside the file; None where all is well."""
    error: GatewayError | None = None
    state: State = "nothing"
    notes: list[str] = []
    try:
        wipe = _to_wipe(machine)
        if not wipe and (found := _read(machine, check)) is not None:
            data, owner = found
            notes = _take_over(machine, owner, setup_code)
            machine.mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(machine.mark, hashlib.sha256(data).hexdigest().encode())
            wipe = True
        if wipe:
            with _writable(machine):
                _wipe(machine)
            state = "done"
    except GatewayError as failed:
        error = failed
    except OSError as failed:
        error = Unavailable(_sentence(failed))
    if error is not None:
        state = "failed"
        _write_error(machine, error)
    _report(machine, state, () if error is None else str(error).splitlines(), notes)
    return error


def _report(machine: Machine, state: State, errors: Sequence[str], notes: Sequence[str]) -> None:
    """Write the report, which the page's setup reads: sentences without a secret."""
    document = {"format": 1, "state": state, "errors": list(errors), "notes": list(notes)}
    path = machine.root / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(document).encode(), 0o644)


# --- taking over


def _read(machine: Machine, check: Check) -> tuple[bytes, OwnerFile] | None:
    """The owner's file and what it asks for; None where there is nothing to take over."""
    try:
        data = machine.file.read_bytes()
    except FileNotFoundError:
        if (hidden := machine.file.with_name(f"{NAME}.txt")).exists():
            raise UsageError(
                f"the file is named {hidden.name}: rename it to {NAME} (an editor on Windows adds .txt, and"
                ' the Explorer hides it: tick View, "File name extensions")'
            ) from None
        return None
    owner = parse(data, check)
    return None if owner is None else (data, owner)


def _take_over(machine: Machine, owner: OwnerFile, setup_code: SetupCode) -> list[str]:
    """Put everything in its place, and give notes on it. What can fail by more than a disk comes first,
    before anything is written."""
    notes = []
    files: list[tuple[Path, bytes, int]] = []
    secrets = []
    if owner.s3 is not None:
        secrets.append(("s3", "the S3 keys", _s3_lines(owner.s3)))
    if owner.meter_keys is not None:
        secrets.append(("meter-main", "the meter's keys", _meter_lines(owner.meter_keys)))
        notes += [] if owner.configuration is not None else _unused_there(machine)
    for name, what, plain in secrets:
        sealed = _encrypted(machine, name, what, plain, owner.software)
        files.append((CREDENTIALS / f"gateway.{name}", sealed, 0o600))
        notes += [_HOST_ONLY.format(what)] if owner.software else []
    if owner.wifi is not None:
        files.append((WIFI, _wpa_supplicant(owner.wifi), 0o600))
    if owner.ssh_key is not None:
        files.append((SSH_KEYS, f"{owner.ssh_key}\n".encode(), 0o600))
    if owner.hostname is not None:
        files.append((HOSTNAME, f"{owner.hostname}\n".encode(), 0o644))
    if owner.configuration is not None:
        files.append((CONFIGURATION, owner.configuration.encode(), 0o640))
    if owner.setup_code is not None and not setup_code.give(owner.setup_code):
        notes.append("the setup code was not taken: a password for the page is chosen already")
    for place, data, mode in files:
        path = machine.root / place
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_durably(path, data, mode)
    if owner.configuration is not None:
        with suppress(LookupError):  # no such group: nobody but root reads it then
            shutil.chown(machine.root / CONFIGURATION, group="gateway")
    if owner.hostname is not None:  # the next boot takes it from its file
        machine.run(["hostname", owner.hostname], b"")
    return notes


def _s3_lines(keys: S3Keys) -> bytes:
    return f"access_key_id={keys.access_key_id}\nsecret_access_key={keys.secret_access_key}\n".encode()


def _unused_there(machine: Machine) -> list[str]:
    """Why the configuration that is there already would not use the meter's keys; empty where it has no meter
    yet, or is not TOML."""
    try:
        raw = tables((machine.root / CONFIGURATION).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, UsageError):
        return []
    return unused(raw) if "meter" in raw else []


def _meter_lines(keys: MeterKeys) -> bytes:
    """The file of `gateway.meters.secrets`, in TOML, of whose strings JSON's are some."""
    given = ((key.name, getattr(keys, key.name)) for key in fields(keys))
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in given if value is not None).encode()


def _encrypted(machine: Machine, name: str, what: str, plain: bytes, software: bool) -> bytes:
    """A secret as an encrypted credential of systemd (systemd-creds(1)); `what` names it in errors. Bound to
    the TPM, by no PCR, since the next release has another PCR 14; or to this card alone, where the
    configuration wants no TPM."""
    if software:
        bound = ["--with-key=host"]
    else:
        with suppress(Unavailable):  # what udev has not made yet it may make now
            machine.run(["udevadm", "wait", "--timeout=20", "/dev/tpmrm0"], b"")
        if not (machine.root / "dev/tpmrm0").exists():
            raise Unavailable(
                f"{what} are to be encrypted under the TPM, and /dev/tpmrm0 is not there: power off, "
                'check that the HAT sits right, and switch on again; or write [trust] root = "software" into '
                f"{NAME}, and accept that a copy of the card reveals everything"
            )
        bound = ["--with-key=host+tpm2", "--tpm2-pcrs="]
    return machine.run(["systemd-creds", "encrypt", *bound, f"--name={name}", "-", "-"], plain)


def _wpa_supplicant(wifi: Wifi) -> bytes:
    """wpa_supplicant.conf(5), with the network's name in hexadecimal and its derived key."""
    return (
        f"country={wifi.country}\nnetwork={{\n\tssid={wifi.ssid.encode().hex()}\n\tscan_ssid=1\n"
        f"\tkey_mgmt=WPA-PSK WPA-PSK-SHA256\n\tpsk={wifi.key()}\n}}\n"
    ).encode()


# --- the wipe


def _to_wipe(machine: Machine) -> bool:
    """Whether the file was taken over at an earlier boot, and only its wipe is left. A mark beside a file
    that the owner wrote since is out of date."""
    try:
        marked = machine.mark.read_text("ascii", errors="replace")
        data = machine.file.read_bytes()
    except FileNotFoundError:
        return False
    if hashlib.sha256(data).hexdigest() == marked:
        return True
    try:
        return not tables(data.decode())
    except (UsageError, UnicodeDecodeError):
        return b"\0\0" in data or not data  # half overwritten: no text has two zero bytes, not even UTF-16


def _wipe(machine: Machine) -> None:
    """Overwrite the file in place, in the clusters that it has, before it becomes a comment."""
    with machine.file.open("r+b", buffering=0) as file:
        _write_whole(file.fileno(), bytes(os.fstat(file.fileno()).st_size))
        os.ftruncate(file.fileno(), 0)
        _write_whole(file.fileno(), _WIPED)
    (machine.partition / ERROR).unlink(missing_ok=True)
    sync_folder(machine.partition)
    machine.mark.unlink()
    sync_folder(machine.mark.parent)


def _write_whole(handle: int, data: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_SET)
    while data:
        data = data[os.write(handle, data) :]
    os.fsync(handle)


def _write_error(machine: Machine, error: GatewayError) -> None:
    """Write the error beside the file. Not by a rename: on FAT this file may not have a mode of its own."""
    text = (
        f"The gateway could not take {NAME} over:\n\n{error}\n\n"
        "Correct that, and start the gateway again: it then tries once more.\n"
    )
    with suppress(OSError, GatewayError), _writable(machine):
        handle = os.open(machine.partition / ERROR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _write_whole(handle, text.encode())
        finally:
            os.close(handle)


@contextmanager
def _writable(machine: Machine) -> Iterator[None]:
    """The FAT partition mounted to write while the block lasts, where it is mounted to read."""
    try:
        closed = bool(os.statvfs(machine.partition).f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        closed = False
    if not closed:
        yield
        return
    machine.run(["mount", "-o", "remount,rw", str(machine.partition)], b"")
    try:
        yield
    finally:
        machine.run(["mount", "-o", "remount,ro", str(machine.partition)], b"")


def _sentence(error: OSError) -> str:
    return f"{error.filename or 'a file'} cannot be read or written: {error.strerror}"


# --- what the command uses


def run_command(command: Sequence[str], data: bytes) -> bytes:
    """The Run of a real machine."""
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        why = error.strerror if isinstance(error, OSError) else "it did not end within 60 s"
        raise Unavailable(f"{command[0]} cannot be run: {why}") from None
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Unavailable(f"`{' '.join(command)}` failed: {last}")
    return done.stdout


def announce(root: Path, lines: Sequence[str]) -> None:
    """Show lines on every console of the machine, the screen and the serial line: /dev/console is but one of
    them (sysfs-tty: /sys/class/tty/console/active)."""
    with suppress(OSError):
        for name in (root / "sys/class/tty/console/active").read_text("ascii").split():
            with suppress(OSError), (root / "dev" / name).open("wb", buffering=0) as console:
                console.write("".join(f"{line}\r\n" for line in ("", *lines, "")).encode())
