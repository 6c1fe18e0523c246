"""A meter that pushes, heard over a serial port or a converter on the network.

Broken telegrams are skipped; silence, or nothing but broken ones, is a fault. Until one could be read, two
that cannot be decrypted are a fault at once: the keys do not fit. After any fault the connection is opened
anew: so an adapter that was unplugged comes back, and a dead connection that nobody closed is left.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Collection, Mapping

from gateway.errors import KeyFault, MeterError
from gateway.host.clock import Clock
from gateway.host.fault_log import FaultLog
from gateway.meters.coarse import WholeKwh
from gateway.meters.endpoint import Endpoint, Multicast
from gateway.meters.reading import Answering, Decoder, PassedOver, Plausibility, Reading, Telegram, sane
from gateway.meters.transport import Connection

_log = logging.getLogger(__name__)

_NS = 1_000_000_000
_SEALED_FOR_GOOD = 2  # telegrams: one that cannot be decrypted may be damaged
_GREETING = 80  # bytes
_TELNET = re.compile(rb"\xff[\xfb-\xfe]")  # IAC WILL, WONT, DO, DONT (RFC 854): how a telnet server begins
_SPEAKS_TELNET = "; the converter speaks telnet, which alters bytes: set it to raw"
_TAKEN = ", since another program is connected to it already"
_NO_TELEGRAM = "bytes arrive, but no telegram: check its profile, and the settings of its serial line"
_NO_DATAGRAM = (
    ": check that it is in the same network as this machine, that no firewall here closes its UDP port, and "
    "that switches and Wi-Fi in between pass multicast on (with IGMP snooping it often ends after minutes)"
)


class Listener:
    """The meter `name` behind `endpoint`, whose bytes `decoder` reads. It must send a good telegram at least
    every `silence_s`."""

    pushes = True
    load_profile = None

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        decoder: Decoder,
        *,
        lanes: Collection[str],
        silence_s: float,
        clock: Clock,
        rollover: Mapping[str, int],
    ) -> None:
        self.rollover = rollover
        self._name = name
        self._endpoint = endpoint
        self._decoder = decoder
        self._lanes = frozenset(lanes)
        self._silence_s = silence_s
        self._clock = clock
        self._connection: Connection | None = None
        self._heard: deque[Reading] = deque()
        self._problem: str | None = None
        self._passed_over: str | None = None
        self._sealed = 0  # telegrams that could not be decrypted, before any that could be read
        self._readable = False  # a telegram could be read once: the keys are right
        self._greeting: bytes | None = None  # what came first on this connection
        self._faults = FaultLog(clock, _log.warning, _log.info, f"meter {name}: a telegram is skipped: ")
        self._resolution = WholeKwh()
        self._coarse = FaultLog(clock, _log.warning, _log.info, f"meter {name} ")

    async def read(self) -> Reading:
        """The next good telegram that holds one of the lanes. KeyFault where the keys do not fit."""
        self._problem = self._passed_over = None
        self._sealed = 0
        try:
            if self._connection is None and not self._heard:
                self._connection = await Connection.open(self._endpoint)
                self._greeting = None
                self._decoder.cut()
            async with asyncio.timeout(self._silence_s):
                while not self._heard:
                    assert self._connection is not None  # opened above, or a reading is waiting
                    self._hear(await self._connection.read())
                    if isinstance(self._decoder, Answering) and (answer := self._decoder.answer()):
                        await self._connection.write(answer)
        except TimeoutError:
            self._drop()
            what, why = "nothing", _NO_DATAGRAM if isinstance(self._endpoint, Multicast) else ""
            if problem := self._problem or self._passed_over:
                what, why = "nothing that can be read", f": {problem}"
                if _TELNET.match(self._greeting or b""):
                    why += _SPEAKS_TELNET
            raise MeterError(
                f"meter {self._name} at {self._endpoint} has sent {what} for {self._silence_s:g} s{why}"
            ) from None
        except MeterError as error:
            self._drop()
            # ser2net says "Port already in use" and hangs up.
            taken = _TAKEN if b"in use" in (self._greeting or b"").lower() else ""
            raise type(error)(f"meter {self._name}: {error}{taken}") from None
        return self._heard.popleft()

    async def probe(self) -> Plausibility:
        reading = await self.read()
        has = ", ".join(sorted(reading.registers))
        lacking = ", ".join(sorted(self._lanes - set(reading.registers)))
        if self._coarse.fault is not None:
            return Plausibility(False, f"meter {self._name} {self._coarse.fault}")
        if not lacking:
            return Plausibility(True, f"meter {self._name} sends {has}")
        return Plausibility(
            True, f"meter {self._name} has sent {has} so far; {lacking} may come less often, or not at all"
        )

    async def aclose(self) -> None:
        self._drop()

    def _hear(self, data: bytes) -> None:
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        if self._greeting is None:
            self._greeting = data[:_GREETING]
        items = self._decoder.feed(data)
        if not items:
            self._problem = self._problem or _NO_TELEGRAM
        for item in items:
            try:
                if isinstance(item, MeterError):
                    raise item
                sane(item.registers)
            except PassedOver as error:
                self._passed_over = str(error)
                continue
            except MeterError as error:
                self._problem = str(error)
                if isinstance(error, KeyFault) and not self._readable:
                    self._sealed += 1
                    if self._sealed == _SEALED_FOR_GOOD:
                        raise
                self._faults.report(str(error))
                continue
            self._readable = True
            hint = self._resolution.hint(item.registers)
            if hint is not None and "power" in self._lanes:  # others never send it
                self._coarse.report(hint)
            else:
                self._coarse.clear(f"meter {self._name} no longer shows whole kWh only")
            if reading := self._reading(item, wall, monotonic):
                self._heard.append(reading)

    def _reading(self, telegram: Telegram, wall: int, monotonic: int) -> Reading | None:
        registers = {lane: value for lane, value in telegram.registers.items() if lane in self._lanes}
        if not registers:
            return None
        age = round(telegram.age_s * _NS)
        return Reading(
            self._name, registers, wall - age, monotonic - age, telegram.serial, telegram.meter_time
        )

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
