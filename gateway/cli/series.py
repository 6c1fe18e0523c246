"""`gateway series`: values that the household adds, such as the temperature."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence

import click

from gateway.cli.config import config_option
from gateway.cli.output import echo, examples, json_option, print_json, printable, recent_time
from gateway.cli.status import begins_at
from gateway.config import Config
from gateway.control.client import ControlClient
from gateway.errors import UsageError


@click.group(epilog=examples("gateway series put climate temperature=21.5 occupancy=2"))
def command() -> None:
    """Add values of the home, such as the weather: a [[series]] in the configuration names their lanes."""


@command.command(
    short_help="Give a series its values as they are now.",
    epilog=examples(
        "gateway series put climate temperature=21.5 occupancy=2",
        "gateway series put roof irradiance=640 --json",
    ),
)
@click.argument("name")
@click.argument("values", nargs=-1, required=True, metavar="LANE=VALUE...")
@config_option
@json_option
def put(config: Config, name: str, values: tuple[str, ...], as_json: bool) -> None:
    """Give the series NAME a value of each of its lanes, as they are now, at most once a unit.

    \b
    temperature  degrees Celsius, in hundredths
    irradiance   of the sun, in W/m2
    appliances   their power, in W
    occupancy    persons at home

    They are sealed as a meter's readings are. A provider that was granted the series sees means over its
    windows: so give values at regular intervals, also where they have not changed. A script may as well POST
    {"temperature": 21.5, "occupancy": 2} to /series/NAME at the gateway's socket.
    """
    series = asyncio.run(ControlClient(config.gateway.socket).put(name, _numbers(values)))
    if as_json:
        print_json(series.model_dump(exclude_unset=True))
        return
    if series.read_ms is not None:
        echo(printable(f"series {name}: taken at {recent_time(series.read_ms)}"))
    begins = begins_at(series, time.time_ns() // 1_000_000, config.stream)
    for sentence in (series.error, series.sealed_ahead, begins):
        if sentence:
            echo(printable(sentence))


def _numbers(values: Sequence[str]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for text in values:
        lane, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UsageError(f"{text!r} is not a lane and its value: use temperature=21.5")
        if lane in found:
            raise UsageError(f"{lane} is given twice")
        found[lane] = number
    return found
