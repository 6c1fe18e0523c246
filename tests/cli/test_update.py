"""`gateway update` and `gateway release`, as people and the image's units run them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.appliance.journal import TRIAL, Journal, Known, Outcome, ReleaseNote, Trying
from gateway.appliance.rauc import Slots
from gateway.appliance.release import Release
from gateway.cli import update
from gateway.cli.main import main
from tests.appliance.releases import BUNDLE, NEW, OLD, Machine

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine on which the commands run, at three o'clock."""
    machine = Machine(tmp_path / "machine")
    monkeypatch.setattr(update, "Place", lambda: machine.place)
    monkeypatch.setattr(update, "Rauc", lambda: machine.rauc)
    monkeypatch.setattr("gateway.host.clock.kernel_synchronised", lambda: True)
    monkeypatch.setattr(time, "localtime", lambda: time.struct_time((2026, 11, 28, 3, 7, 0, 5, 332, 0)))
    return machine


@pytest.fixture
def run(machine: Machine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command under a configuration with these [updates]: its exit code, and what it printed."""

    def run(*words: str, updates: str | None = None) -> tuple[int, str]:
        file = machine.folder / "gateway.toml"
        file.write_text(
            f'gateway = {{ socket = "{machine.folder}/s" }}\nstore = {{ url = "s3://meters" }}\n'
            + f'[updates]\n{f"""feed = "{machine.feed}" """ if updates is None else updates}\n'
            + '[[meter]]\nname = "main"\nprofile = "eastron-sdm630"\ntcp = { host = "192.0.2.1" }\n'
        )
        monkeypatch.setenv("GATEWAY_CONFIG", str(file))
        code = main(words)
        out, err = capfd.readouterr()
        return code, out + err

    return run


def known(machine: Machine) -> Known:
    return Journal(machine.place.folder).read()


def test_from_check_to_restart_and_what_status_shows(machine: Machine, run: Run) -> None:
    assert run("update", "status") == (0, "gateway-2026.11.1 runs (epoch 7).\n")
    machine.publishes(OLD)
    assert run("update", "check") == (0, "gateway-2026.11.1 is the newest release.\n")
    assert run("update", "install", "--reboot") == (
        0,
        "gateway-2026.11.1 is the newest release: nothing is installed.\n",
    )
    machine.publishes(NEW)
    code, said = run("update", "check")
    assert (code, said.split(":")[0]) == (0, "gateway-2026.12.0 is available")
    code, said = run("update", "check", "--json")
    assert json.loads(said) == {"available": {"name": NEW.name, "version": NEW.version, "epoch": 7}}

    code, said = run("update", "install")
    assert code == 0
    assert "gateway-2026.12.0 is installed in the other slot.\n" in said
    assert machine.rauc.installed == [BUNDLE]
    assert not machine.place.restart.exists()
    code, said = run("update", "status")
    assert "gateway-2026.12.0 is installed: `sudo gateway update install --reboot` restarts into it." in said
    assert "is available" not in said

    code, said = run("update", "install", "--reboot")
    assert said.splitlines()[-1] == "The machine restarts into it, on trial."
    assert machine.rauc.installed == [BUNDLE]
    assert machine.place.restart.exists()

    machine.runs(NEW)
    assert "gateway-2026.12.0 runs, on trial (epoch 7).\n" in run("update", "status")[1]
    code, said = run("update", "status", "--json")
    assert json.loads(said)["running"]["version"] == "2026.12.0"
    assert json.loads(said)["trying"]["slot"] == "B"


def test_the_check_ends_with_1_where_the_machine_has_to_restart(machine: Machine, run: Run) -> None:
    assert run("update", "health") == (0, "No release is on trial.\n")
    journal, note = Journal(machine.place.folder), ReleaseNote.of(NEW)

    def on_trial() -> None:
        journal.note(trying=Trying(release=note, slot="B", expected=()))
        journal.begin_trial()

    on_trial()
    code, said = run("update", "health")
    assert (code, said.split(":")[0]) == (0, "gateway-2026.12.0 is not kept"), "the old slot runs"

    on_trial()
    machine.rauc.state = Slots("B", "B")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(update, "_found_newer", _newer)
        code, said = run("update", "health", "--json")
    assert code == 1
    assert json.loads(said)["kept"] is False
    assert not (machine.place.folder / TRIAL).exists()
    code, said = run("update", "status")
    assert "gateway-2026.12.0 was not kept, " in said
    assert "the ledger was written by a newer gateway" in said


async def _newer() -> bool:
    return True


def test_the_timer_installs_at_the_owners_hour(machine: Machine, run: Run) -> None:
    machine.publishes(NEW)
    scheduled = ("update", "install", "--scheduled")
    feed = f'feed = "{machine.feed}"\n'
    assert run(*scheduled, updates="") == (0, "")
    assert run(*scheduled, updates=f"{feed}hour = 4") == (0, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.host.clock.kernel_synchronised", lambda: False)
        assert run(*scheduled) == (0, "")
    assert known(machine) == Known()

    code, said = run(*scheduled, updates=f"{feed}automatic = false")
    assert (code, said) == (0, "gateway-2026.12.0 is available, and updates are not automatic\n")
    assert known(machine).available == ReleaseNote.of(NEW)
    assert machine.rauc.installed == []

    code, said = run(*scheduled)
    assert code == 0
    assert machine.rauc.installed == [BUNDLE]
    assert machine.place.restart.exists()


def test_what_was_not_kept_is_not_tried_again_by_itself(machine: Machine, run: Run) -> None:
    machine.publishes(NEW)
    last = Outcome(release=ReleaseNote.of(NEW), kept=False, sentence="no reading was sealed", ended_ms=1)
    Journal(machine.place.folder).note(last=last)
    code, said = run("update", "install", "--scheduled")
    assert code == 0
    assert said.startswith("gateway-2026.12.0 was tried before, and is not tried again by itself: no reading")
    assert machine.rauc.installed == []
    machine.publishes(replace(NEW, name="gateway-2026.12.1", version="2026.12.1"))
    assert run("update", "install", "--scheduled")[0] == 0
    assert machine.rauc.installed == [BUNDLE]
    assert known(machine).last is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("check",), 2, "names no release feed: add [updates] with feed"),
        (("install",), 2, "names no release feed"),
        (("check", "--feed", "/nowhere"), 4, "the feed /nowhere has no latest.json to read"),
        (("check", "--feed", "ftp://x/y"), 2, "expected https://..., or the path of a folder"),
    ],
)
def test_a_feed_has_to_be_named(
    machine: Machine, run: Run, words: tuple[str, ...], code: int, said: str
) -> None:
    ended, printed = run("update", *words, updates="")
    assert ended == code
    assert said in printed


def test_a_machine_without_the_image_says_so(machine: Machine, run: Run) -> None:
    (machine.place.boot / "release.json").unlink()
    for words in (("status",), ("check",), ("install",)):
        code, said = run("update", *words)
        assert code == 2
        assert "does not run the appliance's image" in said


def test_a_release_from_its_keys_to_its_feed(run: Run, tmp_path: Path) -> None:
    keys, boot, feed = tmp_path / "keys", tmp_path / "boot", tmp_path / "feed"
    boot.mkdir()
    feed.mkdir()
    (boot / "kernel").write_bytes(b"kernel")
    (tmp_path / "root.erofs").write_bytes(b"root")
    (feed / "gateway-2026.12.0.raucb").write_bytes(BUNDLE)
    assert json.loads(run("release", "new-keys", "--keys", str(keys), "--json")[1])["update.cert.pem"]
    assert run("release", "new-keys", "--keys", str(keys))[0] == 2

    make = ["release", "manifest", "--root", str(tmp_path / "root.erofs"), "--boot", str(boot)]
    make += ["--version", "2026.12.0", "--epoch", "7", "--machine", "rpi4"]
    code, said = run(*make)
    assert code == 0
    release = Release.decode(said.encode())
    assert (release.name, release.verity) == ("gateway-2026.12.0", None)
    assert Release.decode(run(*make, "--verity", "a" * 64)[1].encode()).verity == "a" * 64
    assert run(*make, "--name", "NO")[0] == 2
    (tmp_path / "empty").touch()
    assert "empty is empty" in run(*make, "--root", str(tmp_path / "empty"))[1]
    manifest = boot / "release.json"
    manifest.write_text(said)

    assert run("release", "sign", str(manifest), "--keys", str(keys)) == (
        0,
        f"{manifest}.sig: gateway-2026.12.0 is signed.\n",
    )
    show = ("release", "show", str(boot), "--certificate", str(keys / "update.cert.pem"))
    signature = (boot / "release.json.sig").read_bytes()
    (boot / "release.json.sig").unlink()
    code, said = run(*show)
    assert code == 5
    assert "has no signature beside it" in said
    (boot / "release.json.sig").write_bytes(signature)
    code, said = run(*show)
    assert code == 0
    assert said.startswith("gateway-2026.12.0, version 2026.12.0, epoch 7, for rpi4\n")
    assert json.loads(run(*show, "--json")[1]) == release.document()

    bundle = str(feed / "gateway-2026.12.0.raucb")
    code, said = run("release", "feed", "--keys", str(keys), "--manifest", str(manifest), bundle)
    assert (code, said) == (0, f"{feed} offers gateway-2026.12.0.\n")
    assert sorted(path.name for path in feed.iterdir()) == [
        "gateway-2026.12.0.raucb",
        "latest.json",
        "latest.json.sig",
    ]

    lower = feed / "release.json"
    lower.write_bytes(replace(release, version="2026.11.0", name="gateway-2026.11.0").encode())
    code, said = run("release", "feed", "--keys", str(keys), "--manifest", str(lower), bundle)
    assert code == 0
    assert "machines that run that see no update in gateway-2026.11.0" in said

    (boot / "kernel").write_bytes(b"another")
    code, said = run(*show)
    assert code == 5
    assert "are not those of gateway-2026.12.0" in said
    manifest.write_bytes(replace(release, epoch=8).encode())
    code, said = run(*show)
    assert code == 5
    assert "is not signed by the update key" in said
