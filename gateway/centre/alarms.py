"""Alarms: a load above its region's limit, a home whose chain does not hold, sets that the service refuses,
a region without new sums.

An alarm stands for as long as its cause is there. It is written as a line of JSON when it begins, when its
text changes (at most once a minute), and when it is over.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Literal

from gateway.centre.homes import check_region
from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.host.fault_log import FaultLog
from gateway.stream.times import spell

Kind = Literal["load", "chain", "refused", "silent"]
LIMITS = ("region", "limit_kw")
"""The heading of a list of limits."""
_LEAST_KW = Decimal("0.001")
_PAST = 200
"""Alarms that are over and still known."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of a region, or of a home in it, whose stream is then `stream` in hexadecimal. Its cause was
    there from `first_ms` to `last_ms` (Unix ms)."""

    kind: Kind
    region: str
    stream: str
    text: str
    first_ms: int
    last_ms: int
    over: bool = False

    @property
    def key(self) -> tuple[Kind, str, str]:
        """What of this alarm only one stands of at a time."""
        return self.kind, self.region, self.stream


class Alarms:
    """The alarms that stand, and the last ones that are over; `write` gets the lines of JSON."""

    def __init__(self, clock: Clock, write: Callable[[str], object]) -> None:
        self._clock = clock
        self._write = write
        self._standing: dict[tuple[Kind, str, str], tuple[Alarm, FaultLog]] = {}
        self._past: deque[Alarm] = deque(maxlen=_PAST)

    @property
    def standing(self) -> list[Alarm]:
        """Those that stand, the last that began first."""
        return sorted((one for one, _ in self._standing.values()), key=lambda one: -one.first_ms)

    @property
    def past(self) -> list[Alarm]:
        """Those that are over, the last first."""
        return sorted(self._past, key=lambda one: -one.last_ms)

    def hold(self, alarm: Alarm) -> None:
        """The cause of an alarm is there: it begins, or goes on from when it began."""
        known = self._standing.get(alarm.key)
        if known is None:
            log = FaultLog(self._clock, lambda text: self._log(alarm.key, text), self._write)
        else:
            alarm, log = replace(alarm, first_ms=known[0].first_ms), known[1]
        self._standing[alarm.key] = alarm, log
        if known is None or known[0].text != alarm.text:
            log.report(alarm.text)

    def end(self, kind: Kind, region: str, stream: str = "") -> None:
        """The cause is gone; nothing where no such alarm stands."""
        found = self._standing.pop((kind, region, stream), None)
        if found is not None:
            alarm, log = replace(found[0], over=True), found[1]
            self._past.append(alarm)
            log.clear(_line(alarm, alarm.text))

    def end_others(self, kind: Kind, held: Collection[tuple[Kind, str, str]]) -> None:
        """Of all alarms of a kind only those `held` go on."""
        for key in [key for key in self._standing if key[0] == kind and key not in held]:
            self.end(*key)

    def _log(self, key: tuple[Kind, str, str], text: str) -> None:
        self._write(_line(self._standing[key][0], text))


def _line(alarm: Alarm, text: str) -> str:
    document = {
        "alarm": alarm.kind,
        "region": alarm.region,
        "stream": alarm.stream or None,
        "text": text,
        "first": spell(alarm.first_ms, 1),
        "last": spell(alarm.last_ms, 1),
        "over": alarm.over,
    }
    return json.dumps(document, ensure_ascii=False)


def read_limits(text: str, what: str) -> dict[str, Decimal]:
    """The limits of regions in kW, from CSV headed region,limit_kw. UsageError names the line that is
    wrong."""
    limits: dict[str, Decimal] = {}
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        if [cell.strip() for cell in next(reader, [])] != list(LIMITS):
            raise UsageError(f"{what}, line 1: expected the heading {','.join(LIMITS)}")
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not cells:
                continue
            where = f"{what}, line {reader.line_num}"
            if len(cells) != len(LIMITS):
                raise UsageError(f"{where}: {len(cells)} cells: expected {','.join(LIMITS)}")
            region, limit = cells[0], _kw(cells[1], where)
            check_region(region, where)
            if region in limits:
                raise UsageError(f"{where}: region {region!r} has a limit above: expected one for each")
            limits[region] = limit
    except csv.Error as error:
        raise UsageError(f"{what}, line {reader.line_num}: {error}: expected CSV") from None
    return limits


def _kw(text: str, where: str) -> Decimal:
    try:
        limit = Decimal(text)
    except InvalidOperation:
        limit = Decimal("NaN")
    if not limit.is_finite() or not 0 < limit < 10**9 or limit < _LEAST_KW:
        raise UsageError(f"{where}: limit {text!r}: expected kW above 0, such as 120 or 62.5")
    return limit
