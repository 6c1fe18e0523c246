"""ES256 as COSE wants it (RFC 9053, section 2.1): r | s, 32 bytes each."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.errors import TrustError


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def signature(key: ec.EllipticCurvePublicKey, message: bytes, r: int, s: int) -> bytes:
    """r | s, padded to 64 bytes, once `key` verifies it over `message`. A signature that does not fit
    (a glitch in the signer could even betray its key) goes nowhere: TrustError."""
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise TrustError(
            "the root of trust made a signature that its own key does not verify: power the device off and"
            " on; if it happens again, replace the TPM"
        ) from None
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
