"""A meter model as data: one TOML file names the products, the sources of its facts, and how to read it.

Every profile has the same head; the rest belongs to its protocol, whose own `model` checks it. A profile
without a source is refused. Every mistake is a UsageError that names the file and the key.

Beside the package's profiles there are those of one's own, files in /etc/gateway/profiles, or in the folder
that the environment's GATEWAY_PROFILES names. Where a name is in both, the package's profile is the one.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, Protocol

from gateway.errors import UsageError
from gateway.meters.dlms.polled.model import DLMS_PORT, DlmsModel
from gateway.meters.dlms.polled.model import parse_model as dlms_model
from gateway.meters.dlms.push.model import parse_model as dlms_push_model
from gateway.meters.endpoint import SerialSettings
from gateway.meters.iec62056.model import TextModel
from gateway.meters.iec62056.model import parse_model as text_model
from gateway.meters.iec62056.model import parse_push_model as text_push_model
from gateway.meters.mbus.model import parse_model as mbus_model
from gateway.meters.modbus.model import MODBUS_PORT, ModbusModel
from gateway.meters.modbus.model import parse_model as modbus_model
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.modbus.sunspec_model import parse_model as sunspec_model
from gateway.meters.p1.model import parse_model as p1_model
from gateway.meters.reading import Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.sml.model import parse_model as sml_model
from gateway.meters.tic.model import parse_model as tic_model
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


_LEAST_NAME = 4  # letters and digits of a meter's name, to find it by a part of it

Model = ModbusModel | SunSpecModel | DlmsModel | TextModel | PushModel
_PROTOCOLS: dict[str, Callable[[TomlTable], Model]] = {
    "modbus": modbus_model,
    "sunspec": sunspec_model,
    "sml": sml_model,
    "dlms": dlms_model,
    "dlms-push": dlms_push_model,
    "p1": p1_model,
    "text": text_model,
    "text-push": text_push_model,
    "tic": tic_model,
    "mbus-push": mbus_model,
}


@dataclass(frozen=True, slots=True)
class Profile:
    """A meter model. `products` are the names on the meters, `also` those of other boxes that share its
    registers. `source` says where its facts come from, `status` how far they were checked, `serial` how its
    port is set when it leaves the factory."""

    id: str
    products: tuple[str, ...]
    also: tuple[str, ...]
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


def package_ids() -> tuple[str, ...]:
    """The ids of the profiles in the package, sorted."""
    return tuple(sorted(_ids(resources.files("gateway.meters").joinpath("profiles"))))


def profile_ids() -> tuple[str, ...]:
    """The ids of all profiles, of the package and of one's own, sorted. UsageError where the folder of one's
    own cannot be read."""
    return tuple(sorted({*package_ids(), *_own_ids()}))


def load_profiles() -> tuple[list[Profile], list[str]]:
    """All profiles that are right, and a sentence for each file of one's own that is not, or is not used."""
    profiles, mistakes = [], []
    for profile_id in profile_ids():
        try:
            profiles.append(load_profile(profile_id))
        except UsageError as error:
            mistakes.append(str(error))
    for profile_id in sorted(_own_ids() & set(package_ids())):
        mistakes.append(
            f"{own_folder()}/{profile_id}.toml is not used: the package has a profile of this name; give "
            "yours another"
        )
    return profiles, mistakes


def similar(profile_id: str) -> list[str]:
    """The profiles that `profile_id` may mean: those whose ids begin with it, or else those of a meter with
    such a name, or else the one whose id is spelt most like it, if there is one."""
    begin = profile_id.lower()
    beginning = [known for known in profile_ids() if begin and known.startswith(begin)]
    named = [
        p.id for p in load_profiles()[0] if any(_has(name, profile_id) for name in (*p.products, *p.also))
    ]
    return beginning or named or difflib.get_close_matches(begin, profile_ids(), n=1, cutoff=0.5)


def load_profile(profile_id: str) -> Profile:
    """A profile of the package, or of one's own. UsageError where none has this id, or it is wrong."""
    if profile_id not in profile_ids():
        near = similar(profile_id)
        meant = f"did you mean {' or '.join(near)}?" if near else "`gateway meters list` shows them all"
        raise UsageError(f"there is no meter profile {profile_id!r}; {meant}")
    packaged = profile_id in package_ids()
    folder = resources.files("gateway.meters").joinpath("profiles") if packaged else own_folder()
    file = folder.joinpath(f"{profile_id}.toml")
    try:
        return parse_profile(file.read_text("utf-8"), file.name)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text, as a TOML file must be") from None


def own_folder() -> Path:
    """The folder of one's own profiles; it need not be there."""
    return Path(os.environ.get("GATEWAY_PROFILES", "/etc/gateway/profiles"))


def _own_ids() -> set[str]:
    try:
        return set(_ids(own_folder()))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise UsageError(f"the profiles in {own_folder()} cannot be read: {error.strerror}") from None


def _ids(folder: Traversable) -> list[str]:
    return [file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")]


def _has(name: str, wanted: str) -> bool:
    """Whether a meter's name has the wanted one in it, but for case, spaces and hyphens."""
    one, other = (re.sub(r"[^a-z0-9]", "", text.lower()) for text in (name, wanted))
    return len(other) >= _LEAST_NAME and other in one


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
        also=keys.texts("also") if keys.has("also") else (),
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
