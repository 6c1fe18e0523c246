"""Meters of every kind behind lines that cut, garble, repeat and stall what they say: whatever comes through,
the energy of the units is what the registers counted, to the mWh."""

from __future__ import annotations

import asyncio
import json
import random
import time
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gateway.chain.layout import Layout
from gateway.config import MeterSection
from gateway.config.wiring import open_meters
from gateway.intervals.sampler import Sampler, Units
from gateway.meters.endpoint import Multicast
from gateway.meters.iec62056.model import TextModel, TextPushModel
from gateway.meters.profile import load_profile
from gateway.meters.reader import read_forever
from gateway.meters.reading import Reading
from gateway.meters.tic.frames import Mode
from gateway.meters.transport import Connection
from gateway.simulate import mbus, text, tic
from gateway.simulate.home import Home
from tests.faults.household import Simulated, check_units
from tests.faults.scaled import ScaledClock
from tests.faults.test_walk import (
    ANYWHERE,
    METERS,
    SECRETS,
    SPEEDWIRE,
    Listening,
    Serving,
    section,
    write_keys,
)
from tests.meters.speedwire.group import free_group, sender

pytestmark = pytest.mark.slow

SCALE, SECONDS = 20, 300
_LATE_S = 20  # a telegram may wait, on this clock, while the machine is busy
_FAULTS = ("cut", "stall", "insert", "drop", "repeat", "flip", "noise")
_NOISE = b"\x7e\x7e\x1b\x1b/!\x68\xdb" + bytes(range(256))  # what frames begin with, and all else
# What TCP carries itself arrives as it was sent, or not at all. Pushed text has no check that reveals damage.
NATIVE = {"main", "dlms", "dlms-ciphered", "logarex-lk13be"}
# HDLC asks again after 5 s, and an answer in text is waited for as long: on this clock minutes.
WELL = {"dlms-hdlc": 200, "iskra-mt174": 60}


def texts(profile: str, every_s: int, *, interval_s: int = 1) -> Simulated:
    model = load_profile(profile).model
    assert isinstance(model, TextModel | TextPushModel)

    def serve(home: Home, clock: ScaledClock, truth: Path, listening: Listening) -> Serving:
        return text.serve(home, model, ANYWHERE, clock, truth, listening)

    return Simulated(profile, section(profile, interval_s=interval_s), serve, every_s, _LATE_S)


def linky(mode: Mode) -> Simulated:
    def serve(home: Home, clock: ScaledClock, truth: Path, listening: Listening) -> Serving:
        return tic.serve(home, mode, ANYWHERE, clock, truth, listening)

    lanes = {"historique": '["import", "count"]', "standard": '["import", "export", "count"]'}
    return Simulated(
        f"linky-{mode}", section(f"linky-{mode}") + f"lanes = {lanes[mode]}\n", serve, 1, _LATE_S
    )


def amis(home: Home, clock: ScaledClock, truth: Path, listening: Listening) -> Serving:
    return mbus.serve(home, ANYWHERE, clock, SECRETS, truth, listening)


ALL = (
    *METERS,
    texts("logarex-lk13be", 2),
    texts("iskra-mt174", 15, interval_s=15),
    linky("historique"),
    linky("standard"),
    Simulated("siemens-td3511", section("siemens-td3511", keys=True), amis, 1, _LATE_S),
)


class BadLine:
    """Passes a meter's bytes on, most of them: for 7 faults there are `well` that arrive. `garbles` says
    whether it may change them too."""

    def __init__(self, port: int, chance: random.Random, *, garbles: bool, well: int) -> None:
        self._port = port
        self._chance = chance
        self._garbles = garbles
        self._well = well
        self.faults = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        talks: set[asyncio.Task[None]] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.add(talk := asyncio.create_task(self._talk(reader, writer)))
            talk.add_done_callback(talks.discard)

        server = await asyncio.start_server(begin, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for talk in talks:
                talk.cancel()
            await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meter_reader, meter_writer = await asyncio.open_connection("127.0.0.1", self._port)
        asking = asyncio.create_task(self._ask(reader, meter_writer))
        try:
            with suppress(OSError):
                while data := await meter_reader.read(4096):
                    spoilt = await self._spoilt(data)
                    if spoilt is None:
                        writer.write(data[: self._chance.randrange(len(data))])
                        break
                    writer.write(spoilt)
                    await writer.drain()
        finally:
            asking.cancel()
            for one in (writer, meter_writer):
                one.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(4096):
                writer.write(data)
        writer.close()

    async def _spoilt(self, data: bytes) -> bytes | None:
        """What becomes of `data`; None where the line breaks in the midst of it."""
        chance = self._chance
        kind = chance.choice(
            ("cut", "stall", "insert", "drop", "repeat", "flip", "noise", *["well"] * self._well)
        )
        if kind == "well" or not (self._garbles or kind in ("cut", "stall")):
            return data
        self.faults += 1
        at, upto = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        noise = bytes(chance.choice(_NOISE) for _ in range(at % 40))
        match kind:
            case "cut":
                return None
            case "stall":
                await asyncio.sleep(0.2)  # four seconds on this clock
                return data
            case "insert":
                return data[:at] + noise + data[at:]
            case "drop":
                return data[:at] + data[upto:]
            case "repeat":
                return data + data
            case "flip":
                return bytes(byte ^ (at == n) << upto % 8 for n, byte in enumerate(data))
        return noise


@dataclass(slots=True)
class Line:
    simulated: Simulated
    bad: BadLine
    truth: Path
    lanes: tuple[str, ...]
    readings: list[Reading]


def units_of(readings: list[Reading], lanes: Sequence[str], clock: ScaledClock) -> Units:
    """The units that a gateway would seal."""
    sampler, parts = Sampler(Layout(1000, 60), lanes), []
    for reading in readings:
        sampler.add(reading, trusted=True, wall_now=clock.wall(), monotonic_now=clock.monotonic())
        while (units := sampler.take()) is not None:
            parts.append(units)
    assert parts, "no unit came out"
    return Units(
        parts[0].first, {lane: np.concatenate([part.lanes[lane] for part in parts]) for lane in lanes}
    )


async def test_whatever_a_line_does_the_energy_is_what_the_registers_counted(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    begins = int(time.time()) // 60 * 60 + 50
    clock = ScaledClock(begins * 10**9, time.time_ns(), SCALE)
    lines = []
    async with AsyncExitStack() as stack:
        tasks = []
        for number, one in enumerate(ALL):
            port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            truth = tmp_path / f"{one.name}.jsonl"
            tasks.append(
                asyncio.create_task(one.serve(Home(7 + number, begins), clock, truth, port.set_result))
            )
            well = WELL.get(one.name, 23)
            bad = BadLine(await port, random.Random(number), garbles=one.name not in NATIVE, well=well)
            at = await stack.enter_async_context(bad.open())
            described = one.section.replace("PORT", str(at)).replace("./meter.keys", str(keys))
            found = MeterSection.model_validate({"name": one.name} | tomllib.loads(described))
            line = Line(one, bad, truth, found.lanes, [])
            (meter,) = open_meters((found,), clock, state=tmp_path).values()
            tasks.append(asyncio.create_task(read_forever(meter, clock, one.every_s, line.readings.append)))
            lines.append(line)
        await clock.sleep(SECONDS)
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for line in lines:
        shown = {said["unit"]: said for said in map(json.loads, line.truth.read_text().splitlines())}
        assert line.bad.faults >= 2, f"{line.simulated.name}: the line did nothing"
        least = min(8, SECONDS // line.simulated.every_s // 4)
        for lane in set(line.lanes) - {"count"}:  # each by itself: a damaged telegram may lack one
            units = units_of(line.readings, (lane, "count"), clock)
            assert units.lanes["count"].sum() >= least, f"{line.simulated.name} was hardly ever read"
            check_units((units.first, units.lanes), shown, line.simulated)


async def pass_on(meter: Multicast, home: Multicast, chance: random.Random, faults: list[str]) -> None:
    """Passes the datagrams of the group `meter` on to the group `home`: some are lost, some come twice, at
    once or late, and some later than those sent after them."""
    connection, late = await Connection.open(meter), list[bytes]()
    with sender(home) as send:
        try:
            while True:
                data = await connection.read()
                fault = chance.choice(("lose", "repeat", "hold", "hold and repeat", *["well"] * 4))
                faults += [fault] * (fault != "well")
                if fault in ("repeat", "hold and repeat", "well"):
                    send(data)
                if fault == "repeat":
                    send(data)
                overtaken, late = (late, []) if chance.random() < 0.5 else ([], late)
                for old in overtaken:
                    send(old)
                if fault in ("hold", "hold and repeat"):
                    late.append(data)
        finally:
            connection.close()


async def test_whatever_a_network_does_to_datagrams_the_energy_is_what_the_registers_counted(
    tmp_path: Path,
) -> None:
    begins = int(time.time()) // 60 * 60 + 50
    clock = ScaledClock(begins * 10**9, time.time_ns(), SCALE)
    truth, faults, readings = tmp_path / "truth.jsonl", list[str](), list[Reading]()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(SPEEDWIRE.serve(Home(7, begins), clock, truth, port.set_result))
    sent, arriving = Multicast("239.12.255.254", await port, "127.0.0.1"), free_group()
    network = asyncio.create_task(pass_on(sent, arriving, random.Random(7), faults))
    section = tomllib.loads(SPEEDWIRE.section.replace("PORT", str(arriving.port)))
    (meter,) = open_meters((MeterSection.model_validate({"name": "sma"} | section),), clock).values()
    reading = asyncio.create_task(read_forever(meter, clock, 1, readings.append))
    await clock.sleep(SECONDS)
    for task in (reading, network, serving):
        task.cancel()
    await asyncio.gather(reading, network, serving, return_exceptions=True)
    assert {"lose", "repeat", "hold", "hold and repeat"} <= set(faults)
    for lane in ("import", "export"):
        registers = [one.registers[lane] for one in readings]
        assert registers == sorted(registers)
    units = units_of(readings, ("import", "export", "power", "count"), clock)
    shown = {said["unit"]: said for said in map(json.loads, truth.read_text().splitlines())}
    assert units.lanes["count"].sum() >= SECONDS / 4
    check_units((units.first, units.lanes), shown, SPEEDWIRE)
