"""The release gate: the root of an image opens only for releases that the holder of the approval key signed.

The root is made with a policy that names the approval key. Each release brings an approval: signatures of the
policy that PCR 14 shows this very release and that no newer one is required. So an update needs nothing made
anew, and a foreign or a rolled-back release finds the root closed. On a machine without an approval key there
is no gate, and the root opens as any other key of the TPM.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import Refused, TrustError, UntrustedRelease
from gateway.trust import policy
from gateway.wire import es256
from gateway.wire.approval import Approval

_DETERMINISTIC = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)  # RFC 6979

APPROVAL_KEY = Path("/usr/lib/gateway/approval.pub.pem")
"""The approval key of an image; absent on a plain Debian."""
APPROVAL = Path("/boot/firmware/approval.cbor")
"""The approval of the release that runs, in its slot's boot partition."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of a machine: the approval key that its root trusts, and where the approval of the release
    that runs lies."""

    key: ec.EllipticCurvePublicKey
    approval: Path

    @classmethod
    def of_this_machine(cls) -> Self | None:
        """The gate of the image that runs; None where there is no image. TrustError for a damaged key."""
        try:
            pem = APPROVAL_KEY.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TrustError(f"the approval key {APPROVAL_KEY} cannot be read: {error.strerror}") from None
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise TrustError(f"the approval key {APPROVAL_KEY} is not a P-256 public key in PEM")
        return cls(key, APPROVAL)

    def read(self) -> Approval:
        """The approval of the release that runs; UntrustedRelease where there is none that the approval key
        signed."""
        try:
            data = self.approval.read_bytes()
        except OSError as error:
            raise UntrustedRelease(
                f"this release has no approval ({self.approval}: {error.strerror}), and the root opens only"
                " for approved ones: install a release that its maker has approved"
            ) from None
        try:
            approval = Approval.decode(data, str(self.approval))
        except Refused as error:
            raise UntrustedRelease(f"this release's approval is damaged: {error}") from None
        if not self.signed(approval):
            raise UntrustedRelease(
                f"the approval {self.approval} is not signed by this machine's approval key, so the root"
                " stays closed: install a release of the maker that set this machine up"
            )
        return approval

    def signed(self, approval: Approval) -> bool:
        """Whether all three signatures are the approval key's."""
        return all(
            es256.verifies(self.key, digest + ref, signature)
            for (digest, ref), signature in zip(
                _policies(self.key, approval.release, approval.epoch),
                (approval.opens, approval.begins, approval.raises),
                strict=True,
            )
        )


def approve(key: ec.EllipticCurvePrivateKey, release: bytes, epoch: int) -> Approval:
    """The approval of the release with this SHA-256 of its manifest and this epoch: the same bytes each time,
    as an image that is built again is the same."""
    policies = _policies(key.public_key(), release, epoch)
    opens, begins, raises = (_sign(key, digest + ref) for digest, ref in policies)
    return Approval(release, epoch, opens, begins, raises)


def _sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(message, _DETERMINISTIC))
    return es256.signature(key.public_key(), message, r, s)


def _policies(
    key: ec.EllipticCurvePublicKey, release: bytes, epoch: int
) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes], tuple[bytes, bytes]]:
    """The policies that an approval signs, each with its reference, in the order of its signatures."""
    return (
        (policy.release_policy(key, release, epoch), policy.RELEASE_REF),
        (policy.begin_policy(key, epoch), policy.EPOCH_REF),
        (policy.raise_policy(key, epoch), policy.EPOCH_REF),
    )
