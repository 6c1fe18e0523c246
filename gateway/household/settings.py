"""What the people in the home choose on the page: its language, its zone, the home's name. Kept as
`settings.json` in the state folder, and no secret is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gateway.chain.window import zone_of
from gateway.errors import UsageError
from gateway.host.files import write_durably

Language = Literal["en", "de", "nl", "fr"]
LANGUAGES: dict[Language, str] = {"en": "English", "de": "Deutsch", "nl": "Nederlands", "fr": "Français"}
"""The languages of the page, each by its own name."""


class ChosenSeries(BaseModel):
    """A provider's continuing prices: the provider's kid, and the name in its series."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    provider: str = Field(pattern="^[0-9a-f]{32}$")
    name: str


class ChosenLoad(BaseModel):
    """An appliance that the household runs when energy is cheap: `power_w` for so many `minutes`, begun at
    `earliest` or later and done by `finish`, both minutes of the local day; in parts where `split`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    name: str = Field(min_length=1, max_length=80)
    power_w: int = Field(ge=1, le=100_000)
    minutes: int = Field(ge=1, le=1440)
    earliest: int = Field(default=0, ge=0, lt=1440)
    finish: int = Field(default=1440, gt=0, le=1440)
    split: bool = False


class Choices(BaseModel):
    """What is chosen. Unknown entries of a newer version are kept out."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    language: Language | None = None
    """None: the browser's."""
    zone: str = "UTC"
    """The IANA time zone in which days and times are shown."""
    name: str = Field(default="", max_length=80)
    """What the home is called on the page."""
    grid: str = Field(default="", max_length=64)
    """The meter at the connection to the grid; the first one where that is not there."""
    series: dict[Literal["import", "export"], ChosenSeries] = {}
    """The price series that price each lane; without any the file `tariff.toml` of the state folder does."""
    loads: tuple[ChosenLoad, ...] = ()
    """The appliances of the plan."""
    steps: dict[str, str] = {}
    """Of the setup: how each step ended, "done" or "skipped", so that it can be left and gone on with."""

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        try:
            zone_of(zone)
        except UsageError:
            raise ValueError(
                "there is no such time zone: choose one of the list, such as Europe/Berlin"
            ) from None
        return zone


class Settings:
    """The choices of a home, and their file."""

    def __init__(self, state: Path) -> None:
        self._path = state / "settings.json"
        self._choices = self._read()

    @property
    def tariff_file(self) -> Path:
        """The tariff that the pages' money is by, where no price series is chosen; it need not be there."""
        return self._path.with_name("tariff.toml")

    @property
    def choices(self) -> Choices:
        """As they are now."""
        return self._choices

    def change(self, **values: Any) -> Choices:
        """Take other values for some choices, durably; UsageError, and no change, where one cannot be."""
        try:
            changed = Choices.model_validate({**self._choices.model_dump(), **values})
        except ValidationError as error:
            raise UsageError(_sentence(error)) from None
        write_durably(self._path, json.dumps(changed.model_dump(), indent=1).encode())
        self._choices = changed
        return changed

    def _read(self) -> Choices:
        try:
            return Choices.model_validate_json(self._path.read_bytes())
        except (OSError, ValueError):  # none yet, or damaged: the page opens, and they are chosen again
            return Choices()


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    return f"{first['loc'][0]} cannot be that: {first['msg']}"
