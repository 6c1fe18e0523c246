"""A price series: what a provider asks, or pays, for energy in a sequence of intervals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Self

from gateway.chain.layout import DAY_MS, ENERGY
from gateway.chain.tariff import MAX_DECIMALS
from gateway.errors import Refused
from gateway.wire import cose, names
from gateway.wire.form import Field, between, bstr, integer, list_of, one_of, tstr, tuple_of, uint
from gateway.wire.signed import Stored

MAX_INTERVALS = 2**17
"""More than the intervals of five minutes in `MAX_SPAN_MS`."""
MAX_SPAN_MS = 366 * DAY_MS
"""The longest time from a series' beginning to its end, so that whoever looks for the prices of a moment
knows how far back a series that has them may begin."""
_CURRENCY_BYTES = 8
_LAST_MS = 253_402_300_799_999
"""The end of the year 9999: later times have no date to show to a person."""


class PriceInterval(NamedTuple):
    """A price for the `duration_ms` milliseconds from `start_ms` (Unix ms) on: an integer of
    10^-decimals of the currency for a kWh, negative where it is paid to the household."""

    start_ms: int
    duration_ms: int
    price: int

    @property
    def end_ms(self) -> int:
        """The moment at which it ends, Unix ms."""
        return self.start_ms + self.duration_ms


@dataclass(frozen=True, slots=True)
class PriceSeries(Stored):
    """A provider's prices of energy for some lanes: `intervals` in order, without overlap, with gaps where
    there is no price. `zone` is the IANA time zone of the market whose days the intervals divide. Of two
    series of one name and lane, the one with the higher serial has the prices where they overlap."""

    TYPE = "gw1/prices"
    FIELDS = (
        Field(1, "provider", bstr(cose.KID_BYTES)),
        Field(2, "serial", uint()),
        Field(3, "name", tstr(80)),
        Field(4, "lanes", list_of(one_of(*ENERGY), most=len(ENERGY))),
        Field(5, "currency", tstr(_CURRENCY_BYTES)),
        Field(6, "decimals", between(0, MAX_DECIMALS)),
        Field(7, "zone", tstr()),
        Field(8, "intervals", list_of(tuple_of(uint(), between(1, MAX_SPAN_MS), integer()), MAX_INTERVALS)),
        Field(9, "issued_ms", uint()),
    )
    provider: bytes
    serial: int
    name: str
    lanes: tuple[str, ...]
    currency: str
    decimals: int
    zone: str
    intervals: tuple[PriceInterval, ...]
    issued_ms: int

    @property
    def start_ms(self) -> int:
        """The beginning of the first interval, Unix ms."""
        return self.intervals[0].start_ms

    @property
    def end_ms(self) -> int:
        """The end of the last interval, Unix ms."""
        return self.intervals[-1].end_ms

    def fault(self) -> str | None:
        """What makes the series invalid, in words; None where it is valid."""
        if not self.currency:
            return 'its currency is empty: expected one such as "EUR"'
        if len(set(self.lanes)) < len(self.lanes):
            return "it names a lane twice"
        for n, (one, other) in enumerate(pairwise(self.intervals), 2):
            if other.start_ms < one.end_ms:
                return f"interval {n} begins before the one before it ends"
        if self.end_ms - self.start_ms > MAX_SPAN_MS:
            return f"it spans more than {MAX_SPAN_MS // DAY_MS} days"
        if max(self.end_ms, self.issued_ms) > _LAST_MS:
            return "its time ends after the year 9999"
        return None

    @classmethod
    def _from(cls, values: dict[str, Any], what: str) -> Self:
        values["intervals"] = tuple(PriceInterval(*one) for one in values["intervals"])
        series = cls(**values)
        fault = series.fault()
        if fault is not None:
            raise Refused(f"{what}: {fault}")
        return series

    @classmethod
    def read(
        cls, data: bytes, public_key: bytes, what: str, later: list[cose.Unverified] | None = None
    ) -> Self:
        """The series in a COSE_Sign1 signed by the provider's `public_key` (SubjectPublicKeyInfo, DER); else
        Refused. With `later` the signature is put there, to be verified before the series is used."""
        series = cls.from_payload(cose.verify(data, cls.TYPE, public_key, what, later), what)
        if series.provider != cose.kid_of(public_key):
            raise Refused(f"{what}: it names another provider than the one that signed it")
        return series

    def own_key(self, key: str, unit_ms: int) -> str:
        """Where the series belongs; neither argument matters, as a series belongs to no stream."""
        return names.price_series(self.provider, self.start_ms, self.serial)
