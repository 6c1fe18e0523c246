"""A simulated home's meter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from provisioning.demo.process import Parts, program, until

MODEL = "eastron-sdm630"


@dataclass(frozen=True, slots=True)
class SimulatedMeter:
    """A simulated home's meter on Modbus TCP, and the file in which it records what it showed."""

    port: int
    truth: Path


async def start_meter(parts: Parts, folder: Path) -> SimulatedMeter:
    """Start `gateway simulate modbus`, on a port that the system chooses."""
    truth = folder / "truth.jsonl"
    part = await parts.start(
        "meter", program("gateway"), "simulate", "modbus", "--profile", MODEL, "--port", "0", "--truth", truth
    )
    line = ""

    async def listens() -> bool:
        nonlocal line
        line, whole, _ = part.log.read_text(errors="replace").partition("\n")
        return bool(whole)

    await until(part, "listen", listens)
    found = re.search(r" on 127\.0\.0\.1:(\d+),", line)
    assert found is not None, line
    return SimulatedMeter(int(found[1]), truth)
