"""The software root, for machines without a TPM. Its keys are readable in a file; its assurance says so."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Literal, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from gateway.errors import GatewayError, TrustError
from gateway.trust import folder
from gateway.trust.root import Note, check_message, unnoted
from gateway.wire import es256

_FIELDS = frozenset({"root", "signing_key"})


class SoftwareRoot:
    """See `gateway.trust.root.Root`. `open` makes one; anyone who can read the folder has the keys."""

    assurance: Literal["tpm", "software"] = "software"

    def __init__(self, root: bytes, signing_key: ec.EllipticCurvePrivateKey) -> None:
        self._root: bytes | None = root
        self._signing_key = signing_key
        self.public_key = es256.spki(signing_key.public_key())

    @classmethod
    def open(cls, path: Path) -> Self:
        """The root in the folder `path`, made there if it holds none."""
        kept = folder.load(path, "software", _FIELDS)
        if kept is None:
            made = ec.generate_private_key(ec.SECP256R1())
            pkcs8 = made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            kept = {"root": secrets.token_bytes(32), "signing_key": pkcs8}
            folder.store(path, "software", kept)
        try:
            key = load_der_private_key(kept["signing_key"], password=None)
        except ValueError:
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or len(kept["root"]) != 32:
            raise TrustError(f"the keys in {path / folder.FILE} are damaged: restore the file from a backup")
        return cls(kept["root"], key)

    def __repr__(self) -> str:
        return "SoftwareRoot()"

    async def hmac(self, message: bytes) -> bytes:
        check_message(message)
        return hmac.digest(self._usable(), message, "sha256")

    async def sign(self, message: bytes) -> bytes:
        self._usable()
        return es256.sign(self._signing_key, message)

    async def draw_incarnation(self, note: Note = unnoted) -> int:
        self._usable()
        return secrets.randbits(64)

    async def incarnation_counter(self) -> int | None:
        self._usable()
        return None

    async def random(self, n: int) -> bytes:
        self._usable()
        return os.urandom(n)

    async def evidence(self) -> None:
        """No hardware vouches for a key in a file."""
        self._usable()

    async def activate(self, credential_blob: bytes, secret: bytes) -> bytes:
        raise GatewayError("a software root cannot answer a challenge to a TPM: it has none")

    @property
    def fault(self) -> None:
        """A root in memory answers at once."""

    @property
    def hung(self) -> bool:
        return False

    async def aclose(self) -> None:
        self._root = None

    def _usable(self) -> bytes:
        if self._root is None:
            raise TrustError("this root of trust was closed")
        return self._root
