"""What is known of updates, in the updater's state folder on the data partition, which both slots share.

- status.json   a `Known`: what was found, installed and tried; readable by everyone, for the home's page
- trial         is there from the order to restart into a new release until its check begins
- checking      is there from then until the check's outcome is in status.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError

from gateway.appliance.release import Release
from gateway.control.documents import Document
from gateway.errors import GatewayError
from gateway.host.files import sync_folder, write_durably

FOLDER = Path("/var/lib/gateway-updater")
STATUS = "status.json"
TRIAL = "trial"
CHECKING = "checking"

Part = Literal["sealing", "store"]
"""What has to work after an update: a reading is sealed; the store is reached."""


class ReleaseNote(Document):
    """Which release."""

    name: str
    version: str
    epoch: int

    @classmethod
    def of(cls, release: Release) -> Self:
        return cls(name=release.name, version=release.version, epoch=release.epoch)


class Trying(Document):
    """A release that is being tried: its slot, "A" or "B", and what worked before, and has to again."""

    release: ReleaseNote
    slot: str
    expected: tuple[Part, ...]


class Outcome(Document):
    """How the last trial of a release ended: whether it was kept, a sentence, and when (Unix ms, by a clock
    that may not have been right)."""

    release: ReleaseNote
    kept: bool
    sentence: str
    ended_ms: int


class Known(Document):
    """What is known of updates; None for what there is nothing of."""

    checked_ms: int | None = None
    """When the feed was last asked."""
    available: ReleaseNote | None = None
    """A release that the feed has and that is newer than the running one."""
    error: str | None = None
    """Why the last check or installation failed."""
    installed: ReleaseNote | None = None
    """In the other slot, and not tried yet."""
    trying: Trying | None = None
    last: Outcome | None = None


class Journal:
    """The files in `folder`, which is there. GatewayError where they cannot be written."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder

    def read(self) -> Known:
        """What is known; nothing where the file is missing or damaged."""
        try:
            return Known.model_validate_json((self.folder / STATUS).read_bytes())
        except (OSError, ValidationError):
            return Known()

    def note(self, **changes: object) -> Known:
        """Change some of what is known, durably."""
        known = Known.model_validate({**dict(self.read()), **changes})
        try:
            write_durably(self.folder / STATUS, known.model_dump_json().encode() + b"\n", mode=0o644)
        except OSError as error:
            raise self._unwritable(error) from None
        return known

    def begin_trial(self) -> None:
        """Have the check run after the restart."""
        self._make(TRIAL)

    def begin_check(self) -> None:
        """Note that the check has begun."""
        self._make(CHECKING)
        self._remove(TRIAL)

    def end_check(self) -> None:
        """Note that the check has ended."""
        self._remove(CHECKING)

    def was_cut_off(self) -> bool:
        """Whether a check began earlier, and has not ended."""
        return (self.folder / CHECKING).exists() and not (self.folder / TRIAL).exists()

    def _make(self, name: str) -> None:
        try:
            write_durably(self.folder / name, b"", mode=0o644)
        except OSError as error:
            raise self._unwritable(error) from None

    def _remove(self, name: str) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
            sync_folder(self.folder)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> GatewayError:
        if isinstance(error, FileNotFoundError):
            return GatewayError(f"{self.folder} is not there: only the appliance's image has it")
        return GatewayError(f"{self.folder} cannot be written: {error.strerror}; run this with sudo")
