"""What a meter says at one moment, and what every meter can do, whatever it speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reading:
    """The registers of one meter, asked for at one moment.

    `registers` maps lane names to integers: `import` and `export` are the cumulative registers in mWh,
    `power` is in W, positive when the home draws. `wall` and `monotonic` are the gateway's clocks in
    nanoseconds, taken just before the meter was asked. The values are the home's own: no repr shows them.
    """

    meter: str
    registers: Mapping[str, int] = field(repr=False)
    wall: int
    monotonic: int


@dataclass(frozen=True, slots=True)
class Plausibility:
    """Whether what a meter answers fits its profile, and a sentence that says so."""

    plausible: bool
    sentence: str


class Meter(Protocol):
    """A meter that is asked. It connects when it is first asked, and again after a fault."""

    async def read(self) -> Reading:
        """Ask for all configured registers. MeterError says what is wrong; asking again is sensible."""

    async def probe(self) -> Plausibility:
        """Ask for the register whose value is known beforehand (a mains voltage). MeterError as `read`."""

    async def aclose(self) -> None:
        """Let go of the connection. Closing twice is fine."""
