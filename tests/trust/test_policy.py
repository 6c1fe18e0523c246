"""The policies computed here are those that a TPM computes, name by name and digest by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_EO,
    TPM2_SE,
    TPM2B_NV_PUBLIC,
    TPM2B_PUBLIC,
    TPMA_NV,
    TPMS_NV_PUBLIC,
    TPMT_PUBLIC,
    TPMT_SYM_DEF,
)

from gateway.trust import policy
from gateway.trust.gate import Gate, approve
from gateway.trust.tpm import gate as gates
from gateway.trust.tpm.esapi import Context
from gateway.trust.tpm.transport import locate
from gateway.wire.approval import MOST_EPOCH, Approval
from tests.support.tpm import swtpm

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KEYS = st.integers(1, ORDER - 1).map(lambda number: ec.derive_private_key(number, ec.SECP256R1()))
# Its x begins with a zero byte, which the names have too.
SHORT = ec.derive_private_key(379, ec.SECP256R1())
EPOCHS = st.integers(1, MOST_EPOCH)
RELEASES = st.binary(min_size=32, max_size=32)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    with swtpm(tmp_path_factory.mktemp("policies") / "tpm") as tpm:
        opened = Context(locate(tpm.tcti))
        yield opened
        opened.close()


@contextmanager
def trial(context: Context) -> Iterator[Any]:
    """A session in which every policy holds and is only computed."""
    esapi = context.esapi
    session = esapi.start_auth_session(
        ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.TRIAL, TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL), TPM2_ALG.SHA256
    )
    try:
        yield session
    finally:
        esapi.flush_context(session)


def computed(context: Context, session: Any) -> bytes:
    return bytes(context.esapi.policy_get_digest(session))


@settings(max_examples=15)
@given(KEYS, RELEASES, EPOCHS)
def test_a_tpm_computes_the_same(
    context: Context, key: ec.EllipticCurvePrivateKey, release: bytes, epoch: int
) -> None:
    esapi, public = context.esapi, key.public_key()
    approval = approve(key, release, epoch)
    approved = policy.release_policy(public, release, epoch)
    gates._define(context, public)
    with written(context, public, approval) as index:
        operand = epoch.to_bytes(8, "big")
        with trial(context) as session:
            shown = hashlib.sha256(policy.measured(release)).digest()
            esapi.policy_pcr(session, shown, f"sha256:{policy.PCR}")
            esapi.policy_nv(index, index, session, operand, TPM2_EO.UNSIGNED_LE)
            assert computed(context, session) == approved
        with trial(context) as session:
            esapi.policy_nv(index, index, session, operand, TPM2_EO.UNSIGNED_LE)
            esapi.policy_cp_hash(session, policy.write_parameters(public, epoch, written=True))
            assert computed(context, session) == policy.raise_policy(public, epoch)
        with trial(context) as session:
            esapi.policy_cp_hash(session, policy.write_parameters(public, epoch, written=False))
            assert computed(context, session) == policy.begin_policy(public, epoch)
        ticket = gates._verify(context, public, approved, policy.RELEASE_REF, approval.opens)
        for ref in (policy.RELEASE_REF, policy.EPOCH_REF):
            with trial(context) as session:
                esapi.policy_authorize(session, approved, policy.key_name(public), ticket, ref)
                assert computed(context, session) == policy.authorized(public, ref)
        # That the parameters are those of the commands, the TPM says itself: it takes both writes.
        gates._write(context, public, approval, raising=True)
        assert gates.min_epoch(context, public) == epoch


@contextmanager
def written(context: Context, public: ec.EllipticCurvePublicKey, approval: Approval) -> Iterator[ESYS_TR]:
    """The handle of a min_epoch that the approval begins."""
    try:
        gates._write(context, public, approval, raising=False)
        found = gates._index(context, public)
        assert found is not None
        assert found[1]
        yield found[0]
    finally:
        handle = context.esapi.tr_from_tpmpublic(policy.MIN_EPOCH_INDEX)
        context.esapi.nv_undefine_space(handle)


@given(KEYS)
def test_names_are_those_that_tpm2_tss_computes(key: ec.EllipticCurvePrivateKey) -> None:
    for public in (key.public_key(), SHORT.public_key()):
        area, size = TPMT_PUBLIC.unmarshal(policy.key_area(public))
        assert size == len(policy.key_area(public))
        assert bytes(TPM2B_PUBLIC(area).get_name()) == policy.key_name(public)
        for written in (False, True):
            index, size = TPMS_NV_PUBLIC.unmarshal(policy.min_epoch_area(public, written=written))
            assert size == len(policy.min_epoch_area(public, written=written))
            assert bytes(TPM2B_NV_PUBLIC(index).get_name()) == policy.min_epoch_name(public, written=written)
    wanted = TPMA_NV.POLICYWRITE | TPMA_NV.AUTHREAD | TPMA_NV.OWNERREAD | TPMA_NV.NO_DA
    assert wanted == policy.MIN_EPOCH_ATTRIBUTES


@given(KEYS, RELEASES, EPOCHS, RELEASES, EPOCHS)
def test_each_signature_is_for_one_release_and_one_epoch(
    key: ec.EllipticCurvePrivateKey, release: bytes, epoch: int, other: bytes, later: int
) -> None:
    gate = Gate(key.public_key(), Path("nowhere"))
    approval = approve(key, release, epoch)
    assert gate.signed(approval)
    assert Approval.decode(approval.encode(), "approval.cbor") == approval
    for changed in (
        Approval(other, epoch, approval.opens, approval.begins, approval.raises),
        Approval(release, later, approval.opens, approval.begins, approval.raises),
    ):
        assert gate.signed(changed) == (changed == approval)
    assert not gate.signed(Approval(release, epoch, approval.opens, approval.raises, approval.begins))
    assert not gate.signed(Approval(release, epoch, approval.begins, approval.begins, approval.raises))


def test_a_release_is_approved_by_the_same_bytes_each_time() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert approve(key, bytes(32), 7) == approve(key, bytes(32), 7)
