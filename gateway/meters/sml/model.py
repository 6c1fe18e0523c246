"""What a profile says of an SML meter. Its list of registers names what they are, so that is not much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.meters.reading import LANES, Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.sml.decoder import SmlDecoder
from gateway.meters.toml_table import TomlTable


@dataclass(frozen=True, slots=True)
class SmlModel:
    """`lanes` are those that a meter of this model can fill; not every one of them need be released."""

    lanes: tuple[str, ...]

    @property
    def rollover(self) -> Mapping[str, int]:
        """None is known: the registers are integers of up to 64 bits."""
        return {}

    @property
    def silence_s(self) -> float:
        """Meters send every 1 to 4 s."""
        return 30.0

    def decoder(self, secrets: Secrets) -> Decoder:
        """A fresh decoder; SML on the optical head is not encrypted."""
        return SmlDecoder()


def parse_model(keys: TomlTable) -> SmlModel:
    """Take the model's keys: `lanes`."""
    lanes = keys.texts("lanes")
    if not set(lanes) <= set(LANES) or len(set(lanes)) != len(lanes):
        raise keys.fault("lanes", f"are {', '.join(lanes)}; each must be one of {', '.join(LANES)}, once")
    return SmlModel(lanes)
