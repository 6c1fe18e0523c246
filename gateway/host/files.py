"""Files that a power cut leaves whole, the old content or the new, and files that hold secrets."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gateway.errors import UsageError


def read_private(path: Path, what: str, absent: str | None = None) -> bytes:
    """The content of a file that holds secrets; `what` names them: "the meter's keys". UsageError where it
    cannot be read, and where every user of this machine could read or write it. `absent` is the sentence for
    a file that is not there, if there is more to say than that. No sentence shows the content."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read()
    except OSError as error:
        if absent is not None and isinstance(error, FileNotFoundError):
            raise UsageError(absent) from None
        raise UsageError(f"{what} cannot be read from {path}: {error.strerror}") from None
    # Group bits are fine: systemd's credential files show their ACL there.
    if mode & stat.S_IRWXO:
        raise UsageError(
            f"{path} is open to every user of this machine (mode {stat.S_IMODE(mode):04o}): chmod 0600 {path}"
        )
    return data


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write `data` to `path`, replacing what was there; once this returns it survives a power cut. OSError
    where it cannot be written; the old content stays then."""
    _replace(path, data, mode, durable=True)
    sync_folder(path.parent)


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write `data` to `path`, so that whoever reads it finds the old content or the new. A power cut may lose
    both: it is for what is written anew every minute. OSError where it cannot be written; the old content
    stays then."""
    _replace(path, data, mode, durable=False)


def _replace(path: Path, data: bytes, mode: int, *, durable: bool) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def write_all_durably(files: Mapping[Path, bytes], mode: int = 0o600) -> None:
    """Write many files, as `write_durably` writes one: the machine's disks are waited for twice, not for
    each. OSError where one cannot be written; some may be new then, and each is whole."""
    aside: list[tuple[str, Path]] = []
    try:
        for path, data in files.items():
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            aside.append((name, path))
            with os.fdopen(handle, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
        os.sync()
        while aside:
            Path(aside[-1][0]).replace(aside[-1][1])
            aside.pop()
    except BaseException:
        for name, _ in aside:
            with suppress(OSError):
                Path(name).unlink()
        raise
    for folder in {path.parent for path in files}:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names of the folder's files durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
