"""The COSEM objects of a simulated meter: registers, clock and load profile, which show a home.

Registers count whole watt-hours. The load profile has the registers at each quarter hour of the meter's own
clock, which a client may set; it keeps the last 35 days.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import MeterError
from gateway.host.clock import Clock
from gateway.meters.dlms.application.refusal import (
    CLASS_INCONSISTENT,
    DENIED,
    TYPE_UNMATCHED,
    UNDEFINED,
    AccessError,
)
from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import (
    Array,
    DoubleLong,
    DoubleLongUnsigned,
    Enum,
    Integer,
    Long,
    Unsigned,
    Value,
)
from gateway.meters.dlms.cosem.objects import (
    CLOCK,
    DATA,
    DISCONNECT_CONTROL,
    PROFILE_GENERIC,
    PUBLIC_CLIENT,
    REGISTER,
    Obis,
    Reference,
    Selection,
    capture_object,
    obis,
)
from gateway.meters.dlms.cosem.quantity import WATT, WATT_HOUR
from gateway.simulate.dlms_association import READ, READ_WRITE, Listed
from gateway.simulate.home import Home
from gateway.simulate.truth import LiveHome

PERIOD_S = 900
_NS = 1_000_000_000
_ENTRIES = 35 * 96
_MWH_PER_WH = 1000

LOGICAL_DEVICE_NAME, SERIAL_NUMBER = obis("0-0:42.0.0"), obis("0-0:96.1.0")
CLOCK_CODE, COUNTER, DISCONNECTOR = obis("0-0:1.0.0"), obis("0-0:43.1.0"), obis("0-0:96.3.10")
IMPORT, EXPORT, POWER = obis("1-0:1.8.0"), obis("1-0:2.8.0"), obis("1-0:16.7.0")
POWER_IMPORT, POWER_EXPORT = obis("1-0:1.7.0"), obis("1-0:2.7.0")
LOAD_PROFILE = obis("1-0:99.1.0")
# At 1:00 UTC each year: the year is not specified, the day is the last (0xFE) Sunday of the month.
_LAST_SUNDAY_OF_MARCH = bytes.fromhex("ffff03fe07010000ff800000")
_LAST_SUNDAY_OF_OCTOBER = bytes.fromhex("ffff0afe07010000ff800000")
_PUBLIC = {LOGICAL_DEVICE_NAME, CLOCK_CODE, COUNTER}


@dataclass(frozen=True, slots=True)
class _Held:
    """An object's class, its attributes from 2 on, and whether each method may be called; with `writable`,
    attribute 2 may be written. `selectors` are those of the selective access to it."""

    class_id: int
    values: tuple[Value, ...]
    methods: tuple[bool, ...] = ()
    writable: bool = False
    version: int = 0
    selectors: tuple[int, ...] = ()

    def listed(self, code: Obis, *, usable: bool) -> Listed:
        """In the object list of a client; one for which it is not `usable` may only read it."""
        first = READ_WRITE if self.writable and usable else READ
        attributes = (READ, first, *(READ for _ in self.values[1:]))
        methods = tuple(allowed and usable for allowed in self.methods)
        return Listed(self.class_id, self.version, code, attributes, methods, self.selectors)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the load profile: registers in Wh at the meter's time `stamp` (ns)."""

    stamp: int
    imported: int
    exported: int


class MeterObjects:
    """The objects of the meter with the serial number `serial`, which shows `home` at `clock`. `counter`
    returns the highest invocation counter that a client has sent. `truth` as for `LiveHome`."""

    def __init__(
        self,
        home: Home,
        clock: Clock,
        truth: Path | None = None,
        *,
        serial: str = "12345678",
        counter: Callable[[], int] = lambda: 0,
    ) -> None:
        self._serial = serial.encode()
        self._clock = clock
        self._counter = counter
        self.ahead = 0  # ns by which the meter's clock is ahead of the real one
        self._past = copy.copy(home)  # advances from stamp to stamp, so that none is missed
        self._entries: deque[Entry] = deque(maxlen=_ENTRIES)
        self._next_stamp = _next_stamp((home.second + 1) * _NS)
        self.connected = True
        self.ready = False  # for reconnection by hand
        self.control_mode = (
            4  # reconnected from afar; in mode 3 by hand, after that (IEC 62056-6-2, class 70)
        )
        self.clock_status = 0  # 2 for a clock that is marked as doubtful
        self.live = LiveHome(home, clock, self._show, truth)

    def _show(self, home: Home) -> Mapping[str, int]:
        self._imported, self._exported = home.import_mwh // _MWH_PER_WH, home.export_mwh // _MWH_PER_WH
        self._power = home.power
        return self.shown

    @property
    def shown(self) -> Mapping[str, int]:
        """The registers as a gateway reads them: mWh and W."""
        energies = {"import": self._imported * _MWH_PER_WH, "export": self._exported * _MWH_PER_WH}
        return energies | {"power": self._power}

    def get(self, target: Reference, selection: Selection | None, client: int) -> Value:
        self.live.catch_up()
        self._capture()
        if client == PUBLIC_CLIENT and target.obis not in _PUBLIC:
            raise AccessError(target, DENIED)
        held = self._objects().get(target.obis)
        if held is None:
            raise AccessError(target, UNDEFINED)
        if held.class_id != target.class_id:
            raise AccessError(target, CLASS_INCONSISTENT)
        if target.index == 1:
            return target.obis
        if not 2 <= target.index < len(held.values) + 2:
            raise AccessError(target, UNDEFINED)
        if target.obis == LOAD_PROFILE and target.index == 2:
            return self._rows(target, selection)
        return held.values[target.index - 2]

    def listed(self, client: int) -> list[Listed]:
        """The objects that a client may use, and how: the public client may only read, and little."""
        public = client == PUBLIC_CLIENT
        return [
            held.listed(code, usable=not public)
            for code, held in self._objects().items()
            if not public or code in _PUBLIC
        ]

    def set(self, target: Reference, value: Value, client: int) -> None:
        if client == PUBLIC_CLIENT or (target.class_id, target.obis, target.index) != (CLOCK, CLOCK_CODE, 2):
            raise AccessError(target, DENIED)
        if not isinstance(value, bytes):
            raise AccessError(target, TYPE_UNMATCHED)
        try:
            moment = date_time.decode(value)
        except MeterError:
            raise AccessError(target, TYPE_UNMATCHED) from None
        self.set_clock(moment.unix_ns)

    def set_clock(self, time_ns: int) -> None:
        self._capture()
        self.ahead = time_ns - self._clock.wall()
        self._next_stamp = _next_stamp(time_ns)

    def act(self, target: Reference, parameter: Value, client: int) -> Value:
        if client == PUBLIC_CLIENT:
            raise AccessError(target, DENIED)
        if (target.class_id, target.obis) != (DISCONNECT_CONTROL, DISCONNECTOR) or target.index not in (1, 2):
            raise AccessError(target, UNDEFINED)
        if not isinstance(parameter, Integer):
            raise AccessError(target, TYPE_UNMATCHED)
        if target.index == 1:
            self.connected = self.ready = False
        elif not self.connected:
            self.connected = self.control_mode in _REMOTE_RECONNECTS
            self.ready = not self.connected
        return None

    def press(self) -> None:
        """Somebody presses the meter's button, which reconnects a home that is ready for it."""
        self.connected, self.ready = self.connected or self.ready, False

    def _now(self) -> int:
        """The meter's own time, ns."""
        return self._clock.wall() + self.ahead

    def _capture(self) -> None:
        """Add the rows whose stamps have passed."""
        while self._next_stamp <= self._now():
            # At a stamp the registers hold the energy up to it, which is up to the end of the second before.
            self._past.advance_to((self._next_stamp - self.ahead) // _NS - 1)
            row = (self._past.import_mwh // _MWH_PER_WH, self._past.export_mwh // _MWH_PER_WH)
            self._entries.append(Entry(self._next_stamp, *row))
            self._next_stamp += PERIOD_S * _NS

    def _objects(self) -> dict[bytes, _Held]:
        """The objects by their codes."""
        watt_hours, watts = (Integer(0), Enum(WATT_HOUR)), (Integer(0), Enum(WATT))

        energies = (capture_object(REGISTER, code, 2) for code in (IMPORT, EXPORT))
        columns = Array((_COLUMN_CLOCK, *energies))
        return {
            LOGICAL_DEVICE_NAME: _Held(DATA, (b"GWS" + self._serial.rjust(13, b"0"),)),
            SERIAL_NUMBER: _Held(DATA, (self._serial,)),
            COUNTER: _Held(DATA, (DoubleLongUnsigned(self._counter()),)),
            CLOCK_CODE: _Held(
                CLOCK,
                (
                    date_time.encode(self._now(), 0)[:-1] + bytes((self.clock_status,)),
                    Long(0),
                    Unsigned(self.clock_status),
                    _LAST_SUNDAY_OF_MARCH,
                    _LAST_SUNDAY_OF_OCTOBER,
                    Integer(60),
                    False,  # daylight saving is not enabled: the clock is UTC
                    Enum(1),  # the base is a crystal inside
                ),
                methods=(False,) * 6,
                writable=True,
            ),
            IMPORT: _Held(REGISTER, (DoubleLongUnsigned(self._imported), watt_hours), (False,)),
            EXPORT: _Held(REGISTER, (DoubleLongUnsigned(self._exported), watt_hours), (False,)),
            POWER: _Held(REGISTER, (DoubleLong(self._power), watts), (False,)),
            POWER_IMPORT: _Held(REGISTER, (DoubleLongUnsigned(max(self._power, 0)), watts), (False,)),
            POWER_EXPORT: _Held(REGISTER, (DoubleLongUnsigned(max(-self._power, 0)), watts), (False,)),
            DISCONNECTOR: _Held(
                DISCONNECT_CONTROL,
                (self.connected, Enum(2 if self.ready else int(self.connected)), Enum(self.control_mode)),
                (True, True),
            ),
            LOAD_PROFILE: _Held(
                PROFILE_GENERIC,
                (
                    None,  # the buffer: see `_rows`
                    columns,
                    DoubleLongUnsigned(PERIOD_S),
                    Enum(1),  # first in, first out
                    _COLUMN_CLOCK,
                    DoubleLongUnsigned(len(self._entries)),
                    DoubleLongUnsigned(_ENTRIES),
                ),
                methods=(False, False),
                version=1,
                selectors=(1, 2),
            ),
        }

    def _rows(self, target: Reference, selection: Selection | None) -> Value:
        entries = list(self._entries)
        match selection:
            case None:
                pass
            case Selection(1, (column, bytes(first), bytes(last), _)) if column == _COLUMN_CLOCK:
                try:
                    low, high = date_time.decode(first).unix_ns, date_time.decode(last).unix_ns
                except MeterError:
                    raise AccessError(target, TYPE_UNMATCHED) from None
                entries = [entry for entry in entries if low <= entry.stamp <= high]
            case Selection(2, (int(from_row), int(to_row), _, _)):
                entries = entries[max(from_row - 1, 0) : to_row or None]
            case _:
                raise AccessError(target, TYPE_UNMATCHED)
        return Array(
            (
                date_time.encode(entry.stamp, 0),
                DoubleLongUnsigned(entry.imported),
                DoubleLongUnsigned(entry.exported),
            )
            for entry in entries
        )


_REMOTE_RECONNECTS = (2, 4)  # the control modes in which remote_reconnect closes the switch itself
_COLUMN_CLOCK = capture_object(CLOCK, CLOCK_CODE, 2)


def _next_stamp(time_ns: int) -> int:
    """The first multiple of the period at or after `time_ns`."""
    return -(-time_ns // (PERIOD_S * _NS)) * PERIOD_S * _NS
