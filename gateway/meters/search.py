"""Finds the meters on a serial line or behind an address: it listens, then polls over Modbus.

On a serial port it tries each of the settings that meters leave their factories with. It cannot find meters
that encrypt, or that must be polled over DLMS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.errors import MeterError, UsageError
from gateway.host.clock import SystemClock
from gateway.meters.detect import Heard, hear
from gateway.meters.dlms.polled.model import DlmsModel
from gateway.meters.endpoint import Endpoint, Line, Parity, SerialSettings, Tcp
from gateway.meters.iec62056.model import TextModel
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.model import ModbusModel
from gateway.meters.modbus.scan import Found, scan
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import Profile
from gateway.meters.reading import Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.speedwire.model import SpeedwireModel

LISTEN_S = 11  # the slowest pushing meters send every 10 s
_FIRST_LISTEN_S = 3  # at an address, before it is asked
_TCP_TIMEOUT_S, _SERIAL_TIMEOUT_S = 0.5, 0.3


@dataclass(slots=True)
class Search:
    """A search for meters of these profiles, and what it found so far: what was heard, with the serial port's
    settings; the devices that answered; and why profiles could not be tried.

    `listening` is called with each place that is listened to and for how many seconds, `polling` with how
    many of all polls are done."""

    profiles: Sequence[Profile]
    listening: Callable[[str, float], None] = lambda _place, _seconds: None
    polling: Callable[[int, int], None] = lambda _done, _all: None
    heard: list[tuple[SerialSettings | None, Heard]] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    deaf: dict[str, None] = field(default_factory=dict)

    async def address(self, endpoint: Tcp, *, rtu: bool, ids: Sequence[int]) -> None:
        """Search behind an address, where `rtu` says whether Modbus comes in serial frames, for these device
        ids. MeterError where it cannot be reached."""
        # Most meters that push send within a few seconds, and most that are polled have the first id.
        buses = [Bus(endpoint, "rtu" if rtu else "tcp", _TCP_TIMEOUT_S)]
        if await self._listen_shortly(endpoint, _FIRST_LISTEN_S):
            return
        await self._ask(buses, ids[:1])
        if not self.found and (self.heard or await self._listen_shortly(endpoint, LISTEN_S) or self.heard):
            return
        if ids[1:]:
            await self._ask(buses, ids[1:])

    async def port(
        self, device: str, *, baud: int | None = None, parity: Parity | None = None, ids: Sequence[int]
    ) -> None:
        """Search on a serial port, with `baud` and `parity` in place of the profiles' own. MeterError where
        it cannot be opened."""
        speaking = [profile for profile in self.profiles if self._decoder(profile) is not None]
        for settings in _settings(speaking, baud, parity):
            if await self._listen(Line(device, settings), settings, speaking):
                return
        asked = [
            profile for profile in self.profiles if isinstance(profile.model, ModbusModel | SunSpecModel)
        ]
        lines = [Line(device, settings) for settings in _settings(asked, baud, parity)]
        await self._ask([Bus(line, timeout_s=_SERIAL_TIMEOUT_S) for line in lines], ids)

    async def _ask(self, buses: Sequence[Bus], ids: Sequence[int]) -> None:
        models = {p.id: p.model for p in self.profiles if isinstance(p.model, ModbusModel | SunSpecModel)}
        done, steps = 0, len(buses) * len(ids)

        def step(_bus: Bus, _device_id: int) -> None:
            nonlocal done
            done += 1
            self.polling(done, steps)

        async for found in scan(buses, ids, models, SystemClock("host"), step):
            self.found.append(found)

    async def _listen_shortly(self, endpoint: Tcp, seconds: float) -> bool:
        with suppress(MeterError):  # a polled device may end a connection that stays silent
            return await self._listen(endpoint, None, self.profiles, seconds)
        return False

    async def _listen(
        self,
        endpoint: Endpoint,
        settings: SerialSettings | None,
        profiles: Sequence[Profile],
        seconds: float | None = None,
    ) -> bool:
        """Whether a profile decodes what arrives."""
        seconds = LISTEN_S if seconds is None else seconds
        decoders = {p.id: decoder for p in profiles if (decoder := self._decoder(p)) is not None}
        self.listening(str(settings or endpoint), seconds)
        heard = await hear(endpoint, decoders, seconds, LISTEN_S)
        if heard.octets:
            self.heard.append((settings, heard))
        return bool(heard.profiles)

    def _decoder(self, profile: Profile) -> Decoder | None:
        """A decoder for a meter that pushes on a line; None where it does not, or only with keys, or where
        dsmr-parser is missing."""
        if isinstance(profile.model, ModbusModel | SunSpecModel | DlmsModel | TextModel | SpeedwireModel):
            return None
        try:
            return profile.model.decoder(Secrets())
        except UsageError as error:
            if isinstance(profile.model, P1Model) and not profile.model.encrypted:
                self.deaf[str(error)] = None
            return None


def _settings(profiles: Sequence[Profile], baud: int | None, parity: Parity | None) -> list[SerialSettings]:
    """The settings that the profiles' meters leave the factory with, the most common first; `baud` and
    `parity` replace theirs."""
    each = [
        SerialSettings(baud or serial.baud, parity or serial.parity, serial.stop_bits, serial.data_bits)
        for profile in profiles
        if (serial := profile.serial) is not None
    ]
    return sorted(set(each), key=lambda settings: (-each.count(settings), str(settings)))
