"""One minute as three see it: what the provider opened, what the meter showed, what the store holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.store.bucket import Bucket
from gateway.wire import cose, names
from gateway.wire.stream import Chunk, Descriptor

MINUTE_S = 60
LANES = ("import", "export")
UNIT_MS = 1000  # so that a second of Unix time is a unit
LINK_UNITS = 10


@dataclass(frozen=True, slots=True)
class Minute:
    """[begin, begin + 60) in seconds of Unix time, with a value for each of LANES: the sum in mWh that the
    provider opened, the difference in mWh of what the meter showed, the sum of ciphertexts modulo 2^64."""

    begin: int
    opened: Mapping[str, int] = field(repr=False)
    shown: Mapping[str, int] = field(repr=False)
    sealed: Mapping[str, int] = field(repr=False)

    @property
    def agrees(self) -> bool:
        """Whether the provider opened what the meter showed, to the mWh."""
        return all(self.opened[lane] == self.shown[lane] for lane in LANES)


def opened_sums(document: str) -> dict[int, dict[str, int]]:
    """The sums of `gateway provider read --json`, by the second in which their window begins."""
    rows: list[dict[str, Any]] = json.loads(document)["rows"]
    return {
        int(datetime.fromisoformat(row["from"]).timestamp()): {
            lane: row["sums"][f"{lane}_mwh"] for lane in LANES
        }
        for row in rows
    }


def shown_sums(truth: Path, begin: int) -> dict[str, int] | None:
    """How much the meter's registers rose in the minute: what they showed in its last second, less what they
    showed in the second before its first. None while the meter has not recorded both."""
    registers: dict[int, dict[str, int]] = {}
    wanted = (begin - 1, begin + MINUTE_S - 1)
    for line in truth.read_text(encoding="ascii").splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # still being written
        values = json.loads(line)
        if values["unit"] in wanted:
            registers[values["unit"]] = values
    if len(registers) < len(wanted):
        return None
    before, last = (registers[second] for second in wanted)
    return {lane: last[f"{lane}_mwh"] - before[f"{lane}_mwh"] for lane in LANES}


async def sealed_sums(bucket: Bucket, stream: bytes, begin: int) -> dict[str, int]:
    """The minute's ciphertexts added up modulo 2^64, as anybody can who has the store but no token."""
    key = names.descriptor(stream)
    descriptor = Descriptor.from_payload(cose.payload_unchecked(await bucket.get(key), key)[1], key)
    rows = {lane.name: row for row, lane in enumerate(descriptor.lanes)}
    sums = dict.fromkeys(LANES, 0)
    end = begin + MINUTE_S
    # A chunk lies within a link: none that begins a whole link earlier reaches into the minute.
    after = names.chunk(stream, begin - LINK_UNITS, UNIT_MS)
    async for key in bucket.list(names.chunks(stream), after):
        chunk = Chunk.from_payload(cose.payload_unchecked(await bucket.get(key), key)[1], key)
        if chunk.first >= end:
            break
        inside = slice(max(begin - chunk.first, 0), end - chunk.first)
        for lane in LANES:
            sums[lane] += sum(chunk.c(rows[lane])[inside].tolist())
    return {lane: total % 2**64 for lane, total in sums.items()}
