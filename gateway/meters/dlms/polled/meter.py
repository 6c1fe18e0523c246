"""A DLMS meter that is asked: over TCP, a serial line or an optical head, as its model says.

It associates when it is first asked and stays associated. Any doubt about what is still on its way ends the
connection, so that a late answer never passes for the answer to a later question.
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
_NAME = obis("0-0:42.0.0")  # the logical device name: three letters of the maker, and more
_VALUE, _SCALER_UNIT = 2, 3
_WHOLE_S = 120.0  # for all that is asked at once
_WHOLE_MEMORY_S = 900.0  # some 60 days over a serial line of 9600 Bd
_IDLE_NS = 60 * _NS  # meters end an association that is not used, most after two or three minutes
_CLOCK_EVERY_NS = 60 * _NS
_PAGE_NS = 86_400 * _NS  # of a load profile, in one answer
_MOST_NS = 60 * _PAGE_NS  # of a load profile at all: meters keep a month or two
_BEFORE_NS = 1_000_000  # registers at a stamp close the unit that ends there: they are of a moment before


class DlmsMeter:
    """The meter `name` behind `endpoint`, read as its `model` says for `lanes` (import, export, power).
    `counter_file` keeps the invocation counter of a meter that wants one; an answer, or the next part of it,
    must come within `timeout_s`."""

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
        """Its registers now, and once a minute its clock."""
        return await self._guarded(self._read)

    async def probe(self) -> Plausibility:
        """Whether its registers are there, in Wh and W."""
        return await self._guarded(self._probe)

    async def perform(self, operation: Callable[[DlmsSession], Steps[T]]) -> T:
        """What `operation` does in the association: throw the switch, say. MeterError as `read`."""

        async def performed() -> T:
            await self._connected()
            return await self._connection.run(operation)

        return await self._guarded(performed)

    @property
    def load_profile(self) -> Self | None:
        """Itself, where its model has one."""
        return self if self._model.load_profile is not None else None

    @property
    def period_s(self) -> int:
        return self._model.period_s

    async def remembered(self, after: int) -> Sequence[Reading]:
        """A day of the profile at a time."""
        profile = self._model.load_profile
        assert profile is not None  # a meter without one is not asked: see `load_profile`
        return await self._guarded(lambda: self._remembered(profile, after), _WHOLE_MEMORY_S)

    async def aclose(self) -> None:
        if self._one_at_a_time.locked():  # in the middle of a question no other can be asked
            self._connection.drop()
        else:
            await self._connection.close()

    async def _guarded(self, operation: Callable[[], Awaitable[T]], within_s: float = _WHOLE_S) -> T:
        """One operation at a time; after one that left doubts the connection will be a new one."""
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
                raise MeterError(f"meter {self._name} has not said all within {within_s:g} s") from None
            finally:
                self._used = self._clock.monotonic()
                if not certain:
                    self._connection.drop()

    async def _connected(self) -> None:
        """Associate, where that is not so yet."""
        if self._clock.monotonic() - self._used > _IDLE_NS:
            await self._connection.close()
        if not self._connection.is_open:
            self._prepared = False
            await self._connection.open()

    async def _prepare(self) -> None:
        """Associate, and read what stays the same."""
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
        """None where the meter has or tells none: its registers are good without it."""
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
        """The meter's clock, where it is due and tells UTC; the registers are good without one."""
        if monotonic < self._clock_due:
            return None
        self._clock_due = monotonic + _CLOCK_EVERY_NS
        try:
            value = await self._get(CLOCK, self._model.clock, _VALUE)
        except AccessError:
            return None
        try:
            moment = date_time.decode(value) if isinstance(value, bytes) else None
        except MeterError:  # it was never set, or does not tell UTC
            return None
        return moment.unix_ns if moment is not None and moment.sure else None

    async def _probe(self) -> Plausibility:
        try:
            await self._read()
        except AccessError as error:
            return Plausibility(False, f"meter {self._name}: {error}: is it the profile's model?")
        maker = (_text(await self._get(DATA, _NAME, _VALUE)) or "")[:3]
        has = ", ".join(register.lane for register in self._registers)
        return Plausibility(True, f"meter {self._name} is of the maker {maker!r} and shows {has}")

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
            raise MeterError("the meter doubts its own clock: when it remembers what from cannot be told")
        now = scale.ns(shown)
        behind = _behind(now, wall, took)
        # Whose clock is set tells how long ago `after` was.
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
    """How many ns a meter's clock is behind ours (less than 0: ahead), where it showed `now` between `wall`
    and `took` later. It tells whole seconds, so this is whole seconds too, and the least that can be: one in
    step with ours has its rows where they belong, however long its answer took."""
    least, most = (wall - now) // _NS * _NS, (wall + took - now) // _NS * _NS
    return least if least >= 0 else min(most, 0)


def _text(value: Value) -> str | None:
    """A name or a number, as most meters give it: characters, or octets that are some."""
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    return None if value is None else str(value)
