"""The profile of SMA's meters. It has no keys of its own: all of them send the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.meters.reading import LANES
from gateway.meters.secrets import Secrets
from gateway.meters.speedwire.decoder import SpeedwireDecoder
from gateway.meters.toml_table import TomlTable

GROUP, SPEEDWIRE_PORT = "239.12.255.254", 9522  # EMETER-Protokoll-TI-en-10


@dataclass(frozen=True, slots=True)
class SpeedwireModel:
    """A meter that sends Speedwire datagrams."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """All of them."""
        return LANES

    @property
    def rollover(self) -> Mapping[str, int]:
        """None that matters: the registers are integers of 64 bits, in Ws."""
        return {}

    @property
    def silence_s(self) -> float:
        """Meters send every second, or more often."""
        return 15.0

    def decoder(self, secrets: Secrets, serial_number: int | None = None) -> SpeedwireDecoder:
        """A new decoder for the meter `serial_number`, or for the only one; Speedwire is not encrypted."""
        return SpeedwireDecoder(serial_number)


def parse_model(keys: TomlTable) -> SpeedwireModel:
    """Take the model's keys, of which there are none."""
    return SpeedwireModel()
