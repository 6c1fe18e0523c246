"""A provider's identity, or a household's for its own grants: a folder with `key.cbor` (private) and
`card.cose` (public).

key.cbor is deterministic CBOR, {1: version, 2: X-Wing seed, 3: P-256 private key (SEC 1 scalar)}, mode
0600. card.cose is a gw1/card signed by the holder's own ES256 key; a household grants to it. The folder
appears whole, by one rename, and nothing is ever overwritten: a lost key opens no grant again.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.chain.grant import XWING_SEED_BYTES, xwing_public_bytes
from gateway.chain.layout import DAY_MS
from gateway.errors import Refused, UsageError
from gateway.host.files import read_private, sync_folder
from gateway.wire import cose, es256
from gateway.wire.card import Card, Role
from gateway.wire.form import Field, bstr, read, tstr, uint, write

KEY_FILE = "key.cbor"
CARD_FILE = "card.cose"
VALIDITY_MS = 2 * 365 * DAY_MS

_VERSION = 1
_SCALAR_BYTES = 32
_FIELDS = (
    Field(1, "version", uint(32)),
    Field(2, "xwing_seed", bstr(XWING_SEED_BYTES)),
    Field(3, "signing_key", bstr(_SCALAR_BYTES)),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of whom grants are made to: the kid that they name, the seed of the X-Wing key that they
    are sealed to, and the key that signs its card."""

    kid: bytes
    xwing_seed: bytes = field(repr=False)
    signing_key: ec.EllipticCurvePrivateKey = field(repr=False)


def generate_identity(
    name: str, now_ms: int, validity_ms: int = VALIDITY_MS, role: Role = "provider"
) -> tuple[Identity, Card, bytes]:
    """A new identity, valid from `now_ms` (Unix ms) on, with its card and the card as it signed it; in memory
    alone. UsageError where the name does not fit a card."""
    if not name.strip() or not tstr(80).fits(name):
        raise UsageError(
            f"the {role}'s name is invalid: expected 1 to 80 printable characters (bytes, in UTF-8)"
        )
    seed, key = secrets.token_bytes(XWING_SEED_BYTES), ec.generate_private_key(ec.SECP256R1())
    public = es256.spki(key.public_key())
    card = Card(
        kid=cose.kid_of(public),
        signing_key=public,
        xwing_key=xwing_public_bytes(seed),
        role=role,
        name=name,
        valid_from_ms=now_ms,
        valid_until_ms=now_ms + validity_ms,
    )
    return Identity(card.kid, seed, key), card, _signed_card(card, key)


def new_identity(
    folder: Path, name: str, now_ms: int, validity_ms: int = VALIDITY_MS, role: Role = "provider"
) -> Card:
    """Make the folder with a new identity, valid from `now_ms` (Unix ms) on. UsageError where the folder
    already holds something or cannot be made, or the name does not fit a card."""
    identity, card, signed = generate_identity(name, now_ms, validity_ms, role)
    scalar = identity.signing_key.private_numbers().private_value.to_bytes(_SCALAR_BYTES, "big")
    private = {"version": _VERSION, "xwing_seed": identity.xwing_seed, "signing_key": scalar}
    files = {
        KEY_FILE: (cose.encode(write(_FIELDS, private, KEY_FILE)), 0o600),
        CARD_FILE: (signed, 0o644),
    }
    try:
        _make_folder(folder.absolute(), files)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise UsageError(
                f"{folder} already exists, and a {role}'s keys are never overwritten: name a new folder"
            ) from None
        raise UsageError(f"the folder {folder} cannot be created: {error.strerror}") from None
    return card


def open_identity(folder: Path) -> Identity:
    """The identity in a folder that `new_identity` made. UsageError says what is wrong with it."""
    path = folder / KEY_FILE
    absent = f"{folder} does not hold a provider's key ({KEY_FILE}): make one with `gateway provider new`"
    data = read_private(path, "the provider's key", absent)
    try:
        values = read(_FIELDS, cose.decode(data, str(path)), str(path))
        key = ec.derive_private_key(int.from_bytes(values["signing_key"], "big"), ec.SECP256R1())
    except Refused as error:
        raise UsageError(f"{error}; restore it from a backup") from None
    except ValueError:
        raise UsageError(f"{path}: its signing key is not a P-256 key; restore it from a backup") from None
    if values["version"] != _VERSION:
        raise UsageError(f"{path} has version {values['version']}; this program reads version {_VERSION}")
    return Identity(cose.kid_of(es256.spki(key.public_key())), values["xwing_seed"], key)


def is_private(data: bytes) -> bool:
    """Whether a file's bytes are a provider's private key, of any version."""
    try:
        read(_FIELDS, cose.decode(data, KEY_FILE), KEY_FILE)
    except Refused:
        return False
    return True


def _signed_card(card: Card, key: ec.EllipticCurvePrivateKey) -> bytes:
    payload = card.payload()
    message = cose.to_be_signed(card.TYPE, card.kid, payload)
    return cose.assemble(card.kid, payload, es256.sign(key, message))


def _make_folder(folder: Path, files: dict[str, tuple[bytes, int]]) -> None:
    """Make the folder with its files, all or nothing; durable once this returns."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".provider-", dir=folder.parent))  # mode 0700
    try:
        for name, (data, mode) in files.items():
            with os.fdopen(os.open(aside / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(aside)
        aside.rename(folder)  # fails unless there is nothing, or an empty folder
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(folder.parent)
