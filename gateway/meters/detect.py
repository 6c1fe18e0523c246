"""Finds the profiles that can decode what a pushing meter sends on a port, or says why none can."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import MeterError
from gateway.meters.endpoint import Endpoint
from gateway.meters.reading import Decoder
from gateway.meters.transport import Connection

_MOST_OCTETS = 2**18  # twice what a serial port brings in the longest time at 115 200 baud
_MORE_S = 3  # for the profiles and lanes that only the next telegrams bring


@dataclass(frozen=True, slots=True)
class Heard:
    """How many bytes came, and for each profile that decoded a telegram in them, the lanes that it found.
    `problem` is what most decoders found wrong with telegrams that none of them decoded."""

    octets: int
    profiles: Mapping[str, frozenset[str]]
    problem: str | None = None


async def hear(
    endpoint: Endpoint, decoders: Mapping[str, Decoder], seconds: float, longer: float = 0
) -> Heard:
    """What arrives at `endpoint` within `seconds`, or, once anything has arrived, within `longer` if that is
    more, or until a few seconds after the first telegram that was decoded, or until more has come than any
    meter sends. MeterError where it cannot be opened."""
    begin = asyncio.get_running_loop().time()
    octets = 0
    problems: Counter[str] = Counter()
    lanes: dict[str, frozenset[str]] = {}
    connection = await Connection.open(endpoint)
    try:
        async with asyncio.timeout(seconds) as limit:
            while octets < _MOST_OCTETS:
                data = await connection.read()
                if not octets and data:
                    limit.reschedule(max(begin + longer, limit.when() or begin))
                octets += len(data)
                understood = bool(lanes)
                for profile, decoder in decoders.items():
                    for item in decoder.feed(data):
                        if isinstance(item, MeterError):
                            problems[str(item)] += 1
                        else:
                            lanes[profile] = lanes.get(profile, frozenset()) | set(item.registers)
                    await asyncio.sleep(0)  # what the meters in use send is not to wait for all decoders
                if lanes and not understood:
                    end = asyncio.get_running_loop().time() + _MORE_S
                    limit.reschedule(min(end, limit.when() or end))
    except TimeoutError:
        pass
    finally:
        connection.close()
    problem = next((sentence for sentence, _ in problems.most_common(1)), None)
    return Heard(octets, lanes, None if lanes else problem)
