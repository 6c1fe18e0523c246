"""Where a secret's file is: at a path, or in the folder of systemd's credentials."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.errors import UsageError


def credential_path(named: str | None, usual: str, *, key: str) -> Path | None:
    """The file that `named`, the value of the configuration's `key`, stands for: a path, or the name of a
    systemd credential. Without a value, the credential `usual`, or None where there is none."""
    if named is not None and "/" in named:
        return Path(named)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder is None:
        if named is None:
            return None
        raise UsageError(
            f"{key} names a systemd credential, but $CREDENTIALS_DIRECTORY is not set: "
            f"start the gateway by its unit, or give the path of a file (/etc/gateway/{usual}, ./{usual})"
        )
    path = Path(folder) / (named or usual)
    return path if named is not None or path.exists() else None
