"""The registrar's identity: in its state folder `registrar.pem` (its P-256 key, PKCS #8) and `registrar.cose`
(its self-signed card, which gateways and providers pin).

The key has mode 0600 and is never overwritten: with it go all certificates that it signed.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.chain.layout import DAY_MS
from gateway.errors import Refused, UsageError
from gateway.host.files import read_private, sync_folder, write_durably
from gateway.wire import cose, es256
from gateway.wire.card import Card
from gateway.wire.signed import Signed

KEY_FILE = "registrar.pem"
CARD_FILE = "registrar.cose"
VALIDITY_MS = 20 * 365 * DAY_MS


@dataclass(frozen=True, slots=True)
class RegistrarIdentity:
    """The registrar's card, as an object and as it was signed, and its key."""

    card: Card
    signed_card: bytes
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, thing: Signed) -> bytes:
        """The COSE_Sign1 of an object."""
        return _signed(thing, self.card.kid, self.key)


def new_identity(folder: Path, name: str, now_ms: int) -> RegistrarIdentity:
    """Make the key and the card of a registrar called `name`, valid from `now_ms` (Unix ms). UsageError where
    the folder has a key already, or cannot be written."""
    if (folder / KEY_FILE).exists():
        raise _taken(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    public = es256.spki(key.public_key())
    card = Card(cose.kid_of(public), public, None, "registrar", name, now_ms, now_ms + VALIDITY_MS)
    made = RegistrarIdentity(card, _signed(card, card.kid, key), key)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
        write_durably(folder / CARD_FILE, made.signed_card, 0o644)
        write_new(folder / KEY_FILE, pem)
    except OSError as error:
        if (folder / KEY_FILE).exists():
            raise _taken(folder) from None
        raise UsageError(f"the registrar's key cannot be written to {folder}: {error.strerror}") from None
    return made


def open_identity(folder: Path) -> RegistrarIdentity:
    """The identity in the state folder; UsageError says what is wrong with it."""
    path = folder / KEY_FILE
    absent = f"{folder} does not hold a registrar's key ({KEY_FILE}): make one with `gateway registrar init`"
    pem = read_private(path, "the registrar's key", absent)
    try:
        signed_card = (folder / CARD_FILE).read_bytes()
    except OSError as error:
        raise UsageError(f"{folder / CARD_FILE} cannot be read: {error.strerror}") from None
    return read_identity(pem, signed_card, folder)


def read_identity(pem: bytes, signed_card: bytes, place: Path) -> RegistrarIdentity:
    """The identity of a key and a card that were read from `place`; UsageError where they are none."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UsageError(f"{place / KEY_FILE} is not a P-256 key in PEM: restore it from a backup")
    try:
        card = Card.read(signed_card, es256.spki(key.public_key()), str(place / CARD_FILE))
    except Refused as error:
        raise UsageError(f"{error}: restore key and card from one backup") from None
    return RegistrarIdentity(card, signed_card, key)


def write_new(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 whole, durably; FileExistsError where there is one."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(name)
    finally:
        with suppress(OSError):
            Path(name).unlink()
    sync_folder(path.parent)


def _signed(thing: Signed, kid: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    payload = thing.payload()
    return cose.assemble(kid, payload, es256.sign(key, cose.to_be_signed(thing.TYPE, kid, payload)))


def _taken(folder: Path) -> UsageError:
    return UsageError(
        f"{folder / KEY_FILE} already exists, and a registrar's key is never overwritten: every certificate "
        "that it signed depends on it"
    )
