"""A SunSpec Modbus meter: located once in each connection, then read in one request."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from gateway.errors import MeterError
from gateway.host.clock import Clock
from gateway.meters.modbus.bus import NotReached
from gateway.meters.modbus.meter import RegisterSource, check_lanes, judge
from gateway.meters.modbus.model import Probe, Register
from gateway.meters.modbus.sunspec_model import (
    COMMON,
    END,
    MARKER,
    METERS,
    SERIAL_AT,
    SERIAL_WORDS,
    Point,
    SunSpecModel,
)
from gateway.meters.modbus.value import NoValue, lane_value, number
from gateway.meters.reading import Plausibility, Reading

_MOST_MODELS = 64
_NO_SCALE = 0x8000
_LARGEST_SCALE = 10  # sunssf is a power of ten from -10 to 10
_ACC32 = 2**32  # where an acc32 starts from 0 again


@dataclass(frozen=True, slots=True)
class Found:
    """A meter's model in a device: its id, where it begins, and the device's serial number."""

    model: int
    address: int
    serial: str | None

    @property
    def points(self) -> Mapping[str, Point]:
        return {point.name: point for point in METERS[self.model]}


async def discover(bus: RegisterSource, device_id: int, bases: Sequence[int]) -> Found:
    """The first meter among the device's models. MeterError where there is none, or no SunSpec at all."""
    for base in bases:
        try:
            marker = await bus.registers(device_id, "holding", base, 2)
        except NotReached:
            raise
        except MeterError:
            continue  # it answers, but has nothing there
        if tuple(marker) == MARKER:
            return await _walk(bus, device_id, base + 2)
    where = ", ".join(map(str, bases))
    raise MeterError(f"device {device_id} does not speak SunSpec: there is no marker at {where}")


async def _walk(bus: RegisterSource, device_id: int, address: int) -> Found:
    serial = None
    for _ in range(_MOST_MODELS):
        if address > 0xFFFE:
            break
        model, length = await bus.registers(device_id, "holding", address, 2)
        if model == END:
            raise MeterError(
                f"device {device_id} speaks SunSpec, but has no meter model (201 to 204, 211 to 214): "
                "the meter may have a device id of its own"
            )
        if model == COMMON and length >= SERIAL_AT + SERIAL_WORDS - 2:
            words = await bus.registers(device_id, "holding", address + SERIAL_AT, SERIAL_WORDS)
            serial = _text(words)
        if model in METERS:
            needed = max(point.end for point in METERS[model]) - 2
            if length < needed:
                raise MeterError(
                    f"device {device_id} has a SunSpec model {model} of {length} registers; it must have "
                    f"at least {needed}"
                )
            return Found(model, address, serial)
        address += 2 + length
    raise MeterError(f"device {device_id} has an endless list of SunSpec models")


class SunSpecMeter:
    """The meter `name`, located in each new connection and then read in one request."""

    pushes = False
    load_profile = None

    def __init__(
        self,
        name: str,
        model: SunSpecModel,
        bus: RegisterSource,
        *,
        lanes: Collection[str],
        device_id: int,
        clock: Clock,
    ) -> None:
        check_lanes(name, lanes, model.lanes)
        self.rollover: dict[str, int] = {}
        self._name = name
        self._model = model
        self._lanes = tuple(lanes)
        self._bus = bus
        self._device_id = device_id
        self._clock = clock
        self._found: Found | None = None
        self._found_in = 0  # the connection in which it was

    async def read(self) -> Reading:
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        try:
            found, words = await self._ask(self._lanes)
            points = found.points
            registers = {}
            for lane in self._lanes:
                register, shown = _scaled(points[lane], words)
                registers[lane] = lane_value({register: shown})
                if points[lane].type == "u32":
                    self.rollover[lane] = round(_ACC32 * register.scale * register.factor)
        except MeterError as error:
            raise MeterError(f"meter {self._name}: {error}") from None
        return Reading(self._name, registers, wall, monotonic, found.serial)

    async def probe(self) -> Plausibility:
        """Whether it is a SunSpec meter, and its voltage, where it has one, is that of a home."""
        try:
            found, words = await self._ask(("voltage",))
            seen = f"meter {self._name} has SunSpec model {found.model}"
            try:
                register, shown = _scaled(found.points["voltage"], words)
                volts = number(register, shown)
            except NoValue:
                return Plausibility(True, f"{seen}, and gives no voltage")
            verdict = judge(Probe(register, self._model.low, self._model.high), volts)
        except MeterError as error:
            raise MeterError(f"meter {self._name}: {error}") from None
        return Plausibility(verdict.plausible, f"{seen} and {verdict.sentence}")

    async def aclose(self) -> None:
        await self._bus.aclose()

    async def _ask(self, names: Collection[str]) -> tuple[Found, dict[int, int]]:
        """The meter's model, and its words by their places: at least those of the points `names`."""
        for _ in range(2):
            found = self._found
            if found is None or self._found_in != self._bus.connections:
                found = self._found = await discover(self._bus, self._device_id, self._model.bases)
                self._found_in = self._bus.connections
            points = [found.points[name] for name in names]
            first, end = min(point.at for point in points), max(point.end for point in points)
            answer = await self._bus.registers(self._device_id, "holding", found.address + first, end - first)
            if self._found_in == self._bus.connections:
                return found, dict(enumerate(answer, first))
        raise MeterError(f"device {self._device_id} keeps losing its connection")


def _scaled(point: Point, words: Mapping[int, int]) -> tuple[Register, list[int]]:
    """The point as a register in its scale, and its words. NoValue where it has no scale."""
    scale = Fraction(1)
    if point.scale_at is not None:
        raw = words[point.scale_at]
        if raw == _NO_SCALE:
            raise NoValue(f"register {point.name} has no scale")
        power = raw - 0x1_0000 if raw & 0x8000 else raw
        if abs(power) > _LARGEST_SCALE:
            raise MeterError(
                f"register {point.name} has the scale 10^{power}; it must be from 10^-10 to 10^10"
            )
        scale = Fraction(10) ** power
    register = point.register(scale)
    return register, [words[at] for at in range(register.address, register.end)]


def _text(words: Sequence[int]) -> str | None:
    data = b"".join(word.to_bytes(2, "big") for word in words)
    text = data.decode("ascii", "replace").strip("\0 ")
    return text if text and text.isascii() and text.isprintable() else None
