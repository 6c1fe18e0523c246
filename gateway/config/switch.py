"""meter.switch and meter.limit: how a meter's home is disconnected, and how what it draws is limited."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.config.section import Section, as_written

_TOPIC = r"^[^#+\x00-\x1f\x7f]+$"
_WHICH = "a whole number from 0 to 65535"
_PAYLOAD = 'a text such as "on"'
_Way = TypeVar("_Way")
_RANGES = {"u16": (0, 2**16), "i16": (-(2**15), 2**15), "u32": (0, 2**32), "i32": (-(2**31), 2**31)}


class SwitchRegister(Section):
    """A Modbus holding register that holds `on` while the home is connected, else `off`."""

    address: int = Field(ge=0, le=65535, description=_WHICH)
    on: int = Field(ge=0, le=65535, description=_WHICH)
    off: int = Field(ge=0, le=65535, description=_WHICH)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.on == self.off:
            raise PydanticCustomError("whole", "has a register whose on and off are the same number")
        return self


class SwitchTopic(Section):
    """What is published on the household's own broker, by `gateway household`, retained."""

    topic: str = Field(pattern=_TOPIC, description='a topic without wildcards, such as "home/relay/set"')
    on: str = Field(max_length=256, description=_PAYLOAD)
    off: str = Field(max_length=256, description=_PAYLOAD)


class SwitchSection(Section):
    """How a home is disconnected, in exactly one of these ways. `obis` is the disconnect control (class 70)
    of a polled DLMS meter."""

    obis: str | None = Field(
        default=None,
        pattern=r"^\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}([.*]\d{1,3})?$",
        description='the OBIS code of a disconnect control, such as "0-0:96.3.10"',
    )
    coil: int | None = Field(default=None, ge=0, le=65535, description=_WHICH)
    register_: SwitchRegister | None = Field(
        default=None, alias="register", description="a table such as { address = 40, on = 1, off = 0 }"
    )
    mqtt: SwitchTopic | None = Field(
        default=None, description='a table such as { topic = "home/relay/set", on = "ON", off = "OFF" }'
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (self.obis, self.coil, self.register_, self.mqtt)
        return _exactly_one(self, ways, "switch", "obis, coil, register and mqtt")


class LimitRegister(Section):
    """Modbus holding registers that hold the limit, a number of `type` in units of `scale` W, most
    significant word first; `off` is the number that stands for no limit."""

    address: int = Field(ge=0, le=65534, description="a whole number from 0 to 65534")
    type: Literal["u16", "i16", "u32", "i32"] = Field(
        default="u16", description='"u16", "i16", "u32" or "i32"'
    )
    scale: Annotated[Decimal, BeforeValidator(as_written)] = Field(
        default=Decimal(1),
        ge=Decimal("0.001"),
        le=100_000,
        description="how many W one step of the register is: a number from 0.001 to 100000",
    )
    off: int = Field(
        ge=-(2**31),
        lt=2**32,
        description="the number that stands for no limit, a whole one that fits the type",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        low, high = _RANGES[self.type]
        if not low <= self.off < high:
            raise PydanticCustomError(
                "whole",
                "has a limit whose off is {off}; a register of type {type} holds {low} to {most}",
                {"off": self.off, "type": self.type, "low": low, "most": high - 1},
            )
        return self


class LimitTopic(Section):
    """What is published on the household's own broker, by `gateway household`, retained: the limit in W as a
    decimal number, or `off` where there is none."""

    topic: str = Field(pattern=_TOPIC, description='a topic without wildcards, such as "home/limit/set"')
    off: str = Field(max_length=256, description=_PAYLOAD)


class LimitSection(Section):
    """How what a home draws is limited, in exactly one of these ways."""

    register_: LimitRegister | None = Field(
        default=None, alias="register", description="a table such as { address = 40, off = 65535 }"
    )
    mqtt: LimitTopic | None = Field(
        default=None, description='a table such as { topic = "home/limit/set", off = "none" }'
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        return _exactly_one(self, (self.register_, self.mqtt), "limit", "register and mqtt")


def _exactly_one(section: _Way, ways: tuple[object, ...], what: str, names: str) -> _Way:
    if sum(way is not None for way in ways) != 1:
        raise PydanticCustomError(
            "whole", "has a {what} that needs exactly one of {names}", {"what": what, "names": names}
        )
    return section
