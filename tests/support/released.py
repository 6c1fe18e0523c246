"""A maker of releases, for tests: its approval key, a machine's gate, and releases that boot on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import ESAPI, ESYS_TR, TPM2_ALG, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA, TCTILdr

from gateway.trust.gate import Gate, approve
from tests.support.tpm import swtpm


class Maker:
    """Whoever approves releases. The machine's boot partition is `folder`."""

    def __init__(self, folder: Path, number: int = 7) -> None:
        folder.mkdir(exist_ok=True)
        self.key = ec.derive_private_key(number, ec.SECP256R1())
        self.gate = Gate(self.key.public_key(), folder / "approval.cbor")

    def bring(self, name: str, epoch: int = 5) -> bytes:
        """Put a release's approval where the machine looks for it; what is measured of the release."""
        release = hashlib.sha256(name.encode()).digest()
        self.gate.approval.write_bytes(approve(self.key, release, epoch).encode())
        return release

    def boot(self, tpm: swtpm, name: str, epoch: int = 5) -> None:
        """Switch the machine off and on, into a release that is approved and measured."""
        tpm.power_cycle()
        extend(tpm.tcti, self.bring(name, epoch))


def extend(tcti: str, data: bytes, pcr: int = 14) -> None:
    """Extend a PCR, as any program may."""
    digest = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=data))
    with TCTILdr.parse(tcti) as connection, ESAPI(connection) as esapi:
        esapi.pcr_extend(ESYS_TR(pcr), TPML_DIGEST_VALUES([digest]))
