"""A meter's load profile: its registers at the end of each past period (profile generic, class 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.dlms.application.client import DlmsSession, Steps
from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import Value
from gateway.meters.dlms.cosem.date_time import Scale
from gateway.meters.dlms.cosem.objects import PROFILE_GENERIC, Obis, Reference, obis_text, rows_between

_NS = 1_000_000_000
_BUFFER, _CAPTURE_OBJECTS, _CAPTURE_PERIOD = 2, 3, 4
_VALUE = 2  # the attribute that holds a register's or a clock's value
_LONGEST_PERIOD_S = 86_400


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a load profile: the index of the clock and of each lane's register. `clock_object` is
    the profile's description of the clock, `period_s` the capture period."""

    clock: int
    clock_object: Value
    lanes: Mapping[str, int]
    period_s: int


@dataclass(frozen=True, slots=True)
class Row:
    """Each lane's raw value at `stamp`, in ns on the scale of the meter's clock."""

    stamp: int
    values: Mapping[str, Value] = field(repr=False)


def read_columns(
    session: DlmsSession, profile: Obis, clock: Obis, registers: Mapping[str, Obis]
) -> Steps[Columns]:
    """The columns of the profile. MeterError where it has no clock, or none of the `registers`."""
    captured = yield from session.get(Reference(PROFILE_GENERIC, profile, _CAPTURE_OBJECTS))
    period = yield from session.get(Reference(PROFILE_GENERIC, profile, _CAPTURE_PERIOD))
    name = obis_text(profile)
    if not isinstance(period, int) or not 0 < period <= _LONGEST_PERIOD_S:
        raise MeterError(f"the load profile {name} does not have a period of 1 s to a day")
    if not isinstance(captured, tuple):
        raise MeterError(f"the load profile {name} does not say what it captures")
    at: dict[Obis, int] = {}
    for index, column in enumerate(captured):
        match column:
            case (int(), bytes(code), int(attribute), *_) if attribute == _VALUE:
                at.setdefault(code, index)
            case (int(), bytes(), int(), *_):
                pass  # a status, or the time of a register
            case _:
                raise MeterError(f"the load profile {name} captures something without a name")
    lanes = {lane: at[code] for lane, code in registers.items() if code in at}
    if clock not in at or not lanes:
        raise MeterError(f"the load profile {name} captures no clock, or none of the registers that are read")
    return Columns(at[clock], captured[at[clock]], lanes, period)


def read_rows(
    session: DlmsSession, profile: Obis, columns: Columns, scale: Scale, first: int, last: int
) -> Steps[list[Row]]:
    """The rows stamped from `first` to `last`, in ns on the scale of the meter's clock, in their order.
    Meters that compare local times return others too."""
    selection = rows_between(columns.clock_object, scale.octets(first), scale.octets(last))
    buffer = yield from session.get(Reference(PROFILE_GENERIC, profile, _BUFFER), selection)
    if not isinstance(buffer, tuple):
        raise MeterError(f"the load profile {obis_text(profile)} holds no rows")
    return rows(buffer, columns, scale)


def rows(buffer: Sequence[Value], columns: Columns, scale: Scale) -> list[Row]:
    """The rows of a buffer. A null stands for what follows from the previous row: a clock one period later, a
    value that did not change (IEC 62056-6-2, profile generic). Left out are rows without such a predecessor,
    and rows whose clock the meter marks as doubtful."""
    found: list[Row] = []
    stamp: int | None = None
    values: dict[str, Value] = {}
    for row in buffer:
        if not isinstance(row, tuple) or len(row) <= max(columns.clock, *columns.lanes.values()):
            raise MeterError("a row of the load profile lacks columns")
        match row[columns.clock]:
            case bytes(octets):
                stamp = scale.ns(octets)
                if not date_time.is_sure(octets):
                    stamp = None
            case None:
                stamp = None if stamp is None else stamp + columns.period_s * _NS
            case _:
                raise MeterError("a row of the load profile has no time in its clock column")
        fresh = {lane: row[at] for lane, at in columns.lanes.items() if row[at] is not None}
        values = values | fresh
        if stamp is not None and values:
            found.append(Row(stamp, values))
    return found
