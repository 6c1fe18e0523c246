"""Opens the root that a configuration names, and provisions it at first use."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

from gateway.errors import TrustError
from gateway.trust.gate import Gate
from gateway.trust.root import Root


async def open_root(kind: Literal["tpm", "software"], folder: Path, tcti: str) -> Root:
    """The root kept in `folder`, provisioned there if the folder holds none yet.

    `tcti` says where a TPM is: device:/dev/tpmrm0, swtpm:path=SOCKET, or swtpm:host=HOST,port=PORT;
    UsageError for anything else. TrustError where the folder and the TPM do not belong together, or the
    folder is of the other kind: nothing is ever replaced, and software never stands in for a TPM.

    On an image, which has an approval key, a new root gets the release gate (`gateway.trust.gate`), and
    UntrustedRelease says why the release that runs may not use a root that has one.
    """
    if kind == "software":
        from gateway.trust.software import SoftwareRoot  # noqa: PLC0415

        return await asyncio.to_thread(SoftwareRoot.open, folder)
    try:
        from gateway.trust.tpm.root import TpmRoot  # noqa: PLC0415 - its libraries may be missing
    except ImportError as error:
        raise TrustError(
            f"the TPM's libraries are not installed ({error}): install libtss2-esys, libtss2-tcti-device0"
            " and the Python package tpm2-pytss"
        ) from None
    return await TpmRoot.open(folder, tcti, Gate.of_this_machine())
