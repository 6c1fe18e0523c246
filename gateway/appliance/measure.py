"""What a slot's boot says to the TPM of its release: that it runs, and later that it proved itself.

A Pi's firmware measures nothing. So an early service measures the manifest of the release that booted into
PCR 14, before anything opens the root. A reboot alone does not reset the TPM of a Pi: a slot that is booted
after the other one then finds that one's measurement, which stays until the TPM is reset or switched off.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from gateway.appliance.release import MANIFEST, Release, read_file
from gateway.errors import TrustError
from gateway.trust.gate import Gate

BOOT = Path("/boot/firmware")
TCTI = "device:/dev/tpmrm0"


class OtherMeasured(TrustError):
    """PCR 14 shows other software than the release that runs."""


async def measure(folder: Path = BOOT, tcti: str = TCTI) -> tuple[Release, bool] | None:
    """Measure the release whose boot partition is at `folder`; the release, and whether it was measured just
    now, not before. A lockout of the TPM ends too, and that alone on a machine that is no image: None.
    OtherMeasured where PCR 14 shows something else, UsageError or Refused where an image's manifest is
    missing or damaged, TrustError where the TPM does not answer."""
    from gateway.trust.tpm import measure as measuring  # noqa: PLC0415 - its libraries may be missing

    path = folder / MANIFEST
    if not path.exists() and Gate.of_this_machine() is None:
        await measuring.end_lockout(tcti)
        return None
    manifest = read_file(path, "the release's manifest")
    release = Release.decode(manifest, str(path))
    measured = await measuring.measure(tcti, hashlib.sha256(manifest).digest())
    if measured is measuring.Measured.OTHER:
        raise OtherMeasured(
            f"PCR 14 shows other software than {release.name}: another slot ran since the TPM was last"
            " reset, and a reboot does not reset it. Switch the device's power off and on again"
        )
    return release, measured is measuring.Measured.NOW


async def confirm(tcti: str = TCTI) -> int | None:
    """Have the TPM refuse the root to releases older than the one that runs, once that has proved itself; the
    oldest epoch that is accepted from now on. None on a machine without an approval key."""
    gate = Gate.of_this_machine()
    if gate is None:
        return None
    from gateway.trust.tpm.measure import raise_epoch  # noqa: PLC0415 - its libraries may be missing

    return await raise_epoch(tcti, gate)
