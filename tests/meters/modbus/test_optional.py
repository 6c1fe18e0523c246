"""Registers that some meters of a model have not, values that say that there is none, and sums."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from pymodbus.constants import ExcCodes

from gateway.errors import MeterError
from gateway.meters.endpoint import Tcp
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.meter import ModbusMeter
from gateway.meters.modbus.model import ModbusModel, Register
from tests.meters.bench import DrivenClock, device, f32, modbus_model, sdm630, tcp_server

SDM630 = modbus_model("eastron-sdm630")
IMPORT, EXPORT, POWER = 1_234_500_000, 67_250_000, -512


def altered(name: str, **changes: object) -> ModbusModel:
    """The SDM630, with one of its registers altered."""
    return replace(
        SDM630,
        registers=tuple(
            replace(register, **changes) if register.name == name else register  # type: ignore[arg-type]
            for register in SDM630.registers
        ),
    )


OPTIONAL = altered("export", optional=True)


def meter(bus: Bus, model: ModbusModel = OPTIONAL) -> ModbusMeter:
    return ModbusMeter("main", model, bus, lanes=model.lanes, device_id=1, clock=DrivenClock())


class WithoutExport:
    """Answers as a meter whose export register is not there; notes what it is asked."""

    def __init__(self, absent: range = range(0x4A, 0x4C)) -> None:
        self.absent = absent
        self.asked: list[tuple[int, int]] = []

    async def answer(
        self, function: int, start: int, address: int, count: int, *_: object
    ) -> ExcCodes | None:
        self.asked.append((address, count))
        meets = set(self.absent) & set(range(address, address + count))
        return ExcCodes.ILLEGAL_ADDRESS if meets else None

    def taken(self) -> list[tuple[int, int]]:
        asked, self.asked = self.asked, []
        return asked


async def test_an_absent_register_is_asked_for_alone_once_and_then_left_out() -> None:
    action = WithoutExport()
    async with tcp_server(device(sdm630(), action=action.answer)) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        main = meter(bus)
        expected = {"import": IMPORT, "power": POWER}
        assert (await main.read()).registers == expected
        assert action.taken() == [(0x34, 24), (0x4A, 2), (0x34, 22)]
        assert (await main.read()).registers == expected
        assert action.taken() == [(0x34, 22)]
        await main.aclose()


async def test_one_that_is_there_costs_nothing() -> None:
    action = WithoutExport(range(0))
    async with tcp_server(device(sdm630(), action=action.answer)) as port:
        main = meter(Bus(Tcp("127.0.0.1", port)))
        for _ in range(2):
            assert (await main.read()).registers == {"import": IMPORT, "export": EXPORT, "power": POWER}
            assert action.taken() == [(0x34, 24)]
        await main.aclose()


async def test_it_may_come_with_a_new_connection() -> None:
    action = WithoutExport()
    async with tcp_server(device(sdm630(), action=action.answer)) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        main = meter(bus)
        await main.read()
        await bus.aclose()
        action.absent = range(0)
        await main.read()  # by the plan that it has; the connection is noticed to be a new one
        assert set((await main.read()).registers) == {"import", "export", "power"}
        action.absent = range(0x4A, 0x4C)
        assert set((await main.read()).registers) == {"import", "power"}
        await main.aclose()


async def test_the_probe_tells_that_a_lane_is_lacking() -> None:
    async with tcp_server(device(sdm630(), action=WithoutExport().answer)) as port:
        main = meter(Bus(Tcp("127.0.0.1", port)))
        found = await main.probe()
        await main.aclose()
    assert found.sentence == (
        "meter main shows 230 V as its voltage, within 180 to 280 V, but has no export, like some meters "
        "of its model: take that out of lanes"
    )
    assert not found.plausible


async def test_one_that_is_not_optional_must_be_there() -> None:
    async with tcp_server(device(sdm630(), action=WithoutExport().answer)) as port:
        main = meter(Bus(Tcp("127.0.0.1", port)), SDM630)
        with pytest.raises(
            MeterError, match=r"meter main: device 1 .* has no such registers \(exception 2\)"
        ):
            await main.read()
        await main.aclose()
    async with tcp_server(device(sdm630(), action=WithoutExport(range(0x48, 0x4C)).answer)) as port:
        main = meter(Bus(Tcp("127.0.0.1", port)))
        for _ in range(2):
            with pytest.raises(MeterError, match="has no such registers"):
                await main.read()
        await main.aclose()


async def test_no_lane_that_is_left_is_no_reading() -> None:
    async with tcp_server(device(sdm630(), action=WithoutExport().answer)) as port:
        main = ModbusMeter(
            "main", OPTIONAL, Bus(Tcp("127.0.0.1", port)), lanes=["export"], device_id=1, clock=DrivenClock()
        )
        for _ in range(2):
            with pytest.raises(
                MeterError, match=r"^meter main: has no export, like some meters of its model$"
            ):
                await main.read()
        await main.aclose()


NAN = int.from_bytes(b"".join(word.to_bytes(2, "big") for word in f32(67.25)), "big")


async def test_a_value_that_says_that_there_is_none() -> None:
    async with tcp_server(device(sdm630())) as port:
        bus = Bus(Tcp("127.0.0.1", port))
        optional = meter(bus, altered("export", optional=True, nan=(1, NAN)))
        assert (await optional.read()).registers == {"import": IMPORT, "power": POWER}
        needed = meter(bus, altered("export", nan=(NAN,)))
        with pytest.raises(MeterError, match="meter main: register export says that it has no value"):
            await needed.read()
        await bus.aclose()


async def test_a_float_that_is_no_number_is_no_value_too() -> None:
    async with tcp_server(device(sdm630(exported=float("nan")))) as port:
        main = meter(Bus(Tcp("127.0.0.1", port)))
        assert set((await main.read()).registers) == {"import", "power"}
        await main.aclose()


def part(name: str, address: int, scale: int, kind: str = "i32") -> Register:
    unit = "W" if name == "power" else "Wh"
    return Register(
        name, "1-0:1.7.0", "holding", address, kind, "high-first", Fraction(scale), unit, nan=(1 << 31,)
    )


SUMS = replace(
    SDM630,
    registers=(
        part("power", 10, 1),
        part("power", 12, -1),
        part("import", 14, 1, "u32"),
        part("import", 16, 1, "u32"),
    ),
    block=replace(SDM630.block, gap=0),
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([0, 700, 0, 0, 0, 1000, 0, 5], {"power": 700, "import": 1_005_000}),
        ([0, 0, 1, 1, 0, 1000, 0, 0], {"power": -65_537, "import": 1_000_000}),
    ],
)
async def test_registers_of_one_lane_are_added(words: list[int], expected: dict[str, int]) -> None:
    async with tcp_server(device({10: words})) as port:
        main = meter(Bus(Tcp("127.0.0.1", port)), SUMS)
        assert (await main.read()).registers == expected
        await main.aclose()


async def test_a_sum_without_one_of_its_parts_is_no_sum() -> None:
    async with tcp_server(device({10: [0, 700, 1 << 15, 0, 0, 1000, 0, 5]})) as port:
        main = meter(Bus(Tcp("127.0.0.1", port)), SUMS)
        with pytest.raises(MeterError, match="register power says that it has no value"):
            await main.read()
        await main.aclose()
    left = replace(SUMS, registers=tuple(replace(one, optional=one.address == 12) for one in SUMS.registers))
    action = WithoutExport(range(12, 14))
    async with tcp_server(device({10: [0, 700, 0, 0, 0, 1000, 0, 5]}, action=action.answer)) as port:
        main = meter(Bus(Tcp("127.0.0.1", port)), left)
        assert (await main.read()).registers == {"import": 1_005_000}
        await main.aclose()


async def test_a_rollover_is_handed_on() -> None:
    bus = Bus(Tcp("127.0.0.1", 502))
    assert meter(bus, altered("import", rollover=Fraction(999_999))).rollover == {"import": 999_999_000_000}
    assert meter(bus).rollover == {}
