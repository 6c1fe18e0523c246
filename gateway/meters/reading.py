"""Readings, and the interface of a meter whatever its protocol.

Registers map lane names to integers: `import` and `export` are the cumulative registers in mWh, `power`
is in W, positive when the home draws. They are private: no repr shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from gateway.errors import MeterError

LANES = ("import", "export", "power")  # the lanes that a meter can fill, in their usual order

# Far above any meter's display and far below 2^63: a value beyond these was not measured.
MOST_MWH = 10**15  # a billion kWh
MOST_W = 10**9


@dataclass(frozen=True, slots=True)
class Reading:
    """The registers of one meter at one moment: all of its lanes, or those in one telegram.

    `wall` and `monotonic` are the gateway's clocks in nanoseconds, taken just before the meter was asked,
    or when its telegram arrived. `serial` is the meter's serial number and `meter_time` its own clock (Unix
    nanoseconds) at that moment, where the protocol carries them.
    """

    meter: str
    registers: Mapping[str, int] = field(repr=False)
    wall: int
    monotonic: int
    serial: str | None = field(default=None, repr=False)
    meter_time: int | None = None


@dataclass(frozen=True, slots=True)
class Telegram:
    """One message of a meter that pushes. `age_s` is how old its registers were when it came: some meters
    send a few seconds past the hour what the registers held at the hour."""

    registers: Mapping[str, int] = field(repr=False)
    serial: str | None = field(default=None, repr=False)
    meter_time: int | None = None
    age_s: float = 0.0


class Decoder(Protocol):
    """Turns the bytes of a meter that pushes into telegrams, in whatever pieces they arrive."""

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken one, in order. A broken telegram
        never costs another one, and what is kept between two calls is bounded."""

    def cut(self) -> None:
        """The connection broke: the next bytes do not continue the last ones. What detects copies of older
        telegrams is kept."""


@runtime_checkable
class Answering(Protocol):
    """A decoder of a meter that wants an answer."""

    def answer(self) -> bytes:
        """What to send now that `feed` was called; empty where nothing is due."""


@dataclass(frozen=True, slots=True)
class Plausibility:
    """Whether a meter's answers fit its profile, and a sentence that says why."""

    plausible: bool
    sentence: str


class WithLoadProfile(Protocol):
    """A meter's load profile: its registers at the end of each past capture period."""

    @property
    def period_s(self) -> int:
        """The capture period, in seconds."""

    async def remembered(self, after: int) -> Sequence[Reading]:
        """The registers at each capture later than the wall time `after` (ns), oldest first. Their times are
        the gateway's: now, less how long ago each was by the meter's clock. MeterError as for
        `Meter.read`."""


class Meter(Protocol):
    """A meter. It connects when it is first read, and again after a fault."""

    @property
    def pushes(self) -> bool:
        """Whether it sends by itself: `read` then waits for its next telegram, and needs no pauses
        between."""

    @property
    def rollover(self) -> Mapping[str, int]:
        """The mWh at which a lane's register starts from 0 again, for the lanes where this is known."""

    @property
    def load_profile(self) -> WithLoadProfile | None:
        """Its registers at past moments, for a meter that keeps them."""

    async def read(self) -> Reading:
        """Its registers now. MeterError says what is wrong; trying again is sensible."""

    async def probe(self) -> Plausibility:
        """Whether it looks like its profile's model. MeterError as for `read`."""

    async def aclose(self) -> None:
        """Close the connection. Closing twice is fine."""


def sane(registers: Mapping[str, int]) -> None:
    """MeterError where a register holds a value that no meter can have measured."""
    for lane, value in registers.items():
        if lane == "power":
            if abs(value) > MOST_W:
                raise MeterError("register power holds more than any meter measures")
        elif value < 0:
            raise MeterError(f"register {lane} holds a negative energy, but a total can only rise")
        elif value > MOST_MWH:
            raise MeterError(f"register {lane} holds more than any meter measures")
