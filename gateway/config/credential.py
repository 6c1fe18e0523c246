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
# How a credential is encrypted, in the first 16 of its bytes (systemd, src/shared/creds-util.h; seen with 252
# and 257): with the key in /var/lib/systemd/credential.secret alone, and with no key at all.
_BY_HOST = bytes.fromhex("5a1c6a86df9d4096b1d5a65e0862f19a")
_BY_NOTHING = bytes.fromhex("058469daf6f54324800549da0f8ea2fb")


def credential_path(named: str | None, usual: str, *, key: str) -> Path | None:
    """The file that `named`, the value of the configuration's `key`, stands for: a path, or the name of a
    systemd credential. Without a value, the credential `usual`, or None where there is none."""
    if named is not None and "/" in named:
        return Path(named)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None and os.access(_RUNNING, os.R_OK | os.X_OK):
        folder = str(_RUNNING)
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
    try:
        with sealed.open("rb") as file:
            kind = base64.b64decode(file.read(24))[:16]
    except (OSError, ValueError):
        return None
    return sealed if kind in (_BY_HOST, _BY_NOTHING) else None


def _decrypted(sealed: Path, name: str, what: str) -> bytes:
    with suppress(OSError, subprocess.SubprocessError):
        command = ["systemd-creds", "decrypt", f"--name={name}", str(sealed), "-"]
        return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
    raise UsageError(
        f"{what} cannot be decrypted from {sealed}: they were encrypted on another machine or under another"
        f" name than {name}, or systemd-creds is missing; encrypt them again, as install.sh says"
    )
