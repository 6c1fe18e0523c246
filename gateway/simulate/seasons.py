"""A home through the seasons: its power at any second is a pure function of a seed and a place.

The curves are plausible, not measured. A household of one to five people has the appliances of
`gateway.simulate.home`, used at local time; it is away on some days, and lives as on a Sunday on public
holidays. What else it has follows from the seed: a solar roof, a heat pump that heats against the weather, a
car that is charged in the evening. The weather of a place is the same for all its homes.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import holidays
import numpy as np
from numpy.typing import NDArray

from gateway.errors import UsageError
from gateway.simulate.home import DAY_S, Watts, appliances, base_load, drift, fridge

_HEATED_UP_TO_C = 15.5  # daily mean outside: the heating limit of a usual house (VDI 3807)
_INDOORS_C = 20.0
_STC_W_M2 = 1000  # at which the power of solar modules is stated: IEC 60904-3
_CAR_W, _CAR_WH_A_KM = 11_000, 180
_HEATER_W, _HEATER_CYCLE_S = 2_400, 2_400
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Place:
    """A time zone's main city: its country (ISO 3166), latitude and longitude in degrees, the year's mean
    temperature in C, and how far summer and winter are from it."""

    country: str
    latitude: float
    longitude: float
    mean_c: float
    swing_c: float


# Latitudes and longitudes from tzdata's zone1970.tab; temperatures rounded from each city's climate normals.
PLACES = {
    "Europe/Amsterdam": Place("NL", 52.4, 4.9, 10.5, 7.5),
    "Europe/Athens": Place("GR", 38.0, 23.7, 18.5, 9.5),
    "Europe/Berlin": Place("DE", 52.5, 13.4, 10.0, 9.5),
    "Europe/Brussels": Place("BE", 50.8, 4.3, 10.5, 7.5),
    "Europe/Dublin": Place("IE", 53.3, -6.3, 9.8, 5.0),
    "Europe/Helsinki": Place("FI", 60.2, 25.0, 6.0, 11.5),
    "Europe/Lisbon": Place("PT", 38.7, -9.1, 17.5, 6.0),
    "Europe/London": Place("GB", 51.5, -0.1, 11.5, 6.5),
    "Europe/Madrid": Place("ES", 40.4, -3.7, 15.0, 9.5),
    "Europe/Oslo": Place("NO", 59.9, 10.8, 6.5, 11.0),
    "Europe/Paris": Place("FR", 48.9, 2.3, 12.0, 8.0),
    "Europe/Rome": Place("IT", 41.9, 12.5, 15.5, 9.0),
    "Europe/Stockholm": Place("SE", 59.3, 18.1, 7.0, 10.5),
    "Europe/Vienna": Place("AT", 48.2, 16.3, 11.0, 10.0),
    "Europe/Warsaw": Place("PL", 52.2, 21.0, 9.0, 11.0),
    "Europe/Zurich": Place("CH", 47.4, 8.5, 9.5, 9.5),
}


@dataclass(frozen=True, slots=True)
class Traits:
    """What a home has: people, roof in W at full sun, heat loss in W for each K (0: heated without
    electricity), and kilometres driven by an electric car on a usual day (0: no such car)."""

    people: int
    roof_w: int
    loss_w_a_k: int
    car_km: int

    @classmethod
    def of(cls, seed: int) -> Traits:
        """The traits of the home of `seed`. Home 1 has everything."""
        chance = random.Random(f"{seed}/traits")  # noqa: S311 - a simulation
        people = chance.choice((1, 1, 2, 2, 2, 3, 4, 4, 5))
        roof = chance.randrange(3_000, 12_000, 500) if chance.random() < 0.5 or seed == 1 else 0
        loss = chance.randrange(90, 260, 10) if chance.random() < 0.4 or seed == 1 else 0
        car = chance.randrange(15, 60, 5) if chance.random() < 0.4 or seed == 1 else 0
        return cls(people, roof, loss, car)


class SeasonalHome:
    """The home of `seed` in the time zone `zone`. UsageError for a zone without a place in PLACES."""

    def __init__(self, seed: int, zone: str) -> None:
        if zone not in PLACES:
            raise UsageError(
                f"no weather is known for the time zone {zone!r}: use one of {', '.join(PLACES)}"
            )
        self.zone = zone
        self.traits = Traits.of(seed)
        self._seed = seed
        self._place = PLACES[zone]

    def seconds_of(self, day: date) -> NDArray[np.int64]:
        """The seconds (Unix time) of a local day: 23, 24 or 25 hours of them."""
        begin, end = (
            round(datetime.combine(one, time(), ZoneInfo(self.zone)).timestamp())
            for one in (day, day + timedelta(days=1))
        )
        return np.arange(begin, end, dtype=np.int64)

    def net_power(self, day: date) -> NDArray[np.int64]:
        """W for each second of `seconds_of(day)`; negative where the roof gives more than the home draws."""
        seconds = self.seconds_of(day)
        local = self._time_of_day(seconds)
        away = self._away(day)
        load = base_load(self._seed, seconds) * (0.6 + 0.2 * self.traits.people) + fridge(self._seed, seconds)
        if not away:
            later = 0 if self._at_work(day) else 5_400  # the morning, where nobody goes to work
            at = np.where(local < DAY_S // 2, np.clip(local - later, 0, None), local)
            load = load + appliances(self._seed, (day - _EPOCH).days)[at] * (0.55 + 0.2 * self.traits.people)
            load = load + self._car(day, local)
        load = load + self._heat(day, seconds, local, away) - self._sun(day, seconds)
        net: NDArray[np.int64] = np.rint(load).astype(np.int64)
        return net

    def surroundings(self, day: date) -> dict[str, NDArray[np.int64]]:
        """For each second of `seconds_of(day)` the temperature outside (0.01 C), the sun's irradiance (W/m2)
        and how many people are at home."""
        seconds = self.seconds_of(day)
        local = self._time_of_day(seconds)
        people = 0 if self._away(day) else self.traits.people
        at_work = self._at_work(day) & (local >= 28_800) & (local < 61_200)  # two of them, from 8 to 17
        values = {
            "temperature": 100 * self._outside(day, local),
            "irradiance": self._shine(day, seconds, _STC_W_M2),
            "occupancy": np.where(at_work, max(0, people - 2), people),
        }
        return {lane: np.rint(value).astype(np.int64) for lane, value in values.items()}

    def _outside(self, day: date, local: NDArray[np.int64]) -> Watts:
        """The temperature in C: warmest at three in the afternoon."""
        mean, _ = weather(self.zone, day)
        return mean + 3.5 * np.sin((local / DAY_S - 0.375) * 2 * np.pi)

    def _time_of_day(self, seconds: NDArray[np.int64]) -> NDArray[np.int64]:
        zone = ZoneInfo(self.zone)
        hours = range(int(seconds[0]), int(seconds[-1]) + 1, 900)  # clocks change at a quarter of an hour
        offsets = [datetime.fromtimestamp(at, zone).utcoffset() for at in hours]
        shift = np.repeat([0 if one is None else round(one.total_seconds()) for one in offsets], 900)
        local: NDArray[np.int64] = (seconds + shift[: len(seconds)]) % DAY_S
        return local

    def _at_work(self, day: date) -> bool:
        return day.weekday() < 5 and day not in _holidays(self._place.country, day.year)

    def _away(self, day: date) -> bool:
        """Two weeks in summer, and a week in winter for some."""
        chance = random.Random(f"{self._seed}/{day.year}/away")  # noqa: S311 - a simulation
        summer = date(day.year, 6, 20) + timedelta(days=chance.randrange(60))
        winter = date(day.year, 2, 1) + timedelta(days=chance.randrange(40))
        skiing = chance.random() < 0.4 and winter <= day < winter + timedelta(days=7)
        return summer <= day < summer + timedelta(days=14) or skiing

    def _car(self, day: date, local: NDArray[np.int64]) -> Watts:
        """Charging from the evening on, until what was driven is back; most days, further at weekends."""
        chance = random.Random(f"{self._seed}/{day}/car")  # noqa: S311 - a simulation
        km = self.traits.car_km * chance.uniform(0.4, 1.6) * (1.0 if self._at_work(day) else 1.3)
        begin = round(chance.uniform(17.2, 20.5) * 3600)
        lasts = round(km * _CAR_WH_A_KM / _CAR_W * 3600) if chance.random() < 0.8 else 0
        return np.where((local >= begin) & (local < begin + lasts), float(_CAR_W), 0.0)

    def _heat(self, day: date, seconds: NDArray[np.int64], local: NDArray[np.int64], away: bool) -> Watts:
        """The heat pump: on for the share of each cycle that the weather asks for, and hot water at noon."""
        if not self.traits.loss_w_a_k:
            return np.zeros(len(seconds))
        mean, _ = weather(self.zone, day)
        outside = self._outside(day, local)
        indoors = _INDOORS_C - (4 if away else 0)
        wanted = np.where(
            mean < _HEATED_UP_TO_C, np.clip(indoors - 3 - outside, 0, None) * self.traits.loss_w_a_k, 0.0
        )
        drawn = wanted / np.clip(3.2 + 0.09 * outside, 1.6, 5.0)  # the coefficient of performance
        at = seconds % _HEATER_CYCLE_S / _HEATER_CYCLE_S
        heating = np.where(at < drawn / _HEATER_W, float(_HEATER_W), 0.0)
        water = 0 if away else 600 + 500 * self.traits.people
        return heating + np.where((local >= 45_000) & (local < 45_000 + water), 1_800.0, 0.0)

    def _sun(self, day: date, seconds: NDArray[np.int64]) -> Watts:
        """The roof's power."""
        return self._shine(day, seconds, self.traits.roof_w) if self.traits.roof_w else np.zeros(len(seconds))

    def _shine(self, day: date, seconds: NDArray[np.int64], full: int) -> Watts:
        """What a full sun gives `full` of: the sun's height behind the day's clouds."""
        latitude = math.radians(self._place.latitude)
        declination = math.radians(-23.44) * math.cos(2 * math.pi * (day.timetuple().tm_yday + 10) / 365.25)
        turn = (seconds % DAY_S / DAY_S + self._place.longitude / 360) * 2 * np.pi
        height = math.sin(latitude) * math.sin(declination) - math.cos(latitude) * math.cos(
            declination
        ) * np.cos(turn)
        _, cloudy = weather(self.zone, day)
        clouds = drift(self._seed, "clouds", seconds, 1_200)
        passing = np.clip(1.15 - cloudy * (0.5 + clouds), 0.08, 1.0)
        sun: Watts = full * np.clip(height, 0, None) ** 1.15 * passing
        return sun


@lru_cache(maxsize=1024)
def weather(zone: str, day: date) -> tuple[float, float]:
    """A day's mean temperature in C at a zone's place, and how cloudy it is, 0 to 1. Days resemble those
    before them."""
    place = PLACES[zone]
    season = -math.cos(2 * math.pi * (day.timetuple().tm_yday - 20) / 365.25)  # coldest on 20 January
    front = cloudy = 0.0
    for ago in range(12):
        chance = random.Random(f"{zone}/{day - timedelta(days=ago)}/weather")  # noqa: S311 - a simulation
        front += chance.gauss(0, 2.2) * 0.75**ago
        cloudy += chance.gauss(0, 0.22) * 0.6**ago
    return place.mean_c + place.swing_c * season + front, min(1.0, max(0.0, 0.5 - 0.15 * season + cloudy))


@lru_cache(maxsize=64)
def _holidays(country: str, year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays(country, years=year))
