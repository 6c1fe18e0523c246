"""`gateway meters capture`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from gateway.cli.meters.options import meter_options, section, tell_warnings
from gateway.cli.output import examples, kwh
from gateway.config import MeterSection
from gateway.config.wiring import explained, open_meters
from gateway.errors import GatewayError, KeyFault, MeterError, UsageError
from gateway.host.clock import Clock, SystemClock
from gateway.host.files import write_durably
from gateway.meters.capture import Tap, capture, replay
from gateway.meters.reading import Meter, Reading


@click.command(
    epilog=examples(
        "gateway meters capture --profile eastron-sdm630 --tcp 192.168.1.50 --output sdm630.json",
        "gateway meters capture --profile sml-generic --serial /dev/ttyUSB0 --seconds 20 --output sml.json",
    )
)
@meter_options
@click.option(
    "--seconds",
    default=10,
    show_default=True,
    type=click.IntRange(1, 3600),
    help="How long to listen to a meter that pushes.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file.")
def command(profile_id: str | None, seconds: int, output: Path, **place: Any) -> None:
    """Record a meter in a file that becomes a test: its registers, or the bytes that it sends, and the values
    that they were read as."""
    if profile_id is None:
        raise UsageError("give the meter's model with --profile: `gateway meters scan` finds it")
    if output.exists():
        raise UsageError(f"{output} already exists: name a new file")
    tell_warnings()
    text, reading, problem = asyncio.run(
        _captured(section(profile_id, **place), SystemClock("host"), seconds)
    )
    try:
        write_durably(output, text.encode())
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    if reading is None:
        click.echo(f"{output}: what the meter sends. Nothing of it could be read: {problem}")
    else:
        click.echo(f"{output}: {', '.join(_said(reading))}. Does the meter's display show the same?")
    click.echo(
        "The file has the meter's values, and its serial number if it sends that: look through it before you "
        "share it. In tests/meters/fixtures it is a test."
    )


async def _captured(
    meter: MeterSection, clock: Clock, seconds: int
) -> tuple[str, Reading | None, str | None]:
    """The capture's text, the last reading, and what was wrong with the last telegram that was not read."""
    tap = Tap(clock)
    (opened,) = open_meters((meter,), clock, tap).values()
    try:
        reading = await (_heard(opened, tap, seconds) if opened.pushes else _asked(opened))
    except GatewayError as error:
        raise explained(error) from None
    finally:
        await opened.aclose()
    text = capture(meter.profile, meter.unit_id, tap, reading)
    try:
        told, shown = await replay(text, clock)
    except UsageError:
        raise _sealed(meter) from None
    if told != shown and meter.keys is not None:
        raise _sealed(meter)
    if told != shown:
        raise MeterError(
            "the capture does not read the same a second time, perhaps because bytes were lost: try again"
        )
    return text, reading, tap.problem


async def _asked(meter: Meter) -> Reading:
    await meter.probe()
    return await meter.read()


async def _heard(meter: Meter, tap: Tap, seconds: int) -> Reading | None:
    """The last reading; None where telegrams came of which none could be read: a capture shows why."""
    reading: Reading | None = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                reading = await meter.read()
    except TimeoutError:
        if reading is None and tap.problem is None:
            raise MeterError(
                f"nothing that can be read arrived within {seconds} s: give it more --seconds"
            ) from None
        return reading
    except KeyFault:
        raise
    except MeterError:
        if tap.problem is None:
            raise
        return reading


def _sealed(meter: MeterSection) -> UsageError:
    return UsageError(
        f"{meter.profile} encrypts what it sends: nobody could read a capture without the meter's keys, "
        "which must not be in a file that is shared"
    )


def _said(reading: Reading) -> list[str]:
    return [
        f"{lane} {value} W" if lane == "power" else f"{lane} {kwh(value)} kWh"
        for lane, value in reading.registers.items()
    ]
