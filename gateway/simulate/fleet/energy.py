"""The energy of many homes, unit by unit: a pure function of the fleet's seed, whatever else is computed with
it.

The curves are plausible, not measured: loads that are always on; people who get up, go to work, cook and
watch, later at weekends; heat pumps against the cold, cars charged in the evening, solar roofs. All homes
of a region have one weather, which resembles that of the day before and of the neighbouring regions. Times of
day are CET, at 50 degrees north and 10 east.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.simulate.fleet.plan import Plan, numbers_of
from gateway.simulate.home import DAY_S, Watts, drift, noises

_LATITUDE = math.radians(50)
_ZONE_S = 3600  # CET
_PEOPLE = np.array((1, 1, 2, 2, 2, 3, 4, 4, 5))
_SLOT_S = 900  # people do something else every quarter of an hour
_SHAPE_S = 300
_CAR_WH_A_KM = 180
_EPOCH_WEEKDAY = 3  # 1 January 1970 was a Thursday


@dataclass(frozen=True, slots=True)
class Traits:
    """What homes have, an array with an item for each: people; W that are always drawn; how much later than
    others they live, in s; W of the roof at full sun, and how far it looks to the west, -1 to 1; heat loss
    in W for each K (0: heated without electricity); W of the car's charger (0: no car), and km on a usual
    day."""

    people: Watts
    standing_w: Watts
    later_s: Watts
    roof_w: Watts
    west: Watts
    loss_w_a_k: Watts
    charger_w: Watts
    car_km: Watts

    @classmethod
    def of(cls, seed: int, numbers: NDArray[np.int64]) -> Traits:
        """The traits of the homes of these numbers."""

        def drawn(what: str) -> Watts:
            return noises(seed, what, numbers)

        return cls(
            people=_PEOPLE[numbers_of(drawn("people"), len(_PEOPLE))].astype(np.float64),
            standing_w=50 + 150 * drawn("standing") ** 2,
            later_s=7200 * (drawn("later") - 0.5),
            roof_w=np.where(drawn("roof") < 0.35, 3_000 + 9_000 * drawn("roof size"), 0),
            west=2 * drawn("west") - 1,
            loss_w_a_k=np.where(drawn("heat pump") < 0.3, 90 + 170 * drawn("loss"), 0),
            charger_w=np.where(drawn("car") < 0.25, np.where(drawn("charger") < 0.5, 11_000.0, 3_700.0), 0.0),
            car_km=15 + 45 * drawn("km"),
        )


@dataclass(frozen=True, slots=True)
class Weather:
    """A region's weather, an array with an item for each unit: the temperature in C, and the share of its
    full power that a roof to the south gives."""

    celsius: Watts
    sun: Watts

    @classmethod
    def of(cls, seed: int, region: int, seconds: NDArray[np.int64]) -> Weather:
        """The weather at moments of Unix time."""
        day = int(seconds[0]) // DAY_S
        season = -math.cos(2 * math.pi * (day % 365.25 - 20) / 365.25)  # coldest on 20 January
        front, cloudy = _days_weather(seed, region, day)
        to_front, to_cloudy = _days_weather(seed, region, day + 1)
        share = (seconds % DAY_S) / DAY_S
        mean = 10 + 9.5 * season + front + (to_front - front) * share
        local = (seconds + _ZONE_S) % DAY_S
        celsius = mean + 3.5 * np.sin((local / DAY_S - 0.375) * 2 * np.pi)
        cloudiness = np.clip(0.5 - 0.15 * season + cloudy + (to_cloudy - cloudy) * share, 0, 1)
        clouds = 0.7 * drift(seed, f"clouds {region}", seconds, 2_700)
        clouds += 0.3 * drift(seed, f"cloud edges {region}", seconds, 600)
        passing = np.clip(1.15 - cloudiness * (0.5 + clouds), 0.08, 1)
        return cls(celsius, np.clip(_height(day, seconds), 0, None) ** 1.15 * passing)


def energy(plan: Plan, region: int, numbers: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """What homes of a region drew and gave in each unit of the n-th day, mWh [home, lane, unit]. Energy of
    units for which the gateway was off is shared among them as PROTOCOL.md, rule 4, has it."""
    seconds = np.arange(plan.day(n), plan.day(n) + plan.day_units, dtype=np.int64) * plan.unit_ms // 1000
    weather, traits = Weather.of(plan.seed, region, seconds), Traits.of(plan.seed, numbers)
    watts = _load(plan, numbers, traits, seconds, weather)
    local = (seconds + _ZONE_S) % DAY_S
    side = 1 + 0.4 * traits.west[:, None] * ((local - 46_000) / 21_600)
    watts -= traits.roof_w[:, None] * np.clip(side, 0.2, None) * weather.sun
    mwh = np.rint(watts * (plan.unit_ms / 3600)).astype(np.int64)
    found = np.stack((np.maximum(mwh, 0), np.maximum(-mwh, 0)), axis=1)
    outages = plan.outage(numbers, n)
    for i in np.flatnonzero(outages[:, 1]):
        x, y = outages[i].tolist()
        shared = found[i, :, x:y].sum(axis=1)[:, None] * np.arange(y - x + 1) // (y - x)
        found[i, :, x:y] = np.diff(shared)
    return found


def _load(
    plan: Plan, numbers: NDArray[np.int64], traits: Traits, seconds: NDArray[np.int64], weather: Weather
) -> Watts:
    """What the homes draw, W [home, unit]."""
    unit_s = plan.unit_ms / 1000
    home = (numbers << 32)[:, None]
    local = seconds + _ZONE_S
    jitter = noises(plan.seed, "jitter", home + seconds // max(1, int(unit_s)))
    watts = traits.standing_w[:, None] * (0.8 + 0.4 * jitter)
    slots, at = np.unique(seconds // _SLOT_S, return_inverse=True)
    busy = -np.log(1 - 0.995 * noises(plan.seed, "busy", home + slots))
    later = (traits.later_s / _SHAPE_S).astype(np.int64)[:, None]
    for day in np.unique(local // DAY_S).tolist():
        # The CET days that the UTC day touches.
        today = slice(*np.searchsorted(local // DAY_S, (day, day + 1)).tolist())
        clock = local[today] - day * DAY_S
        key = (numbers << 20) + day
        weekend = (day + _EPOCH_WEEKDAY) % 7 >= 5
        at_home = noises(plan.seed, "away", (numbers << 20) + day // 7) >= 0.04
        shape = _shape(weekend)[(clock // _SHAPE_S - later) % len(_shape(weekend))]
        people = at_home * (0.5 + 0.25 * traits.people) * (1.15 if weekend else 1.0)
        watts[:, today] += 300 * people[:, None] * shape * busy[:, at[today]] * (0.6 + 0.8 * jitter[:, today])
        km = traits.car_km * (0.4 + 1.2 * noises(plan.seed, "drive", key)) * (1.3 if weekend else 1.0)
        begins = 61_200 + 14_400 * noises(plan.seed, "plug", key)
        driven = at_home & (noises(plan.seed, "drives", key) < 0.75)
        lasts = driven * km * _CAR_WH_A_KM * 3600 / np.maximum(traits.charger_w, 1)
        lasts[traits.charger_w == 0] = 0
        cars = np.flatnonzero(lasts)
        watts[cars, today] += traits.charger_w[cars, None] * _on(clock, unit_s, begins[cars], lasts[cars])
        warm = np.flatnonzero(traits.loss_w_a_k)
        water = at_home[warm] * (600 + 500 * traits.people[warm])
        watts[warm, today] += 1_800 * _on(clock, unit_s, 45_000 + traits.later_s[warm], water)
    heated = np.flatnonzero(traits.loss_w_a_k)
    wanted = np.clip(17 - weather.celsius, 0, None) / np.clip(3.2 + 0.09 * weather.celsius, 1.6, 5)
    watts[heated] += traits.loss_w_a_k[heated, None] * wanted * (0.8 + 0.4 * jitter[heated])
    return watts


def _on(clock: NDArray[np.int64], unit_s: float, begins: Watts, lasts: Watts) -> Watts:
    """The share of each unit in which something is on that begins at a time of day and lasts some seconds,
    until midnight at the latest: [home, unit]."""
    begin, end = begins[:, None], (begins + lasts)[:, None]
    seconds: Watts = np.clip(np.minimum(clock + unit_s, end) - np.maximum(clock, begin), 0, None)
    return seconds / unit_s


def _shape(weekend: bool) -> Watts:
    """How busy people are at times of day, every 300 s: about 1 on average."""
    hours = np.arange(0, DAY_S, _SHAPE_S) / 3600
    peaks = (
        ((9.5, 1.6, 1.4), (12.7, 1.3, 1.6), (19.5, 2.2, 2.2))
        if weekend
        else ((7.2, 0.9, 1.7), (12.5, 1.0, 0.7), (19.2, 1.9, 2.6))
    )
    busy = 0.25 + sum(
        much * np.exp(-(((hours - middle + 12) % 24 - 12) ** 2) / (2 * wide**2))
        for middle, wide, much in peaks
    )
    return np.asarray(busy / 0.95)


def _days_weather(seed: int, region: int, day: int) -> tuple[float, float]:
    """How much warmer a day begins than its season, in K, and how much cloudier, from -0.5 to 0.5 or so."""
    ago = np.arange(12)

    def drawn(what: str) -> Watts:
        country = noises(seed, f"{what}", day - ago) - 0.5
        return country + 0.4 * (noises(seed, f"{what} {region}", day - ago) - 0.5)

    return float((7.5 * drawn("front") * 0.75**ago).sum()), float((0.7 * drawn("cloudy") * 0.6**ago).sum())


def _height(day: int, seconds: NDArray[np.int64]) -> Watts:
    """The sine of the sun's height."""
    declination = math.radians(-23.44) * math.cos(2 * math.pi * (day % 365.25 + 10) / 365.25)
    turn = (seconds % DAY_S / DAY_S + 10 / 360) * 2 * np.pi
    return math.sin(_LATITUDE) * math.sin(declination) - math.cos(_LATITUDE) * math.cos(declination) * np.cos(
        turn
    )
