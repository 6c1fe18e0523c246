"""The head that was seen last: one small JSON file for each stream, in the provider's folder.

It keeps a store from showing an older state, or another history, to a reader who has seen more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import UsageError
from gateway.host.files import write_all_durably, write_durably
from gateway.stream.chunks import ChunkMark
from gateway.wire.signed import DIGEST_BYTES

_FOLDER = "seen"


class Seen:
    """The memory of one stream's head, in `folder`."""

    def __init__(self, folder: Path, stream: bytes) -> None:
        self._path = _path(folder, stream)

    def load(self) -> ChunkMark | None:
        """The mark of the last head; None if none was ever seen. UsageError for a damaged file."""
        try:
            document = json.loads(self._path.read_bytes())
            mark = ChunkMark(
                int(document["seq"]), bytes.fromhex(document["digest"]), int(document["next_unit"])
            )
            if mark.seq < 0 or mark.next_unit <= 0 or len(mark.digest) != DIGEST_BYTES:
                raise ValueError
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self._path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError):
            raise UsageError(
                f"{self._path} is damaged, so a store gone back to an older state would not show;"
                " remove the file to start again from what the store shows now"
            ) from None
        return mark

    def save(self, mark: ChunkMark) -> None:
        """Remember `mark`, on the disk once this returns."""
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            write_durably(self._path, _document(mark))
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written: {error.strerror}") from None


def save_all(folder: Path, marks: Mapping[bytes, ChunkMark]) -> None:
    """Remember the marks of many streams, on the disk once this returns: all of them in two steps, where
    `save` waits for the disk with each."""
    files = {_path(folder, stream): _document(mark) for stream, mark in marks.items()}
    try:
        for path in list(files)[:1]:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        write_all_durably(files)
    except OSError as error:
        raise UsageError(f"{folder / _FOLDER} cannot be written: {error.strerror}") from None


def _path(folder: Path, stream: bytes) -> Path:
    return folder / _FOLDER / f"{stream.hex()}.json"


def _document(mark: ChunkMark) -> bytes:
    document = {"seq": mark.seq, "digest": mark.digest.hex(), "next_unit": mark.next_unit}
    return json.dumps(document).encode()
