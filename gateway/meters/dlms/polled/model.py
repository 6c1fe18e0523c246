"""A polled DLMS meter's model, from its profile: how to reach it, how to associate, and its registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gateway.meters.dlms.application import association
from gateway.meters.dlms.application.cipher import AUTHENTICATED, ENCRYPTED
from gateway.meters.dlms.cosem.objects import EXTENDED_REGISTER, REGISTER, Obis, obis
from gateway.meters.dlms.link.hdlc import address
from gateway.meters.reading import LANES
from gateway.meters.toml_table import TomlTable

DLMS_PORT = 4059  # IANA: dlms-cosem
Framing = Literal["wrapper", "hdlc", "mode-e"]
_FRAMINGS: tuple[Framing, ...] = ("wrapper", "hdlc", "mode-e")
_OBIS = r"\d+-\d+:\d+\.\d+\.\d+([.*]\d+)?"
_MECHANISMS = {"none": association.NONE, "lls": association.LLS, "hls5": association.HLS5}
_PROTECTIONS = {
    "none": 0,
    "authenticated": AUTHENTICATED,
    "encrypted": ENCRYPTED,
    "authenticated-encrypted": AUTHENTICATED | ENCRYPTED,
}
_MWH_PER_KWH = 1_000_000


@dataclass(frozen=True, slots=True)
class Link:
    """The link layer and the addresses (SAPs): the client's, and the meter's logical device; over HDLC its
    physical device too, in an address of `address_size` bytes. `mode-e` is HDLC after the sign-on of an
    optical port, and `wake` is for battery-powered heads."""

    framing: Framing
    client: int
    server: int
    physical: int | None
    address_size: int | None
    wake: bool


@dataclass(frozen=True, slots=True)
class Security:
    """The authentication mechanism, the security control of every message, whether messages and long answers
    use the general APDUs (general-glo-ciphering, general-block-transfer), and the object in which the public
    client reads the highest invocation counter that the meter has accepted."""

    mechanism: int
    protection: int
    general: bool
    counter: Obis | None

    @property
    def counts(self) -> bool:
        """Whether messages carry an invocation counter."""
        return self.mechanism == association.HLS5 or self.protection != 0


@dataclass(frozen=True, slots=True)
class Register:
    """A lane's register, of class 3 or 4; `less` is a register to subtract: power exported from power
    imported."""

    lane: str
    class_id: int
    obis: Obis
    less: Obis | None = None

    @property
    def codes(self) -> tuple[Obis, ...]:
        return (self.obis,) if self.less is None else (self.obis, self.less)


@dataclass(frozen=True, slots=True)
class DlmsModel:
    """How to read the meter. `load_profile` has the energy registers at the end of every `period_s`."""

    link: Link
    security: Security
    registers: tuple[Register, ...]
    clock: Obis
    serial_number: Obis | None
    load_profile: Obis | None
    period_s: int
    rollover: Mapping[str, int]

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes this model can fill, in the order of the profile."""
        return tuple(register.lane for register in self.registers)


def parse_model(keys: TomlTable) -> DlmsModel:
    """Take the model's keys: [link], [security], [[register]], [load_profile] and the objects' codes."""
    rollover: dict[str, int] = {}
    registers = tuple(_register(entry, rollover) for entry in keys.tables("register"))
    lanes = [register.lane for register in registers]
    for lane in lanes:
        if lanes.count(lane) > 1:
            raise keys.problem(f"two registers are for lane {lane}; each lane must have one")
    profile, period_s = None, 0
    if keys.has("load_profile"):
        table = keys.table("load_profile")
        profile, period_s = obis(table.text("obis", _OBIS)), table.integer("period_s", 1, 86_400)
        table.end()
    return DlmsModel(
        link=_link(keys.table("link")),
        security=_security(keys.table("security")),
        registers=registers,
        clock=_optional(keys, "clock") or obis("0-0:1.0.0"),
        serial_number=_optional(keys, "serial_number"),
        load_profile=profile,
        period_s=period_s,
        rollover=rollover,
    )


def _link(keys: TomlTable) -> Link:
    framing = keys.choice("framing", _FRAMINGS)
    hdlc = framing != "wrapper"
    link = Link(
        framing=framing,
        client=keys.integer("client", 1, 0x7F),
        server=keys.integer("server", 1, 0x3FFF),
        physical=keys.integer("physical", 0, 0x3FFF) if hdlc and keys.has("physical") else None,
        address_size=keys.integer("address_size", 1, 4) if hdlc and keys.has("address_size") else None,
        wake=keys.flag("wake") if framing == "mode-e" else False,
    )
    keys.end()
    if hdlc:
        try:
            address(link.server, link.physical, size=link.address_size)
        except ValueError as error:
            raise keys.fault("server", f"and physical do not make an HDLC address: {error}") from None
    return link


def _security(keys: TomlTable) -> Security:
    security = Security(
        mechanism=_MECHANISMS[keys.choice("authentication", tuple(_MECHANISMS))],
        protection=_PROTECTIONS[keys.choice("protection", tuple(_PROTECTIONS))],
        general=keys.flag("general"),
        counter=_optional(keys, "counter"),
    )
    keys.end()
    return security


def _register(keys: TomlTable, rollover: dict[str, int]) -> Register:
    register = Register(
        lane=keys.choice("name", LANES),
        class_id=keys.integer("class", REGISTER, EXTENDED_REGISTER) if keys.has("class") else REGISTER,
        obis=obis(keys.text("obis", _OBIS)),
        less=_optional(keys, "less"),
    )
    if keys.has("rollover_kwh"):
        rollover[register.lane] = keys.integer("rollover_kwh", 1, 10**9) * _MWH_PER_KWH
    if register.less is not None and register.lane != "power":
        raise keys.fault("less", "is for power only: an energy must have a single register")
    keys.end()
    return register


def _optional(keys: TomlTable, key: str) -> Obis | None:
    return obis(keys.text(key, _OBIS)) if keys.has(key) else None
