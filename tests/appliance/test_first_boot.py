"""First boot: all or nothing, gone on with after a power cut at any step, and no secret left on the card."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.appliance import first_boot as module
from gateway.appliance.first_boot import Machine, announce, first_boot, run_command
from gateway.appliance.owner_file import Wifi
from gateway.errors import GatewayError, Unavailable, UsageError
from gateway.host.files import write_durably
from gateway.meters.secrets import read_secrets
from tests.appliance.test_owner_file import GATEWAY, KEY, KEYS, SECRETS, WHOLE, check


class Cut(BaseException):
    """The power is gone."""


@dataclass
class Home:
    """A machine in a folder. Its commands are noted. `steps` counts whatever changes something; before step
    number `cut` the power goes."""

    folder: Path
    commands: list[tuple[str, ...]] = field(default_factory=list)
    code: str = "made-up"
    chosen: bool = False
    fails: str = ""
    steps: int = 0
    cut: int | None = None

    def __post_init__(self) -> None:
        (self.folder / "boot").mkdir()
        (self.root / "dev").mkdir(parents=True)
        (self.root / "dev" / "tpmrm0").touch()

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def file(self) -> Path:
        return self.folder / "boot" / "gateway.toml"

    @property
    def error(self) -> Path:
        return self.folder / "boot" / "ERROR.txt"

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.cut:
            raise Cut

    def run(self, command: Sequence[str], data: bytes) -> bytes:
        self.step()
        self.commands.append(tuple(command))
        if command[0] == self.fails:
            raise Unavailable(f"`{command[0]}` failed: no reason")
        return b"sealed " + data[::-1] if command[0] == "systemd-creds" else b""

    def give(self, code: str) -> bool:
        self.step()
        self.code = self.code if self.chosen else code
        return not self.chosen

    def boot(self) -> GatewayError | None:
        return first_boot(Machine(self.root, self.folder / "boot", self.run), check, self)

    def report(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.root / "run/gateway-first-boot.json").read_text())
        return found

    def taken(self) -> dict[str, bytes]:
        """Everything on the machine but what begins at random."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_whole_file_is_taken_over_and_wiped(home: Home) -> None:
    home.file.write_text(WHOLE)
    home.error.write_text("of an earlier try")
    assert home.boot() is None
    taken = home.taken()
    assert taken["etc/gateway/gateway.toml"].decode() == GATEWAY
    assert (home.root / "etc/gateway/gateway.toml").stat().st_mode & 0o777 == 0o640
    keys = b"access_key_id=AKIA1\nsecret_access_key=hunter2hunter2\n"
    assert taken["etc/credstore.encrypted/gateway.s3"] == b"sealed " + keys[::-1]
    (home.folder / "keys").write_bytes(taken["etc/credstore.encrypted/gateway.meter-main"][:6:-1])
    (home.folder / "keys").chmod(0o600)
    found = read_secrets(home.folder / "keys")
    assert (found.encryption_key, found.authentication_key) == tuple(map(bytes.fromhex, KEYS))
    assert found.password == b's e"cret'
    assert taken["data/etc/ssh/authorized_keys"].decode() == f"{KEY} anna@laptop\n"
    assert taken["data/etc/hostname"] == b"gw7\n"
    wifi = taken["data/etc/wpa_supplicant/wpa_supplicant-wlan0.conf"].decode()
    assert f"psk={Wifi('DE', 'Home', 'correct horse').key()}\n" in wifi
    assert "ssid=486f6d65\n" in wifi
    assert "country=DE\n" in wifi
    assert home.code == "abcde-fghjk"
    assert home.report() == {"format": 1, "state": "done", "errors": [], "notes": []}
    assert ("hostname", "gw7") in home.commands
    left = home.file.read_text()
    assert all(line.startswith("#") for line in left.splitlines())
    assert not home.error.exists()
    sealed = [module.CREDENTIALS / f"gateway.{name}" for name in ("s3", "meter-main")]
    for place in (module.WIFI, module.SSH_KEYS, *sealed):
        assert (home.root / place).stat().st_mode & 0o777 == 0o600


def test_keys_that_the_configuration_there_does_not_use_are_noted(home: Home) -> None:
    keys = f'[first-boot]\nmeter-keys = {{ encryption-key = "{KEYS[0]}" }}\n'
    place = home.root / module.CONFIGURATION
    place.parent.mkdir(parents=True)
    there = '[[meter]]\nname = "{}"\n{}'
    for text, note in (
        ("", None),
        ("[", None),
        (there.format("main", ""), None),
        (there.format("attic", ""), "no [[meter]] here has that name"),
        (there.format("main", 'keys = "/etc/main.keys"'), "whose keys are elsewhere by its own line"),
    ):
        place.write_text(text)
        home.file.write_text(keys)
        assert home.boot() is None
        notes = home.report()["notes"]
        assert isinstance(notes, list)
        assert [note in one for one in notes] == ([] if note is None else [True])
        assert "etc/credstore.encrypted/gateway.meter-main" in home.taken()


def test_no_secret_is_on_a_command_line_in_the_report_or_in_an_error(home: Home) -> None:
    home.fails = "systemd-creds"
    home.file.write_text(WHOLE)
    error = home.boot()
    assert isinstance(error, Unavailable)
    said = f"{error}{home.commands}{home.report()}{home.error.read_text()}"
    assert not any(secret in said for secret in SECRETS)


def test_an_ending_that_windows_hides_is_said(home: Home) -> None:
    home.file.with_name("gateway.toml.txt").write_text(WHOLE)
    error = home.boot()
    assert isinstance(error, UsageError)
    assert "rename it to gateway.toml" in home.error.read_text()
    home.file.with_name("gateway.toml.txt").rename(home.file)
    assert home.boot() is None
    assert not home.error.exists()


def test_the_second_boot_changes_nothing(home: Home) -> None:
    home.file.write_text(WHOLE)
    home.boot()
    before = home.taken()
    home.commands.clear()
    assert home.boot() is None
    assert home.report()["state"] == "nothing"
    del before["run/gateway-first-boot.json"]
    after = home.taken()
    del after["run/gateway-first-boot.json"]
    assert (after, home.commands) == (before, [])


@pytest.mark.parametrize("there", [True, False])
def test_without_a_file_or_a_table_there_is_nothing_to_do(there: bool, home: Home) -> None:
    if there:
        home.file.write_text("# an example\n")
    assert home.boot() is None
    assert home.commands == []
    assert set(home.taken()) == {"dev/tpmrm0", "run/gateway-first-boot.json"}
    assert not there or home.file.read_text() == "# an example\n"


def test_a_mistake_leaves_all_as_it_is_until_it_is_corrected(home: Home) -> None:
    wrong = WHOLE.replace('profile = "eastron-sdm630"', 'profile = "eastron"')
    home.file.write_text(wrong)
    error = home.boot()
    assert isinstance(error, UsageError)
    assert str(error).startswith('gateway.toml, line 15: [[meter]] "main" profile')
    assert set(home.taken()) == {"dev/tpmrm0", "run/gateway-first-boot.json"}
    assert home.report() == {"format": 1, "state": "failed", "errors": [str(error)], "notes": []}
    assert str(error) in home.error.read_text()
    assert (home.file.read_text(), home.code, home.commands) == (wrong, "made-up", [])
    home.file.write_text(WHOLE)
    assert home.boot() is None
    assert not home.error.exists()
    assert home.code == "abcde-fghjk"


def test_a_later_file_changes_what_it_names_and_no_password(home: Home) -> None:
    home.file.write_text(WHOLE)
    home.boot()
    home.chosen = True
    home.code = ""
    home.file.write_text('[first-boot]\nhostname = "cellar"\nsetup-code = "aaaaa-aaaaa"\n')
    assert home.boot() is None
    assert home.code == ""
    notes = ["the setup code was not taken: a password for the page is chosen already"]
    assert home.report()["notes"] == notes
    assert home.taken()["etc/gateway/gateway.toml"].decode() == GATEWAY
    assert ("hostname", "cellar") in home.commands


class TestKeys:
    NAMES = ("s3", "meter-main")

    def commands(self, home: Home) -> list[tuple[str, ...]]:
        return [command[2:] for command in home.commands if command[0] == "systemd-creds"]

    def test_bound_to_the_tpm_and_open_to_the_next_release(self, home: Home) -> None:
        home.file.write_text(WHOLE)
        assert home.boot() is None
        bound = ("--with-key=host+tpm2", "--tpm2-pcrs=")
        assert self.commands(home) == [(*bound, f"--name={name}", "-", "-") for name in self.NAMES]

    def test_bound_to_the_card_where_the_owner_wants_no_tpm(self, home: Home) -> None:
        home.file.write_text(f'{WHOLE}\n[trust]\nroot = "software"\n')
        assert home.boot() is None
        assert self.commands(home) == [("--with-key=host", f"--name={name}", "-", "-") for name in self.NAMES]
        notes = home.report()["notes"]
        assert isinstance(notes, list)
        for note, what in zip(notes, ("the S3 keys", "the meter's keys"), strict=True):
            assert note.startswith(f"{what} are encrypted")
            assert "whoever copies the card can read them" in note

    def test_never_to_the_card_because_a_tpm_is_missing(self, home: Home) -> None:
        (home.root / "dev/tpmrm0").unlink()
        home.fails = "udevadm"
        home.file.write_text(WHOLE)
        error = home.boot()
        assert isinstance(error, Unavailable)
        assert "check that the HAT sits right" in str(error)
        assert set(home.taken()) == {"run/gateway-first-boot.json"}
        assert home.file.read_text() == WHOLE


@pytest.fixture
def powered(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A machine on which each write, sync and removal is a step; a write that is cut is half done."""

    def counted(name: str, where: object) -> None:
        real: Callable[..., object] = getattr(where, name)

        def step(*arguments: object, **named: object) -> object:
            home.step()
            return real(*arguments, **named)

        monkeypatch.setattr(where, name, step)

    def write(handle: int, data: bytes) -> int:
        try:
            home.step()
        except Cut:
            real_write(handle, data[: len(data) // 2])
            raise
        return real_write(handle, data[:700])

    real_write = os.write
    monkeypatch.setattr(os, "write", write)
    counted("write_durably", module)
    counted("sync_folder", module)
    counted("chown", shutil)
    counted("ftruncate", os)
    counted("fsync", os)
    counted("unlink", Path)
    return home


def test_a_power_cut_at_any_step_is_gone_on_with(powered: Home, tmp_path: Path) -> None:
    text = WHOLE + "# " + "a comment " * 200
    (tmp_path / "whole").mkdir()
    whole = Home(tmp_path / "whole")
    whole.file.write_text(text)
    powered.file.write_text(text)
    assert whole.boot() is None
    cuts = 0
    while True:
        for path in ("boot", "root"):
            shutil.rmtree(powered.folder / path)
        powered.__post_init__()
        powered.file.write_text(text)
        powered.steps, powered.cut, powered.code = 0, cuts + 1, "made-up"
        try:
            powered.boot()
        except Cut:
            cuts += 1
        else:
            break
        powered.cut = None
        assert powered.boot() is None, cuts
        powered.boot()
        assert powered.file.read_text() == whole.file.read_text(), cuts
        assert powered.taken() | {"run/gateway-first-boot.json": b""} == whole.taken() | {
            "run/gateway-first-boot.json": b""
        }
        assert powered.code == "abcde-fghjk"
        assert not (powered.root / "var/lib/gateway-first-boot/to-wipe").exists()
    assert cuts > 25


@pytest.mark.parametrize("wiped", range(16))
def test_a_wipe_that_reached_some_sectors_is_gone_on_with(wiped: int, home: Home) -> None:
    """A card writes sectors of 512 bytes in any order."""
    text = (WHOLE + "# comment\n" * 200)[:2048]
    home.file.write_text(text)
    mark = home.root / "var/lib/gateway-first-boot/to-wipe"
    mark.parent.mkdir(parents=True)
    mark.write_text(hashlib.sha256(text.encode()).hexdigest())
    sectors = [bytes(512) if wiped >> n & 1 else text.encode()[512 * n : 512 * (n + 1)] for n in range(4)]
    home.file.write_bytes(b"".join(sectors))
    assert home.boot() is None
    assert home.file.read_bytes() == module._WIPED
    assert home.code == "made-up"
    assert not mark.exists()


def test_a_file_written_since_the_cut_is_not_wiped_unread(home: Home) -> None:
    mark = home.root / "var/lib/gateway-first-boot/to-wipe"
    mark.parent.mkdir(parents=True)
    mark.write_text("0" * 64)
    home.file.write_text(WHOLE)
    assert home.boot() is None
    assert home.code == "abcde-fghjk"
    home.file.write_text("[first-boot\n")
    mark.write_text("0" * 64)
    assert isinstance(home.boot(), UsageError)
    assert home.file.read_text() == "[first-boot\n"
    home.file.write_text(WHOLE, encoding="utf-16")  # which has zero bytes too
    assert "is not UTF-8 text" in str(home.boot())
    assert home.file.read_text(encoding="utf-16") == WHOLE


def test_a_full_disk_is_a_sentence_and_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        if path.name == "hostname":
            raise OSError(28, "No space left on device", str(path))
        write_durably(path, *_)  # type: ignore[arg-type]

    home.file.write_text(WHOLE)
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_durably", full)
        error = home.boot()
    assert isinstance(error, Unavailable)
    assert str(error).endswith("hostname cannot be read or written: No space left on device")
    assert home.file.read_text() == WHOLE
    assert home.boot() is None


def test_every_console_is_written_to(tmp_path: Path) -> None:
    active = tmp_path / "sys/class/tty/console/active"
    active.parent.mkdir(parents=True)
    active.write_text("tty1 ttyS9 ttyS0\n")
    (tmp_path / "dev").mkdir()
    for name in ("tty1", "ttyS0"):
        (tmp_path / "dev" / name).touch()
    announce(tmp_path, ["one", "two"])
    assert (tmp_path / "dev/tty1").read_bytes() == b"\r\none\r\ntwo\r\n\r\n"
    assert (tmp_path / "dev/ttyS0").read_bytes() == b"\r\none\r\ntwo\r\n\r\n"
    announce(tmp_path / "nowhere", ["one"])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sh", "-c", "echo one >&2; echo two >&2; exit 3"], "failed: two"),
        (["gateway-no-such-program"], "cannot be run: No such file or directory"),
    ],
)
def test_a_command_that_fails_is_a_sentence(command: list[str], said: str) -> None:
    with pytest.raises(Unavailable, match=said):
        run_command(command, b"")
    assert run_command(["tr", "a", "b"], b"banana") == b"bbnbnb"


@pytest.fixture
def partition(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A mounted partition, and the file that it is in: FAT, or where the kernel has none ext4 without a
    journal, which overwrites in place too."""
    card, folder = tmp_path / "card", tmp_path / "partition"
    folder.mkdir()
    for make in (["mkfs.vfat"], ["mkfs.ext4", "-q", "-O", "^has_journal"]):
        card.unlink(missing_ok=True)
        with card.open("wb") as file:
            file.truncate(4 << 20)
        if (
            shutil.which(make[0])
            and subprocess.run([*make, card], capture_output=True, check=False).returncode == 0
        ):
            mount = ["mount", "-o", "loop", str(card), str(folder)]
            if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
                break
    else:
        pytest.skip("this takes root, and a kernel that mounts a loop device")
    try:
        yield folder, card
    finally:
        if folder.is_mount():
            subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_no_secret_stays_in_a_real_partition(home: Home, partition: tuple[Path, Path]) -> None:
    """Mounted to read, as on an image; the secrets are looked for in the partition's bytes after."""
    boot, card = partition
    mounting = _Mounting(home.run)
    machine = Machine(home.root, boot, mounting)
    (boot / "gateway.toml").write_text(WHOLE.replace('"gw7"', '"Gw7"'))
    run_command(["mount", "-o", "remount,ro", str(boot)], b"")
    assert isinstance(first_boot(machine, check, home), UsageError)
    assert "line 2" in (boot / "ERROR.txt").read_text()
    run_command(["mount", "-o", "remount,rw", str(boot)], b"")
    with (boot / "gateway.toml").open("r+") as same:  # in its clusters, as no editor does
        same.write(WHOLE)
    run_command(["mount", "-o", "remount,ro", str(boot)], b"")
    assert any(secret.encode() in card.read_bytes() for secret in SECRETS)
    assert first_boot(machine, check, home) is None
    assert [path.name for path in boot.iterdir() if path.is_file()] == ["gateway.toml"]
    assert os.statvfs(boot).f_flag & os.ST_RDONLY
    assert mounting.mounted == 4
    run_command(["umount", str(boot)], b"")
    data = card.read_bytes()
    assert b"taken over" in data
    assert not any(secret.encode() in data for secret in SECRETS)


class _Mounting:
    """A machine's commands, of which mount is a real one."""

    def __init__(self, run: Callable[[Sequence[str], bytes], bytes]) -> None:
        self._run = run
        self.mounted = 0

    def __call__(self, command: Sequence[str], data: bytes) -> bytes:
        if command[0] != "mount":
            return self._run(command, data)
        self.mounted += 1
        return run_command(command, data)
