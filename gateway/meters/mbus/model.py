"""The profile of an AMIS meter. The specification fixes all of it but the key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.errors import UsageError
from gateway.meters.mbus.decoder import MbusDecoder
from gateway.meters.reading import LANES, Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.toml_table import TomlTable


@dataclass(frozen=True, slots=True)
class MbusModel:
    """A frame comes each second, always encrypted."""

    encrypted: bool = True

    @property
    def lanes(self) -> tuple[str, ...]:
        """All of them."""
        return LANES

    @property
    def rollover(self) -> Mapping[str, int]:
        """Unknown: the registers are integers of 32 bits."""
        return {}

    @property
    def silence_s(self) -> float:
        """The meter looks for somebody who listens once a minute."""
        return 150.0

    def decoder(self, secrets: Secrets) -> Decoder:
        """A new decoder. UsageError where `secrets` lack the key."""
        if secrets.encryption_key is None:
            raise UsageError(
                "this meter encrypts: encryption_key is needed, the AES key in the grid operator's portal"
            )
        return MbusDecoder(secrets.encryption_key)


def parse_model(keys: TomlTable) -> MbusModel:
    """There are no keys of its own."""
    return MbusModel()
