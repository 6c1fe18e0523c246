"""Moments as a person types them."""

from __future__ import annotations

from datetime import datetime

import click

from gateway.cli.output import EPOCH


class Moment(click.ParamType[int]):
    """An ISO 8601 date or time, in this machine's zone where it names none: Unix milliseconds."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(str(value)).astimezone()
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no time; right would be 2026-11-22, or 2026-11-22T18:30", param, ctx)
        return (moment - EPOCH) // (EPOCH.resolution * 1000)
