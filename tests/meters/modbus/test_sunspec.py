"""SunSpec: a meter that says itself where its registers are, and what can be wrong with what it says."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import MeterError, UsageError
from gateway.meters.modbus.bus import NoSuchRegisters, NotReached
from gateway.meters.modbus.model import Table
from gateway.meters.modbus.sunspec import SunSpecMeter, discover
from gateway.meters.modbus.sunspec_model import SunSpecModel
from tests.meters.bench import DrivenClock

MODEL = SunSpecModel((40000, 50000, 0), Fraction(180), Fraction(280))
SUNS = [0x5375, 0x6E53]


class Device:
    """Registers by their addresses, as a bus would give them."""

    def __init__(self, words: Mapping[int, int]) -> None:
        self.words = dict(words)
        self.connections = 1
        self.asked: list[tuple[int, int]] = []
        self.fails: set[int] = set()

    async def registers(
        self, device_id: int, table: Table, address: int, count: int, words: int | None = None
    ) -> list[int]:
        assert (device_id, table) == (240, "holding")
        assert 1 <= count <= 125
        self.asked.append((address, count))
        if address in self.fails:
            raise NotReached("nobody answers")
        try:
            return [self.words[at] for at in range(address, address + count)]
        except KeyError:
            raise NoSuchRegisters("no such registers") from None

    async def aclose(self) -> None:
        self.connections += 1


def laid_out(base: int, *models: list[int]) -> Device:
    words = [*SUNS, *(word for model in models for word in model), 0xFFFF, 0]
    return Device(dict(enumerate(words, base)))


def common(serial: bytes = b"00123456", length: int = 66) -> list[int]:
    words = [1, length, *[0] * length]
    words[50:66] = struct.unpack(">16H", serial.ljust(32, b"\0"))
    return words[: length + 2]


def integers(kind: int = 203, length: int = 105, **points: int) -> list[int]:
    words = [kind, length, *[0] * max(length, 53)]
    shown = {
        "volts": 2305,
        "v_sf": -1,
        "power": -1234,
        "w_sf": 0,
        "export": 70_000,
        "import": 3_000_000,
        "wh_sf": 0,
    }
    shown |= points
    places = {"volts": 8, "v_sf": 15, "power": 18, "w_sf": 22, "wh_sf": 54}
    for name, at in places.items():
        words[at] = shown[name] & 0xFFFF
    for name, at in {"export": 38, "import": 46}.items():
        words[at : at + 2] = divmod(shown[name], 0x10000)
    return words[: 2 + length]


def floats(kind: int = 213, **points: float) -> list[int]:
    words = [kind, 124, *[0] * 124]
    shown = {"volts": 230.5, "power": -1234.5, "export": 70_000.0, "import": 3_000_000.0} | points
    for name, at in {"volts": 12, "power": 28, "export": 60, "import": 68}.items():
        words[at : at + 2] = struct.unpack(">2H", struct.pack(">f", shown[name]))
    return words


def meter(bus: Device, lanes: tuple[str, ...] = ("import", "export", "power")) -> SunSpecMeter:
    return SunSpecMeter("main", MODEL, bus, lanes=lanes, device_id=240, clock=DrivenClock())


async def fault(bus: Device) -> str:
    with pytest.raises(MeterError) as caught:
        await meter(bus).read()
    assert str(caught.value).startswith("meter main: ")
    return str(caught.value)


@pytest.mark.parametrize("base", MODEL.bases)
async def test_it_is_found_at_each_base_behind_whatever_comes_first(base: int) -> None:
    bus = laid_out(base, common(), [64_001, 0], [103, 3, 7, 8, 9], integers())
    main = meter(bus)
    reading = await main.read()
    assert reading.registers == {"import": 3_000_000_000, "export": 70_000_000, "power": -1234}
    assert reading.serial == "00123456"
    assert main.rollover == {"import": 2**32 * 1000, "export": 2**32 * 1000}
    asked = len(bus.asked)
    await main.read()
    assert len(bus.asked) == asked + 1  # one request for all of it, once it is known where


@pytest.mark.parametrize("kind", [211, 212, 213, 214])
async def test_floats(kind: int) -> None:
    main = meter(laid_out(40000, common(), floats(kind)))
    reading = await main.read()
    assert reading.registers == {"import": 3_000_000_000, "export": 70_000_000, "power": -1234}
    assert main.rollover == {}


@pytest.mark.parametrize("length", [53, 54, 104, 105, 107, 300])
async def test_a_length_of_its_own(length: int) -> None:
    assert (await meter(laid_out(0, common(length=65), integers(length=length))).read()).registers[
        "power"
    ] == -1234


async def test_scales_are_those_of_the_same_answer() -> None:
    bus = laid_out(40000, integers(power=123, w_sf=1, wh_sf=-1))
    main = meter(bus)
    assert (await main.read()).registers == {"import": 300_000_000, "export": 7_000_000, "power": 1230}
    assert main.rollover["import"] == 2**32 * 100
    bus.words |= dict(enumerate(integers(power=1234, wh_sf=2), 40002))
    assert (await main.read()).registers == {
        "import": 300_000_000_000,
        "export": 7_000_000_000,
        "power": 1234,
    }


async def test_only_the_lanes_that_are_wanted() -> None:
    bus = laid_out(40000, integers())
    main = meter(bus, ("import",))
    assert (await main.read()).registers == {"import": 3_000_000_000}
    assert bus.asked[-1] == (40002 + 46, 9)
    with pytest.raises(UsageError, match="meter main: its profile has no lane 'gas'"):
        meter(bus, ("gas",))


async def test_it_is_looked_for_anew_in_each_connection() -> None:
    bus = laid_out(40000, integers())
    main = meter(bus)
    await main.read()
    await bus.aclose()
    bus.words = laid_out(50000, common(b"another"), integers(power=5)).words
    reading = await main.read()
    assert (reading.registers["power"], reading.serial) == (5, "another")


async def test_what_comes_over_a_new_connection_is_not_read_by_the_old_ones_places() -> None:
    class Flapping(Device):
        async def registers(
            self, device_id: int, table: Table, address: int, count: int, words: int | None = None
        ) -> list[int]:
            if count > 16:
                self.connections += 1
            return await super().registers(device_id, table, address, count)

    bus = Flapping(laid_out(40000, integers()).words)
    assert "keeps losing its connection" in await fault(bus)


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ([common()], "device 240 speaks SunSpec, but has no meter model (201 to 204, 211 to 214)"),
        (
            [common(), integers(length=52)],
            "a SunSpec model 203 of 52 registers; it must have at least 53",
        ),
        ([integers(wh_sf=-0x8000)], "register import has no scale"),
        ([integers(wh_sf=11)], "register import has the scale 10^11"),
        ([integers(power=-0x8000)], "register power says that it has no value"),
        ([integers(**{"import": 0xFFFF_FFFF})], "register import says that it has no value"),
        ([integers(**{"import": 0x8000_0000})], "register import says that it has no value"),
        ([integers(export=0x8000_0000)], "register export says that it has no value"),
        ([floats(power=float("nan"))], "register power holds no number"),
        ([floats(export=-1.0)], "register export holds a negative energy"),
        ([[64_001, 0]] * 70, "device 240 has an endless list of SunSpec models"),
        ([[64_001, 0xFFF0]], "device 240 has an endless list of SunSpec models"),
    ],
)
async def test_what_is_no_meter(models: list[list[int]], sentence: str) -> None:
    assert sentence in await fault(laid_out(50000, *models))


async def test_no_sunspec_at_all() -> None:
    assert "does not speak SunSpec: there is no marker at 40000, 50000, 0" in await fault(
        Device({0: 1, 1: 2})
    )
    silent = laid_out(50000, integers())
    silent.fails.add(40000)
    assert await fault(silent) == "meter main: nobody answers"
    assert [address for address, _ in silent.asked] == [40000]


@pytest.mark.parametrize("serial", [b"", b"\xff\xfe", b"a\x07b"])
async def test_a_serial_number_that_is_none(serial: bytes) -> None:
    assert (await meter(laid_out(40000, common(serial), integers())).read()).serial is None


async def test_the_probe() -> None:
    found = await meter(laid_out(40000, common(), integers())).probe()
    assert found.plausible
    assert found.sentence == (
        "meter main has SunSpec model 203 and shows 230.5 V as its voltage, within 180 to 280 V"
    )
    assert not (await meter(laid_out(40000, integers(volts=20))).probe()).plausible
    untold = await meter(laid_out(40000, floats(volts=float("nan")))).probe()
    assert (untold.plausible, untold.sentence) == (
        True,
        "meter main has SunSpec model 213, and gives no voltage",
    )


@settings(max_examples=300)
@given(
    st.lists(st.one_of(st.integers(0, 0xFFFF), st.sampled_from([1, 201, 213, 0xFFFF, 66, 105])), max_size=400)
)
async def test_whatever_a_device_says_it_is_a_reading_or_a_meter_error(words: list[int]) -> None:
    bus = Device(dict(enumerate([*SUNS, *words], 40000)))
    with suppress(MeterError):
        await meter(bus).read()
    assert len(bus.asked) < 200


async def test_discover_says_where_it_found_it() -> None:
    found = await discover(laid_out(0, common(), [120, 26, *[0] * 26], floats(211)), 240, (0,))
    assert (found.model, found.address, found.serial) == (211, 2 + 68 + 28, "00123456")
