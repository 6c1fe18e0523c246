"""The release gate on an open connection: the policy session that the root wants, and min_epoch.

Each use of the root takes four commands before TPM2_HMAC: StartAuthSession, PolicyPCR, PolicyNV and
PolicyAuthorize. The ticket by which the TPM knows an approval's signature again is made once for each
connection, by LoadExternal and VerifySignature. The policy session is neither salted nor encrypted: nothing
in it is secret, and changes to it on the bus only have the root refused. The root's answer is encrypted by
the connection's own session.

Blocking, for one thread. Where the TPM refuses the policy, UntrustedRelease says why.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_EO,
    TPM2_RC,
    TPM2_SE,
    TPM2B_NV_PUBLIC,
    TPM2B_PUBLIC,
    TPMA_SESSION,
    TPMS_NV_PUBLIC,
    TPMT_PUBLIC,
    TPMT_SIGNATURE,
    TPMT_SYM_DEF,
    TSS2_Exception,
)

from gateway.errors import TrustError, UntrustedRelease
from gateway.trust import policy
from gateway.trust.gate import Gate
from gateway.trust.tpm.esapi import Context
from gateway.wire.approval import Approval
from gateway.wire.cose import digest
from gateway.wire.es256 import SIGNATURE_BYTES

_TRIES = 3
"""Of a policy session, where another program extends a PCR between its check and its use."""
_PCRS = f"sha256:{policy.PCR}"
_REFUSALS = {TPM2_RC.VALUE, TPM2_RC.POLICY, TPM2_RC.POLICY_FAIL}
"""Of another PCR 14 (0x1C4), a min_epoch above the release's epoch (0x126), another approval key (0x99D)."""

T = TypeVar("T")


class OpenGate:
    """The gate of a root, open: `use` satisfies its policy anew each time."""

    def __init__(self, context: Context, gate: Gate) -> None:
        self._context = context
        self._key = gate.key
        self._approval = approval = gate.read()
        self._index = _written_index(context, gate.key)
        self._policy = policy.release_policy(gate.key, approval.release, approval.epoch)
        self._ticket = _verify(context, gate.key, self._policy, policy.RELEASE_REF, approval.opens)
        self.use(context.flush)

    def use(self, command: Callable[[ESYS_TR], T]) -> T:
        """The result of a command that uses up the session it is given, one that satisfies the policy."""
        for left in reversed(range(_TRIES)):
            session = _start(self._context)
            try:
                self._satisfy(session)
                return command(session)
            except TSS2_Exception as error:
                with suppress(TSS2_Exception):
                    self._context.esapi.flush_context(session)
                if error.rc == TPM2_RC.PCR_CHANGED and left:
                    continue
                if error.error in _REFUSALS:
                    raise UntrustedRelease(self._reason(int(error.rc))) from None
                raise
        raise AssertionError("the last try returns or raises")

    def _satisfy(self, session: ESYS_TR) -> None:
        esapi, key = self._context.esapi, self._key
        esapi.policy_pcr(session, b"", _PCRS)
        _check_epoch(self._context, self._index, session, self._approval.epoch)
        name = policy.key_name(key)
        esapi.policy_authorize(session, self._policy, name, self._ticket, policy.RELEASE_REF)

    def _reason(self, code: int) -> str:
        why = refusal(self._context, self._key, self._approval)
        return why or f"the TPM refuses the root to this release (code {code:#x}): run `gateway doctor`"


def refusal(context: Context, key: ec.EllipticCurvePublicKey, approval: Approval) -> str | None:
    """Why the TPM refuses the root to the release that was approved, as a sentence; None where it does not.
    Read without a session: for people, not for a decision."""
    if (why := _other_software(context, approval)) is not None:
        return why
    least = min_epoch(context, key)
    if least is None:
        return _no_index()
    if least > approval.epoch:
        return (
            f"this release has epoch {approval.epoch}, and this machine has accepted none below {least} since"
            " a newer one proved itself, so the root stays closed: install a newer release"
        )
    return None


def _other_software(context: Context, approval: Approval) -> str | None:
    shown = measurement(context)
    if shown == bytes(32):
        return (
            "the release that runs was not measured at this boot (PCR 14 is zero), and the root opens only"
            " for approved ones: see `systemctl status gateway-measure`, then switch the device off and on"
        )
    if shown != policy.measured(approval.release):
        return (
            "PCR 14 shows other software than the release that is approved here, so the root stays closed:"
            " switch the device off and on; if that does not help, install a release of the maker that set"
            " this machine up"
        )
    return None


def measurement(context: Context) -> bytes:
    """PCR 14 of the SHA-256 bank."""
    _, _, listed = context.esapi.pcr_read(_PCRS)
    if not len(listed):
        raise TrustError("the TPM has no SHA-256 bank of PCRs, which the gateway needs: use another TPM")
    return bytes(listed[0])


def min_epoch(context: Context, key: ec.EllipticCurvePublicKey) -> int | None:
    """The oldest epoch that may use the root; None where none was ever written."""
    found = _index(context, key)
    if found is None:
        return None
    handle, written = found
    if not written:
        return None
    value = context.esapi.nv_read(handle, policy.EPOCH_BYTES)
    context.esapi.tr_close(handle)
    return int.from_bytes(bytes(value), "big")


def begin_min_epoch(context: Context, gate: Gate) -> None:
    """Make min_epoch, with the approved release's epoch, unless it is there already."""
    if _index(context, gate.key) is None:
        _define(context, gate.key)
    if min_epoch(context, gate.key) is None:
        _write(context, gate.key, gate.read(), raising=False)


def raise_min_epoch(context: Context, gate: Gate) -> int:
    """Make min_epoch that of the approved release, unless it is higher already; the epoch that it then has.
    Where there is no min_epoch yet, it is made. UntrustedRelease where another release runs."""
    approval = gate.read()
    if (why := _other_software(context, approval)) is not None:
        raise UntrustedRelease(why)
    begin_min_epoch(context, gate)
    now = min_epoch(context, gate.key)
    if now is None or now < approval.epoch:
        _write(context, gate.key, approval, raising=True)
        now = min_epoch(context, gate.key)
    if now is None or now < approval.epoch:
        raise TrustError("the TPM did not keep the epoch that was written to it: use another TPM")
    return now


def _index(context: Context, key: ec.EllipticCurvePublicKey) -> tuple[ESYS_TR, bool] | None:
    """A new handle of min_epoch, and whether it was ever written; None where it is not defined."""
    if not context.exists(policy.MIN_EPOCH_INDEX):
        return None
    handle = context.esapi.tr_from_tpmpublic(policy.MIN_EPOCH_INDEX)
    name = bytes(context.esapi.tr_get_name(handle))
    for written in (False, True):
        if name == policy.min_epoch_name(key, written=written):
            return handle, written
    raise UntrustedRelease(
        f"the TPM's index {policy.MIN_EPOCH_INDEX:#010x} is of another approval key than this image's, or of"
        " something other than this gateway: install a release of the maker that set this machine up; or, to"
        f" give that up for good, delete the index with `tpm2_nvundefine {policy.MIN_EPOCH_INDEX:#010x}`"
    )


def _written_index(context: Context, key: ec.EllipticCurvePublicKey) -> ESYS_TR:
    found = _index(context, key)
    if found is None or not found[1]:
        raise UntrustedRelease(_no_index())
    return found[0]


def _no_index() -> str:
    return (
        f"the TPM's index {policy.MIN_EPOCH_INDEX:#010x}, which says how old a release may be, was deleted,"
        " so the root stays closed: find out who did that, then run `sudo gateway release confirm`"
    )


def _define(context: Context, key: ec.EllipticCurvePublicKey) -> None:
    area, _ = TPMS_NV_PUBLIC.unmarshal(policy.min_epoch_area(key, written=False))
    esapi = context.esapi
    esapi.tr_close(esapi.nv_define_space(b"", TPM2B_NV_PUBLIC(area)))


def _write(context: Context, key: ec.EllipticCurvePublicKey, approval: Approval, *, raising: bool) -> None:
    """Write the approval's epoch to min_epoch. The command is as the approval binds it, so it carries no
    encryption; there is nothing secret in it."""
    found = _index(context, key)
    if found is None:
        raise UntrustedRelease(_no_index())
    handle, _ = found
    esapi, epoch = context.esapi, approval.epoch
    if raising:
        approved, signature = policy.raise_policy(key, epoch), approval.raises
    else:
        approved, signature = policy.begin_policy(key, epoch), approval.begins
    ticket = _verify(context, key, approved, policy.EPOCH_REF, signature)
    session = _start(context)
    if raising:
        _check_epoch(context, handle, session, epoch)
    esapi.policy_cp_hash(session, policy.write_parameters(key, epoch, written=raising))
    esapi.policy_authorize(session, approved, policy.key_name(key), ticket, policy.EPOCH_REF)
    esapi.nv_write(handle, _bytes(epoch), 0, handle, session1=session)
    esapi.tr_close(handle)


def _check_epoch(context: Context, index: ESYS_TR, session: ESYS_TR, epoch: int) -> None:
    """PolicyNV: min_epoch is at most `epoch`."""
    context.esapi.policy_nv(index, index, session, _bytes(epoch), TPM2_EO.UNSIGNED_LE)


def _start(context: Context) -> ESYS_TR:
    """A new policy session, which ends with the command that it authorizes."""
    session: ESYS_TR = context.esapi.start_auth_session(
        tpm_key=ESYS_TR.NONE,
        bind=ESYS_TR.NONE,
        session_type=TPM2_SE.POLICY,
        symmetric=TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
        auth_hash=TPM2_ALG.SHA256,
    )
    context.esapi.trsess_set_attributes(session, 0, TPMA_SESSION.CONTINUESESSION)
    return session


def _verify(
    context: Context, key: ec.EllipticCurvePublicKey, approved: bytes, ref: bytes, signature: bytes
) -> Any:
    """The TPM's ticket that `key` signed a policy together with its reference."""
    esapi = context.esapi
    area, _ = TPMT_PUBLIC.unmarshal(policy.key_area(key))
    handle = esapi.load_external(TPM2B_PUBLIC(area), hierarchy=ESYS_TR.OWNER)
    ticket = esapi.verify_signature(handle, digest(approved + ref), _signature(signature))
    context.flush(handle)
    return ticket


def _signature(signed: bytes) -> Any:
    """TPMT_SIGNATURE of r | s."""
    half = SIGNATURE_BYTES // 2
    made = TPMT_SIGNATURE(sigAlg=TPM2_ALG.ECDSA)
    made.signature.ecdsa.hash = TPM2_ALG.SHA256
    made.signature.ecdsa.signatureR = signed[:half]
    made.signature.ecdsa.signatureS = signed[half:]
    return made


def _bytes(epoch: int) -> bytes:
    return epoch.to_bytes(policy.EPOCH_BYTES, "big")
