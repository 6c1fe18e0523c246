"""An SML meter's profile. It is short, since an SML list names its registers itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.meters.reading import LANES, Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.sml.decoder import SmlDecoder
from gateway.meters.toml_table import TomlTable


@dataclass(frozen=True, slots=True)
class SmlModel:
    """`lanes` are those that a meter of this model can fill; some of them may not be enabled. Its totals are
    the sum of `tariffs` tariffs; None where their number is unknown."""

    lanes: tuple[str, ...]
    tariffs: int | None = None

    @property
    def rollover(self) -> Mapping[str, int]:
        """Unknown: the registers are integers of up to 64 bits."""
        return {}

    @property
    def silence_s(self) -> float:
        """Meters send every 1 to 4 s."""
        return 30.0

    def decoder(self, secrets: Secrets) -> Decoder:
        """A new decoder; SML on the optical port is not encrypted."""
        return SmlDecoder(self.tariffs)


def parse_model(keys: TomlTable) -> SmlModel:
    """Take the model's keys: `lanes` and `tariffs`."""
    lanes = keys.texts("lanes")
    if not set(lanes) <= set(LANES) or len(set(lanes)) != len(lanes):
        raise keys.fault("lanes", f"are {', '.join(lanes)}; each must be one of {', '.join(LANES)}, once")
    return SmlModel(lanes, keys.integer("tariffs", 1, 9) if keys.has("tariffs") else None)
