"""The health of a TPM, for the doctor, read without a session, a key or a change."""

from __future__ import annotations

from dataclasses import dataclass

from tpm2_pytss import TPM2_PT, TPM2_PT_FIRMWARE

from gateway.trust.tpm.esapi import Context
from gateway.trust.tpm.owner import Owner
from gateway.trust.tpm.transport import Transport, locate


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


class _Connection:
    def __init__(self, transport: Transport) -> None:
        self._context = Context(transport)

    def close(self, *, orderly: bool) -> None:
        self._context.close()

    def health(self) -> Health:
        ask = self._context.ask
        version, revision = ask(TPM2_PT_FIRMWARE.VERSION_1), ask(TPM2_PT.REVISION)
        return Health(
            manufacturer=ask(TPM2_PT.MANUFACTURER)
            .to_bytes(4, "big")
            .rstrip(b"\0 ")
            .decode("ascii", "replace"),
            firmware=f"{version >> 16}.{version & 0xFFFF}",
            revision=f"{revision // 100}.{revision % 100:02}",
            missing=tuple(f"TPM2_{name}" for name in self._context.missing_commands()),
            lockout=self._context.in_lockout(),
        )


async def inspect(tcti: str) -> Health:
    """The health of the TPM at `tcti`. TrustError where it does not answer, UsageError where `tcti` is not an
    address. Harmless while a gateway uses the TPM."""
    transport = locate(tcti)
    owner = Owner(tcti, lambda: _Connection(transport))
    try:
        return await owner.run(_Connection.health)
    finally:
        await owner.aclose()
