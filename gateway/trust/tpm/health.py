"""The health of a TPM, for the doctor, read without a session, a key or a change."""

from __future__ import annotations

from dataclasses import dataclass

from tpm2_pytss import TPM2_PT, TPM2_PT_FIRMWARE

from gateway.trust.gate import Gate
from gateway.trust.tpm.esapi import Context
from gateway.trust.tpm.gate import min_epoch, refusal
from gateway.trust.tpm.once import once


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a TPM that answers. A healthy one lacks nothing and is not in lockout."""

    manufacturer: str
    """Four letters at most, from the TCG Vendor ID Registry: IFX is Infineon, IBM is swtpm."""
    firmware: str
    """major.minor, as its vendor numbers it."""
    revision: str
    """Of the TPM 2.0 Library specification that it follows: 1.38, 1.59."""
    missing: tuple[str, ...]
    """Commands that the gateway needs and this TPM lacks, as TPM2_HMAC."""
    lockout: bool
    """Whether, for a time, it refuses whatever is protected against guessing."""


async def inspect(tcti: str) -> Health:
    """The health of the TPM at `tcti`. TrustError where it does not answer, UsageError where `tcti` is not an
    address. Harmless while a gateway uses the TPM."""
    return await once(tcti, _health)


def _health(context: Context) -> Health:
    ask = context.ask
    version, revision = ask(TPM2_PT_FIRMWARE.VERSION_1), ask(TPM2_PT.REVISION)
    return Health(
        manufacturer=ask(TPM2_PT.MANUFACTURER).to_bytes(4, "big").rstrip(b"\0 ").decode("ascii", "replace"),
        firmware=f"{version >> 16}.{version & 0xFFFF}",
        revision=f"{revision // 100}.{revision % 100:02}",
        missing=tuple(f"TPM2_{name}" for name in context.missing_commands()),
        lockout=context.in_lockout(),
    )


@dataclass(frozen=True, slots=True)
class ReleaseHealth:
    """What a TPM says of the approved release: its epoch, the oldest that the TPM accepts, None where that
    was never written, and why the root stays closed, None where it opens."""

    epoch: int
    min_epoch: int | None
    refusal: str | None


async def examine_release(tcti: str, gate: Gate) -> ReleaseHealth:
    """What the TPM at `tcti` says of the release that runs; errors as of `inspect`, and UntrustedRelease
    where no approval is there, or min_epoch is another maker's."""
    approval = gate.read()

    def examine(context: Context) -> ReleaseHealth:
        return ReleaseHealth(
            approval.epoch, min_epoch(context, gate.key), refusal(context, gate.key, approval)
        )

    return await once(tcti, examine)
