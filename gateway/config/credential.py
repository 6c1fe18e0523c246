"""A secret's file: at a path, or among systemd's credentials.

The gateway's unit gives it its credentials in a folder of their own. A command that root starts beside the
unit, such as `gateway doctor`, reads the same ones: from that folder while the unit runs, or else from the
encrypted files that the unit takes them from.
"""

from __future__ import annotations

import base64
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from gateway.errors import UsageError
from gateway.host.files import read_private

# systemd.exec(5), "Credentials"; the names of the files are those of systemd/gateway.service.
_RUNNING = Path("/run/credentials/gateway.service")
_ENCRYPTED = Path("/etc/credstore.encrypted")
# How a credential is encrypted, in its first 16 bytes (systemd, src/shared/creds-util.h; seen with 252 and
# 257): with the key in /var/lib/systemd/credential.secret alone, with no key, and with that key and the TPM.
_BY_HOST = bytes.fromhex("5a1c6a86df9d4096b1d5a65e0862f19a")
_BY_NOTHING = bytes.fromhex("058469daf6f54324800549da0f8ea2fb")
_BY_BOTH = bytes.fromhex("93a894094874449090caf2fc93cab553")
_PCRS = slice(48, 56)
"""Of a credential of the last kind: a bit for each PCR that must not change, little-endian, behind four sizes
and an initialization vector of 12 bytes."""


def credential_path(named: str | None, usual: str, *, key: str, unit: str | None = None) -> Path | None:
    """The file that `named`, the value of the configuration's `key`, stands for: a path, or the name of a
    systemd credential. Without a value, the credential `usual`, or None where there is none. `unit` is the
    service that is given it, where that is not gateway.service."""
    running = _RUNNING if unit is None else _RUNNING.with_name(unit)
    if named is not None and "/" in named:
        return Path(named)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None and os.access(running, os.R_OK | os.X_OK):
        folder = str(running)
    if folder is None:
        if named is None:
            return None
        raise UsageError(
            f"{key} names a systemd credential, but $CREDENTIALS_DIRECTORY is not set: "
            f"start the gateway by its unit, or give the path of a file (/etc/gateway/{usual}, ./{usual})"
        )
    path = Path(folder) / (named or usual)
    return path if named is not None or path.exists() else None


def read_credential(named: str | None, usual: str, what: str, *, key: str) -> tuple[Path, bytes] | None:
    """The file that `named` stands for, as in `credential_path`, or its encrypted form where root may read
    that, and its content. None where there is none that this user sees; UsageError where it cannot be read.
    `what` names the content: "the store's credentials"."""
    if "CREDENTIALS_DIRECTORY" not in os.environ and "/" not in (named or ""):
        sealed = _ENCRYPTED / f"gateway.{named or usual}"
        if not os.access(_RUNNING, os.R_OK | os.X_OK) and os.access(sealed, os.R_OK):
            return sealed, _decrypted(sealed, named or usual, what)
    path = credential_path(named, usual, key=key)
    return None if path is None else (path, read_private(path, what))


def opened_by_a_copy(named: str | None, usual: str) -> Path | None:
    """The encrypted form of the credential that `named` stands for, where a copy of this machine's disk is
    enough to open it; None where it takes this machine's TPM too, and where there is none, or none that this
    user sees."""
    sealed = _ENCRYPTED / f"gateway.{named or usual}"
    return sealed if _header(sealed)[:16] in (_BY_HOST, _BY_NOTHING) else None


def bound_to_pcr(named: str | None, usual: str, pcr: int) -> Path | None:
    """The encrypted form of the credential that `named` stands for, where the TPM opens it only as long as
    this PCR shows what it showed when it was encrypted; None where it does not depend on that."""
    sealed = _ENCRYPTED / f"gateway.{named or usual}"
    header = _header(sealed)
    bound = header[:16] == _BY_BOTH and int.from_bytes(header[_PCRS], "little") >> pcr & 1
    return sealed if bound else None


def _header(sealed: Path) -> bytes:
    """Its first 57 bytes; none where it cannot be read."""
    try:
        with sealed.open("rb") as file:
            return base64.b64decode(file.read(76))
    except (OSError, ValueError):
        return b""


def _decrypted(sealed: Path, name: str, what: str) -> bytes:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["systemd-creds", "decrypt", f"--name={name}", str(sealed), "-"]
        return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    raise UsageError(
        f"{what} cannot be decrypted from {sealed}: they were encrypted on another machine or under another"
        f" name than {name}, or systemd-creds is missing; encrypt them again, as install.sh says"
    )
