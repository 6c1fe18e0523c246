"""[store] has every key that the store has, and root finds the credentials that the unit is given."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
from pathlib import Path

import pytest

from gateway.config import StoreSection, credential, location
from gateway.errors import StoreUnavailable, UsageError
from gateway.store.credentials import Credentials
from gateway.store.location import Location
from gateway.store.opening import open_bucket
from tests.config.test_model import MINIMAL, load, mistakes

KEYS = "access_key_id=AK\nsecret_access_key=hunter2\n"


def with_store(folder: Path, *lines: str) -> StoreSection:
    return load(folder, MINIMAL.replace("[[meter]]", "\n".join([*lines, "[[meter]]"]))).store


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outside of the unit, on a machine with folders of systemd's own; returns theirs."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(credential, "_RUNNING", tmp_path / "running")
    monkeypatch.setattr(credential, "_ENCRYPTED", tmp_path / "encrypted")
    return tmp_path


def test_every_key_of_the_store_can_be_configured(tmp_path: Path) -> None:
    ours = {field.name for field in dataclasses.fields(Location)} - {
        "access_key",
        "secret_key",
        "session_token",
        "advice",
    }
    assert set(StoreSection.model_fields) == ours


def test_each_key_reaches_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.location._check_authorities", lambda _: None)
    store = with_store(
        tmp_path,
        'endpoint = "https://s3.example.org"',
        'region = "garage"',
        'addressing = "virtual"',
        'checksums = "when_supported"',
        'ca = "ca.pem"',
        'proxy = "http://192.168.1.1:3128"',
    )
    assert location(store) == Location(
        "s3://home-energy",
        "https://s3.example.org",
        "garage",
        checksums="when_supported",
        addressing="virtual",
        ca=tmp_path / "ca.pem",
        proxy="http://192.168.1.1:3128",
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('addressing = "host"', 'it must be "path" or "virtual"'),
        ('checksums = "always"', 'it must be "when_required"'),
        ("ca = 7", "it must be the path of a PEM file"),
        ('proxy = "http://me:hunter2@10.0.0.1:3128"', "belongs in the environment, as HTTPS_PROXY"),
    ],
)
def test_a_wrong_value_is_told(line: str, said: str, tmp_path: Path) -> None:
    [only] = mistakes(tmp_path, MINIMAL.replace("[[meter]]", f"{line}\n[[meter]]"))
    assert said in only
    assert "hunter2" not in only


def test_an_authoritys_file_that_is_absent_is_told_when_the_store_is_opened(tmp_path: Path) -> None:
    store = with_store(tmp_path, 'ca = "/nowhere/ca.pem"')
    with pytest.raises(UsageError, match=r"the store's ca, /nowhere/ca\.pem, cannot be read: No such file"):
        location(store)


def test_beside_the_running_unit_its_credentials_are_read(outside: Path) -> None:
    (outside / "running").mkdir()
    for name in ("s3", "other"):
        (outside / "running" / name).write_text(KEYS.replace("AK", name))
        (outside / "running" / name).chmod(0o440)
    assert location(with_store(outside)).access_key == "s3"
    assert location(with_store(outside, 'credentials = "other"')).access_key == "other"


def encrypted(outside: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """The encrypted credential s3, and a systemd-creds that does as `script` says."""
    (outside / "encrypted").mkdir()
    (outside / "encrypted" / "gateway.s3").write_text("sealed")
    program = outside / "bin" / "systemd-creds"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return outside / "encrypted" / "gateway.s3"


def test_without_the_unit_its_encrypted_credentials_are_read(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = encrypted(outside, monkeypatch, f'echo "$@" >{outside}/asked; printf "{KEYS}"')
    place = location(with_store(outside))
    assert (place.access_key, place.secret_key) == ("AK", "hunter2")
    assert (outside / "asked").read_text() == f"decrypt --name=s3 {sealed} -\n"


def test_those_of_the_running_unit_come_first(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encrypted(outside, monkeypatch, "exit 1")
    (outside / "running").mkdir()
    (outside / "running" / "s3").write_text(KEYS)
    (outside / "running" / "s3").chmod(0o440)
    assert location(with_store(outside)).access_key == "AK"


def test_in_the_unit_only_its_own_are_read(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encrypted(outside, monkeypatch, f'printf "{KEYS}"')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(outside / "none"))
    assert location(with_store(outside)).access_key is None


def test_credentials_that_cannot_be_decrypted_are_told(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = encrypted(outside, monkeypatch, "echo hunter2 >&2; exit 1")
    with pytest.raises(UsageError, match=f"cannot be decrypted from {sealed}") as caught:
        location(with_store(outside))
    assert "hunter2" not in str(caught.value)


def test_without_any_of_them_boto3_looks_elsewhere(outside: Path) -> None:
    assert location(with_store(outside)).access_key is None


@pytest.mark.slow
def test_what_the_real_systemd_creds_encrypts_is_read(outside: Path) -> None:
    (outside / "encrypted").mkdir()
    command = ["systemd-creds", "encrypt", "--with-key=host", "--name=s3", "-"]
    try:
        subprocess.run(
            [*command, str(outside / "encrypted" / "gateway.s3")],
            input=KEYS.encode(),
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"systemd-creds cannot encrypt here: {error}")
    assert location(with_store(outside)).access_key == "AK"


async def test_the_registrars_credentials_are_asked_for_and_no_others(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of that name, or keys in the environment, are not taken for them."""
    (outside / "running").mkdir()
    (outside / "running" / "registrar").write_text(KEYS)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    store = with_store(tmp_path, 'credentials = "registrar"', 'endpoint = "http://127.0.0.1:1"')
    where = location(store)
    assert (where.access_key, where.secret_key, where.session_token) == (None, None, None)
    bucket = open_bucket(where)
    with pytest.raises(StoreUnavailable, match="come from the registrar, and the running gateway alone"):
        await bucket.get("v1/a")
    await bucket.aclose()

    class Source:
        async def present(self, key: str, refused: Credentials | None = None) -> Credentials:
            raise AssertionError

    source = Source()
    assert location(store, source).credentials is source
    others = with_store(tmp_path, 'credentials = "./keys"')
    (tmp_path / "keys").touch(mode=0o600)
    (tmp_path / "keys").write_text(KEYS)
    assert location(others, source).credentials is None


def test_a_folder_takes_no_credentials_of_a_registrar(tmp_path: Path) -> None:
    text = MINIMAL.replace("s3://home-energy", "/var/lib/store")
    [only] = mistakes(tmp_path, text.replace("[[meter]]", 'credentials = "registrar"\n[[meter]]'))
    assert "a folder needs no credentials" in only


def test_a_store_without_credentials_is_told_by_the_keys_of_the_file(outside: Path) -> None:
    """Not by a shell's environment, which a service does not have."""
    assert "[store] credentials" in location(with_store(outside)).advice
