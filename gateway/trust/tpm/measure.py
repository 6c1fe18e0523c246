"""What the TPM is told at boot, the release that runs, by PCR 14; and later the end of older ones.

A boot also takes back the TPM's count of wrong passwords. A power cut counts as one where something was used
that a wrong password could lock, as systemd's credentials are (TPM 2.0 Library, part 1, "Dictionary Attack
Protection"): a home whose fuse trips often would find the store's keys locked, and seal nothing. Nothing of
a gateway has a password that guessing could find.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum

from tpm2_pytss import ESYS_TR, TPM2_ALG, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA, TSS2_Exception

from gateway.errors import TrustError
from gateway.trust import policy
from gateway.trust.gate import Gate
from gateway.trust.tpm.esapi import Context
from gateway.trust.tpm.gate import measurement, raise_min_epoch
from gateway.trust.tpm.once import once


class Measured(Enum):
    """What became of a measurement."""

    NOW = "now"
    BEFORE = "before"
    """PCR 14 showed this release already."""
    OTHER = "other"
    """PCR 14 shows something else, and only a reset of the TPM changes that."""


async def measure(tcti: str, release: bytes) -> Measured:
    """Extend PCR 14 by the SHA-256 of a release's manifest, unless something was measured into it before; and
    end a lockout."""
    return await once(tcti, lambda context: _measure(context, release))


async def end_lockout(tcti: str) -> None:
    """End a lockout, on a machine that measures no release."""
    await once(tcti, _end_lockout)


async def raise_epoch(tcti: str, gate: Gate) -> int:
    """Have the TPM refuse the root to releases older than the one that runs; the oldest epoch that it accepts
    from now on. UntrustedRelease where the one that runs is not approved."""
    return await once(tcti, lambda context: raise_min_epoch(context, gate))


def _measure(context: Context, release: bytes) -> Measured:
    _end_lockout(context)
    expected = policy.measured(release)
    shown = measurement(context)
    if shown == expected:
        return Measured.BEFORE
    if shown != bytes(len(shown)):
        return Measured.OTHER
    digest = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=release))
    context.esapi.pcr_extend(ESYS_TR(policy.PCR), TPML_DIGEST_VALUES([digest]))
    if measurement(context) != expected:
        raise TrustError("PCR 14 does not show what was just measured into it: use another TPM")
    return Measured.NOW


def _end_lockout(context: Context) -> None:
    with suppress(TSS2_Exception):  # where somebody has set a password for it, it is theirs to end
        context.esapi.dictionary_attack_lock_reset(ESYS_TR.LOCKOUT)
