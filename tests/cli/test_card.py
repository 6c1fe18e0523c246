"""`gateway card show`: what a household compares before it grants."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.errors import UsageError
from gateway.provider.identity import new_identity
from gateway.wire.card import read_fingerprint
from tests.support.provider import Provider

NOW_MS = 1_780_000_000_000


@pytest.fixture
def provider() -> Provider:
    return Provider(NOW_MS, "Stadtwerk")


def test_a_card_is_shown_with_its_fingerprint(
    provider: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "card.cose"
    path.write_bytes(provider.card_bytes())
    assert main(["card", "show", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    card = provider.card
    digest = hashlib.sha256(card.signing_key + (card.xwing_key or b"")).hexdigest()
    assert shown["fingerprint"].replace("-", "") == digest[:32]
    assert (shown["name"], shown["role"], shown["kid"]) == ("Stadtwerk", "provider", card.kid.hex())
    assert main(["card", "show", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"fingerprint  {shown['fingerprint']}\n" in out
    assert "name         Stadtwerk\n" in out


def test_a_file_that_is_no_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "card.cose"
    assert main(["card", "show", str(path)]) == 2
    path.write_bytes(b"no card")
    assert main(["card", "show", str(path)]) == 5
    assert str(path) in capsys.readouterr().err


def test_a_secret_key_is_not_taken_for_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_identity(tmp_path / "acme", "ACME", NOW_MS)
    path = tmp_path / "acme" / "key.cbor"
    config = tmp_path / "gateway.toml"
    main(["config", "example"])
    config.write_text(capsys.readouterr().out)
    grant = ["grant", "new", "--granularity", "1h", "--purpose", "x", "--to", str(path)]
    grant += ["--config", str(config)]
    for command in (["card", "show", str(path)], grant):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert f"{path} is a SECRET key" in err
        assert "the card is the file card.cose beside it" in err


def test_a_fingerprint_is_of_both_keys_and_of_nothing_else(provider: Provider) -> None:
    card = provider.card
    renewed = replace(card, name="Stadtwerk AG", valid_until_ms=card.valid_until_ms + 1)
    assert renewed.fingerprint == card.fingerprint
    other = Provider(NOW_MS).card
    assert replace(card, xwing_key=other.xwing_key).fingerprint != card.fingerprint
    assert replace(card, signing_key=other.signing_key).fingerprint != card.fingerprint


def test_a_fingerprint_is_typed_with_or_without_groups(provider: Provider) -> None:
    fingerprint = provider.card.fingerprint
    for typed in (
        fingerprint,
        fingerprint.upper(),
        fingerprint.replace("-", " "),
        fingerprint.replace("-", ""),
    ):
        assert read_fingerprint(typed) == fingerprint
    for typed in ("", fingerprint[:-1], fingerprint + "0", "g" + fingerprint[1:]):
        with pytest.raises(UsageError, match="expected 32 hexadecimal digits"):
            read_fingerprint(typed)
