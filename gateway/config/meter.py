"""[[meter]]: a meter's model, the lanes that are sealed, and how to reach it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.chain.layout import ENERGY, Factor
from gateway.config.credential import credential_path
from gateway.config.section import Load, Section, as_written, from_the_file
from gateway.config.switch import LimitSection, SwitchSection
from gateway.errors import UsageError
from gateway.meters.endpoint import ANY_INTERFACE
from gateway.meters.modbus.model import MODBUS_PORT
from gateway.meters.profile import load_profile, profile_ids, similar
from gateway.meters.secrets import Secrets, read_secrets
from gateway.meters.speedwire.model import SPEEDWIRE_PORT

LaneName = Literal["import", "export", "power", "count"]
_HOST = r"^([^\s/:]+|[^\s/]*:[^\s/]*:[^\s/]*)$"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
LANE_NAMES: tuple[LaneName, ...] = get_args(LaneName)


_LEAST, _MOST = Decimal("0.000001"), Decimal(100_000)


def _for_both(value: object) -> object:
    """A number for energy and power alike."""
    return value if isinstance(value, dict | FactorSection) else {"energy": value, "power": value}


_Times = Annotated[Decimal, BeforeValidator(as_written)]
_RANGE = "a number from 0.000001 to 100000 with at most 6 decimals"


class FactorSection(Section):
    """By what a meter's readings are multiplied: both for current transformers, energy alone where only its
    registers are in another unit than its profile says."""

    energy: _Times = Field(default=Decimal(1), description=_RANGE)
    power: _Times = Field(default=Decimal(1), description=_RANGE)

    @field_validator("energy", "power")
    @classmethod
    def _in_range(cls, times: Decimal) -> Decimal:
        if not _LEAST <= times <= _MOST or times % _LEAST:
            raise ValueError(f"it must be {_RANGE}")
        return times

    @property
    def factor(self) -> Factor:
        return Factor(self.energy, self.power)


class TcpLine(Section):
    """A meter on the network, or a converter that passes a serial line through. `framer` is for Modbus only:
    "rtu" for such a converter. Without `port`, a Modbus meter's is 502."""

    host: str = Field(
        pattern=_HOST, description='a name or address, such as "192.168.1.50"; the port is a key of its own'
    )
    port: int | None = Field(default=None, ge=1, le=65535, description="a whole number from 1 to 65535")
    framer: Literal["socket", "rtu"] = Field(default="socket", description='"socket" or "rtu"')


class UdpLine(Section):
    """A Modbus meter on the network that is polled in datagrams."""

    host: str = Field(
        pattern=_HOST, description='a name or address, such as "192.168.1.50"; the port is a key of its own'
    )
    port: int = Field(default=MODBUS_PORT, ge=1, le=65535, description="a whole number from 1 to 65535")


class MulticastLine(Section):
    """The group to which SMA's meters send (Speedwire), on the interface that has the address `interface`, or
    on the one that the machine's routes choose. Where several meters send, `serial_number` is that of the one
    meant."""

    interface: str = Field(
        default=ANY_INTERFACE,
        pattern=rf"^{_OCTET}(\.{_OCTET}){{3}}$",
        description='an IPv4 address of this machine: "192.168.1.10"',
    )
    port: int = Field(default=SPEEDWIRE_PORT, ge=1, le=65535, description="a whole number from 1 to 65535")
    serial_number: int | None = Field(
        default=None, ge=1, le=2**32 - 1, description="the number on the meter, such as 1900204522"
    )


class SerialLine(Section):
    """A serial port. Settings that are left out are those that the meter leaves its factory with."""

    device: str = Field(pattern="^/.+", description='a device, such as "/dev/serial/by-id/usb-..."')
    baudrate: int | None = Field(
        default=None, ge=300, le=115_200, description="a whole number, 300 to 115200"
    )
    parity: Literal["N", "E", "O"] | None = Field(
        default=None, description='"N" (none), "E" (even) or "O" (odd)'
    )
    stopbits: Literal[1, 2] | None = Field(default=None, description="1 or 2")
    databits: Literal[7, 8] | None = Field(default=None, description="7 or 8")


class MeterSection(Section):
    """One meter: its model, the lanes that are sealed, and how to reach it."""

    name: str = Field(pattern="^[a-z0-9-]+$", description="a name of a to z, 0 to 9 and -")
    profile: str = Field(description='the name of a meter profile, such as "eastron-sdm630"')
    lanes: Annotated[tuple[LaneName, ...], Field(strict=False)] = Field(
        default=LANE_NAMES, description='some of "import", "export", "power" and "count"'
    )
    interval_s: float = Field(
        default=1.0, ge=0.1, le=3600, description="a number of seconds from 0.1 to 3600"
    )
    factor: Annotated[FactorSection, BeforeValidator(_for_both)] = Field(
        default=FactorSection(),
        description="a number such as 40 (current transformers of 200 to 5 A), or a table such as "
        "{ energy = 0.1 }, with which power stays as it is",
    )
    switch: SwitchSection | None = Field(
        default=None,
        description="a table such as { coil = 5 }, by which the home is disconnected; a polled DLMS meter "
        "has its own",
    )
    limit: LimitSection | None = Field(
        default=None,
        description="a table such as { register = { address = 40, off = 65535 } }, by which the home's power "
        "is limited",
    )
    unit_id: int = Field(default=1, ge=1, le=247, description="a whole number from 1 to 247")
    address: str | None = Field(
        default=None,
        pattern="^[0-9A-Za-z]{1,32}$",
        description='the meter\'s number, such as "12345678", where it answers to that only',
    )
    keys: str | None = Field(
        default=None,
        pattern=r"^(\.{0,2}/.+|[\w.-]+)$",
        description='the path of a file ("/etc/gateway/main.keys", "./main.keys") '
        'or the name of a systemd credential ("meter-main")',
    )
    tcp: TcpLine | None = Field(
        default=None, description='a table such as { host = "192.168.1.50", port = 502 }'
    )
    udp: UdpLine | None = Field(
        default=None, description='a table such as { host = "192.168.1.50" }, for a Modbus meter'
    )
    multicast: MulticastLine | None = Field(
        default=None, description="a table such as { serial_number = 1900204522 }, or {}, for SMA's meters"
    )
    serial: SerialLine | None = Field(
        default=None, description='a table such as { device = "/dev/serial/by-id/usb-...", baudrate = 9600 }'
    )

    @field_validator("name")
    @classmethod
    def _unique(cls, name: str, info: ValidationInfo) -> str:
        if isinstance(info.context, Load):
            if name in info.context.names:
                raise ValueError("another meter has this name already; each needs its own")
            info.context.names.add(name)
        return name

    @field_validator("keys")
    @classmethod
    def _keys_path(cls, value: str | None, info: ValidationInfo) -> str | None:
        return str(from_the_file(Path(value), info)) if value and "/" in value else value

    @field_validator("profile")
    @classmethod
    def _known(cls, profile: str) -> str:
        if profile not in profile_ids():
            near = " or ".join(json.dumps(known) for known in similar(profile))
            raise ValueError(f"did you mean {near}?" if near else "`gateway meters list` shows the profiles")
        return profile

    @field_validator("lanes")
    @classmethod
    def _in_order(cls, lanes: tuple[LaneName, ...], info: ValidationInfo) -> tuple[LaneName, ...]:
        if "count" not in lanes or not set(ENERGY) & set(lanes):
            raise ValueError('it must hold "count" and at least one of "import" and "export"')
        in_order = tuple(name for name in LANE_NAMES if name in lanes)
        if in_order != lanes:
            raise ValueError(f"it must have each lane once, in this order: {json.dumps(in_order)}")
        if (profile := info.data.get("profile")) is not None:
            has = [name for name in LANE_NAMES if name in (*load_profile(profile).lanes, "count")]
            if not set(lanes) <= set(has):
                raise ValueError(f"{profile} has {json.dumps(has)}. Write lanes = {json.dumps(has)}")
        return in_order

    @field_validator("serial")
    @classmethod
    def _one_connection(cls, serial: SerialLine | None, info: ValidationInfo) -> SerialLine | None:
        if not {"tcp", "udp", "multicast"} <= set(info.data):
            return serial  # the mistake in it is told instead
        network = (info.data["tcp"], info.data["udp"], info.data["multicast"])
        given = sum(line is not None for line in (*network, serial))
        if given != 1:
            had = ("no connection", "", "two connections", "three connections", "four connections")[given]
            raise PydanticCustomError(
                "whole",
                f"has {had}; give it exactly one, tcp = {{ ... }} or serial = {{ ... }} "
                "(or udp = { ... }, or multicast = { ... })",
            )
        return serial


def secrets_of(meter: MeterSection) -> Secrets:
    """The meter's keys: from the file or credential that `keys` names, or else from the systemd credential
    `meter-<name>`; empty where neither is there."""
    path = credential_path(meter.keys, f"meter-{meter.name}", key=f"meter {meter.name}: keys")
    if path is None:
        return Secrets()
    try:
        return read_secrets(path)
    except UsageError as error:
        raise UsageError(f"meter {meter.name}: {error}") from None
