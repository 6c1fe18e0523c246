"""The address of a TPM, and the connection to it (a TCTI of tpm2-tss)."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tpm2_pytss import TPM2_CAP, TPM2_CC, TSS2_RC, TCTILdr, TSS2_Exception

from gateway.errors import TrustError, UsageError

_NO_SESSIONS = 0x8001  # TPM_ST_NO_SESSIONS
_TRANSIENT, _LOADED_SESSION = 0x80000000, 0x02000000  # where their handles begin (TPM_HT, part 2, 7.2)


@dataclass(frozen=True, slots=True)
class Transport:
    """A TPM's address, `connect` (which gives a TCTI with a `close`; TrustError where there is no TPM), and
    whether a resource manager keeps its users apart and cleans up after each (`managed`)."""

    tcti: str
    connect: Callable[[], Any]
    managed: bool


def locate(tcti: str) -> Transport:
    """The transport to the TPM at `tcti` (see `open_root`); UsageError unless that is a TPM's address."""
    driver, _, where = tcti.partition(":")
    settings = dict(part.partition("=")[::2] for part in where.split(","))
    check: partial[None] | None = None
    if driver == "device" and where.startswith("/"):
        check = partial(_check_device, Path(where))
    elif driver == "swtpm" and settings.keys() == {"path"}:
        check = partial(_check_socket, Path(settings["path"]))
    elif driver != "swtpm" or settings.keys() != {"host", "port"} or not settings["port"].isdecimal():
        raise UsageError(
            f"{tcti!r} is not a TPM's address: use device:/dev/tpmrm0 for a TPM in this machine,"
            " swtpm:path=SOCKET or swtpm:host=127.0.0.1,port=PORT for swtpm"
        )

    def connect() -> Any:
        if check is not None:
            check()
        if not TCTILdr.is_available(driver):
            raise TrustError(f"there is no driver for {tcti}: install the package libtss2-tcti-{driver}0")
        return TCTILdr.parse(tcti)

    return Transport(tcti, connect, managed=tcti.startswith("device:/dev/tpmrm"))


def flush_leftovers(tcti: Any) -> None:
    """Free the TPM's slots of whatever a dead connection left in them. Only for a TPM without other users:
    theirs are freed too."""
    try:
        for first in (_TRANSIENT, _LOADED_SESSION):
            answer = _command(tcti, TPM2_CC.GetCapability, TPM2_CAP.HANDLES, first, 64)
            # moreData (1 byte), the capability (4), a count (4), then the handles (part 2, 10.10.2)
            (count,) = struct.unpack_from(">I", answer, 5)
            for handle in struct.unpack_from(f">{count}I", answer, 9):
                _command(tcti, TPM2_CC.FlushContext, handle)
    except struct.error:
        raise TSS2_Exception(TSS2_RC.TCTI_RC_MALFORMED_RESPONSE) from None


def _command(tcti: Any, code: int, *words: int) -> bytes:
    size = 10 + 4 * len(words)
    tcti.transmit(struct.pack(f">HII{len(words)}I", _NO_SESSIONS, size, code, *words))
    answer: bytes = tcti.receive(-1)
    (result,) = struct.unpack_from(">I", answer, 6)
    if result:
        raise TSS2_Exception(result)
    return answer[10:]


def _check_device(path: Path) -> None:
    if not path.exists():
        raise TrustError(
            f"there is no TPM at {path}: on a Raspberry Pi with an SLB9670 write `dtoverlay=tpm-slb9670` into"
            " /boot/firmware/config.txt and reboot; elsewhere switch the TPM on in the firmware; or choose"
            " the software root, which needs none"
        )
    if not stat.S_ISCHR(path.stat().st_mode):  # commands would be written over what a file holds
        raise TrustError(f"{path} is not a TPM: expected a device such as /dev/tpmrm0")
    if not os.access(path, os.R_OK | os.W_OK):
        raise TrustError(
            f"this user may not use the TPM at {path}: add it to the group that owns the device"
            " (`usermod --append --groups tss USER`) and log in again"
        )


def _check_socket(path: Path) -> None:
    if not (path.exists() and stat.S_ISSOCK(path.stat().st_mode)):
        raise TrustError(f"there is no TPM at {path}: install swtpm and start it on that socket")
