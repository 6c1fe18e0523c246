"""What a TPM shows a registrar: evidence that the signing key lives in it, and the answer to a challenge.

Endorsement key and attestation key are primary keys: the TPM makes the same ones each time, nothing is kept
anywhere, and a cut at any command costs nothing. They are flushed as soon as they have served: a TPM may have
three slots for keys in all (an SLB9670 has), and the gateway's own keys take two. To make an RSA endorsement
key takes an SLB9670 2.2 s, a P-256 one 0.23 s (wolfTPM's figures, at 43 MHz): where both have a certificate,
the P-256 one is used.

Endorsement keys, certificates and where they are kept: TCG EK Credential Profile for TPM Family 2.0, 2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_SE,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_SENSITIVE_CREATE,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
    TSS2_Exception,
)
from tpm2_pytss.utils import NVReadEK, create_ek_template

from gateway.errors import Refused, TrustError
from gateway.registry.evidence import Evidence
from gateway.trust.tpm import codes
from gateway.trust.tpm.codes import Fault
from gateway.trust.tpm.esapi import Context, attestation_template
from gateway.trust.tpm.keys import TpmKeys, es256_of, key_of

_KINDS = ("EK-ECC256", "EK-RSA2048")
"""Certificates at NV 0x01C0000A and 0x01C00002, and the templates L-2 and L-1."""
_FOREIGN = "the registrar's challenge was not made for this TPM, or was changed on its way: register again"


def evidence(keys: TpmKeys) -> Evidence:
    """See `gateway.trust.root.Root`."""
    context = keys.context
    certificate, template = _endorsement(context)
    with _primary(context, template) as (_, made):
        ek_public = made.marshal()
    with _primary(context, attestation_template()) as (ak, made):
        ak_public, ak_key = made.marshal(), key_of(made)
        scheme = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)  # the key's own: ES256
        info, signature = context.esapi.certify(keys.signing, ak, b"", scheme, session1=context.session)
    certified = bytes(info)
    return Evidence(
        ek_certificates=() if certificate is None else (certificate,),
        ek_public=ek_public,
        ak_public=ak_public,
        signing_public=keys.signing_public,
        certify_info=certified,
        certify_signature=es256_of(ak_key, certified, signature),
    )


def activate(keys: TpmKeys, credential_blob: bytes, secret: bytes) -> bytes:
    """See `gateway.trust.root.Root`."""
    blob, seed = _read(TPM2B_ID_OBJECT, credential_blob), _read(TPM2B_ENCRYPTED_SECRET, secret)
    context = keys.context
    esapi = context.esapi
    _, template = _endorsement(context)
    with (
        keys.without_root(),
        _primary(context, template) as (ek, _),
        _primary(context, attestation_template()) as (ak, _),
        _endorsed(context) as endorsed,
    ):
        try:
            answer = esapi.activate_credential(
                ak, ek, blob, seed, session1=context.session, session2=endorsed
            )
        except TSS2_Exception as error:
            # Both keys were made a moment ago: what the TPM finds fault with is the challenge. FAILED is
            # libtpms 0.9's answer where RSA-OAEP does not decrypt; a TPM that has failed gives it again next.
            if codes.fault(error).fault in (Fault.FOREIGN, Fault.REFUSED, Fault.FAILED):
                raise Refused(_FOREIGN) from None
            raise
    return bytes(answer)


def has_certificate(context: Context) -> bool:
    """Whether the TPM holds its maker's certificate of an endorsement key that the gateway can use."""
    read = NVReadEK(context.esapi)
    return any(create_ek_template(kind, read)[0] for kind in _KINDS)


def _endorsement(context: Context) -> tuple[bytes | None, Any]:
    """The certificate and the template of the endorsement key to use: of the first that has a certificate, or
    of the first."""
    if context.endorsement_has_password():
        raise TrustError(
            "the TPM's endorsement hierarchy has a password, and the gateway needs its keys to register:"
            " remove it with `tpm2_changeauth --object-context=endorsement --object-auth=PASSWORD`"
        )
    read = NVReadEK(context.esapi)
    found = [create_ek_template(kind, read) for kind in _KINDS]
    certificate, template = next((pair for pair in found if pair[0]), found[0])
    return _without_padding(certificate) if certificate else None, template


def _without_padding(certificate: bytes) -> bytes:
    """The certificate without what fills up its index. It is a sequence of 256 bytes or more, so the length
    of its content is in its third and fourth byte (X.690, 8.1.3)."""
    return certificate[: 4 + int.from_bytes(certificate[2:4], "big")]


@contextmanager
def _primary(context: Context, template: Any) -> Iterator[tuple[ESYS_TR, Any]]:
    """The handle and the public area of the endorsement hierarchy's key of this template.

    Here and below, what was made is not flushed after a failure: the connection is closed then, and the next
    one finds the TPM emptied.
    """
    handle, public, *_ = context.esapi.create_primary(
        TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.ENDORSEMENT, session1=context.session
    )
    yield handle, public
    context.flush(handle)


@contextmanager
def _endorsed(context: Context) -> Iterator[ESYS_TR]:
    """A session that satisfies an endorsement key's policy: whoever may use the endorsement hierarchy may use
    the key (EK Credential Profile, policy A)."""
    esapi = context.esapi
    session = esapi.start_auth_session(
        tpm_key=ESYS_TR.NONE,
        bind=ESYS_TR.NONE,
        session_type=TPM2_SE.POLICY,
        symmetric=TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
        auth_hash=TPM2_ALG.SHA256,
    )
    esapi.policy_secret(ESYS_TR.ENDORSEMENT, session, expiration=0, session1=context.session)
    yield session
    context.flush(session)


def _read(kind: Any, data: bytes) -> Any:
    try:
        structure, size = kind.unmarshal(data)
    except TSS2_Exception:
        raise Refused(_FOREIGN) from None
    if size != len(data):
        raise Refused(_FOREIGN)
    return structure
