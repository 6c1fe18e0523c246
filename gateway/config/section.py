"""The base of every section of the file.

A field's `description` completes the sentences "it must be ..." and "... is missing; give ...".
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


class Load:
    """The state that validators share while a file is read."""

    def __init__(self, file: Path) -> None:
        self.folder = file.absolute().parent
        self.names: set[str] = set()
        """Of the meters and series so far."""
        self.providers: set[str] = set()
        """Whose commands have a section so far."""


def from_the_file(path: Path, info: ValidationInfo) -> Path:
    """A relative path is relative to the configuration file's folder, wherever the command was started."""
    if str(path).startswith("~"):
        raise ValueError("write the whole path: ~ is a different folder for each user")
    return info.context.folder / path if isinstance(info.context, Load) else path


def as_written(value: object) -> object:
    """A TOML number as the decimal that was written: 0.1 is a tenth."""
    if isinstance(value, float) and isfinite(value):
        return Decimal(repr(value))
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


FilePath = Annotated[Path, Field(strict=False), AfterValidator(from_the_file)]


class Section(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )
