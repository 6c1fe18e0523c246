"""Simulated meters that speak by themselves, running, and listeners that hear them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.host.clock import Clock
from gateway.meters.endpoint import Line, Multicast, Tcp
from gateway.meters.listener import Listener
from gateway.meters.profile import load_profile
from gateway.meters.reading import Reading
from gateway.meters.secrets import Secrets
from tests.meters.bench import until

Serve = Callable[[Callable[[int], None]], Coroutine[None, None, None]]


@asynccontextmanager
async def running(serve: Serve) -> AsyncIterator[int]:
    """The simulator's port; at the end it is stopped as Ctrl-C would."""
    ports: list[int] = []
    server = asyncio.create_task(serve(ports.append))
    try:
        await until(lambda: bool(ports) or server.done())
        if server.done():
            server.result()
        yield ports[0]
    finally:
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server


@asynccontextmanager
async def listening(
    profile_id: str, endpoint: Tcp | Line | Multicast, clock: Clock, secrets: Secrets | None = None
) -> AsyncIterator[Listener]:
    model = load_profile(profile_id).model
    listener = Listener(
        "main",
        endpoint,
        model.decoder(secrets or Secrets()),  # type: ignore[union-attr]
        lanes=model.lanes,
        silence_s=20,
        clock=clock,
        rollover=model.rollover,  # type: ignore[union-attr]
    )
    try:
        yield listener
    finally:
        await listener.aclose()


async def heard(listener: Listener, count: int) -> list[Reading]:
    return [await asyncio.wait_for(listener.read(), 30) for _ in range(count)]


def truth_holds(path: Path, readings: list[Reading]) -> None:
    """Each reading is what the meter showed at a second, one later than the other."""
    seconds = -1
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    shown = [(line["unit"], line["import_mwh"], line["export_mwh"], line["power_w"]) for line in lines]
    for reading in readings:
        lanes = tuple(reading.registers[lane] for lane in ("import", "export", "power"))
        latest = [unit for unit, *values in shown if tuple(values) == lanes and unit <= reading.wall // 10**9]
        assert latest, "the meter never showed this"
        assert latest[-1] > seconds
        seconds = latest[-1]
