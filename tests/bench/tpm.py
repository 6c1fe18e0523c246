"""How long a TPM takes for its part of a registration: `python -m tests.bench.tpm`, on swtpm.

A real TPM is slower. The registrar's own part is measured by `gateway bench registrar`.
"""

from __future__ import annotations

import asyncio
import platform
import tempfile
import time
from pathlib import Path
from statistics import median

from gateway.registrar.attestation import EkRoots, make_credential, verify
from gateway.trust.opening import open_root
from gateway.wire import cose
from tests.support.tpm import maker, swtpm

_REPEAT = 20


async def measure(folder: Path, tcti: str) -> dict[str, float]:
    """The medians, in ms: of showing the keys, of answering the challenge, of a signature; and of the
    registrar's check of what was shown."""
    roots = folder / "makers"
    roots.mkdir()
    for path in maker().certificates:
        (roots / path.name).write_bytes(path.read_bytes())
    makers = EkRoots.load(roots)
    root = await open_root("tpm", folder / "trust", tcti)
    times: dict[str, list[float]] = {}

    def took(what: str, begin: float) -> None:
        times.setdefault(what, []).append((time.perf_counter() - begin) * 1e3)

    try:
        for _ in range(_REPEAT):
            begin = time.perf_counter()
            evidence = await root.evidence()
            took("evidence", begin)
            assert evidence is not None
            begin = time.perf_counter()
            known = verify(evidence, root.public_key, makers)
            took("check by the registrar", begin)
            blob, seed = make_credential(known.ek_public, known.ak_name, bytes(32))
            begin = time.perf_counter()
            assert await root.activate(blob, seed) == bytes(32)
            took("answer to the challenge", begin)
            begin = time.perf_counter()
            await root.sign(cose.to_be_signed("gw1/login", bytes(16), b""))
            took("signature", begin)
    finally:
        await root.aclose()
    return {what: median(found) for what, found in times.items()}


def main() -> None:
    """Measure on a TPM of this process."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with swtpm(folder / "tpm") as tpm:
            found = asyncio.run(measure(folder, tpm.tcti))
    print(f"swtpm, {platform.machine()}, medians of {_REPEAT}")
    for what, ms in found.items():
        print(f"{what:26}{ms:8.2f} ms")


if __name__ == "__main__":
    main()
