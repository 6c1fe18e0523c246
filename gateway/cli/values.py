"""Ids, times, durations and lanes as a person types them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from zoneinfo import ZoneInfo

import click
from click.core import ParameterSource

from gateway.chain.layout import LANES
from gateway.chain.window import zone_of
from gateway.cli.output import EPOCH

_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


class HexId(click.ParamType[bytes]):
    """16 bytes as 32 hexadecimal digits: a stream's id, a kid."""

    name = "hex"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{32}", value):
            self.fail(f"{value!r} is not an id: expected 32 hexadecimal digits", param, ctx)
        return bytes.fromhex(value)


class Duration(click.ParamType[int]):
    """90s, 15min, 2h, 1d: milliseconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,9})\s*(s|min|h|d)", str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"{value!r} is not a duration: use 90s, 15min, 2h or 1d", param, ctx)
        return int(match[1]) * _MS[match[2]]


class Finite(click.FloatRange):
    """A finite number within bounds: neither nan, which is within any, nor inf."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number: expected one such as 1.5", param, ctx)
        return number


class Lanes(click.ParamType[tuple[str, ...]]):
    """Lanes, separated by commas; each once."""

    name = "lanes"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        lanes = tuple(dict.fromkeys(lane.strip() for lane in str(value).split(",")))
        if not set(lanes) <= set(LANES):
            self.fail(f"{value!r}: expected some of {','.join(LANES)}", param, ctx)
        return lanes


class Moment(click.ParamType[int]):
    """An ISO 8601 date or time: Unix milliseconds. One that names no zone is in that of the command's --zone,
    where it is given, or else in this machine's."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=_given_zone(ctx)).astimezone()
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is not a time: use 2026-11-22, or 2026-11-22T18:30", param, ctx)
        return (moment - EPOCH) // (EPOCH.resolution * 1000)


def _given_zone(ctx: click.Context | None) -> ZoneInfo | None:
    """What --zone names on this command line, where it is an eager option; None where it is not there."""
    if ctx is None or ctx.get_parameter_source("zone") is not ParameterSource.COMMANDLINE:
        return None
    return zone_of(ctx.params["zone"])
