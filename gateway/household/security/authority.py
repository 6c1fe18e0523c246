"""The home's own certificate authority, for TLS in the home: no public one certifies gateway.local.

A phone that trusts it trusts it for the names and addresses of a home alone (RFC 5280, name constraints): who
takes the key from a stolen card cannot pose as a bank.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import UsageError
from gateway.host.clock import Clock, unix_ms
from gateway.host.files import write_durably

_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 397  # the most that browsers take from public authorities, and Apple's from any but a user's
_RENEWED_DAYS = 60
_EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock is right that shows an earlier time: that of a machine without a battery, before it is set."""
_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7",
             "fe80::/10", "::1/128")  # RFC 1918, 3927, 4193, 4291  # fmt: skip


class Authority:
    """The keys and certificates of the authority and of the server: PEM files in the state folder, made where
    there are none, and the server's again before it ends, or where this machine's names are others."""

    def __init__(self, state: Path, names: Sequence[str], addresses: Sequence[str], clock: Clock) -> None:
        self._folder = state / "tls"
        self._names = names
        self._addresses = tuple(
            dict.fromkeys(one for one in (*addresses, "127.0.0.1", "::1") if _of_a_home(one))
        )
        self._clock = clock

    @property
    def certificate(self) -> bytes:
        """The authority's certificate, in PEM: what a phone is to trust."""
        return (self._folder / "ca.pem").read_bytes()

    def context(self) -> ssl.SSLContext:
        """What the server needs to speak TLS."""
        self.prepare()
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(self._folder / "server.pem", self._folder / "server.key")
        return made

    def prepare(self) -> bool:
        """Make what is missing or ends soon; whether the server's certificate is a new one. UsageError where
        that cannot be written."""
        try:
            return self._prepare()
        except OSError as error:
            raise UsageError(f"{self._folder} cannot be used for TLS: {error.strerror}") from None

    def _prepare(self) -> bool:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        issuer = self._read("ca")
        if issuer is None:
            issuer = self._new_authority()
        present = self._read("server")
        if present is not None and self._fits(present[0], issuer[0]):
            return False
        self._new_server(*issuer)
        return True

    def _now(self) -> datetime:
        return max(_EARLIEST, datetime.fromtimestamp(unix_ms(self._clock) / 1000, UTC))

    def _fits(self, server: x509.Certificate, issuer: x509.Certificate) -> bool:
        try:
            names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            server.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
            return False
        return (
            server.not_valid_before_utc <= self._now()
            and server.not_valid_after_utc - self._now() > timedelta(days=_RENEWED_DAYS)
            and list(names) == self._alternative()
        )

    def _alternative(self) -> list[x509.GeneralName]:
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in self._names]
        return names + [x509.IPAddress(ip_address(address)) for address in self._addresses]

    def _new_authority(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        title = f"{self._names[0] if self._names else 'gateway'} {self._now():%Y-%m-%d}"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Home of {title}"[:64])])
        # A leading dot has no place in a DNS constraint: each name permits what is below it too.
        permitted: list[x509.GeneralName] = [
            x509.DNSName(name) for name in dict.fromkeys(("local", *self._names))
        ]
        permitted += [x509.IPAddress(ip_network(network)) for network in _NETWORKS]
        builder = (
            self._builder(subject, subject, key, _EARLIEST, _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.NameConstraints(permitted, None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
        )
        certificate = builder.sign(key, hashes.SHA256())
        self._write("ca", certificate, key)
        return certificate, key

    def _new_server(self, issuer: x509.Certificate, issuer_key: ec.EllipticCurvePrivateKey) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        begin = max(_EARLIEST, self._now() - timedelta(days=1))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (self._names or ("gateway",))[0][:64])])
        builder = (
            self._builder(subject, issuer.subject, key, begin, _SERVER_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(self._alternative()), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
            )
        )
        self._write("server", builder.sign(issuer_key, hashes.SHA256()), key)

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begin: datetime,
        days: int,
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(self._now() + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def _read(self, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
        try:
            certificate = x509.load_pem_x509_certificate((self._folder / f"{name}.pem").read_bytes())
            key = serialization.load_pem_private_key((self._folder / f"{name}.key").read_bytes(), None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
            return None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            return None  # a cut came between the two files
        return (certificate, key) if certificate.not_valid_after_utc > self._now() else None

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        write_durably(
            self._folder / f"{name}.key", key.private_bytes(serialization.Encoding.PEM, *form), mode=0o600
        )
        write_durably(
            self._folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM), mode=0o644
        )


def _of_a_home(address: str) -> bool:
    """Whether the authority may certify an address: no public one, which phones would refuse it."""
    found = ip_address(address)
    return any(found in network for network in map(ip_network, _NETWORKS) if network.version == found.version)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
