"""What a meter says, and what every meter can do, whatever it speaks.

Registers map lane names to integers: `import` and `export` are the cumulative registers in mWh, `power`
is in W, positive when the home draws. They are the home's own: no repr shows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import MeterError

LANES = ("import", "export", "power")  # those that a meter can fill, in their usual order

# Far above any meter's display, far below 2^63: a value beyond these was not measured.
MOST_MWH = 10**15  # a billion kWh
MOST_W = 10**9


@dataclass(frozen=True, slots=True)
class Reading:
    """The registers of one meter at one moment: all of its lanes, or those that one telegram holds.

    `wall` and `monotonic` are the gateway's clocks in nanoseconds, taken just before the meter was asked,
    or when its telegram came in. `serial` is the meter's own number and `meter_time` its own clock (Unix
    nanoseconds) at that moment, where the protocol tells them.
    """

    meter: str
    registers: Mapping[str, int] = field(repr=False)
    wall: int
    monotonic: int
    serial: str | None = field(default=None, repr=False)
    meter_time: int | None = None


@dataclass(frozen=True, slots=True)
class Telegram:
    """What a meter that speaks by itself said at once. `age_s` is how old its registers were by then, for
    those that say at some seconds past the hour what they held at the hour."""

    registers: Mapping[str, int] = field(repr=False)
    serial: str | None = field(default=None, repr=False)
    meter_time: int | None = None
    age_s: float = 0.0


class Decoder(Protocol):
    """Makes telegrams of the bytes of a meter that speaks by itself, in whatever pieces they come."""

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """What has become whole with `data`: telegrams, and what was wrong with broken ones, in order. A
        broken one takes no other with it, and what is kept between two calls is bounded."""

    def cut(self) -> None:
        """The connection broke: what comes next does not go on from what came. What tells copies of older
        telegrams stays."""


@dataclass(frozen=True, slots=True)
class Plausibility:
    """Whether what a meter answers fits its profile, and a sentence that says so."""

    plausible: bool
    sentence: str


class WithLoadProfile(Protocol):
    """A meter's load profile: its registers at the end of each past capture period."""

    @property
    def period_s(self) -> int:
        """The capture period, in seconds."""

    async def remembered(self, after: int) -> Sequence[Reading]:
        """The registers at each stamp later than the wall time `after` (ns), oldest first. Their times are
        the gateway's: now, less how long ago each was by the meter's clock. MeterError as `read`."""


class Meter(Protocol):
    """A meter, connected when it is first read and again after a fault."""

    @property
    def pushes(self) -> bool:
        """Whether it speaks by itself: `read` then waits for its next word, and needs no pauses between."""

    @property
    def rollover(self) -> Mapping[str, int]:
        """The mWh at which a lane's register starts from 0 again, for the lanes where that is known."""

    @property
    def load_profile(self) -> WithLoadProfile | None:
        """Its registers at past moments, for a meter that keeps them."""

    async def read(self) -> Reading:
        """Its registers now. MeterError says what is wrong; asking again is sensible."""

    async def probe(self) -> Plausibility:
        """Whether it looks like its profile's model. MeterError as `read`."""

    async def aclose(self) -> None:
        """Let go of the connection. Closing twice is fine."""


def sane(registers: Mapping[str, int]) -> None:
    """MeterError where a register holds what no meter measures."""
    for lane, value in registers.items():
        if lane == "power":
            if abs(value) > MOST_W:
                raise MeterError("register power holds more than any meter measures")
        elif value < 0:
            raise MeterError(f"register {lane} holds a negative energy: its total only ever rises")
        elif value > MOST_MWH:
            raise MeterError(f"register {lane} holds more than any meter measures")
