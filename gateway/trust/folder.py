"""The folder of an identity: one file, `root.json`, 0600, in a folder of its own, 0700.

The file is written once and whole, by a rename after an fsync. So an identity is never half made: without the
file nothing was completed, with it everything was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from gateway.errors import TrustError
from gateway.host.files import sync_folder, write_durably

FILE = "root.json"
_VERSION = 1
_OTHER = {"tpm": "a TPM", "software": "software, without a TPM"}


def load(folder: Path, kind: Literal["tpm", "software"], fields: frozenset[str]) -> dict[str, bytes] | None:
    """The values of `fields` that `store` wrote, or None if it never did. TrustError where the file cannot be
    read, is damaged, or is of the other kind."""
    path = folder / FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TrustError(f"{path} cannot be read ({error.strerror}): run as the user that owns it") from None
    try:
        document = json.loads(text)
        found, version, digest = (document.pop(name) for name in ("kind", "version", "digest"))
        values = {name: bytes.fromhex(value) for name, value in document.items()}
    except (ValueError, TypeError, AttributeError, KeyError):
        raise _damaged(path) from None
    if found in _OTHER and found != kind:
        raise TrustError(
            f"the root in {folder} was made in {_OTHER[found]}, and the configuration asks for one in"
            f" {_OTHER[kind]}: neither can replace the other. Configure the kind that made it, or name an"
            " empty folder to begin as a new gateway"
        )
    if version != _VERSION or found != kind or values.keys() != fields or digest != _digest(values):
        raise _damaged(path)
    return values


def store(folder: Path, kind: Literal["tpm", "software"], fields: Mapping[str, bytes]) -> None:
    """Write the file: durable once this returns, as if never called before that."""
    document = {"kind": kind, "version": _VERSION, "digest": _digest(fields)}
    document |= {name: value.hex() for name, value in fields.items()}
    path = folder / FILE
    try:
        made = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        write_durably(path, json.dumps(document, indent=1).encode())
        if made:
            sync_folder(folder.parent)
    except OSError as error:
        raise TrustError(
            f"{path} cannot be written ({error.strerror}): the folder must belong to the gateway's user, on a"
            " disk with free space"
        ) from None


def _digest(values: Mapping[str, bytes]) -> str:
    """A digest by which a file that the disk damaged differs from one that does not fit this TPM."""
    text = "|".join(f"{name}:{values[name].hex()}" for name in sorted(values))
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(path: Path) -> TrustError:
    return TrustError(
        f"{path} is damaged: restore it from a backup; its keys are nowhere else. Without a backup, move"
        f" {path.parent} away and begin as a new gateway"
    )
