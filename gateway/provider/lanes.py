"""What a lane's sums are called in documents and tables, and how its means are shown."""

from __future__ import annotations

from dataclasses import dataclass

COLUMNS = {
    "import": "import_mwh",
    "export": "export_mwh",
    "power": "power_w",
    "temperature": "temperature_centicelsius",
    "irradiance": "irradiance_w_m2",
    "appliances": "appliances_w",
    "occupancy": "occupancy_persons",
    "count": "count",
}
"""Of each lane the name of its sums: integers of mWh; of W, 0.01 degrees Celsius, W/m2 or persons, each
summed over readings; and of readings."""


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over readings of a lane whose sum by itself says little: its heading, and where the number of
    readings is not open that of the sum; how many of the lane's integers make its unit, and the decimals."""

    heading: str
    summed: str
    divisor: int = 1
    decimals: int = 1

    def text(self, total: int, count: int) -> str:
        """The mean of `count` readings, at least one, that are `total` together."""
        return f"{total / count / self.divisor:.{self.decimals}f}"


MEANS = {
    "power": Mean("mean W", "power W, summed"),
    "temperature": Mean("temperature C", "temperature 0.01 C, summed", 100, 2),
    "irradiance": Mean("irradiance W/m2", "irradiance W/m2, summed"),
    "appliances": Mean("appliances W", "appliances W, summed"),
    "occupancy": Mean("persons", "persons, summed", decimals=2),
}
"""The lanes that are shown as means, in the order of their columns."""
