"""The check of a TPM's evidence, and the challenge that only that TPM can answer.

The chain of reasons: a maker of TPMs, whose root certificate the operator trusts, certifies an endorsement
key as a TPM's. The TPM that holds it holds the attestation key too: its answer to the challenge shows that.
Being restricted, the attestation key signs only what its TPM says of itself. So the signing key that it
certifies lives in that TPM, was made in it, and cannot leave it. That key is the card's.

A TPM without an endorsement certificate is never registered as one: anybody can run a TPM in software.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)
from tpm2_pytss import (
    TPM2_ALG,
    TPM2_ECC,
    TPM2_GENERATED,
    TPM2_RH,
    TPM2_ST,
    TPM2B_PUBLIC,
    TPMA_OBJECT,
    TPMS_ATTEST,
    TSS2_Exception,
    utils,
)

from gateway.errors import Refused, UsageError
from gateway.registry.evidence import Evidence
from gateway.wire import es256

SECRET_BYTES = 32
"""Of a challenge: as much as a TPM2B_DIGEST of SHA-256 holds."""
_EK_USAGE = x509.ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate
_MAKER, _MODEL = (x509.ObjectIdentifier(f"2.23.133.2.{n}") for n in (1, 2))  # tcg-at-tpmManufacturer, -Model
_BEGIN = b"-----BEGIN CERTIFICATE-----"

_EK_KINDS = {TPM2_ALG.RSA: "EK-RSA2048", TPM2_ALG.ECC: "EK-ECC256"}
_MADE_INSIDE = {
    "fixedTPM": TPMA_OBJECT.FIXEDTPM,
    "fixedParent": TPMA_OBJECT.FIXEDPARENT,
    "sensitiveDataOrigin": TPMA_OBJECT.SENSITIVEDATAORIGIN,
    "sign": TPMA_OBJECT.SIGN_ENCRYPT,
}
_ATTESTING = {**_MADE_INSIDE, "restricted": TPMA_OBJECT.RESTRICTED}


@dataclass(frozen=True, slots=True)
class VerifiedTpm:
    """A TPM of a trusted maker, and a key in it; whether it is the one that sent the evidence, its answer to
    `make_credential(ek_public, ak_name, ...)` shows."""

    ek: bytes
    """SHA-256 of the endorsement key's SubjectPublicKeyInfo: the TPM's own name, the same for ever."""
    ek_public: bytes
    """TPM2B_PUBLIC."""
    ak_name: bytes
    """The attestation key's name (TPM 2.0 Library, part 1, 16): algorithm and SHA-256, 34 bytes."""
    maker: str
    """As in the TCG Vendor ID Registry: "IFX" is Infineon. Empty where the certificate does not name it."""
    model: str
    """As the certificate has it, such as "SLB 9670 TPM2.0"; may be empty."""


class EkRoots:
    """The certificates by which the operator says whose TPMs are genuine."""

    def __init__(self, certificates: list[x509.Certificate]) -> None:
        """Those that are self-signed are trusted; the others only as far as these vouch for them. UsageError
        where none is self-signed."""
        roots = [each for each in certificates if _is_self_signed(each)]
        if not roots:
            raise UsageError(
                "there is no root certificate of a TPM maker: add the self-signed one of each maker that is"
                " to be trusted, PEM or DER"
            )
        self._intermediates = [each for each in certificates if each not in roots]
        # STMicroelectronics and Intel mark the policies under which they certify as critical.
        any_key = ExtensionPolicy.permit_all().may_be_present(
            x509.CertificatePolicies, Criticality.AGNOSTIC, None
        )
        issuers = any_key.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None).may_be_present(
            x509.KeyUsage, Criticality.AGNOSTIC, _check_issuer_usage
        )
        self._policy = (
            PolicyBuilder().store(Store(roots)).extension_policies(ca_policy=issuers, ee_policy=any_key)
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The certificates in the files of `folder`: PEM, one or more in a file, or DER. UsageError names a
        file that has none."""
        certificates: list[x509.Certificate] = []
        try:
            files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
            for path in files:
                certificates += _read_certificates(path)
            return cls(certificates)
        except OSError as error:
            raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from None
        except UsageError as error:
            raise UsageError(f"{folder}: {error}") from None

    def check(self, certificate: x509.Certificate) -> None:
        """Refused unless it is the certificate of a TPM's endorsement key, valid now, and leads to a root."""
        now = datetime.now(UTC)
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begins <= now <= ends:
            raise Refused(
                "the certificate of the TPM's endorsement key is not valid now: it is valid from"
                f" {begins:%Y-%m-%d} to {ends:%Y-%m-%d}"
            )
        try:
            issuer = _printable(certificate.issuer.rfc4514_string())
            self._policy.time(now).build_client_verifier().verify(certificate, self._intermediates)
        except VerificationError as error:
            reason = _printable(str(error).removeprefix("validation failed: ").partition(" (encountered")[0])
            raise Refused(
                f"the certificate of the TPM's endorsement key, issued by {issuer}, leads to no root"
                f" certificate that this registrar trusts ({reason}): use a TPM of a maker that it trusts, or"
                " ask its operator to add this maker's certificates"
            ) from None
        except ValueError as error:  # names are parsed when they are asked for
            raise _unreadable(error) from None
        usage = _extension(certificate, x509.ExtendedKeyUsage)
        if usage is None or _EK_USAGE not in usage:
            raise Refused(
                f"the certificate that {issuer} issued is not of a TPM's endorsement key: it lacks the usage"
                f" {_EK_USAGE.dotted_string}"
            )


def verify(evidence: Evidence, card_spki: bytes, roots: EkRoots) -> VerifiedTpm:
    """The TPM that holds the signing key of a card, whose SubjectPublicKeyInfo (DER) is `card_spki`. Refused,
    with what is wrong, where the evidence does not show that."""
    ek_spki = _endorsement_key(evidence.ek_public)
    certificate = _certificate_of(ek_spki, evidence.ek_certificates)
    roots.check(certificate)
    ak_key, ak_name = _p256_key(evidence.ak_public, "attestation key", _ATTESTING)
    signing_key, signing_name = _p256_key(evidence.signing_public, "signing key", _MADE_INSIDE)
    if es256.spki(signing_key) != card_spki:
        raise Refused("the TPM certifies another key than the card's: a card is signed by the TPM's own key")
    _check_certification(evidence, ak_key, ak_name, signing_name)
    maker, model = (_named(certificate, oid) for oid in (_MAKER, _MODEL))
    return VerifiedTpm(hashlib.sha256(ek_spki).digest(), evidence.ek_public, ak_name, _vendor(maker), model)


def make_credential(ek_public: bytes, ak_name: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """A challenge, TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET: only the TPM that holds both keys, of a
    `VerifiedTpm`, finds `secret` (at most SECRET_BYTES) in it. Compare its answer in constant time."""
    public, _ = TPM2B_PUBLIC.unmarshal(ek_public)
    blob, seed = utils.make_credential(public, secret, ak_name)
    return blob.marshal(), seed.marshal()


def _endorsement_key(data: bytes) -> bytes:
    """The SubjectPublicKeyInfo of an endorsement key, which must be exactly as the TCG EK Credential Profile
    has it: a restricted decryption key."""
    public = _public(data, "endorsement key")
    area = public.publicArea
    kind = _EK_KINDS.get(area.type)
    if kind is not None:
        _, template = utils.create_ek_template(kind, _no_index)
        model, unique = template.publicArea.unique, area.unique
        if area.type == TPM2_ALG.RSA:
            model.rsa = bytes(unique.rsa)
        else:
            model.ecc.x, model.ecc.y = bytes(unique.ecc.x), bytes(unique.ecc.y)
        if template.marshal() == data:
            try:
                return bytes(public.to_der())
            except ValueError:
                raise Refused("the TPM's endorsement key is no valid public key") from None
    raise Refused(
        "the TPM's endorsement key is not of the TCG EK Credential Profile's templates L-1 (RSA-2048) or L-2"
        " (ECC P-256): restricted to decryption, fixed in its TPM, used by the endorsement hierarchy"
    )


def _certificate_of(ek_spki: bytes, certificates: tuple[bytes, ...]) -> x509.Certificate:
    if not certificates:
        raise Refused(
            "the TPM has no endorsement certificate, so nobody knows whether it is a TPM: use one whose maker"
            " certifies it (an Infineon SLB9670 has one)"
        )
    for data in certificates:
        try:
            certificate = x509.load_der_x509_certificate(data)
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
            raise _unreadable(error) from None
        if key == ek_spki:
            return certificate
    raise Refused("the certificate in the evidence is of another TPM's endorsement key")


def _unreadable(error: Exception) -> Refused:
    return Refused(f"the certificate of the TPM's endorsement key cannot be read: {_printable(str(error))}")


def _p256_key(data: bytes, what: str, wanted: dict[str, Any]) -> tuple[ec.EllipticCurvePublicKey, bytes]:
    """An ES256 key with these attributes, and its name."""
    public = _public(data, what)
    area = public.publicArea
    detail = area.parameters.eccDetail
    if (
        area.type != TPM2_ALG.ECC
        or area.nameAlg != TPM2_ALG.SHA256
        or detail.curveID != TPM2_ECC.NIST_P256
        or detail.scheme.scheme != TPM2_ALG.ECDSA
        or detail.scheme.details.ecdsa.hashAlg != TPM2_ALG.SHA256
    ):
        raise Refused(f"the TPM's {what} is not for ES256: expected P-256, ECDSA with SHA-256")
    attributes = int(area.objectAttributes)
    if missing := [name for name, bit in wanted.items() if not attributes & int(bit)]:
        raise Refused(
            f"the TPM's {what} lacks {', '.join(missing)}: expected a key that was made in its TPM and stays"
            " there" + (", and signs only what the TPM says of itself" if wanted is _ATTESTING else "")
        )
    x, y = (int.from_bytes(bytes(part), "big") for part in (area.unique.ecc.x, area.unique.ecc.y))
    try:
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise Refused(f"the TPM's {what} is no point of P-256") from None
    return key, bytes(public.get_name())


def _check_certification(
    evidence: Evidence, ak_key: ec.EllipticCurvePublicKey, ak_name: bytes, signing_name: bytes
) -> None:
    """That the attestation key certifies the signing key, by TPM2_Certify (TPM 2.0 Library, part 3, 18.2)."""
    data, signature = evidence.certify_info, evidence.certify_signature
    if len(signature) != es256.SIGNATURE_BYTES or not es256.verifies(ak_key, data, signature):
        raise Refused("the certification of the signing key is not signed by the TPM's attestation key")
    try:
        info, size = TPMS_ATTEST.unmarshal(data)
    except TSS2_Exception:
        size = -1
    if size != len(data) or info.magic != TPM2_GENERATED.VALUE or info.type != TPM2_ST.ATTEST_CERTIFY:
        raise Refused("the certification of the signing key is not what TPM2_Certify makes: TPMS_ATTEST")
    attested = info.attested
    if bytes(attested.certify.name) != signing_name:
        raise Refused("the attestation key certifies another key than the signing key in the evidence")
    # A primary key's qualified name (part 1, 16). The signing key's own would need its parent's public area;
    # its attributes say enough of where it lives.
    hierarchy = struct.pack(">I", TPM2_RH.ENDORSEMENT)
    if bytes(info.qualifiedSigner) != ak_name[:2] + hashlib.sha256(hierarchy + ak_name).digest():
        raise Refused("the attestation key is not a primary key of its TPM's endorsement hierarchy")


def _public(data: bytes, what: str) -> Any:
    try:
        public, _ = TPM2B_PUBLIC.unmarshal(data)
        if public.marshal() == data:
            return public
    except (TSS2_Exception, ValueError):
        pass
    raise Refused(f"the TPM's {what} is not a TPM2B_PUBLIC as a TPM marshals it")


def _no_index(index: int) -> bytes:
    raise utils.NoSuchIndex(index)


def _read_certificates(path: Path) -> list[x509.Certificate]:
    data = path.read_bytes()
    try:
        if _BEGIN in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except (ValueError, x509.InvalidVersion) as error:
        raise UsageError(
            f"{path.name} cannot be read as an X.509 certificate in PEM or DER: {error}"
        ) from None


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _check_issuer_usage(policy: Policy, certificate: x509.Certificate, found: x509.KeyUsage | None) -> None:
    if found is not None and not found.key_cert_sign:
        raise ValueError("an issuer's key may not sign certificates")


def _printable(text: str) -> str:
    """What a stranger's certificate says, as it may stand in a sentence."""
    return "".join(each if each.isprintable() else "?" for each in text)[:200]


def _extension(certificate: x509.Certificate, kind: Any) -> Any:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return None


def _named(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    """What the certificate's alternative name says of the TPM (EK Credential Profile, 3.2.9); may be ""."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    for name in names.get_values_for_type(x509.DirectoryName) if names is not None else ():
        for attribute in name.get_attributes_for_oid(oid):
            return str(attribute.value)
    return ""


def _vendor(text: str) -> str:
    """Of "id:49465800", "IFX"; what spells nothing is left as it is."""
    try:
        spelt = bytes.fromhex(text.removeprefix("id:")).rstrip(b"\0 ").decode("ascii")
    except ValueError:
        return text
    return spelt if spelt.isprintable() else text
