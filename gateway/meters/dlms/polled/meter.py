"""A polled DLMS meter: over TCP, a serial line or an optical head, as its model says.

It associates on the first request and stays associated. Any doubt about which bytes may still be in transit
ends the connection, so that a late answer is never taken for the answer to a later request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from gateway.errors import MeterError, UsageError
from gateway.host.clock import Clock
from gateway.meters.dlms.application.client import DlmsSession, Steps
from gateway.meters.dlms.application.refusal import AccessError
from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import Value
from gateway.meters.dlms.cosem.date_time import Scale
from gateway.meters.dlms.cosem.objects import CLOCK, DATA, Obis, Reference, obis
from gateway.meters.dlms.cosem.quantity import ScalerUnit, milliwatt_hours, watts
from gateway.meters.dlms.polled.connection import AssociatedConnection
from gateway.meters.dlms.polled.load_profile import Columns, Row, read_columns, read_rows
from gateway.meters.dlms.polled.model import DlmsModel, Register
from gateway.meters.endpoint import Endpoint
from gateway.meters.reading import Plausibility, Reading, sane
from gateway.meters.secrets import Secrets

T = TypeVar("T")

_NS = 1_000_000_000
_NAME = obis("0-0:42.0.0")  # the logical device name, which begins with the maker's three letters
_VALUE, _SCALER_UNIT = 2, 3
_WHOLE_S = 120.0  # for one operation with all its requests
_WHOLE_PROFILE_S = 900.0  # enough for 60 days over a serial line of 9600 Bd
_IDLE_NS = 60 * _NS  # meters end an unused association, most after two or three minutes
_CLOCK_EVERY_NS = 60 * _NS
_PAGE_NS = 86_400 * _NS  # the part of a load profile in one request
_MOST_NS = 60 * _PAGE_NS  # the most of a load profile that is read: meters keep a month or two
_BEFORE_NS = 1_000_000  # by how much a row is put before its stamp: it belongs to the unit that ends there


class DlmsMeter:
    """The meter `name` behind `endpoint`, read as its `model` says; `lanes` are some of import, export and
    power. `counter_file` keeps the invocation counter for a meter that needs one. An answer, or the next part
    of it, must come within `timeout_s`."""

    pushes = False

    def __init__(
        self,
        name: str,
        model: DlmsModel,
        endpoint: Endpoint,
        secrets: Secrets,
        counter_file: Path,
        *,
        lanes: Collection[str],
        clock: Clock,
        timeout_s: float = 5.0,
    ) -> None:
        for lane in lanes:
            if lane not in model.lanes:
                has = ", ".join(model.lanes)
                raise UsageError(f"meter {name}: its profile has no lane {lane!r}; it has {has}")
        try:
            self._connection = AssociatedConnection(
                endpoint, model.link, model.security, secrets, counter_file, timeout_s
            )
        except UsageError as error:
            raise UsageError(f"meter {name}: {error}") from None
        self.rollover: Mapping[str, int] = model.rollover
        self._name = name
        self._model = model
        self._registers = tuple(register for register in model.registers if register.lane in lanes)
        self._clock = clock
        self._scales: dict[Obis, ScalerUnit] = {}
        self._serial: str | None = None
        self._prepared = False
        self._clock_due = 0
        self._used = 0
        self._one_at_a_time = asyncio.Lock()

    async def read(self) -> Reading:
        """Its registers now and, once a minute, its clock."""
        return await self._guarded(self._read)

    async def probe(self) -> Plausibility:
        """Whether its registers are there, in Wh and W."""
        return await self._guarded(self._probe)

    async def perform(self, operation: Callable[[DlmsSession], Steps[T]]) -> T:
        """Run `operation` in the association, such as throwing the switch. MeterError as for `read`."""

        async def performed() -> T:
            await self._connected()
            return await self._connection.run(operation)

        return await self._guarded(performed)

    @property
    def load_profile(self) -> Self | None:
        """The meter itself, where its model has a load profile."""
        return self if self._model.load_profile is not None else None

    @property
    def period_s(self) -> int:
        return self._model.period_s

    async def remembered(self, after: int) -> Sequence[Reading]:
        """Reads a day of the profile at a time."""
        profile = self._model.load_profile
        assert profile is not None  # `load_profile` is None for a meter without one
        return await self._guarded(lambda: self._remembered(profile, after), _WHOLE_PROFILE_S)

    async def aclose(self) -> None:
        if self._one_at_a_time.locked():  # a request is under way, so no release can be sent
            self._connection.drop()
        else:
            await self._connection.close()

    async def _guarded(self, operation: Callable[[], Awaitable[T]], within_s: float = _WHOLE_S) -> T:
        """Run one operation at a time; after one that left doubts, the next one opens a new connection."""
        async with self._one_at_a_time:
            certain = False
            try:
                async with asyncio.timeout(within_s):
                    result = await operation()
                certain = True
                return result
            except AccessError as error:
                certain = True
                raise MeterError(f"meter {self._name}: {error}") from None
            except MeterError as error:
                raise MeterError(f"meter {self._name}: {error}") from None
            except TimeoutError:
                raise MeterError(
                    f"meter {self._name} did not finish answering within {within_s:g} s"
                ) from None
            finally:
                self._used = self._clock.monotonic()
                if not certain:
                    self._connection.drop()

    async def _connected(self) -> None:
        """Associate, unless that was done."""
        if self._clock.monotonic() - self._used > _IDLE_NS:
            await self._connection.close()
        if not self._connection.is_open:
            self._prepared = False
            await self._connection.open()

    async def _prepare(self) -> None:
        """Associate, and read what never changes: scalers, units, the serial number."""
        await self._connected()
        if self._prepared:
            return
        for register in self._registers:
            for code in register.codes:
                scale = await self._get(register.class_id, code, _SCALER_UNIT)
                self._scales[code] = ScalerUnit.of(scale)
        self._serial = await self._serial_number()
        self._clock_due = self._clock.monotonic()
        self._prepared = True

    async def _serial_number(self) -> str | None:
        """None where the meter has none or does not give it: its registers can be used without."""
        if self._model.serial_number is None:
            return None
        try:
            return _text(await self._get(DATA, self._model.serial_number, _VALUE))
        except AccessError:
            return None

    async def _read(self) -> Reading:
        await self._prepare()
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        registers = {}
        for register in self._registers:
            values = [await self._get(register.class_id, code, _VALUE) for code in register.codes]
            registers[register.lane] = self._lane_value(register, values)
        sane(registers)
        return Reading(
            self._name, registers, wall, monotonic, self._serial, await self._meter_time(monotonic)
        )

    async def _meter_time(self, monotonic: int) -> int | None:
        """The meter's clock, where it is due and related to UTC; the registers can be used without."""
        if monotonic < self._clock_due:
            return None
        self._clock_due = monotonic + _CLOCK_EVERY_NS
        try:
            value = await self._get(CLOCK, self._model.clock, _VALUE)
        except AccessError:
            return None
        try:
            moment = date_time.decode(value) if isinstance(value, bytes) else None
        except MeterError:  # it was never set, or its distance from UTC is unknown
            return None
        return moment.unix_ns if moment is not None and moment.sure else None

    async def _probe(self) -> Plausibility:
        try:
            await self._read()
        except AccessError as error:
            return Plausibility(False, f"meter {self._name}: {error}: is it the profile's model?")
        maker = (_text(await self._get(DATA, _NAME, _VALUE)) or "")[:3]
        has = ", ".join(register.lane for register in self._registers)
        return Plausibility(True, f"meter {self._name} is made by {maker!r} and has {has}")

    def _lane_value(self, register: Register, values: Sequence[Value]) -> int:
        convert = watts if register.lane == "power" else milliwatt_hours
        value, *less = (
            convert(value, self._scales[code]) for code, value in zip(register.codes, values, strict=True)
        )
        return value - sum(less)

    async def _get(self, class_id: int, code: Obis, attribute: int) -> Value:
        return await self._connection.run(lambda session: session.get(Reference(class_id, code, attribute)))

    async def _remembered(self, profile: Obis, after: int) -> Sequence[Reading]:
        await self._prepare()
        codes = {register.lane: register.obis for register in self._energies()}
        columns = await self._connection.run(
            lambda session: read_columns(session, profile, self._model.clock, codes)
        )
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        shown = await self._get(CLOCK, self._model.clock, _VALUE)
        took = self._clock.monotonic() - monotonic
        if not isinstance(shown, bytes):
            raise MeterError("the meter's clock shows no time")
        scale = Scale.of(shown)
        if not date_time.is_sure(shown):
            raise MeterError(
                "the meter marks its own clock as doubtful: the times in its load profile cannot be trusted"
            )
        now = scale.ns(shown)
        behind = _behind(now, wall, took)
        # The gateway's clock says how long ago `after` was if it is set, otherwise the meter's does.
        oldest = max(after - (behind if self._clock.trusted() else 0) + 1, now - _MOST_NS)
        found: dict[int, Row] = {}
        for first in range(oldest, now + 1, _PAGE_NS):
            page = await self._rows(profile, columns, scale, first, min(first + _PAGE_NS - 1, now))
            found |= {row.stamp: row for row in page if oldest <= row.stamp <= now}
        readings = []
        for stamp, row in sorted(found.items()):
            at = stamp + behind - _BEFORE_NS
            told = None if scale.standard is None else stamp
            registers = self._remembered_registers(row)
            readings.append(Reading(self._name, registers, at, monotonic - (wall - at), self._serial, told))
        return readings

    def _energies(self) -> list[Register]:
        return [register for register in self._registers if register.lane != "power"]

    async def _rows(self, profile: Obis, columns: Columns, scale: Scale, first: int, last: int) -> list[Row]:
        return await self._connection.run(
            lambda session: read_rows(session, profile, columns, scale, first, last)
        )

    def _remembered_registers(self, row: Row) -> dict[str, int]:
        registers = {
            register.lane: self._lane_value(register, [row.values[register.lane]])
            for register in self._energies()
            if register.lane in row.values
        }
        sane(registers)
        return registers


def _behind(now: int, wall: int, took: int) -> int:
    """How many ns a meter's clock is behind ours (negative: ahead), if it showed `now` between `wall` and
    `took` later. The clock has whole seconds, so this is in whole seconds too, and the smallest possible
    difference: the rows of a meter in step with us stay where they belong, however long its answer took."""
    least, most = (wall - now) // _NS * _NS, (wall + took - now) // _NS * _NS
    return least if least >= 0 else min(most, 0)


def _text(value: Value) -> str | None:
    """A name or a number, which most meters send as characters or as octets of ASCII."""
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    return None if value is None else str(value)
