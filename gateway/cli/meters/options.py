"""The options that say where a meter is, and the configuration section that they make."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from gateway.cli.output import printable
from gateway.config import MeterSection
from gateway.config.wiring import explained
from gateway.errors import MeterError, UsageError
from gateway.meters.dlms.polled.model import DlmsModel
from gateway.meters.iec62056.model import TextModel
from gateway.meters.modbus.model import MODBUS_PORT
from gateway.meters.profile import load_profile
from gateway.meters.reading import LANES

Result = TypeVar("Result")
Option = Callable[[Callable[..., Result]], Callable[..., Result]]


class HostPort(click.ParamType[tuple[str, int | None]]):
    """HOST or HOST:PORT; an IPv6 address with a port must be in brackets."""

    name = "host[:port]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | None]:
        match = re.fullmatch(r"(?:\[([^\]\s]+)\]|([^\s:/]+))(?::(\d{1,5}))?", str(value))
        if match is None and re.fullmatch(r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*", str(value)):
            return str(value), None
        if match is None or not 0 < int(match[3] or 1) < 65_536:
            self.fail(f"{value!r}; it must be a host such as 192.168.1.50 or 192.168.1.50:502", param, ctx)
        return match[1] or match[2], int(match[3]) if match[3] else None


def place_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """`--tcp`, `--rtu`, `--serial`, `--baud` and `--parity`."""
    options = [
        click.option("--tcp", type=HostPort(), help="A meter, or a converter, on the network."),
        click.option(
            "--rtu", is_flag=True, help="With --tcp: the converter passes on Modbus' serial frames."
        ),
        click.option("--serial", type=click.Path(), help="A serial port, preferably /dev/serial/by-id/..."),
        click.option(
            "--baud", type=click.IntRange(300, 115_200), help="With --serial.  [default: profile's]"
        ),
        click.option(
            "--parity", type=click.Choice(["N", "E", "O"]), help="With --serial.  [default: profile's]"
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def meter_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """`--profile`, `--id`, `--keys` and `--udp`, and the place options."""
    options = [
        click.option("--profile", "profile_id", help="The meter's model: see `gateway meters list`."),
        click.option(
            "--id", "device_id", type=click.IntRange(1, 247), help="Modbus device id.  [default: 1]"
        ),
        click.option("--keys", type=click.Path(path_type=Path), help="The file of the meter's keys."),
        click.option("--udp", type=HostPort(), help="A meter that speaks Modbus over UDP."),
    ]
    for option in reversed(options):
        command = option(command)
    return place_options(command)


def check_place(tcp: object, serial: object, rtu: bool, baud: object, parity: object) -> None:
    """UsageError unless the options name one place, with the options that belong to it."""
    if (tcp is None) == (serial is None):
        raise UsageError("say where the meter is: --tcp HOST[:PORT], or --serial DEVICE")
    if rtu and tcp is None:
        raise UsageError("--rtu belongs to --tcp: a serial port always uses such frames")
    if serial is None and not (baud is None and parity is None):
        raise UsageError("--baud and --parity belong to --serial")


def section(
    profile_id: str,
    tcp: tuple[str, int | None] | None,
    rtu: bool,
    serial: str | None,
    baud: int | None,
    parity: str | None,
    device_id: int | None,
    keys: Path | None,
    udp: tuple[str, int | None] | None,
) -> MeterSection:
    """The meter that the options describe, named after its profile."""
    if udp is None:
        check_place(tcp, serial, rtu, baud, parity)
    elif tcp or rtu or serial or baud or parity:
        raise UsageError("--udp says where the meter is: leave --tcp and --serial and their options out")
    model = load_profile(profile_id).model
    if isinstance(model, DlmsModel) and model.security.counts:
        raise UsageError(
            f"{profile_id} needs numbered messages, and no number may come twice under its keys: put the "
            "meter into the configuration, where all its readers share one counter, and read it by its name"
        )
    has = model.lanes
    values = {
        "name": re.sub(r"[^a-z0-9-]", "-", profile_id),
        "profile": profile_id,
        "lanes": [lane for lane in LANES if lane in has] + ["count"],
        "interval_s": float(model.interval_s) if isinstance(model, TextModel) else 1.0,
        "unit_id": device_id or 1,
        "keys": None if keys is None else str(keys.absolute()),
    }
    if tcp is not None:
        values["tcp"] = {"host": tcp[0], "port": tcp[1], "framer": "rtu" if rtu else "socket"}
    if udp is not None:
        values["udp"] = {"host": udp[0], "port": udp[1] or MODBUS_PORT}
    if serial is not None:
        values["serial"] = {"device": str(Path(serial).absolute()), "baudrate": baud, "parity": parity}
    return MeterSection.model_validate(values)


def tell_warnings(tell: Callable[[str], None] | None = None) -> None:
    """Pass warnings from reading meters to `tell`, by default to stderr."""

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            (tell or _say)(record.getMessage())

    logging.getLogger("gateway").addHandler(Teller(logging.WARNING))


def _say(sentence: str) -> None:
    click.echo(f"gateway: {printable(str(explained(MeterError(sentence))))}", err=True)
