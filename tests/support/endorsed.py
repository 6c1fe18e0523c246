"""The certificates of endorsement keys that a maker of TPMs leaves in one, changed as a test needs it."""

from __future__ import annotations

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2B_NV_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_NV,
    TPMS_NV_PUBLIC,
    TCTILdr,
)
from tpm2_pytss.utils import NVReadEK, create_ek_template

from tests.support.tpm import maker

RSA_INDEX, P256_INDEX = 0x01C00002, 0x01C0000A
_AS_MADE = TPMA_NV.PLATFORMCREATE | TPMA_NV.PPREAD | TPMA_NV.PPWRITE | TPMA_NV.OWNERREAD | TPMA_NV.AUTHREAD
_AS_MADE |= TPMA_NV.NO_DA


def put_certificate(tcti: str, index: int, certificate: bytes | None) -> None:
    """Replace what the TPM at `tcti` keeps at `index`; None: keep nothing there."""
    with TCTILdr.parse(tcti) as connection, ESAPI(connection) as esapi:
        _, capability = esapi.get_capability(TPM2_CAP.HANDLES, index, 1)
        listed = capability.data
        if index in [int(each) for each in listed.handles]:
            there = esapi.tr_from_tpmpublic(index)
            esapi.nv_undefine_space(there, auth_handle=ESYS_TR.PLATFORM)
        if certificate is not None:
            area = TPMS_NV_PUBLIC(
                nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=_AS_MADE, dataSize=len(certificate)
            )
            made = esapi.nv_define_space(b"", TPM2B_NV_PUBLIC(nvPublic=area), auth_handle=ESYS_TR.PLATFORM)
            for at in range(0, len(certificate), 512):
                part = certificate[at : at + 512]
                esapi.nv_write(made, part, offset=at, auth_handle=ESYS_TR.PLATFORM)


def certify_p256(tcti: str, padding: bytes = b"") -> bytes:
    """Have the TPM's maker certify its P-256 endorsement key, as Infineon does; the certificate."""
    with TCTILdr.parse(tcti) as connection, ESAPI(connection) as esapi:
        _, template = create_ek_template("EK-ECC256", NVReadEK(esapi))
        handle, public, *_ = esapi.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.ENDORSEMENT)
        esapi.flush_context(handle)
        unique = public.publicArea.unique
        x, y = bytes(unique.ecc.x).rjust(32, b"\0"), bytes(unique.ecc.y).rjust(32, b"\0")
    certificate = maker().certify(f"x={x.hex()},y={y.hex()},id=secp256r1")
    put_certificate(tcti, P256_INDEX, certificate + padding)
    return certificate
