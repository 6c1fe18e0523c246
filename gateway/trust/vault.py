"""The vault: AES-256-GCM of the device's own secrets at rest, under a key that only its root can give."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import LedgerError

_NONCE_BYTES = 12


class Vault:
    """Seals small secrets for the ledger; `place` says what a secret is, so that no two can be swapped."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, secret: bytes, place: bytes) -> bytes:
        """nonce | ciphertext. Random nonces: one every second for 130 years stays below 2^32."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """The secret; LedgerError if it was sealed by another root, for another place, or changed."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            raise LedgerError(
                f"the ledger's {place.partition(b'/')[0].decode()} does not open under this root: "
                "the ledger is another gateway's or was changed; restore this gateway's own"
            ) from None
