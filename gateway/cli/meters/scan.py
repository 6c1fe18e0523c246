"""`gateway meters scan`."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from gateway.cli.codes import INTERRUPTED, exit_code
from gateway.cli.meters.options import check_place, place_options
from gateway.cli.output import echo, examples, json_option, print_json, print_table, printable
from gateway.config.wiring import explained
from gateway.errors import MeterError, UsageError
from gateway.host.clock import SystemClock
from gateway.meters.detect import Heard, hear
from gateway.meters.dlms.polled.model import DlmsModel
from gateway.meters.endpoint import Endpoint, Line, Parity, SerialSettings, Tcp
from gateway.meters.iec62056.model import TextModel
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.model import MODBUS_PORT, ModbusModel
from gateway.meters.modbus.scan import Found, scan
from gateway.meters.modbus.sunspec_model import SunSpecModel
from gateway.meters.p1.model import P1Model
from gateway.meters.profile import Profile, load_profile, load_profiles
from gateway.meters.reading import LANES, Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.speedwire.model import SpeedwireModel

_TCP_TIMEOUT_S, _SERIAL_TIMEOUT_S = 0.5, 0.3
_LISTEN_S = 11  # the slowest pushing meters send every 10 s
_FIRST_LISTEN_S = 3  # at an address, before it is asked
_PARITY: dict[str, Parity] = {"N": "none", "E": "even", "O": "odd"}


class DeviceIds(click.ParamType[tuple[int, ...]]):
    """1-247, or 1,5,10-20."""

    name = "ids"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        ids: set[int] = set()
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,3})(?:-(\d{1,3}))?\s*", part)
            if match is None or not 1 <= int(match[1]) <= int(match[2] or match[1]) <= 247:
                self.fail(f"{value!r}; it must be ids such as 1-247 or 1,5,10-20", param, ctx)
            ids.update(range(int(match[1]), int(match[2] or match[1]) + 1))
        return tuple(sorted(ids))


@dataclass(slots=True)
class _Result:
    """What was heard, with the serial port's settings; the devices that answered; and why profiles could not
    be tried."""

    heard: list[tuple[SerialSettings | None, Heard]] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    deaf: dict[str, None] = field(default_factory=dict)


@click.command(
    epilog=examples(
        "gateway meters scan --serial /dev/ttyUSB0",
        "gateway meters scan --serial /dev/ttyUSB0 --baud 9600 --parity N --ids 1-10",
        "gateway meters scan --tcp 192.168.1.50 --ids 1,240",
    )
)
@place_options
@click.option("--ids", default="1-247", show_default=True, type=DeviceIds(), help="Modbus device ids to try.")
@click.option("--profile", "profile_names", multiple=True, help="Try only these profiles.")
@json_option
def command(
    tcp: tuple[str, int | None] | None,
    rtu: bool,
    serial: str | None,
    baud: int | None,
    parity: str | None,
    ids: tuple[int, ...],
    profile_names: tuple[str, ...],
    as_json: bool,
) -> int:
    """Find the meters on a serial line or behind an address, and the profiles that fit them. The scan first
    listens, then polls over Modbus; on a serial port with each of the settings that meters leave their
    factories with. It cannot find meters that encrypt, or that must be polled over DLMS. Ctrl-C ends it and
    shows what was found so far. Exit 4 if there was nothing."""
    check_place(tcp, serial, rtu, baud, parity)
    if profile_names:
        profiles = [load_profile(profile_id) for profile_id in profile_names]
    else:
        profiles, mistakes = load_profiles()
        for sentence in mistakes:
            click.echo(f"gateway: {printable(sentence)}", err=True)
    result = _Result()
    if tcp is not None:
        endpoint = Tcp(tcp[0], tcp[1] or MODBUS_PORT)
        buses = [Bus(endpoint, "rtu" if rtu else "tcp", _TCP_TIMEOUT_S)]
        searching = _search_address(endpoint, buses, ids, profiles, result)
    else:
        searching = _search_port(str(Path(str(serial)).absolute()), baud, parity, ids, profiles, result)
    whole = asyncio.run(_until_interrupted(searching))
    _show(result, as_json)
    if not whole:
        return INTERRUPTED
    return 0 if result.found or any(heard.octets for _, heard in result.heard) else exit_code(MeterError)


async def _until_interrupted(searching: Coroutine[None, None, None]) -> bool:
    """Whether the search ran to its end."""
    task = asyncio.create_task(searching)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return False
    except MeterError as error:
        raise explained(error) from None
    return True


async def _search_address(
    endpoint: Tcp, buses: Sequence[Bus], ids: Sequence[int], profiles: Sequence[Profile], result: _Result
) -> None:
    """Most meters that push send within a few seconds, and most that are polled have the first id."""
    if await _listen_shortly(endpoint, profiles, result, _FIRST_LISTEN_S):
        return
    await _ask(buses, ids[:1], profiles, result)
    if not result.found and (
        result.heard or await _listen_shortly(endpoint, profiles, result, _LISTEN_S) or result.heard
    ):
        return
    if ids[1:]:
        await _ask(buses, ids[1:], profiles, result)


async def _listen_shortly(
    endpoint: Tcp, profiles: Sequence[Profile], result: _Result, seconds: float
) -> bool:
    with suppress(MeterError):  # a polled device may end a connection that stays silent
        return await _listen(endpoint, None, profiles, result, seconds)
    return False


async def _search_port(
    device: str,
    baud: int | None,
    parity: str | None,
    ids: Sequence[int],
    profiles: Sequence[Profile],
    result: _Result,
) -> None:
    speaking = [profile for profile in profiles if _decoder(profile, result) is not None]
    for settings in _settings(speaking, baud, parity):
        if await _listen(Line(device, settings), settings, speaking, result):
            return
    asked = [profile for profile in profiles if isinstance(profile.model, ModbusModel | SunSpecModel)]
    lines = [Line(device, settings) for settings in _settings(asked, baud, parity)]
    await _ask([Bus(line, timeout_s=_SERIAL_TIMEOUT_S) for line in lines], ids, profiles, result)


async def _ask(
    buses: Sequence[Bus], ids: Sequence[int], profiles: Sequence[Profile], result: _Result
) -> None:
    models = {p.id: p.model for p in profiles if isinstance(p.model, ModbusModel | SunSpecModel)}
    steps = len(buses) * len(ids)
    with click.progressbar(
        length=steps, label="polling", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        async for found in scan(
            buses, ids, models, SystemClock("host"), lambda bus, device_id: bar.update(1)
        ):
            result.found.append(found)


def _settings(profiles: Sequence[Profile], baud: int | None, parity: str | None) -> list[SerialSettings]:
    """The settings that the profiles' meters leave the factory with, the most common first; `baud` and
    `parity` replace theirs."""
    each = [
        SerialSettings(
            baud or serial.baud,
            serial.parity if parity is None else _PARITY[parity],
            serial.stop_bits,
            serial.data_bits,
        )
        for profile in profiles
        if (serial := profile.serial) is not None
    ]
    return sorted(set(each), key=lambda settings: (-each.count(settings), str(settings)))


async def _listen(
    endpoint: Endpoint,
    settings: SerialSettings | None,
    profiles: Sequence[Profile],
    result: _Result,
    seconds: float = _LISTEN_S,
) -> bool:
    """Whether a profile decodes what arrives."""
    decoders = {p.id: decoder for p in profiles if (decoder := _decoder(p, result)) is not None}
    click.echo(f"listening at {settings or endpoint} for {seconds} s", err=True)
    heard = await hear(endpoint, decoders, seconds, _LISTEN_S)
    if heard.octets:
        result.heard.append((settings, heard))
    return bool(heard.profiles)


def _decoder(profile: Profile, result: _Result) -> Decoder | None:
    """A decoder for a meter that pushes on a line; None where it does not, or only with keys, or where
    dsmr-parser is missing."""
    if isinstance(profile.model, ModbusModel | SunSpecModel | DlmsModel | TextModel | SpeedwireModel):
        return None
    try:
        return profile.model.decoder(Secrets())
    except UsageError as error:
        if isinstance(profile.model, P1Model) and not profile.model.encrypted:
            result.deaf[str(error)] = None
        return None


def _show(result: _Result, as_json: bool) -> None:
    if as_json:
        heard = [
            {
                "settings": None if settings is None else str(settings),
                "bytes": one.octets,
                "profiles": {profile: sorted(lanes) for profile, lanes in one.profiles.items()},
            }
            for settings, one in result.heard
        ]
        found = [
            {
                "at": str(one.bus),
                "settings": _settings_of(one.bus),
                "device_id": one.device_id,
                "profiles": {candidate.profile: candidate.sentence for candidate in one.candidates},
            }
            for one in result.found
        ]
        print_json({"heard": heard, "found": found})
        return
    for settings, one in result.heard:
        _tell_heard(settings, one)
    if any(not one.profiles for _, one in result.heard):
        for sentence in result.deaf:
            click.echo(sentence)
    if result.found:
        rows = [
            [str(one.device_id), _settings_of(one.bus) or str(one.bus), profile, sentence]
            for one in result.found
            for profile, sentence in [(c.profile, c.sentence) for c in one.candidates]
            or [("-", "answers, but no profile fits")]
        ]
        print_table(["id", "at", "profile", "why"], rows, numbers=["id"])
    elif not result.heard:
        click.echo("nothing answers, and nothing is heard: check the wiring, and the meter's own settings")
    several = [len(one.candidates) > 1 for one in result.found]
    if any(several + [len(one.profiles) > 1 for _, one in result.heard]):
        click.echo("Where several profiles fit, the name on the meter decides.")


def _tell_heard(settings: SerialSettings | None, heard: Heard) -> None:
    at = "" if settings is None else f"at {settings} "
    if heard.problem is not None:
        click.echo(f"{at}{heard.octets} bytes arrived, which no profile can decode: {heard.problem}")
    elif not heard.profiles:
        click.echo(f"{at}{heard.octets} bytes arrived, which no profile can decode without keys")
    by_lanes: dict[str, list[str]] = {}
    for profile, lanes in heard.profiles.items():
        told = ", ".join(lane for lane in LANES if lane in lanes) or "no lane"
        by_lanes.setdefault(told, []).append(profile)
    for told, names in by_lanes.items():
        echo(f"{at}this port receives {told}, decoded by these profiles: {', '.join(names)}")


def _settings_of(bus: Bus) -> str | None:
    return str(bus.endpoint.settings) if isinstance(bus.endpoint, Line) else None
