"""Frames of real meters, from frames.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PublicFrame:
    """The bytes of one frame, and what the meter said with them."""

    name: str
    data: bytes
    serial: str
    registers: dict[str, int]

    def __str__(self) -> str:
        return self.name


def public_frames() -> list[PublicFrame]:
    document = tomllib.loads(Path(__file__).with_name("frames.toml").read_text("utf-8"))
    return [
        PublicFrame(
            name=frame["name"],
            data=bytes.fromhex(frame["hex"]),
            serial=frame["serial"],
            registers=frame["registers"],
        )
        for frame in document["frame"]
    ]


def public_frame(name: str) -> bytes:
    (data,) = (frame.data for frame in public_frames() if frame.name == name)
    return data
