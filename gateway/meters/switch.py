"""A home's supply and the limit on what it draws, as a meter or a relay sets them: the only writing in this
room.

Both have one contract: `bring` reads what is set, writes only where that is not what is wanted, and reads
again. So it can be called again after anything that went wrong, and says what is so, not what was sent.
MeterError where that was not reached; trying again is sensible.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

from gateway.errors import MeterError
from gateway.meters.dlms.cosem.objects import Obis
from gateway.meters.dlms.polled import disconnector
from gateway.meters.dlms.polled.disconnector import ControlState
from gateway.meters.dlms.polled.meter import DlmsMeter
from gateway.meters.modbus.bus import Bus

SupplyState = Literal["connected", "disconnected", "ready"]
"""`ready`: disconnected until somebody presses the meter's button."""
LimitType = Literal["u16", "i16", "u32", "i32"]
_FORMATS: dict[LimitType, str] = {"u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i"}
_CONTROL: dict[ControlState, SupplyState] = {
    ControlState.DISCONNECTED: "disconnected",
    ControlState.CONNECTED: "connected",
    ControlState.READY_FOR_RECONNECTION: "ready",
}


class Supply(Protocol):
    """The switch that disconnects a home."""

    async def bring(self, connected: bool) -> SupplyState | None:
        """Connect or disconnect the home; its state as it was read back, None where nothing reads it back.
        A supply that is `ready` has been reconnected, as far as that can be done from afar."""


class Limit(Protocol):
    """The most that a home may draw."""

    async def bring(self, watts: int | None) -> int | None:
        """Limit the home to `watts`, or to nothing (None); the limit as it was read back, None where there
        is none, or nothing reads it back."""


@dataclass(frozen=True, slots=True)
class DlmsSupply:
    """The disconnect control `code` (class 70) of a polled DLMS meter."""

    meter: DlmsMeter
    code: Obis = disconnector.DISCONNECTOR

    async def bring(self, connected: bool) -> SupplyState:
        return await _brought(self._state, lambda: self._throw(connected), connected)

    async def _state(self) -> SupplyState:
        shown = await self.meter.perform(lambda session: disconnector.read_state(session, self.code))
        state = _CONTROL[shown.control]
        if shown.connected != (state == "connected"):
            raise MeterError(
                f"the meter's switch is {'closed' if shown.connected else 'open'}, but its control state is "
                f"{state}: it is moving, or stuck"
            )
        return state

    async def _throw(self, connected: bool) -> None:
        method = disconnector.remote_reconnect if connected else disconnector.remote_disconnect
        await self.meter.perform(lambda session: method(session, self.code))


@dataclass(frozen=True, slots=True)
class CoilSupply:
    """A Modbus coil that is on while the home is connected."""

    bus: Bus
    device_id: int
    coil: int

    async def bring(self, connected: bool) -> SupplyState:
        return await _brought(
            self._state, lambda: self.bus.write_coil(self.device_id, self.coil, connected), connected
        )

    async def _state(self) -> SupplyState:
        return "connected" if await self.bus.coil(self.device_id, self.coil) else "disconnected"


@dataclass(frozen=True, slots=True)
class RegisterSupply:
    """A Modbus holding register that holds `on` while the home is connected, else `off`."""

    bus: Bus
    device_id: int
    address: int
    on: int
    off: int

    async def bring(self, connected: bool) -> SupplyState:
        word = self.on if connected else self.off
        return await _brought(
            self._state,
            lambda: self.bus.write_registers(self.device_id, self.address, [word]),
            connected,
        )

    async def _state(self) -> SupplyState | None:
        (word,) = await self.bus.registers(self.device_id, "holding", self.address, 1)
        states: dict[int, SupplyState] = {self.on: "connected", self.off: "disconnected"}
        return states.get(word)


@dataclass(frozen=True, slots=True)
class RegisterLimit:
    """Modbus holding registers from `address` on that hold the limit as a number of `type`, most significant
    word first, in units of `scale` W; `off` is the number that stands for no limit. A limit between two of
    the register's steps is rounded down."""

    bus: Bus
    device_id: int
    address: int
    type: LimitType
    scale: Fraction
    off: int

    async def bring(self, watts: int | None) -> int | None:
        raw = self.off if watts is None else min(int(watts / self.scale), self._most)
        wanted = self._words(raw)
        if await self._read(len(wanted)) != wanted:
            await self.bus.write_registers(self.device_id, self.address, wanted)
            if (found := await self._read(len(wanted))) != wanted:
                raise MeterError(
                    f"register {self.address} of device {self.device_id} at {self.bus} was written, and does "
                    f"not show it: it holds {found} instead of {wanted}"
                )
        return None if watts is None else int(raw * self.scale)

    @property
    def _most(self) -> int:
        bits = 8 * struct.calcsize(_FORMATS[self.type])
        return (1 << bits - (self.type[0] == "i")) - 1

    def _words(self, raw: int) -> list[int]:
        data = struct.pack(_FORMATS[self.type], raw)
        return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]

    async def _read(self, count: int) -> list[int]:
        return await self.bus.registers(self.device_id, "holding", self.address, count)


async def _brought(
    state: Callable[[], Awaitable[SupplyState | None]], throw: Callable[[], Awaitable[None]], connected: bool
) -> SupplyState:
    """The supply's state, after throwing its switch where it was not as it is wanted."""
    wanted = ("connected", "ready") if connected else ("disconnected",)
    found = await state()
    if found not in wanted:
        await throw()
        found = await state()
    if found is None or found not in wanted:
        raise MeterError(
            f"the switch was told to {'connect' if connected else 'disconnect'} the home, and is "
            f"{found or 'in an unknown state'}"
        )
    return found
