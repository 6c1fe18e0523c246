"""A pushed list to registers. Three layouts are in use, each also with null-data where a meter lacks a
register:

- OBIS codes, each followed by its value and, from most makers, by its scaler and unit, flat or in structures
  (Aidon, Kamstrup, Kaifa in Sweden and Austria, Sagemcom)
- a list of the pushed objects, and then their values in that order (Landis+Gyr, Iskraemeco)
- values alone, whose meaning follows from their places (Kaifa in Norway, Iskraemeco in Slovenia, Landis+Gyr
  in Burgenland): see `layouts`

A list that has codes is read by its codes, in whatever order; one without is read only where it fits exactly
one of the profile's layouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.dlms.application.apdu import DataNotification
from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import Array, Enum, Integer, Value
from gateway.meters.dlms.cosem.date_time import Moment
from gateway.meters.dlms.cosem.objects import Obis, obis_text
from gateway.meters.dlms.cosem.quantity import WATT, WATT_HOUR, ScalerUnit, shown_energy, watts
from gateway.meters.dlms.push.layouts import Layout, described
from gateway.meters.reading import Telegram
from gateway.meters.totals import Shown, hold_against_parts, the_finer

# The meaning of OBIS groups C, D and E (IEC 62056-6-1); B is a channel that makers choose, F is 255 (now).
_QUANTITIES = {
    (1, 8, 0): "import",
    (2, 8, 0): "export",
    (1, 7, 0): "drawn",
    (2, 7, 0): "given",
    (16, 7, 0): "net",
}
_CLOCK = (1, 0, 0)  # of group A 0
_ENERGIES = ("import", "export")
_NO_MINUTES, _NO_DEVIATION = b"\x00\x00", b"\x80\x00"  # of a date-time's deviation from UTC
_MOST_TARIFFS = 9
_MOST_CODES = 6  # in a sentence
_PER_CODE = 3  # a list of codes has at most a value, and its scaler and unit, after each
_NS = 1_000_000_000
_HOUR_S = 3600
_LATE_S = 120  # an hourly list comes within this many seconds of the full hour


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a list, and the OBIS code of its object."""

    code: Obis
    value: Value = field(repr=False)
    scale: ScalerUnit | None = None


@dataclass(frozen=True, slots=True)
class ListForm:
    """The facts that a maker's lists leave out.

    `serial` is the object with the meter's serial number; without one, the system title takes its place.
    `zone` is that of a clock that does not give its deviation, or that calls its local time UTC. An energy
    without a scaler is in steps of 10^`energy_scaler` Wh. `layouts` are those of lists without OBIS codes.
    With `tariffs`, the meter counts in so many, and a list may have all of their energies instead of the sum.
    With `hourly_s`, energies are those of the full hour, and come this many seconds later.
    """

    serial: Obis | None = None
    zone: tzinfo | None = None
    energy_scaler: int = 0
    layouts: tuple[Layout, ...] = ()
    tariffs: int | None = None
    hourly_s: int | None = None

    def telegrams(self, notification: DataNotification, title: bytes | None) -> list[Telegram]:
        """The telegrams in a notification: two for an hourly list, whose energies are older than its power.
        MeterError where it is not a list of this form."""
        if not isinstance(notification.body, tuple):
            raise MeterError("the meter pushes a single value instead of a list")
        entries = self._entries(notification.body)
        values = self._quantities(entries)
        moment = self._moment(entries, notification)
        meter_time = None if moment is None else moment.unix_ns
        telegram = Telegram(values, self._serial(entries, title), meter_time)
        energies = {lane: values[lane] for lane in _ENERGIES if lane in values}
        if self.hourly_s is None or not energies:
            return [telegram]
        hour, age = _full_hour(moment, self.hourly_s)
        if age is None:
            return [telegram]
        hourly = replace(telegram, registers=energies, meter_time=hour, age_s=float(age))
        if "power" not in values:
            return [hourly]
        return [hourly, replace(telegram, registers={"power": values["power"]}, meter_time=None)]

    def _entries(self, body: tuple[Value, ...]) -> list[Entry]:
        named = _named(body)
        if named is not None:
            return named
        coded = list(_walk(body))
        if any(_is_known(entry.code) for entry in coded):
            return coded
        fitting = [layout for layout in self.layouts if layout.fits(body)]
        if len(fitting) == 1:
            pairs = zip(fitting[0].items, body, strict=True)
            return [Entry(item.code, value) for item, value in pairs if item.code is not None]
        if len(coded) * _PER_CODE >= len(body) > 0:
            return coded
        raise MeterError(
            f"the meter pushes an unknown list of {described(body)}: this profile has no layout for it, and "
            "none is guessed. Record it with `gateway meters capture`, so that a profile can be made for it"
        )

    def _quantities(self, entries: Sequence[Entry]) -> dict[str, int]:
        found: dict[str, int] = {}
        energies: dict[str, Shown] = {}
        for entry in entries:
            quantity = _quantity(entry.code)
            if quantity is None or entry.value is None:
                continue
            if quantity in _ENERGIES:
                shown = self._energy(entry)
                energies[quantity] = the_finer(quantity, energies.get(quantity, shown), shown)
                continue
            value = watts(entry.value, entry.scale or ScalerUnit(0, WATT))
            if found.setdefault(quantity, value) != value:
                raise MeterError(f"the meter's list has two different registers for {quantity}")
        for lane in _ENERGIES:
            parts = self._tariffs(entries, lane)
            complete = set(parts) == set(range(1, (self.tariffs or 0) + 1))
            if lane in energies:
                hold_against_parts(lane, energies[lane], list(parts.values()), complete=complete)
            elif parts and complete:
                energies[lane] = Shown(
                    sum((part.mwh for part in parts.values()), Fraction(0)),
                    max(part.step for part in parts.values()),
                )
        if not found and not energies:
            codes = ", ".join(obis_text(entry.code) for entry in entries[:_MOST_CODES])
            raise MeterError(
                "the meter's list has no known register"
                + (f", only {codes}{' ...' * (len(entries) > _MOST_CODES)}" if entries else "")
                + ": is it the profile's model?"
            )
        registers = {lane: round(energies[lane].mwh) for lane in _ENERGIES if lane in energies}
        if (power := _power(found)) is not None:
            registers["power"] = power
        return registers

    def _energy(self, entry: Entry) -> Shown:
        return shown_energy(entry.value, entry.scale or ScalerUnit(self.energy_scaler, WATT_HOUR))

    def _tariffs(self, entries: Sequence[Entry], lane: str) -> dict[int, Shown]:
        """The lane's energies by tariff. Lists do not say whether those are all there are; in two channels
        (group B) they are the same ones twice."""
        found: dict[int, Shown] = {}
        for entry in entries:
            tariff = _tariff(entry.code, lane)
            if tariff is not None and tariff not in found:
                with suppress(MeterError):  # what this register holds, nobody asked
                    found[tariff] = self._energy(entry)
        return found

    def _moment(self, entries: Sequence[Entry], notification: DataNotification) -> Moment | None:
        """The list's clock, or else the notification's; None where that is not set, or marked as doubtful."""
        clocks = [entry.value for entry in entries if _is_clock(entry)]
        octets = clocks[0] if clocks else notification.sent
        if not isinstance(octets, bytes):
            return None
        if self.zone is not None and octets[9:11] == _NO_MINUTES:
            octets = octets[:9] + _NO_DEVIATION + octets[11:]
        try:
            moment = date_time.decode(octets, self.zone)
        except MeterError:
            return None
        return moment if moment.sure else None

    def _serial(self, entries: Sequence[Entry], title: bytes | None) -> str | None:
        """The serial number, always from the same place: another number would mean another meter. None where
        the list does not hold it."""
        if self.serial is None:
            return title.hex().upper() if title else None
        return next((_text(entry.value) for entry in entries if entry.code == self.serial), None)


def _quantity(code: Obis) -> str | None:
    a, _, c, d, e, f = code
    return _QUANTITIES.get((c, d, e)) if (a, f) == (1, 255) else None


def _tariff(code: Obis, lane: str) -> int | None:
    """The number of the tariff whose energy the code names."""
    a, _, c, d, e, f = code
    is_one = (a, d, f) == (1, 8, 255) and 1 <= e <= _MOST_TARIFFS and _QUANTITIES.get((c, d, 0)) == lane
    return e if is_one else None


def _is_known(code: Obis) -> bool:
    return _quantity(code) is not None or any(_tariff(code, lane) is not None for lane in _ENERGIES)


def _is_clock(entry: Entry) -> bool:
    a, _, *rest, f = entry.code
    return (a, tuple(rest), f) == (0, _CLOCK, 255)


def _power(found: Mapping[str, int]) -> int | None:
    """Power drawn less power given. Where a list has only the power drawn, 0 may mean that the home exports:
    then the power is unknown."""
    if "net" in found:
        return found["net"]
    if "given" in found:
        return found.get("drawn", 0) - found["given"]
    return found.get("drawn") or None


def _full_hour(moment: Moment | None, usually_s: int) -> tuple[int | None, int | None]:
    """When the energies were read, by the meter's clock, and how many seconds ago that was; no age for a list
    that was not sent shortly after a full hour."""
    if moment is None:
        return None, usually_s
    past = moment.unix_ns // _NS % _HOUR_S
    if past > _LATE_S:
        return None, None
    return moment.unix_ns - moment.unix_ns % (_HOUR_S * _NS), past or usually_s


def _text(value: Value) -> str | None:
    if isinstance(value, bytes):
        return (
            value.decode("ascii") if value.isascii() and value.decode("ascii").isprintable() else value.hex()
        )
    return value if isinstance(value, str) else None


def _named(body: tuple[Value, ...]) -> list[Entry] | None:
    """The values of a list that begins with its push_object_list (IEC 62056-6-2, 5.3.8); None for other
    lists."""
    if not isinstance(body[0] if body else None, Array):
        return None
    entries = []
    objects = body[0]
    assert isinstance(objects, Array)
    for pushed in objects:
        match pushed:
            # Later versions of the push setup append restrictions.
            case (int(), bytes(code), int(attribute), int(), *_) if len(code) == 6:
                entries.append((code, attribute))
            case _:
                return None
    if len(entries) != len(body):
        raise MeterError(f"the meter's list names {len(entries)} objects but has {len(body)} values")
    return [
        Entry(code, value) for (code, attribute), value in zip(entries, body, strict=True) if attribute == 2
    ]


def _walk(items: Sequence[Value]) -> Iterator[Entry]:
    """Each OBIS code with the value, and the scaler and unit, that follow it."""
    at = 0
    while at < len(items):
        item = items[at]
        at += 1
        if isinstance(item, tuple):
            yield from _walk(item)
        elif isinstance(item, bytes) and len(item) == 6 and at < len(items):
            scale = _scale(items[at + 1]) if at + 1 < len(items) else None
            yield Entry(item, items[at], scale)
            at += 1 if scale is None else 2


def _scale(value: Value) -> ScalerUnit | None:
    match value:
        case (Integer() as scaler, Enum() as unit):
            return ScalerUnit(int(scaler), int(unit))
    return None
