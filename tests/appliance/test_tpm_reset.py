"""What the image does to the TPM as the machine stops, on a board that is not there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "image/root/usr/lib/systemd/system-shutdown/gateway-tpm-reset"
COMPATIBLE = "/sys/class/tpm/tpm0/device/of_node/compatible"


@pytest.mark.parametrize(
    ("compatible", "pulled"),
    [
        (b"infineon,slb9670\0tcg,tpm_tis-spi\0", "--toggle 20ms,0 GPIO24=0\n"),
        (b"tcg,tpm_tis-mmio\0", ""),
        (None, ""),
    ],
)
def test_the_reset_line_of_that_tpm_alone_is_pulled(
    tmp_path: Path, compatible: bytes | None, pulled: str
) -> None:
    if compatible is not None:
        (tmp_path / "compatible").write_bytes(compatible)
    assert COMPATIBLE in SCRIPT.read_text()
    script = tmp_path / "reset"
    script.write_text(SCRIPT.read_text().replace(COMPATIBLE, str(tmp_path / "compatible")))
    tool = tmp_path / "gpioset"
    tool.write_text('#!/bin/sh\necho "$@"\n')
    tool.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", script, "reboot"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (pulled, "")
