"""A meter's keys come from a file of their own, and nothing ever shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import UsageError
from gateway.meters.secrets import Secrets, read_secrets

KEY = "000102030405060708090A0B0C0D0E0F"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "main.keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_keys_that_are_there(tmp_path: Path) -> None:
    secrets = read_secrets(
        written(
            tmp_path, f'encryption_key = "{KEY}"\nauthentication_key = "{KEY[::-1]}"\npassword = "00000001"'
        )
    )
    assert secrets == Secrets(bytes(range(16)), bytes.fromhex(KEY[::-1]), b"00000001")
    assert repr(secrets) == "Secrets()"
    assert read_secrets(written(tmp_path, "")) == Secrets()
    assert read_secrets(written(tmp_path, 'password = "x"', 0o640)) == Secrets(password=b"x")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('encryption_key = "5ec4e7"', "encryption_key must be a string of 32 hex digits"),
        (f'encryption_key = "{KEY[:-1]}g"', "encryption_key must be a string of 32 hex digits"),
        ("authentication_key = 5", "authentication_key must be a string of 32 hex digits"),
        ("password = 12345678", "password must be a string"),
        (f'key = "{KEY}"', "has a line for something else; it must have"),
        (f'{KEY} = "encryption_key"', "has a line for something else; it must have"),
        (f"password = {'[' * 5000}", "is not valid TOML: it must have"),
        (f"password = {'1' * 5000}", "is not valid TOML: it must have"),
        ("password = 1.0e99999999999999999999", "is not valid TOML: it must have"),
        (f"encryption_key = {KEY}", "is not valid TOML: it must have"),
    ],
)
def test_a_mistake_is_a_sentence_without_the_secret(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_secrets(path)
    assert str(caught.value).startswith(str(path))
    assert sentence in str(caught.value)
    assert all(secret not in str(caught.value) for secret in ("5ec4e7", KEY[:-1], "12345678"))
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read from .*main\.keys: No such file"):
        read_secrets(tmp_path / "main.keys")
    with pytest.raises(UsageError, match=r"open to every user of this machine \(mode 0644\): chmod 0600"):
        read_secrets(written(tmp_path, f'encryption_key = "{KEY}"', 0o644))
    path = written(tmp_path, "")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="does not hold a meter's keys"):
        read_secrets(path)
