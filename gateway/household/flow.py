"""Where power flows at a moment: from the grid, to it, and between the meters of a home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.household.live import Snapshot


@dataclass(frozen=True, slots=True)
class Part:
    """A meter behind the one at the grid: what it `gives` to the house, such as a roof's power, or takes from
    it, in W."""

    name: str
    watts: int
    gives: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """Power in W: `grid` is negative while the home gives to the grid, `house` is what the home uses in all.
    That is None while power goes to the grid and no meter shows where it comes from. `parts` are the other
    meters that show a power."""

    grid: int
    house: int | None
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, meters: Sequence[tuple[str, int | None]]) -> Flow | None:
        """The flow from each meter's name and power, the one at the grid first; None while that has none."""
        if not meters or meters[0][1] is None:
            return None
        grid = meters[0][1]
        parts = tuple(Part(name, abs(power), power < 0) for name, power in meters[1:] if power is not None)
        given = [part.watts for part in parts if part.gives]
        # Meters are read one after the other, so that their sum may be below what a home can use.
        house = max(0, grid + sum(given)) if grid >= 0 or given else None
        return cls(grid, house, parts)


@dataclass(frozen=True, slots=True)
class Shown:
    """A meter and what it showed: power in W, registers in mWh, the age in ms; None of what is not known."""

    name: str
    power: int | None
    imported: int | None
    exported: int | None
    age_ms: int | None
    error: str | None
    held: bool


def shown(snapshot: Snapshot, grid: str = "") -> list[Shown]:
    """The meters of a snapshot, not its series: the one at the grid first, and the others as the gateway's
    configuration orders them. Where there is no meter `grid`, the first one is at the grid."""
    if snapshot.status is None:
        return []
    readings = {one.meter: one for one in snapshot.readings}
    found = []
    for meter in snapshot.status.meters:
        if meter.series:
            continue
        reading = readings.get(meter.meter)
        registers = (reading and reading.registers) or {}
        found.append(
            Shown(
                meter.meter,
                registers.get("power"),
                registers.get("import"),
                registers.get("export"),
                reading.age_ns // 1_000_000 if reading and reading.age_ns is not None else None,
                (reading and reading.error) or meter.error,
                meter.held is not None,
            )
        )
    return sorted(found, key=lambda one: one.name != grid)


def at_grid(snapshot: Snapshot, grid: str) -> int | None:
    """The power at the grid, W, negative while it is given; None while it is not known."""
    flow = Flow.of([(one.name, one.power) for one in shown(snapshot, grid)])
    return None if flow is None else flow.grid
