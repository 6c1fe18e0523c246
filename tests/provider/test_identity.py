"""A provider's identity: made whole or not at all, never overwritten, never shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.chain.grant import open_k0, seal_k0
from gateway.errors import UsageError
from gateway.provider.identity import CARD_FILE, KEY_FILE, VALIDITY_MS, new_identity, open_identity
from gateway.wire import cose
from gateway.wire.card import Card
from tests.stream.stream import Provider

NOW_MS = 1_772_323_200_000


def test_the_card_is_what_grants_are_made_to(tmp_path: Path) -> None:
    made = new_identity(tmp_path / "acme", "ACME Energy", NOW_MS)
    card = Card.read_self_signed((tmp_path / "acme" / CARD_FILE).read_bytes(), "card.cose")
    identity = open_identity(tmp_path / "acme")

    assert card == made
    assert (card.role, card.name, card.kid) == ("provider", "ACME Energy", identity.kid)
    assert (card.valid_from_ms, card.valid_until_ms) == (NOW_MS, NOW_MS + VALIDITY_MS)
    assert card.xwing_key is not None
    sealed = seal_k0(bytes(range(32)), card.xwing_key, b"body")
    assert open_k0(sealed, identity.xwing_seed, b"body") == bytes(range(32))


def test_private_files_are_private(provider: Provider) -> None:
    assert stat.S_IMODE((provider.folder / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(provider.folder.stat().st_mode) == 0o700


def test_no_secret_in_repr(provider: Provider) -> None:
    assert provider.identity.xwing_seed.hex() not in repr(provider.identity)
    assert repr(provider.identity.xwing_seed)[2:-1] not in repr(provider.identity)
    assert "signing_key" not in repr(provider.identity)


def test_nothing_is_overwritten(provider: Provider) -> None:
    before = {path.name: path.read_bytes() for path in provider.folder.iterdir()}
    with pytest.raises(UsageError, match="never overwritten"):
        new_identity(provider.folder, "ACME Energy", NOW_MS)
    assert {path.name: path.read_bytes() for path in provider.folder.iterdir()} == before


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="never overwritten"):
        new_identity(tmp_path, "ACME Energy", NOW_MS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="already exists"):
        new_identity(tmp_path / "file" / "acme", "ACME Energy", NOW_MS)
    with pytest.raises(UsageError, match="already exists"):
        new_identity(tmp_path / "file", "ACME Energy", NOW_MS)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "ä" * 41, "line\nbreak", "\x1b[2J"])
def test_a_name_fits_a_card(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 to 80 printable"):
        new_identity(tmp_path / "acme", name, NOW_MS)
    assert not (tmp_path / "acme").exists()


def test_a_missing_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gateway provider new"):
        open_identity(tmp_path)


def test_a_key_that_all_may_read_is_refused(provider: Provider) -> None:
    (provider.folder / KEY_FILE).chmod(0o644)
    with pytest.raises(UsageError, match="chmod 0600"):
        open_identity(provider.folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not CBOR",
        cose.encode({1: 1, 2: bytes(32)}),
        cose.encode({1: 1, 2: bytes(31), 3: bytes(32)}),
        cose.encode({1: 1, 2: bytes(32), 3: bytes(32)}),
        cose.encode({1: 1, 2: bytes(32), 3: b"\xff" * 32}),
    ],
)
def test_a_damaged_key_is_a_sentence(data: bytes, provider: Provider) -> None:
    (provider.folder / KEY_FILE).write_bytes(data)
    with pytest.raises(UsageError, match=r"key\.cbor.*; restore it from a backup"):
        open_identity(provider.folder)


def test_a_later_version_is_not_guessed_at(provider: Provider) -> None:
    (provider.folder / KEY_FILE).write_bytes(cose.encode({1: 2, 2: bytes(32), 3: b"\1" * 32}))
    with pytest.raises(UsageError, match="has version 2; this program reads version 1"):
        open_identity(provider.folder)
