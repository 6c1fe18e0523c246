"""[[series]]: values that the household adds, such as its weather, and gives the gateway by itself."""

from __future__ import annotations

import json
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from gateway.config.section import Load, Section

SeriesLane = Literal["temperature", "irradiance", "appliances", "occupancy"]


class SeriesSection(Section):
    """A series. Each of its readings has all of its lanes; they are sealed beside `count` in a stream of its
    own."""

    name: str = Field(pattern="^[a-z0-9-]+$", description="a name of a to z, 0 to 9 and -")
    lanes: Annotated[tuple[SeriesLane, ...], Field(strict=False)] = Field(
        min_length=1, description='some of "temperature", "irradiance", "appliances" and "occupancy"'
    )

    @field_validator("name")
    @classmethod
    def _unique(cls, name: str, info: ValidationInfo) -> str:
        if isinstance(info.context, Load):
            if name in info.context.names:
                raise ValueError("a meter or another series has this name already; each needs its own")
            info.context.names.add(name)
        return name

    @field_validator("lanes")
    @classmethod
    def _in_order(cls, lanes: tuple[SeriesLane, ...]) -> tuple[SeriesLane, ...]:
        in_order = tuple(name for name in get_args(SeriesLane) if name in lanes)
        if in_order != lanes:
            raise ValueError(f"it must have each lane once, in this order: {json.dumps(in_order)}")
        return lanes

    @property
    def sealed(self) -> tuple[str, ...]:
        """The lanes of its stream."""
        return (*self.lanes, "count")
