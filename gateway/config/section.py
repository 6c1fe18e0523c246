"""What every section of the file has in common.

A field's `description` completes the sentences "it must be ..." and "... is missing; give ...".
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


class Load:
    """What the validators share while one file is read."""

    def __init__(self, file: Path) -> None:
        self.folder = file.absolute().parent
        self.meter_names: set[str] = set()


def from_the_file(path: Path, info: ValidationInfo) -> Path:
    """A relative path starts at the configuration file, wherever the command was started."""
    if str(path).startswith("~"):
        raise ValueError("write the whole path: ~ means another folder to each user")
    return info.context.folder / path if isinstance(info.context, Load) else path


FilePath = Annotated[Path, Field(strict=False), AfterValidator(from_the_file)]


class Section(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )
