"""A certification authority of a test's own, which certifies what no maker of TPMs would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

EK_USAGE = x509.ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate
_POLICIES = x509.CertificatePolicies(  # of STMicroelectronics and Intel these are critical
    [x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.55555.2"), None)]
)
_NO_USAGE = {
    "content_commitment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "encipher_only": False,
    "decipher_only": False,
}


class Authority:
    """A P-256 key and its certificate, self-signed or by `issuer`. Days are counted from today."""

    def __init__(
        self,
        name: str,
        issuer: Authority | None = None,
        *,
        is_ca: bool = True,
        path_length: int | None = None,
        signs_certificates: bool = True,
        days: tuple[int, int] = (-10, 10),
        times: int = 1,
    ) -> None:
        """`times`: how often it writes its name."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] * times)
        signer = self if issuer is None else issuer
        usage = x509.KeyUsage(
            digital_signature=True,
            key_encipherment=False,
            key_cert_sign=signs_certificates,
            crl_sign=False,
            **_NO_USAGE,
        )
        self.certificate = (
            _valid(days)
            .issuer_name(signer._name)
            .subject_name(self._name)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(_POLICIES, critical=True)
            .sign(signer._key, hashes.SHA256())
        )

    def certify(
        self,
        spki: bytes,
        *,
        usages: tuple[x509.ObjectIdentifier, ...] = (EK_USAGE,),
        days: tuple[int, int] = (-10, 10),
        unknown: bool = False,
    ) -> bytes:
        """A certificate (DER) of an endorsement key; `unknown`: with a critical extension of no kind."""
        key = load_der_public_key(spki)
        assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        builder = _valid(days).issuer_name(self._name).subject_name(x509.Name([])).public_key(key)
        builder = builder.add_extension(_POLICIES, critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if unknown:
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)


def _valid(days: tuple[int, int]) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    first, last = (now + timedelta(days=each) for each in days)
    serial = x509.random_serial_number()
    return x509.CertificateBuilder().serial_number(serial).not_valid_before(first).not_valid_after(last)
