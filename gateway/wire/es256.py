"""ES256 as COSE wants it (RFC 9053, section 2.1): a signature is r | s, 32 bytes each, in its low-s form.

Where (r, s) verifies, (r, n - s) does too. Of these twins the one with s <= (n-1)/2 counts and the other is
refused: an object has one form, and nobody without the key can give a signed object other bytes.

`cryptography` and X.509 have it as a DER sequence of two integers: this is the one place that turns one into
the other. Public keys are written as SubjectPublicKeyInfo (RFC 5280, section 4.1; RFC 5480).
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.errors import TrustError

SIGNATURE_BYTES = 64
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""n of P-256 (NIST SP 800-186, section 3.2.1.3)."""
_HALF = SIGNATURE_BYTES // 2
_ALGORITHM = ec.ECDSA(hashes.SHA256())
_OF_DIGESTS = ec.ECDSA(Prehashed(hashes.SHA256()))


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """r | s of a key that this process holds."""
    r, s = decode_dss_signature(key.sign(message, _ALGORITHM))
    return signature(key.public_key(), message, r, s)


def signature(key: ec.EllipticCurvePublicKey, message: bytes, r: int, s: int) -> bytes:
    """r | s in its low-s form, padded to SIGNATURE_BYTES, once `key` verifies it over `message`. A signature
    that does not verify (a glitch in the signer could even betray its key) goes nowhere: TrustError."""
    s = min(s, ORDER - s)
    if not _verifies(key, hashlib.sha256(message).digest(), r, s):
        raise TrustError(
            "the root of trust made a signature that its own key does not verify: power the device off and"
            " on; if it happens again, replace the TPM"
        )
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")


def verifies(key: ec.EllipticCurvePublicKey, message: bytes, signed: bytes) -> bool:
    """Whether `signed`, r | s of SIGNATURE_BYTES, is a low-s signature of `key` over `message`."""
    return verifies_digest(key, hashlib.sha256(message).digest(), signed)


def verifies_digest(key: ec.EllipticCurvePublicKey, digest: bytes, signed: bytes) -> bool:
    """The same over a message whose SHA-256 is `digest`."""
    r, s = int.from_bytes(signed[:_HALF], "big"), int.from_bytes(signed[_HALF:], "big")
    return 0 < r < ORDER and 0 < s <= ORDER // 2 and _verifies(key, digest, r, s)


def _verifies(key: ec.EllipticCurvePublicKey, digest: bytes, r: int, s: int) -> bool:
    try:
        key.verify(encode_dss_signature(r, s), digest, _OF_DIGESTS)
    except InvalidSignature:
        return False
    return True
