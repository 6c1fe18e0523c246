"""A meter that sends text when it is asked (IEC 62056-21, modes A, B and C).

Each reading begins with a sign-on at 300 Bd. In mode C the meter offers a faster speed, which is
acknowledged; in mode B it takes it up by itself; in mode A it has none. A converter on the network cannot
follow to another speed: a meter behind it is told to go on at the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace

from gateway.errors import MeterError
from gateway.host.clock import Clock
from gateway.meters.endpoint import Endpoint, Line, SerialSettings
from gateway.meters.iec62056.datasets import read_datasets
from gateway.meters.iec62056.decoder import check_maker
from gateway.meters.iec62056.model import TextModel
from gateway.meters.iec62056.readout import Readout
from gateway.meters.iec62056.sign_on import BAUDS, OPENING, Identification, acknowledge, sign_on
from gateway.meters.reading import Plausibility, Reading, sane
from gateway.meters.transport import Connection

_IDENTIFICATION_S = 3.0  # a reaction of 1.5 s, and an identification of 25 characters at 300 Bd
_WHOLE_S = 900.0  # a long answer at 300 Bd
_BEFORE_ANSWER_S = 0.25  # a meter may need 200 ms before it can receive (IEC 62056-21, 6.3.14)
_UNACKNOWLEDGED = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200}  # mode B


class TextMeter:
    """The meter `name` behind `endpoint`, read as its `model` says; `address` is its number, where it answers
    to that only. The next part of an answer must come within `timeout_s`."""

    pushes = False
    load_profile = None

    def __init__(
        self,
        name: str,
        model: TextModel,
        endpoint: Endpoint,
        *,
        lanes: Collection[str],
        clock: Clock,
        address: str = "",
        timeout_s: float = 5.0,
    ) -> None:
        self.rollover: Mapping[str, int] = model.rollover
        self._name = name
        self._model = model
        self._endpoint = endpoint
        self._opening = endpoint.settings if isinstance(endpoint, Line) else OPENING
        self._lanes = frozenset(lanes)
        self._clock = clock
        self._address = address
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._identification: Identification | None = None

    async def read(self) -> Reading:
        """Its registers now. MeterError where it does not answer, where its answer is damaged or another
        meter's, or where it lacks the registers of its profile."""
        complete = False
        try:
            async with asyncio.timeout(_WHOLE_S):
                reading = await self._read()
            complete = True
            return reading
        except TimeoutError:
            raise MeterError(f"meter {self._name} did not finish answering within {_WHOLE_S:g} s") from None
        except MeterError as error:
            raise MeterError(f"meter {self._name}: {error}") from None
        finally:
            if not complete:
                self._drop()

    async def probe(self) -> Plausibility:
        reading = await self.read()
        assert self._identification is not None  # it was read
        has = ", ".join(sorted(reading.registers))
        return Plausibility(
            True, f"meter {self._name} identifies itself as {self._identification.text!r} and has {has}"
        )

    async def aclose(self) -> None:
        self._drop()

    async def _read(self) -> Reading:
        if self._connection is None:
            self._connection = await Connection.open(self._endpoint)
        connection = self._connection
        await connection.change(self._opening)
        self._identification, heard = await sign_on(connection, _IDENTIFICATION_S, self._address)
        check_maker(self._identification.text, self._model.makers)
        await self._change_speed(connection, self._identification.speed)
        wall, monotonic = self._clock.wall(), self._clock.monotonic()
        values = read_datasets(await self._block(connection, heard))
        telegram = self._model.registers.telegram(values)
        registers = {lane: value for lane, value in telegram.registers.items() if lane in self._lanes}
        if not registers:
            raise MeterError(f"its answer has none of {', '.join(sorted(self._lanes))}")
        sane(registers)
        return Reading(self._name, registers, wall, monotonic, telegram.serial)

    async def _change_speed(self, connection: Connection, offered: str) -> None:
        """Acknowledge a speed that is offered, or follow to one that the meter takes up by itself."""
        if self._model.fixed_speed:
            return
        if offered in _UNACKNOWLEDGED:
            await connection.change(self._at(_UNACKNOWLEDGED[offered]))
        elif offered in BAUDS:
            # A converter on the network stays at its speed, and so must the meter: 0 stands for 300 Bd.
            speed = offered if isinstance(self._endpoint, Line) else "0"
            await asyncio.sleep(_BEFORE_ANSWER_S)
            answer = f"\x060{speed}0\r\n".encode("ascii")
            await acknowledge(connection, answer, self._opening, self._at(BAUDS[speed]))

    def _at(self, baud: int) -> SerialSettings:
        return replace(self._opening, baud=baud)

    async def _block(self, connection: Connection, heard: bytes) -> str:
        readout = Readout()
        block = readout.feed(heard)
        while block is None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    data = await connection.read()
            except TimeoutError:
                what = "its answer breaks off" if readout.begun else "it identifies itself and sends no more"
                raise MeterError(f"{what}: no more came for {self._timeout_s:g} s") from None
            block = readout.feed(data)
        return block

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
