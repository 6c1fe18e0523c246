"""Datagrams of real meters, from datagrams.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PublicDatagram:
    """The bytes of one datagram, and what the meter said with them."""

    name: str
    data: bytes
    serial: str
    ticker: int
    registers: dict[str, int]

    def __str__(self) -> str:
        return self.name


def public_datagrams() -> list[PublicDatagram]:
    document = tomllib.loads(Path(__file__).with_name("datagrams.toml").read_text("utf-8"))
    return [
        PublicDatagram(
            name=one["name"],
            data=bytes.fromhex(one["hex"]),
            serial=one["serial"],
            ticker=one["ticker"],
            registers=one["registers"],
        )
        for one in document["datagram"]
    ]
