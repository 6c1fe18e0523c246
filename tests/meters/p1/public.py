"""Telegrams of real meters, as public tests have them, with their sources.

- telegrams.toml: https://github.com/ndokter/dsmr_parser/blob/fa20ee45a3103b8262b153e7b0037047abfaa6c7/test/example_telegrams.py,
  but for those that name another source
- SEALED: https://github.com/esphome-libs/dsmr_parser/blob/a200271ec288e96d04c5abb842a075289371f0ef/tests/test_data/encrypted_packet.bin,
  which another implementation of DLMS sealed with SEALED_KEY and the authentication key of Luxembourg
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PublicTelegram:
    """The bytes of one telegram, the profile of its meter, and what it says."""

    name: str
    profile: str
    data: bytes
    serial: str | None
    meter_time: str | None
    registers: dict[str, int]

    def __str__(self) -> str:
        return self.name


def public_telegrams() -> list[PublicTelegram]:
    document = tomllib.loads(Path(__file__).with_name("telegrams.toml").read_text("utf-8"))
    return [
        PublicTelegram(
            name=telegram["name"],
            profile=telegram["profile"],
            data=telegram["text"].encode("ascii").replace(b"\n", b"\r\n"),
            serial=telegram.get("serial"),
            meter_time=telegram.get("meter_time"),
            registers=telegram["registers"],
        )
        for telegram in document["telegram"]
    ]


def public_telegram(name: str) -> bytes:
    (data,) = (telegram.data for telegram in public_telegrams() if telegram.name == name)
    return data


SEALED_KEY = b"\xaa" * 16
SEALED = bytes.fromhex(
    """
    db0853595354454d49448201f23010000001c20f3ead08548c7ffc90a5936b7d020aa8382210c7de89b8141c5e9b8b7f
    63ba0322a254bae5d11158c6821e961e849cff758e389df9992163a1930935074a9bb183c95b2d2d2e2d19fcadd76a5f
    a89c64b7bc91e7cf6fc8a3f26341254dc5b336dfa9439c724dd4d130f9922f86bfd195cc36271311d25aeb74f1a8df02
    61e7fc7456e57f19e6a29220dcc56619297abaeb2bdd2860bfb2f69f03ea063b41acbb473037483de78fc51f3197d8d2
    f3527a5bf5c7ab45a82e02da1f35e85d27443cfcdbc3d543a3259e40b355dbaac215fff9f278c0d1112c3663b28637e0
    43af44b11472b9e7800e21b2c4d753e1166669150f2ad29cdd4b52c82433ced6ac42874808c89220777de949eb5d6867
    3fa9a731f632c372971a72b7e0dad3dd5380078f803fb714c79d075183e82bed0ac67ff4f7203bd4aced206c38d1f49a
    ce78c40e9963250ed42103dea98bfc2f1af2062a95ee96db2ed339b6007fcfce2b62bfc24232d8defa287e6c27da2899
    504ea692c06762016902b6f3545da839889da1ceae84aa2f1869c1774cff8752af6d72ae1dc2c6a6e7dc8e5e463e2c46
    b97df6163da4c935e42840876a651cd1cdd9be7a5ffa2f7ae9db4d3f243cf2934363368f5a6f4358fdeef2ad0a63aa88
    f333104f513b5eaffe3c0797d7cd59265f1ce60e724e62d6924ad8591064ad
    """
)
