"""The keys of releases, in one folder that stays with whoever builds images.

- update.key.pem, update.cert.pem: signs bundles and manifests. The certificate is self-signed and is what an
  image trusts: RAUC's keyring, and gateway.appliance.release's `read_certificate`.
- approval.key.pem, approval.pub.pem: signs the TPM policies that let a release open the root.

Both are P-256, PKCS #8 in PEM without a passphrase, mode 0600: keep the folder on an encrypted disk.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from gateway.errors import UsageError
from gateway.host.files import write_all_durably

UPDATE_KEY = "update.key.pem"
UPDATE_CERTIFICATE = "update.cert.pem"
APPROVAL_KEY = "approval.key.pem"
APPROVAL_PUBLIC = "approval.pub.pem"

# A certificate without an end (RFC 5280, section 4.1.2.5), valid on a board whose clock is not set yet.
_SINCE = datetime(1970, 1, 1, tzinfo=UTC)
_UNTIL = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def make_keys(folder: Path) -> dict[str, Path]:
    """Make both keys in `folder`; the paths of the files. UsageError where it has one already, or cannot be
    written."""
    files = {name: folder / name for name in (UPDATE_KEY, UPDATE_CERTIFICATE, APPROVAL_KEY, APPROVAL_PUBLIC)}
    for path in files.values():
        if path.exists():
            raise UsageError(
                f"{path} is there already, and images that trust it would not trust a new one: "
                "choose another folder"
            )
    update, approval = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    content = {
        UPDATE_KEY: _private(update),
        UPDATE_CERTIFICATE: _certificate(update).public_bytes(Encoding.PEM),
        APPROVAL_KEY: _private(approval),
        APPROVAL_PUBLIC: approval.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_all_durably({path: content[name] for name, path in files.items()})
        for name in (UPDATE_CERTIFICATE, APPROVAL_PUBLIC):
            files[name].chmod(0o644)
    except OSError as error:
        raise UsageError(f"the keys cannot be written to {folder}: {error.strerror}") from None
    return files


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway updates")])
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_SINCE)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=True, encipher_only=False, decipher_only=False, **usage
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
