"""The home's certificate authority, as OpenSSL takes it."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import UsageError
from gateway.household.security.authority import Authority
from tests.support.clock import FakeClock

NAMES = ("gateway.local", "haus.example")


def authority(folder: Path, clock: FakeClock, *, names: tuple[str, ...] = NAMES) -> Authority:
    return Authority(folder, names, ["192.168.1.5", "fd00::5", "203.0.113.9"], clock)


def server(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "tls/server.pem").read_bytes())


def verify(folder: Path, clock: FakeClock, *more: str) -> str:
    command = ["openssl", "verify", "-x509_strict", "-attime", str(clock.wall() // 10**9), *more]
    command += ["-CAfile", str(folder / "tls/ca.pem"), str(folder / "tls/server.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", [*NAMES, "192.168.1.5", "fd00::5", "127.0.0.1"])
def test_openssl_takes_the_servers_names(tmp_path: Path, name: str) -> None:
    clock = FakeClock()
    authority(tmp_path, clock).context()
    kind = "-verify_ip" if ":" in name or name[0].isdigit() else "-verify_hostname"
    assert "server.pem: OK" in verify(tmp_path, clock, kind, name, "-purpose", "sslserver")


def test_the_authority_certifies_no_name_of_anybody_else(tmp_path: Path) -> None:
    """OpenSSL refuses what a stolen key could sign: a bank's name, and a public address."""
    clock = FakeClock()
    made = authority(tmp_path, clock)
    made.prepare()
    for names, addresses in ((("bank.example.com",), ()), ((), ("203.0.113.9",))):
        thief = Authority(tmp_path, NAMES, [], clock)
        thief._names, thief._addresses = names, addresses
        assert thief.prepare()
        assert "permitted subtree violation" in verify(tmp_path, clock)


def test_a_public_address_is_left_out(tmp_path: Path) -> None:
    authority(tmp_path, FakeClock()).prepare()
    names = server(tmp_path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "203.0.113.9" not in {str(one) for one in names.get_values_for_type(x509.IPAddress)}


def test_the_server_is_certified_again_before_it_ends_and_the_authority_stays(tmp_path: Path) -> None:
    clock = FakeClock()
    made = authority(tmp_path, clock)
    assert made.prepare()
    issuer, first = made.certificate, server(tmp_path)
    assert not made.prepare()
    clock.pass_s(timedelta(days=350).total_seconds())
    assert authority(tmp_path, clock).prepare()
    assert made.certificate == issuer
    assert server(tmp_path).not_valid_after_utc > first.not_valid_after_utc
    assert "OK" in verify(tmp_path, clock)


def test_another_name_gets_another_certificate(tmp_path: Path) -> None:
    clock = FakeClock()
    authority(tmp_path, clock).prepare()
    assert authority(tmp_path, clock, names=("gateway.local", "other.local")).prepare()


@pytest.mark.parametrize("file", ["ca.pem", "ca.key", "server.pem", "server.key"])
@pytest.mark.parametrize("damage", [b"", b"-----BEGIN X-----\n", None])
def test_what_a_cut_left_is_made_again(tmp_path: Path, file: str, damage: bytes | None) -> None:
    clock = FakeClock()
    authority(tmp_path, clock).prepare()
    path = tmp_path / "tls" / file
    path.unlink() if damage is None else path.write_bytes(damage)
    authority(tmp_path, clock).context()
    assert "OK" in verify(tmp_path, clock)


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    authority(tmp_path, FakeClock()).prepare()
    for key in (tmp_path / "tls").glob("*.key"):
        assert key.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("wrong_s", [0, 4_102_444_800])  # 1970, 2100
def test_a_clock_that_was_wrong_at_first_costs_no_phone_its_trust(tmp_path: Path, wrong_s: int) -> None:
    clock = FakeClock()
    off_s = wrong_s - clock.wall() // 10**9
    clock.step_s(off_s)
    made = authority(tmp_path, clock)
    made.prepare()
    trusted = made.certificate
    clock.step_s(-off_s)
    made.prepare()
    assert made.certificate == trusted
    assert "OK" in verify(tmp_path, clock)


def test_a_certificate_of_another_kind_is_made_again(tmp_path: Path) -> None:
    clock = FakeClock()
    authority(tmp_path, clock).prepare()
    for end in ("pem", "key"):
        (tmp_path / f"tls/server.{end}").write_bytes((tmp_path / f"tls/ca.{end}").read_bytes())
    authority(tmp_path, clock).context()
    assert "OK" in verify(tmp_path, clock)


def test_a_key_with_a_password_is_made_again(tmp_path: Path) -> None:
    clock = FakeClock()
    authority(tmp_path, clock).prepare()
    kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    closed = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        kind, form, serialization.BestAvailableEncryption(b"x")
    )
    (tmp_path / "tls/server.key").write_bytes(closed)
    authority(tmp_path, clock).context()
    assert "OK" in verify(tmp_path, clock)


def test_a_folder_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "tls").write_bytes(b"")
    with pytest.raises(UsageError, match="tls cannot be used for TLS: File exists"):
        authority(tmp_path, FakeClock()).context()
