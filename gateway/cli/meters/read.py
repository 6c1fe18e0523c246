"""`gateway meters read`."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.config import DEFAULT_FILE
from gateway.cli.meters.options import meter_options, section, tell_warnings
from gateway.cli.output import JSON_KEYS, examples, kwh, local_time, offset, printable, ruled_table
from gateway.config import Config, MeterSection
from gateway.config.wiring import explained, open_meters
from gateway.control.client import ControlClient
from gateway.errors import GatewayError, MeterError, UsageError
from gateway.host.clock import Clock, SystemClock
from gateway.intervals.scale import ScaleCheck
from gateway.meters.reader import ReaderState, read_forever
from gateway.meters.reading import Meter, Reading

if TYPE_CHECKING:
    from rich.console import RenderableType

_log = logging.getLogger(__name__)

_NS, _MS = 1_000_000_000, 1_000_000
_ASK_S = 0.25  # between two questions to a running gateway
_FIRST_READING_NS = 30 * _NS
_SOON = (60, 30, 10_000)  # of ScaleCheck: a person looks for minutes, at a meter that is read each second


@click.command(
    epilog=examples(
        "gateway meters read",
        "gateway meters read main --once",
        "gateway meters read --profile eastron-sdm630 --tcp 192.168.1.50",
        "gateway meters read --profile sml-generic --serial /dev/serial/by-id/usb-ir-head --json",
    )
)
@click.argument("name", required=False)
@click.option(
    "--config",
    type=click.Path(readable=False, path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    envvar="GATEWAY_CONFIG",
    show_envvar=True,
    help="The configuration whose meters are read, unless --profile is given.",
)
@meter_options
@click.option("--once", is_flag=True, help="Read once, then end.")
@click.option("--json", "as_json", is_flag=True, help="Print each reading as a JSON object on a line.")
def command(
    name: str | None, config: Path, profile_id: str | None, once: bool, as_json: bool, **place: Any
) -> None:
    """Show the readings of the configured meter NAME, of all configured meters, or of the meter that the
    options describe: power, import and export, their age, and how far the meter's clock is off. Until
    Ctrl-C. While the gateway runs it is asked for the readings of its meters, whose ports are its own. After
    some minutes it also says if registers and power differ ten times or more."""
    if profile_id is None:
        if any(place.values()):
            raise UsageError("give the meter's model with --profile: `gateway meters scan` finds it")
        loaded = Config.load(config)
        sections, clock = _named(name, config, loaded), SystemClock(loaded.clock.source)
        names = [one.name for one in sections]
        gateway = RunningGateway(ControlClient(loaded.gateway.socket), names, clock)
        if asyncio.run(gateway.reads()):
            asyncio.run(_read_from(gateway, names, clock, once, as_json))
            return
        meters = open_meters(sections, clock, state=loaded.gateway.state)
    else:
        if name is not None:
            raise UsageError(
                "NAME is a meter of the configuration, and --profile describes another: give only one of them"
            )
        sections, clock = (section(profile_id, **place),), SystemClock("host")
        meters = open_meters(sections, clock)
    asyncio.run(_read(meters, sections, clock, once, as_json))


def _named(name: str | None, config: Path, loaded: Config) -> tuple[MeterSection, ...]:
    sections = tuple(one for one in loaded.meter if name in {None, one.name})
    if not sections:
        names = ", ".join(one.name for one in loaded.meter)
        raise UsageError(f"{config} has no meter {name!r}; it has {names}")
    return sections


class RunningGateway:
    """The running gateway, asked for the readings of the meters `names`."""

    def __init__(self, client: ControlClient, names: Sequence[str], clock: Clock) -> None:
        self._client = client
        self._names = names
        self._clock = clock

    async def reads(self) -> bool:
        """Whether a gateway runs that reads all of these meters. Unavailable where it may not be asked."""
        return set(self._names) <= {one.meter for one in await self._client.readings_if_running()}

    async def once(self) -> list[Reading]:
        """A reading of each meter: its last, or else its next. MeterError where there comes none, or a meter
        cannot be read now."""
        states = {name: ReaderState() for name in self._names}
        found: dict[str, Reading] = {}
        begin = self._clock.monotonic()
        async with aclosing(self.new(states)) as news:
            async for reading in news:
                for state in states.values():
                    if state.fault is not None:
                        raise MeterError(state.fault)
                if reading is not None:
                    found[reading.meter] = reading
                if len(found) == len(self._names):
                    return [found[name] for name in self._names]
                if self._clock.monotonic() - begin > _FIRST_READING_NS:
                    break
        missing = ", ".join(name for name in self._names if name not in found)
        raise MeterError(f"the running gateway has not read meter {missing} yet: `gateway status` says more")

    async def new(self, states: Mapping[str, ReaderState]) -> AsyncGenerator[Reading | None, None]:
        """Each reading, as the gateway makes it, and None whenever it was asked; `states` is kept up to date.
        A meter's fault is logged once."""
        last: dict[str, int] = {}
        while True:
            for one in await self._client.readings():
                if one.meter not in states:
                    continue
                if one.error is not None and states[one.meter].fault is None:
                    _log.warning("%s", one.error)
                states[one.meter].fault = one.error
                if one.registers is None or one.wall_ns is None or last.get(one.meter) == one.wall_ns:
                    continue
                last[one.meter] = one.wall_ns
                taken = self._clock.monotonic() - (one.age_ns or 0)
                ahead = None if one.meter_time_ns is None else one.meter_time_ns - one.wall_ns
                states[one.meter].meter_ahead = ahead
                yield Reading(one.meter, one.registers, one.wall_ns, taken, None, one.meter_time_ns)
            yield None
            await self._clock.sleep(_ASK_S)


@dataclass(slots=True)
class _Screen:
    """The last reading of each meter, how reading is going, and the last warning since."""

    states: Mapping[str, ReaderState]
    latest: dict[str, Reading] = field(default_factory=dict)
    scales: dict[str, ScaleCheck] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def take(self, reading: Reading) -> str | None:
        """Keep a reading; what is wrong with its registers' scale, as a sentence, when that is found."""
        self.latest[reading.meter] = reading
        self.said.pop(reading.meter, None)
        check = self.scales.setdefault(reading.meter, ScaleCheck(*_SOON))
        before = check.found
        check.add(reading)
        return None if before is not None or check.found is None else check.found.sentence(reading.meter)

    def warn(self, sentence: str) -> None:
        for name in self.states:
            if sentence.startswith((f"meter {name}:", f"meter {name} ")):
                self.said[name] = sentence


async def _read(
    meters: Mapping[str, Meter], sections: tuple[MeterSection, ...], clock: Clock, once: bool, as_json: bool
) -> None:
    if once:
        tell_warnings()
        await _read_once(meters, _print_json if as_json else _print_line)
        return

    def reading(screen: _Screen, deliver: Callable[[Reading], None]) -> list[Coroutine[None, None, None]]:
        return [
            read_forever(meters[one.name], clock, one.interval_s, deliver, screen.states[one.name])
            for one in sections
        ]

    await _show_all(list(meters), reading, clock, as_json)


async def _read_from(
    gateway: RunningGateway, names: Sequence[str], clock: Clock, once: bool, as_json: bool
) -> None:
    if once:
        for reading in await gateway.once():
            (_print_json if as_json else _print_line)(reading)
        return

    async def follow(screen: _Screen, deliver: Callable[[Reading], None]) -> None:
        async with aclosing(gateway.new(screen.states)) as news:
            async for reading in news:
                if reading is not None:
                    deliver(reading)

    await _show_all(names, lambda screen, deliver: [follow(screen, deliver)], clock, as_json)


async def _show_all(
    names: Sequence[str],
    reading: Callable[[_Screen, Callable[[Reading], None]], list[Coroutine[None, None, None]]],
    clock: Clock,
    as_json: bool,
) -> None:
    """Show the readings of meters until Ctrl-C."""
    show = _print_json if as_json else _print_line
    screen = _Screen({name: ReaderState() for name in names})
    on_screen = sys.stdout.isatty() and not as_json

    def deliver(reading: Reading) -> None:
        wrong = screen.take(reading)
        if not on_screen:
            show(reading)
            if wrong is not None:
                click.echo(f"gateway: {printable(wrong)}", err=True)

    tasks = [asyncio.create_task(one) for one in reading(screen, deliver)]
    if on_screen:
        tell_warnings(screen.warn)
        tasks.append(asyncio.create_task(_keep_table(screen, clock)))
    else:
        tell_warnings()
    loop = asyncio.get_running_loop()
    for ending in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(ending, lambda: [task.cancel() for task in tasks])
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


async def _read_once(meters: Mapping[str, Meter], show: Any) -> None:
    try:
        for meter in meters.values():
            show(await meter.read())
    except GatewayError as error:
        raise explained(error) from None
    finally:
        for meter in meters.values():
            await meter.aclose()


def _print_json(reading: Reading) -> None:
    document: dict[str, object] = {"meter": reading.meter, "time_ms": reading.wall // _MS}
    document |= {JSON_KEYS[lane]: value for lane, value in reading.registers.items()}
    if reading.meter_time is not None:
        document["clock_ahead_ms"] = (reading.meter_time - reading.wall) // _MS
    click.echo(json.dumps(document))
    sys.stdout.flush()


def _print_line(reading: Reading) -> None:
    said = [local_time(reading.wall // _NS * 1000), reading.meter]
    said += [
        f"{lane} {value} {unit}"
        for (lane, unit), value in zip(_UNITS.items(), _values(reading), strict=True)
        if value != "-"
    ]
    if reading.meter_time is not None:
        said.append(f"clock {offset((reading.meter_time - reading.wall) / _NS, 1)}")
    click.echo("  ".join(said))
    sys.stdout.flush()


_UNITS = {"power": "W", "import": "kWh", "export": "kWh"}


def _values(reading: Reading) -> list[str]:
    """Power, import and export as a person reads them; a dash for a lane that the reading lacks."""
    shown = {lane: kwh(value) if lane != "power" else str(value) for lane, value in reading.registers.items()}
    return [shown.get(lane, "-") for lane in _UNITS]


async def _keep_table(screen: _Screen, clock: Clock) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich takes longer to import than most commands to run
    from rich.live import Live  # noqa: PLC0415

    console = Console()
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            live.update(_table(screen, clock, console.width), refresh=True)
            await asyncio.sleep(0.2)


def _table(screen: _Screen, clock: Clock, width: int) -> RenderableType:
    """A row for each meter, and below the table what is wrong."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    columns = ("meter", *(f"{lane} {unit}" for lane, unit in _UNITS.items()), "age", "clock")
    table = ruled_table(columns, list(_rows(screen, clock)), width, numbers=columns[1:])
    wrong = [state.fault or screen.said.get(name) for name, state in screen.states.items()]
    told = [Text(printable(str(explained(MeterError(sentence))))) for sentence in wrong if sentence]
    told += [
        Text(printable(check.found.sentence(name))) for name, check in screen.scales.items() if check.found
    ]
    return Group(table, *told, Text("Ctrl-C ends it.", "dim"))


def _rows(screen: _Screen, clock: Clock) -> Iterable[list[str]]:
    for name, state in screen.states.items():
        reading = screen.latest.get(name)
        if reading is None:
            yield [name, "-", "-", "-", "-", "-"]
            continue
        age = f"{max(0, clock.monotonic() - reading.monotonic) / _NS:.1f} s"
        ahead = "-" if state.meter_ahead is None else offset(state.meter_ahead / _NS, 1)
        yield [name, *_values(reading), age, ahead]
