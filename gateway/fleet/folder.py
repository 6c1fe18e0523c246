"""The folder of a fleet: for each home a folder with its first-boot file, perhaps an image, and the register.

    FOLDER/register.sqlite       without a secret, to be shared
    FOLDER/HOME/gateway.toml     with its setup code and passwords; goes onto the card's partition CONFIG
    FOLDER/HOME/gateway.img      the same in an image, ready to be written

What was made once is kept, and a setup code stays the same however often the rest changes, since it may be
printed on a label by then. So a run that was cut off is simply started again.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from gateway.appliance.owner_file import NAME, TABLE
from gateway.errors import UsageError
from gateway.fleet.homes import Home
from gateway.fleet.image import Image
from gateway.host.codes import is_setup_code, new_setup_code
from gateway.host.files import write_durably

REGISTER = "register.sqlite"
IMAGE = "gateway.img"


@dataclass(frozen=True, slots=True)
class Folder:
    """A fleet's folder."""

    path: Path

    @property
    def register(self) -> Path:
        return self.path / REGISTER

    def begin(self) -> None:
        """Make the folder, unless it is there. UsageError where it cannot be made."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the folder {self.path} cannot be made: {error.strerror}") from None

    def file(self, home: str) -> Path:
        """A home's first-boot file."""
        return self.path / home / NAME

    def image(self, home: str) -> Path:
        """A home's image."""
        return self.path / home / IMAGE

    def setup_code(self, home: str) -> str | None:
        """The setup code in a home's first-boot file; None where there is no such file. UsageError where it
        has none: somebody changed it."""
        file = self.file(home)
        try:
            code = tomllib.loads(file.read_text(encoding="utf-8"))[TABLE]["setup-code"]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}") from None
        except (ValueError, LookupError, TypeError):
            code = None
        if not isinstance(code, str) or not is_setup_code(code):
            raise UsageError(f"{file} has no setup code any more: remove it, and a new one is made")
        return code

    def make(self, home: Home, image: Image | None) -> bool:
        """Make a home's first-boot file and, of `image`, its image, unless they are there as they should be.
        Whether something was made. UsageError where the folder cannot be written."""
        file = self.file(home.name)
        made = False
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = home.file(self.setup_code(home.name) or new_setup_code())
            copy = self.image(home.name)
            if not file.exists() or file.read_bytes() != data:
                copy.unlink(missing_ok=True)  # which has another file
                write_durably(file, data)
                made = True
            if image is not None and (made or not image.is_in(copy, file)):
                image.copy_for(file, copy)
                made = True
        except OSError as error:
            raise UsageError(f"{error.filename or self.path} cannot be written: {error.strerror}") from None
        return made
