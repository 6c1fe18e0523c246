"""`gateway first-boot`: the file, the configuration's own check and the page's setup code together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli.main import main
from tests.appliance.test_owner_file import GATEWAY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    active = tmp_path / "root/sys/class/tty/console/active"
    active.parent.mkdir(parents=True)
    active.write_text("tty1\n")
    (tmp_path / "root/dev").mkdir()
    (tmp_path / "root/dev/tty1").touch()
    (tmp_path / "boot").mkdir()
    return tmp_path / "root"


def boot(root: Path) -> int:
    return main(["first-boot", "--root", str(root), "--config-partition", str(root.parent / "boot")])


def screen(root: Path) -> str:
    return (root / "dev/tty1").read_text()


def test_the_setup_code_is_the_pages_until_a_password_is_chosen(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, state = root.parent / "boot/gateway.toml", root / "var/lib/gateway-household"
    assert boot(root) == 0
    assert capfd.readouterr().out == f"{root.parent}/boot has no file to take over.\n"
    assert not state.exists()
    file.write_text(f'[first-boot]\nsetup-code = "abcde-fghjk"\n{GATEWAY}')
    assert boot(root) == 0
    assert capfd.readouterr().out == "gateway.toml is taken over, and wiped.\n"
    assert (state / "setup-code").read_text() == "abcde-fghjk"
    assert state.stat().st_mode & 0o777 == 0o700
    assert (root / "etc/gateway/gateway.toml").read_text() == GATEWAY
    (state / "setup-code").unlink()
    (state / "password").write_text("$argon2id$")
    file.write_text('[first-boot]\nsetup-code = "aaaaa-aaaaa"\n')
    assert boot(root) == 0
    assert not (state / "setup-code").exists()
    assert "But the setup code was not taken" in capfd.readouterr().out
    assert "not taken" in str(json.loads((root / "run/gateway-first-boot.json").read_text())["notes"])
    assert screen(root) == ""


def test_mistakes_of_both_tables_are_on_the_screen(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = f'[first-boot]\nhostname = "a.b"\n{GATEWAY}'.replace("eastron", "eastern")
    (root.parent / "boot/gateway.toml").write_text(text)
    assert boot(root) == 2
    said = capfd.readouterr().err
    assert 'gateway: gateway.toml, line 9: [[meter]] "main" profile' in said
    assert "gateway: gateway.toml, line 2: [first-boot] hostname" in said
    assert "line 2: [first-boot] hostname" in screen(root)
    assert not (root / "etc").exists()


def test_s3_keys_are_encrypted_on_their_machine_alone(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / "dev/tpmrm0").touch()
    text = '[first-boot]\ns3 = { access-key-id = "a", secret-access-key = "hunter2" }\n'
    (root.parent / "boot/gateway.toml").write_text(text)
    assert boot(root) == 2
    said = capfd.readouterr().err
    assert "leave --root out" in said
    assert "hunter2" not in said


def test_no_control_character_of_the_file_reaches_a_console(root: Path) -> None:
    (root.parent / "boot/gateway.toml").write_text('[first-boot]\n"hostname\\u001b[2J" = 1\n')
    assert boot(root) == 2
    assert "hostname\N{REPLACEMENT CHARACTER}[2J is unknown" in screen(root)
    assert "\x1b" not in screen(root)
