"""`gateway household`: the setup code and the forgotten password, for whoever has the machine."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("gateway"))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "household", "--config", str(folder / "household.toml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "household.toml").write_text('[household]\nstate = "state"\n')
    return tmp_path


def test_the_code_is_the_same_until_a_password_is_chosen(folder: Path) -> None:
    (folder / "state").mkdir(mode=0o700)
    code = run(folder, "setup-code").stdout
    assert len(code.strip()) == 11
    assert run(folder, "setup-code").stdout == code
    (folder / "state/password").write_text("$argon2id$...")
    answer = run(folder, "setup-code")
    assert answer.returncode == 2
    assert "no setup code is valid" in answer.stderr
    assert run(folder, "forget-password").stdout not in ("", code)
    assert not (folder / "state/password").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to write as another user")
def test_root_writes_as_the_pages_user(folder: Path) -> None:
    (folder / "state").mkdir(mode=0o700)
    folder.chmod(0o755)
    os.chown(folder / "state", 65534, 65534)
    for parent in (folder, *folder.parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            pytest.skip("the folder of the tests is closed to other users")
    assert run(folder, "forget-password").returncode == 0
    assert (folder / "state/setup-code").stat().st_uid == 65534


def test_without_a_state_it_says_what_to_start(folder: Path) -> None:
    answer = run(folder, "setup-code")
    assert answer.returncode == 2
    assert "start the pages first" in answer.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[listen]\ntls = false\n", "passwords would cross the network in clear"),
        ("[listen]\nport = 99999\n", "[listen] port"),
        ("[listen\n", "not valid TOML"),
        ('[listen]\ncertificate = "a.pem"\n', "both certificate and key"),
        ("[nothing]\n", "nothing"),
        ('[listen]\nnames = ["a b"]\n', "names"),
    ],
)
def test_a_configuration_that_cannot_be_is_a_sentence(folder: Path, text: str, sentence: str) -> None:
    (folder / "household.toml").write_text(text)
    answer = run(folder)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_token_of_the_metrics_is_shown_once_and_ended(folder: Path) -> None:
    assert "start the pages first" in run(folder, "metrics-token").stderr
    (folder / "state").mkdir(mode=0o700)
    first, second = (run(folder, "metrics-token").stdout.strip() for _ in range(2))
    assert re.fullmatch("[A-Za-z0-9_-]{43}", first)
    assert first != second
    assert (folder / "state/metrics-token").read_text() == hashlib.sha256(second.encode()).hexdigest()
    forgotten = run(folder, "metrics-token", "--forget")
    assert (forgotten.returncode, forgotten.stdout) == (0, "")
    assert not (folder / "state/metrics-token").exists()


def test_a_token_in_the_configuration_must_be_a_digest(folder: Path) -> None:
    (folder / "household.toml").write_text('[metrics]\ntoken_sha256 = "the token itself"\n')
    answer = run(folder)
    assert answer.returncode == 2
    assert "[metrics] token_sha256 is not a SHA-256: expected 64 digits" in answer.stderr
    assert "the token itself" not in answer.stderr
