"""A home with a solar roof: its power at any second is a pure function of a seed.

The load curves are plausible, not measured: a base load, a fridge that cycles, kettle, shower, oven, hob,
washing machine, dishwasher, lights and a screen at the times of day when people use them, and 5 kW of solar
modules under passing clouds. Time of day is UTC. The meter's registers are integers: nothing is lost or
gained, however the time is divided.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Watts = NDArray[np.float64]

DAY_S = 86_400
_SOLAR_PEAK_W = 5_000
_LATITUDE = math.radians(48)
_FRIDGE_CYCLE_S, _FRIDGE_W = 2_700, 85


class Home:
    """The home of `seed` and its meter's registers, which are `import_mwh` and `export_mwh` at the end of
    second `start_s` (Unix time). At second s they hold all energy up to the end of s."""

    def __init__(
        self, seed: int, start_s: int, import_mwh: int = 1_500_000_000, export_mwh: int = 1_100_000_000
    ) -> None:
        self._seed = seed
        self._second = start_s
        self._day = start_s // DAY_S
        self._power = net_power(seed, self._day)
        self._import = (import_mwh, 0)  # mWh at the start, and Ws since
        self._export = (export_mwh, 0)

    @property
    def second(self) -> int:
        """The second that the registers show."""
        return self._second

    @property
    def power(self) -> int:
        """W at this second: the home's load less the roof's power."""
        return int(self._power[self._second % DAY_S])

    @property
    def import_mwh(self) -> int:
        return _mwh(*self._import)

    @property
    def export_mwh(self) -> int:
        return _mwh(*self._export)

    def advance_to(self, second: int) -> None:
        """Advance to the end of `second`; a past second changes nothing."""
        while self._second < second:
            day, at = divmod(self._second + 1, DAY_S)
            if day != self._day:
                self._day, self._power = day, net_power(self._seed, day)
            upto = min(second - day * DAY_S, DAY_S - 1)
            power = self._power[at : upto + 1]
            drawn = int(power[power > 0].sum())
            self._import = (self._import[0], self._import[1] + drawn)
            self._export = (self._export[0], self._export[1] + drawn - int(power.sum()))
            self._second = day * DAY_S + upto


def _mwh(mwh: int, ws: int) -> int:
    return mwh + ws * 10 // 36  # 1 Ws = 1/3.6 mWh


def net_power(seed: int, day: int) -> NDArray[np.int64]:
    """W for each second of a UTC day (counted since 1970), an int64 array of 86 400; negative where the roof
    gives more than the home draws."""
    seconds = np.arange(day * DAY_S, (day + 1) * DAY_S, dtype=np.int64)
    load = base_load(seed, seconds) + fridge(seed, seconds) + appliances(seed, day)
    net: NDArray[np.int64] = np.rint(load - _solar(seed, day, seconds)).astype(np.int64)
    return net


def base_load(seed: int, seconds: NDArray[np.int64]) -> Watts:
    """Router, standby, heating pump: 80 to 140 W, drifting over minutes, jittering each second."""
    return 80 + 50 * drift(seed, "base", seconds, 900) + 10 * noises(seed, "jitter", seconds)


def fridge(seed: int, seconds: NDArray[np.int64]) -> Watts:
    """A compressor that runs in cycles, in W at each second."""
    cycle, at = np.divmod(seconds, _FRIDGE_CYCLE_S)
    begins = 600 * noises(seed, "fridge begins", cycle)
    lasts = 800 + 600 * noises(seed, "fridge lasts", cycle)
    return np.where((at >= begins) & (at < begins + lasts), _FRIDGE_W, 0.0)


def appliances(seed: int, day: int) -> Watts:
    """What people switch on, in W for each second of a day, from this day's own random generator."""
    chance = random.Random(f"{seed}/{day}")  # noqa: S311 - a simulation
    watts = np.zeros(DAY_S)

    def run(earliest_h: float, latest_h: float, lasts_s: float, power: float, on: float = 1.0) -> int:
        """Add `power` W for `lasts_s`, on for the share `on` of each minute; returns its beginning, in s."""
        begin = round(chance.uniform(earliest_h, latest_h) * 3600)
        for at in range(begin, begin + round(lasts_s), 60):
            end = min(at + round(60 * on), begin + round(lasts_s))
            watts[at:end] += power
        return begin

    for earliest, latest, likely in ((6, 8.5, 0.95), (10, 11, 0.4), (15, 16.5, 0.6), (19, 21, 0.5)):
        if chance.random() < likely:
            run(earliest, latest, chance.uniform(120, 210), 2_000)  # kettle
    for _ in range(chance.choice((1, 2, 2))):
        run(6, 8, chance.uniform(240, 480), 7_500)  # shower
    if chance.random() < 0.8:
        run(11.7, 12.4, chance.uniform(900, 1_800), 1_500, 0.55)  # hob, lunch
    run(17.5, 19, chance.uniform(1_200, 2_400), 1_800, 0.5)  # hob, dinner
    if chance.random() < 0.5:
        run(17, 18.5, chance.uniform(2_400, 3_600), 2_200, 0.6)  # oven
    if chance.random() < 0.5:
        begin = run(8.5, 14, 900, 2_000) / 3600  # washing machine: it heats, then turns, then spins
        run(begin + 0.25, begin + 0.25, 3_000, 180, 0.8)
        run(begin + 1.1, begin + 1.1, 600, 420)
    if chance.random() < 0.7:
        begin = run(19.5, 20.5, 1_200, 1_900) / 3600  # dishwasher
        run(begin + 0.8, begin + 0.8, 900, 1_900)
    run(6, 6.3, chance.uniform(4_000, 6_500), chance.uniform(60, 120))  # lights
    run(17.5, 18.5, chance.uniform(14_000, 17_000), chance.uniform(90, 220))
    run(19, 20, chance.uniform(5_000, 9_000), 130)  # screen
    return watts


def _solar(seed: int, day: int, seconds: NDArray[np.int64]) -> Watts:
    """The modules' power in W: the sun's height at 48 degrees north, behind clouds that drift over
    minutes."""
    declination = math.radians(-23.44) * math.cos(2 * math.pi * (day % 365.25 + 10) / 365.25)
    middle = math.sin(_LATITUDE) * math.sin(declination)
    swing = math.cos(_LATITUDE) * math.cos(declination)
    height = middle - swing * np.cos(seconds % DAY_S * (2 * np.pi / DAY_S))
    clouds = 0.7 * drift(seed, "clouds", seconds, 1_200) + 0.3 * drift(seed, "cloud edges", seconds, 45)
    threshold = random.Random(f"{seed}/{day}/sky").uniform(0.1, 1)  # noqa: S311 - a simulation
    passing = np.clip(1.2 - 2.4 * np.clip(clouds - threshold, 0, None), 0.15, 1)
    sun: Watts = _SOLAR_PEAK_W * np.clip(height, 0, None) ** 1.15
    return sun * passing


def drift(seed: int, what: str, seconds: NDArray[np.int64], lattice_s: int) -> Watts:
    """Values from 0 to 1 that move smoothly from one random value to the next every `lattice_s`."""
    node, at = np.divmod(seconds, lattice_s)
    before, after = noises(seed, what, node), noises(seed, what, node + 1)
    share = at / lattice_s
    return before + (after - before) * share * share * (3 - 2 * share)


def noises(seed: int, what: str, number: NDArray[np.int64]) -> Watts:
    """A random value from 0 to 1 for each number: splitmix64 (Steele, Lea and Flood, 2014)."""
    state = number.astype(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15) + np.uint64(_salt(seed, what))
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    mixed: Watts = (state ^ (state >> np.uint64(31))) / 2.0**64
    return mixed


@lru_cache(maxsize=64)
def _salt(seed: int, what: str) -> int:
    return random.Random(f"{seed}/{what}").getrandbits(64)  # noqa: S311 - a simulation
