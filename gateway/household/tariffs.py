"""The prices that the household has chosen for its pages: a tariff's file, or providers' price series."""

from __future__ import annotations

from gateway.household.money import Rates, SeriesRates, TariffRates
from gateway.household.prices import Prices, SeriesName
from gateway.household.settings import Settings


class Tariffs:
    """What the home pays, as chosen in the settings; a tariff's file is read again when it has changed."""

    def __init__(self, settings: Settings, prices: Prices) -> None:
        self._settings = settings
        self._prices = prices
        self._read: tuple[int, TariffRates] | None = None

    def rates(self) -> Rates | None:
        """The chosen prices; None where none are. UsageError where they cannot be used: the file is damaged,
        or no such prices have come yet."""
        series = self._settings.choices.series
        if series:
            names: dict[str, SeriesName] = {
                lane: SeriesName(bytes.fromhex(one.provider), one.name) for lane, one in series.items()
            }
            return SeriesRates.open(self._prices, names)
        path = self._settings.tariff_file
        try:
            changed_ns = path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        if self._read is None or self._read[0] != changed_ns:
            self._read = changed_ns, TariffRates.load(path)
        return self._read[1]
