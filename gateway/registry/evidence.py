"""The evidence with which a gateway registers: its TPM's proof that the gateway's signing key lives in it.

It is one half of a proof. The registrar checks the evidence by itself, and then has the TPM show, by
ActivateCredential, that it holds both the endorsement key and the attestation key that the evidence names
(TPM 2.0 Library, part 1, 24: credential protection).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evidence:
    """The proof that a signing key was made in a TPM and cannot leave it. Structures are marshalled as the
    TPM 2.0 Library, part 2, has them. Nothing in it is secret; but the endorsement key names this very TPM,
    so evidence goes to the registrar alone."""

    ek_certificates: tuple[bytes, ...]
    """The maker's certificate of `ek_public`, as the TPM keeps it: X.509, DER. Empty where it keeps none."""
    ek_public: bytes
    """TPM2B_PUBLIC of the endorsement key: RSA-2048 or ECC P-256, of the TCG EK Credential Profile."""
    ak_public: bytes
    """TPM2B_PUBLIC of the attestation key: P-256, restricted, a primary key of the endorsement hierarchy."""
    signing_public: bytes
    """TPM2B_PUBLIC of the gateway's signing key, P-256."""
    certify_info: bytes
    """TPMS_ATTEST of TPM2_Certify: the attestation key names the signing key as one that the TPM holds."""
    certify_signature: bytes
    """ES256 of the attestation key over `certify_info`: r | s, 64 bytes, as `gateway.wire.es256` has it."""
