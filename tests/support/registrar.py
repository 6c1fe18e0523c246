"""A registrar for tests, and those who register there: the keys of a gateway or a provider in software."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.chain.grant import xwing_public_bytes
from gateway.chain.layout import DAY_MS, LANES, Layout
from gateway.host.clock import Clock
from gateway.registrar.identity import new_identity
from gateway.registrar.service import Registrar, open_registrar
from gateway.registrar.settings import DatabaseSection, ListenSection, RegistrarSection, Settings
from gateway.web.passwords import Passwords
from gateway.wire import cose, es256
from gateway.wire.card import Card
from gateway.wire.request import Login
from gateway.wire.signed import Signed
from gateway.wire.stream import Descriptor

ADDRESS = "192.0.2.7"


class Holder:
    """A gateway or a provider: a key, the card that it signed, and what else it signs."""

    def __init__(
        self,
        role: Literal["gateway", "provider"],
        now_ms: int,
        name: str = "Home",
        days: int = 700,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        public = es256.spki(self.key.public_key())
        self.card = Card(
            kid=cose.kid_of(public),
            signing_key=public,
            xwing_key=xwing_public_bytes(secrets.token_bytes(32)) if role == "provider" else None,
            role=role,
            name=name,
            valid_from_ms=now_ms - 1000,
            valid_until_ms=now_ms + days * DAY_MS,
        )
        self.signed_card = self.sign(self.card)

    @property
    def kid(self) -> bytes:
        return self.card.kid

    def sign(self, thing: Signed) -> bytes:
        payload = thing.payload()
        message = cose.to_be_signed(thing.TYPE, self.kid, payload)
        return cose.assemble(self.kid, payload, es256.sign(self.key, message))

    def card_with(self, **changes: object) -> bytes:
        """The card with some fields changed before it was signed."""
        return self.sign(replace(self.card, **changes))  # type: ignore[arg-type]

    def descriptor(self, stream: bytes | None = None, **changes: object) -> bytes:
        """The signed descriptor of a stream."""
        one = Descriptor(
            stream=secrets.token_bytes(16) if stream is None else stream,
            layout=Layout(1000, 3600),
            lanes=(LANES["import"], LANES["count"]),
            start=0,
            signing_key=self.card.signing_key,
            assurance="software",
        )
        return self.sign(replace(one, **changes))  # type: ignore[arg-type]

    def login(self, nonce: bytes, registrar: bytes, now_ms: int) -> bytes:
        """The signed answer to a nonce."""
        return self.sign(Login(self.kid, nonce, registrar, now_ms))


def quick_passwords() -> Passwords:
    """Digests that take no time and no memory to speak of."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def settings(folder: Path, url: str | None = None, *, software_roots: bool = True) -> Settings:
    """A registrar with its state in `folder`, on a free port."""
    return Settings(
        registrar=RegistrarSection(name="Registrar", state=folder, software_roots=software_roots),
        listen=ListenSection(port=0),
        database=DatabaseSection(url=url),
    )


@asynccontextmanager
async def open_new(chosen: Settings, clock: Clock) -> AsyncIterator[Registrar]:
    """A registrar whose key is made where it has none."""
    state = chosen.registrar.state
    if not (state / "registrar.pem").exists():
        new_identity(state, chosen.registrar.name, clock.wall() // 1_000_000)
    async with open_registrar(chosen, clock, quick_passwords()) as registrar:
        yield registrar


async def register(
    registrar: Registrar, user: str, password: str, holder: Holder, *descriptors: bytes
) -> bytes:
    """The whole of Figure 3; the certificate."""
    registration = registrar.registration
    now_ms = registrar.clock.wall() // 1_000_000
    asked = await registration.request_to_register(user, password, holder.signed_card, None, ADDRESS)
    assert asked.nonce is not None
    answer = holder.login(asked.nonce, registrar.identity.card.kid, now_ms)
    nonce, _ = await registration.validate_response(asked.id, answer, ADDRESS)
    return await registration.confirm(asked.id, user, password, nonce, descriptors, ADDRESS)


async def log_in(registrar: Registrar, holder: Holder, address: str = ADDRESS) -> str:
    """A session's token."""
    nonce, _ = registrar.sessions.nonce()
    login = holder.login(nonce, registrar.identity.card.kid, registrar.clock.wall() // 1_000_000)
    token, _ = await registrar.sessions.begin(login, address)
    return token


def tls_files(folder: Path) -> tuple[Path, Path, Path]:
    """PEM files of a new authority's certificate, and of a certificate and a key of localhost."""
    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now, issuer = datetime.now(UTC), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test CA")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])

    def begun(name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    of_authority = begun(issuer, authority).add_extension(x509.BasicConstraints(True, 0), critical=True)
    of_server = begun(subject, server).add_extension(
        x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
    )
    pem = server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, data in {
        "ca.pem": of_authority.sign(authority, SHA256()).public_bytes(Encoding.PEM),
        "tls.pem": of_server.sign(authority, SHA256()).public_bytes(Encoding.PEM),
        "tls.key": pem,
    }.items():
        (folder / name).write_bytes(data)
    return folder / "ca.pem", folder / "tls.pem", folder / "tls.key"
