"""The profile of a meter that sends TIC: its mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.meters.reading import Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.tic.decoder import TicDecoder
from gateway.meters.tic.frames import MODES, Mode
from gateway.meters.toml_table import TomlTable

_ROLLOVER_MWH = 10**9 * 1_000  # nine digits of Wh


@dataclass(frozen=True, slots=True)
class TicModel:
    """A meter that sends a frame every one to three seconds, in one of two modes."""

    mode: Mode

    @property
    def lanes(self) -> tuple[str, ...]:
        """Mode historique has what is imported; neither has a power in W."""
        return ("import",) if self.mode == "historique" else ("import", "export")

    @property
    def rollover(self) -> Mapping[str, int]:
        """Where tariffs are added up, the sum falls by this when one of them starts again from 0."""
        return dict.fromkeys(self.lanes, _ROLLOVER_MWH)

    @property
    def silence_s(self) -> float:
        return 30.0

    def decoder(self, secrets: Secrets) -> Decoder:
        """A new decoder; TIC is not encrypted."""
        return TicDecoder(self.mode)


def parse_model(keys: TomlTable) -> TicModel:
    """Take the model's key: `mode`."""
    return TicModel(keys.choice("mode", MODES))
