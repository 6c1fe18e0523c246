"""A TPM in software, as a manufacturer would deliver it."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from gateway.errors import Unavailable
from provisioning.demo.process import Parts, must, until


def need_tpm() -> None:
    """Unavailable, with what to do, where swtpm is not installed."""
    if any(shutil.which(name) is None for name in ("swtpm", "swtpm_setup", "swtpm_localca")):
        raise Unavailable(
            "The TPM in software, swtpm, is not installed. Install it with\n"
            "    sudo apt-get install --no-install-recommends swtpm swtpm-tools\n"
            "or do without a TPM: ./provisioning/try.sh --software-root"
        )


async def start_tpm(parts: Parts, folder: Path) -> str:
    """Manufacture a TPM with an endorsement key and its certificate, and switch it on; its address for
    tpm2-tss."""
    state = folder / "tpm-state"
    state.mkdir()
    maker = folder / "tpm-maker"
    maker.mkdir()
    # For this run alone, what /etc/swtpm-localca.conf and its like set for the whole machine.
    (maker / "ca.conf").write_text(
        f"statedir = {maker}\nsigningkey = {maker}/key.pem\nissuercert = {maker}/certificate.pem\n"
        f"certserial = {maker}/serial\n"
    )
    (maker / "ca.options").write_text(
        "--platform-manufacturer gateway\n--platform-version 1\n--platform-model demo\n"
    )
    (maker / "setup.conf").write_text(
        f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
        f"create_certs_tool_config = {maker}/ca.conf\ncreate_certs_tool_options = {maker}/ca.options\n"
    )
    made = await parts.run(
        *("swtpm_setup", "--tpm2", "--ecc", "--create-ek-cert", "--config", maker / "setup.conf"),
        *("--tpmstate", state),
    )
    must(made, "Manufacturing the TPM")
    server, control = folder / "tpm", folder / "tpm.ctrl"  # tpm2-tss looks for the second beside the first
    part = await parts.start(
        "TPM",
        *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"),
        *("--server", f"type=unixio,path={server}", "--ctrl", f"type=unixio,path={control}"),
        *("--flags", "not-need-init,startup-clear"),
    )

    async def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(control)) == 0

    await until(part, "answer", answers)
    return f"swtpm:path={server}"
