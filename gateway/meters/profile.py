"""A meter model as data: one TOML file names the products, the sources of its facts, and how to read it.

Every profile has the same head; the rest belongs to its protocol, whose own `model` checks it. A profile
without a source is refused. Every mistake is a UsageError that names the file and the key.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Literal, Protocol

from gateway.errors import UsageError
from gateway.meters.dlms.polled.model import DLMS_PORT, DlmsModel
from gateway.meters.dlms.polled.model import parse_model as dlms_model
from gateway.meters.dlms.push.model import parse_model as dlms_push_model
from gateway.meters.endpoint import SerialSettings
from gateway.meters.modbus.model import MODBUS_PORT, ModbusModel
from gateway.meters.modbus.model import parse_model as modbus_model
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.modbus.sunspec_model import parse_model as sunspec_model
from gateway.meters.p1.model import parse_model as p1_model
from gateway.meters.reading import Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.sml.model import parse_model as sml_model
from gateway.meters.speedwire.model import parse_model as speedwire_model
from gateway.meters.toml_table import TomlTable


class PushModel(Protocol):
    """The model of a meter that pushes."""

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes this model can fill."""

    @property
    def rollover(self) -> Mapping[str, int]:
        """The mWh at which a lane's register starts from 0 again."""

    @property
    def silence_s(self) -> float:
        """How long it may send nothing before something is wrong."""

    def decoder(self, secrets: Secrets) -> Decoder:
        """A new decoder of its bytes. UsageError where it encrypts and `secrets` lack its keys."""


Model = ModbusModel | SunSpecModel | DlmsModel | PushModel
_PROTOCOLS: dict[str, Callable[[TomlTable], Model]] = {
    "modbus": modbus_model,
    "sunspec": sunspec_model,
    "sml": sml_model,
    "dlms": dlms_model,
    "dlms-push": dlms_push_model,
    "p1": p1_model,
    "speedwire": speedwire_model,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """A meter model. `source` says where its facts come from, `status` how far they were checked, `serial`
    how its port is set when it leaves the factory."""

    id: str
    products: tuple[str, ...]
    source: tuple[str, ...]
    status: Literal["vendor-doc", "community", "hardware"]
    caveats: tuple[str, ...]
    serial: SerialSettings | None
    protocol: str
    model: Model

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes this model can fill."""
        return self.model.lanes

    @property
    def reached_by(self) -> str:
        """Its serial port's settings as it leaves the factory, or "network" where it has no such port."""
        return "network" if self.serial is None else str(self.serial)

    @property
    def on_modbus(self) -> bool:
        """Whether it is polled for Modbus registers, under its device id."""
        return isinstance(self.model, ModbusModel | SunSpecModel)

    @property
    def tcp_port(self) -> int | None:
        """Its protocol's TCP port; None where the meter has only a serial line, which a converter may serve
        at any port."""
        if self.on_modbus:
            return MODBUS_PORT
        return DLMS_PORT if isinstance(self.model, DlmsModel) else None


def profile_ids() -> tuple[str, ...]:
    """The ids of the profiles in the package, sorted."""
    files = resources.files("gateway.meters").joinpath("profiles").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def similar(profile_id: str) -> list[str]:
    """The profiles whose ids begin with `profile_id`, or else the one spelt most like it, if there is one."""
    beginning = [known for known in profile_ids() if profile_id and known.startswith(profile_id.lower())]
    return beginning or difflib.get_close_matches(profile_id.lower(), profile_ids(), n=1, cutoff=0.5)


def load_profile(profile_id: str) -> Profile:
    """A profile of the package. UsageError where it has none of this id."""
    if profile_id not in profile_ids():
        near = similar(profile_id)
        meant = f"did you mean {' or '.join(near)}?" if near else "`gateway meters list` shows them all"
        raise UsageError(f"there is no meter profile {profile_id!r}; {meant}")
    file = resources.files("gateway.meters").joinpath("profiles", f"{profile_id}.toml")
    return parse_profile(file.read_text("utf-8"), f"{profile_id}.toml")


def parse_profile(text: str, file: str) -> Profile:
    """Check a profile's text; `file` is the file's name, which must be the id and `.toml`."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from None
    except (ValueError, ArithmeticError, RecursionError):
        raise UsageError(
            f"{file} is not a profile's TOML: it has a huge number, or is nested too deeply"
        ) from None
    keys = TomlTable(document, file)
    profile_id = keys.text("id", r"[a-z0-9]+([.-][a-z0-9]+)*")
    if f"{profile_id}.toml" != file:
        raise UsageError(f"{file}: id is {profile_id!r}; it must be the file's name without .toml")
    protocol = keys.choice("protocol", tuple(_PROTOCOLS))
    profile = Profile(
        id=profile_id,
        products=keys.texts("products"),
        source=keys.texts("source"),
        status=keys.choice("status", ("vendor-doc", "community", "hardware")),
        caveats=keys.texts("caveats", empty=True),
        serial=_serial(keys.table("serial")) if keys.has("serial") else None,
        protocol=protocol,
        model=_PROTOCOLS[protocol](keys),
    )
    keys.end()
    return profile


def _serial(keys: TomlTable) -> SerialSettings:
    settings = SerialSettings(
        baud=keys.integer("baud", 300, 115_200),
        parity=keys.choice("parity", ("none", "even", "odd")),
        stop_bits=keys.integer("stop_bits", 1, 2),
        data_bits=keys.integer("data_bits", 7, 8) if keys.has("data_bits") else 8,
    )
    keys.end()
    return settings
