"""A real Mosquitto for tests: Debian's `mosquitto` with a configuration of its own, on a loopback port.

with mosquitto(folder) as server:                 # plain, for the household's own broker
    server.url
with utility_mosquitto(folder) as server:         # mutual TLS, as a utility runs it
    server.certificates.issue("0123...")          # identity is the certificate's common name
    server.revoke(certificate)
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from socket import create_connection
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.bench.seaweedfs import free_ports
from tests.support.servers import ServerFailed, wait_for

UTILITY = "utility"
"""The common name of the utility's own certificate, which may send commands and prices."""
DESK = "desk"
"""That of another of the utility's programs, which may read everything."""
# PROTOCOL.md, "MQTT": what a gateway may do goes by its certificate's common name, %u, never by a client id.
_RULES = f"""\
user {UTILITY}
topic readwrite gw1/#
user {DESK}
topic read gw1/#

pattern read gw1/price/+
pattern read gw1/%u/command
pattern write gw1/%u/receipt
pattern write gw1/%u/chunk/+
pattern write gw1/%u/status
pattern readwrite gw1/%u/test
"""
_READY_S = 20


Server = TypeVar("Server", bound="Mosquitto")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in files of their own."""

    certificate: Path
    key: Path
    serial: int


class Certificates:
    """A certification authority of P-256 keys in `folder`."""

    def __init__(self, folder: Path, name: str = "the utility's CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._revoked: list[int] = []
        certificate = (
            _valid()
            .issuer_name(self._name)
            .subject_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(True, None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.revocations = folder / "revoked.pem"
        self._write_revocations()

    def issue(self, name: str, *, file: str | None = None, server: bool = False) -> Certificate:
        """A certificate with the common name `name`, a client's or a server's on 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _valid()
            .issuer_name(self._name)
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if server:
            names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        base = self._folder / (file or name)
        out = Certificate(base.with_suffix(".pem"), base.with_suffix(".key"), certificate.serial_number)
        out.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        out.key.touch(0o600)
        out.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return out

    def revoke(self, certificate: Certificate) -> None:
        """Put it on the list of revoked certificates."""
        self._revoked.append(certificate.serial)
        self._write_revocations()

    def _write_revocations(self) -> None:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - timedelta(days=1))
            .next_update(now + timedelta(days=10))
        )
        for serial in self._revoked:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(revoked.build())
        self.revocations.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))


@dataclass
class Mosquitto:
    """A running broker, which keeps sessions and retained messages over a stop."""

    folder: Path
    port: int
    secure: bool
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.secure else 'mqtt'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") or "mosquitto"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-c", str(self.folder / "mosquitto.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not wait_for(self._answers, _READY_S):
            self.stop()
            raise ServerFailed(self.log[-2000:])

    def stop(self) -> None:
        """End it; it writes down sessions and retained messages first. Does nothing where it is stopped."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise ServerFailed(self.log[-2000:])
        try:
            create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@dataclass
class UtilityMosquitto(Mosquitto):
    """A broker that clients enter with a certificate alone; its rules go by the certificate's name."""

    certificates: Certificates = field(kw_only=True)

    def revoke(self, certificate: Certificate) -> None:
        """Revoke it, and restart, as Mosquitto 2.0 reads the list of revoked certificates only then."""
        self.certificates.revoke(certificate)
        self.restart()


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Mosquitto]:
    """A broker without TLS that lets everybody in, unless `lines` of its configuration say otherwise."""
    with ExitStack() as ports:
        port = free_ports(ports)["s3"]
        _configure(folder, port, *(lines or ("allow_anonymous true",)))
        yield from _running(Mosquitto(folder, port, secure=False))


@contextmanager
def utility_mosquitto(folder: Path) -> Iterator[UtilityMosquitto]:
    """A broker with mutual TLS, a list of revoked certificates, and rules by the certificate's name."""
    certificates = Certificates(folder / "certificates")
    own = certificates.issue("broker", server=True)
    folder.joinpath("rules").write_text(_RULES)
    folder.joinpath("rules").chmod(0o600)
    with ExitStack() as ports:
        port = free_ports(ports)["s3"]
        _configure(
            folder,
            port,
            f"cafile {certificates.ca}",
            f"certfile {own.certificate}",
            f"keyfile {own.key}",
            f"crlfile {certificates.revocations}",
            "require_certificate true",
            "use_identity_as_username true",
            "use_username_as_clientid true",
            "allow_anonymous false",
            f"acl_file {folder / 'rules'}",
        )
        yield from _running(UtilityMosquitto(folder, port, secure=True, certificates=certificates))


def _configure(folder: Path, port: int, *lines: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(
        (
            *(["user root"] if os.geteuid() == 0 else []),  # else it becomes a user without this folder
            "persistence true",
            f"persistence_location {folder}/",
            "log_dest stderr",
            "log_type all",
            "connection_messages true",
            f"listener {port} 127.0.0.1",
            *lines,
        )
    )
    folder.joinpath("mosquitto.conf").write_text(text + "\n")


def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _valid() -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=10))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
