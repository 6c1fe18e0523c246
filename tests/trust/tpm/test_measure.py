"""The measurement of a release into PCR 14, over a connection that may break."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm2_pytss import TPM2_RC, TPM2B_PUBLIC, TPM2B_SENSITIVE_CREATE, TPMS_SENSITIVE_CREATE, TSS2_Exception

from gateway.appliance import measure as appliance
from gateway.errors import TrustError, UntrustedRelease
from gateway.trust import gate
from gateway.trust.gate import Gate, approve
from gateway.trust.tpm import once
from gateway.trust.tpm.esapi import Context
from gateway.trust.tpm.measure import Measured, measure, raise_epoch
from gateway.trust.tpm.transport import locate
from tests.support.tpm import swtpm
from tests.trust.tpm.bus import Bus, failing

DIGEST, OTHER = (hashlib.sha256(name).digest() for name in (b"a release", b"another"))


@pytest.mark.parametrize("executed", [False, True])
async def test_a_connection_that_breaks_at_any_command_leaves_one_measurement(
    tpm: swtpm, monkeypatch: pytest.MonkeyPatch, executed: bool
) -> None:
    bus = Bus(tpm.tcti)
    monkeypatch.setattr(once, "locate", lambda tcti: bus.transport)
    assert await measure(tpm.tcti, DIGEST) is Measured.NOW
    for number in range(len(bus.seen)):
        tpm.power_cycle()
        with bus.meddling(failing(range(number, number + 1), executed=executed)):
            assert await measure(tpm.tcti, DIGEST) in (Measured.NOW, Measured.BEFORE)
        assert await measure(tpm.tcti, DIGEST) is Measured.BEFORE
    tpm.power_cycle()
    with bus.meddling(failing(range(10**6), executed=executed)), pytest.raises(TrustError):
        await measure(tpm.tcti, DIGEST)


async def test_another_release_is_not_measured_on_top(tpm: swtpm) -> None:
    assert await measure(tpm.tcti, DIGEST) is Measured.NOW
    assert await measure(tpm.tcti, OTHER) is Measured.OTHER
    assert await measure(tpm.tcti, DIGEST) is Measured.BEFORE


@pytest.mark.parametrize("released", [True, False])
async def test_a_boot_ends_the_lockout_that_power_cuts_make(
    tpm: swtpm, tmp_path: Path, released: bool
) -> None:
    """Each cut after something was used that a password could lock counts as a wrong password."""
    for _ in range(3):
        with closing(Context(locate(tpm.tcti))) as context:
            use_what_can_be_locked(context)
        tpm.power_cycle()
    with closing(Context(locate(tpm.tcti))) as context, pytest.raises(TSS2_Exception) as locked:
        use_what_can_be_locked(context)
    assert locked.value.rc == TPM2_RC.LOCKOUT
    if released:
        await measure(tpm.tcti, DIGEST)
    else:
        assert await appliance.measure(tmp_path, tpm.tcti) is None
    with closing(Context(locate(tpm.tcti))) as context:
        use_what_can_be_locked(context)
        assert not context.in_lockout()


def use_what_can_be_locked(context: Context) -> None:
    """As systemd opens a credential: an object without noDA."""
    template = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=b"", data=b"secret"))
    public = TPM2B_PUBLIC.parse(
        "keyedhash", objectAttributes="fixedtpm|fixedparent|userwithauth", nameAlg="sha256"
    )
    handle, *_ = context.esapi.create_primary(template, public)
    try:
        assert bytes(context.esapi.unseal(handle)) == b"secret"
    finally:
        context.esapi.flush_context(handle)


async def test_only_the_release_that_runs_ends_older_ones(tpm: swtpm, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    made = Gate(key.public_key(), tmp_path / "approval.cbor")
    made.approval.write_bytes(approve(key, DIGEST, 7).encode())
    with pytest.raises(UntrustedRelease):
        await raise_epoch(tpm.tcti, made)
    await measure(tpm.tcti, DIGEST)
    assert [await raise_epoch(tpm.tcti, made) for _ in range(2)] == [7, 7]


class TestTheKeyOfAnImage:
    @pytest.fixture
    def file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        file = tmp_path / "approval.pub.pem"
        monkeypatch.setattr(gate, "APPROVAL_KEY", file)
        return file

    def test_is_read(self, file: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        found = Gate.of_this_machine()
        assert found is not None
        assert found.key == key

    def test_is_absent_elsewhere(self, file: Path) -> None:
        assert Gate.of_this_machine() is None

    def test_is_a_file(self, file: Path) -> None:
        file.mkdir()
        with pytest.raises(TrustError, match=r"cannot be read: Is a directory$"):
            Gate.of_this_machine()

    @pytest.mark.parametrize("curve", [None, ec.SECP384R1()])
    def test_is_of_p_256(self, file: Path, curve: ec.EllipticCurve | None) -> None:
        pem = b"no key"
        if curve is not None:
            key = ec.generate_private_key(curve).public_key()
            pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        file.write_bytes(pem)
        with pytest.raises(TrustError, match=r"is not a P-256 public key in PEM$"):
            Gate.of_this_machine()
