"""Listens at a port for what speaks by itself, and tells which profiles understand it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import MeterError
from gateway.meters.endpoint import Endpoint
from gateway.meters.reading import Decoder
from gateway.meters.transport import Connection

_MORE_S = 3  # for those of the profiles, and of the lanes, that come with the next telegrams


@dataclass(frozen=True, slots=True)
class Heard:
    """How many bytes came, and for each profile that understood a telegram of them the lanes that it told."""

    octets: int
    profiles: Mapping[str, frozenset[str]]


async def hear(endpoint: Endpoint, decoders: Mapping[str, Decoder], seconds: float) -> Heard:
    """What is heard at `endpoint` in so many seconds, or a few after the first telegram that is understood.
    MeterError where it cannot be opened."""
    octets = 0
    lanes: dict[str, frozenset[str]] = {}
    connection = await Connection.open(endpoint)
    try:
        async with asyncio.timeout(seconds) as limit:
            while True:
                data = await connection.read()
                octets += len(data)
                understood = bool(lanes)
                for profile, decoder in decoders.items():
                    for item in decoder.feed(data):
                        if not isinstance(item, MeterError):
                            lanes[profile] = lanes.get(profile, frozenset()) | set(item.registers)
                if lanes and not understood:
                    end = asyncio.get_running_loop().time() + _MORE_S
                    limit.reschedule(min(end, limit.when() or end))
    except TimeoutError:
        return Heard(octets, lanes)
    finally:
        connection.close()
