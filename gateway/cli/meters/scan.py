"""`gateway meters scan`."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

import click

from gateway.cli.codes import INTERRUPTED, exit_code
from gateway.cli.meters.options import check_place, place_options
from gateway.cli.output import echo, examples, json_option, print_json, print_table, printable
from gateway.config.wiring import explained
from gateway.errors import MeterError
from gateway.meters.detect import Heard
from gateway.meters.endpoint import Line, Parity, SerialSettings, Tcp
from gateway.meters.modbus.bus import Bus
from gateway.meters.modbus.model import MODBUS_PORT
from gateway.meters.profile import load_profile, load_profiles
from gateway.meters.reading import LANES
from gateway.meters.search import Search

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
    with click.progressbar(length=1, label="polling", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def polled(done: int, steps: int) -> None:
            bar.length = steps
            bar.update(done - bar.pos)

        search = Search(profiles, listening=_say_listening, polling=polled)
        if tcp is not None:
            searching = search.address(Tcp(tcp[0], tcp[1] or MODBUS_PORT), rtu=rtu, ids=ids)
        else:
            device = str(Path(str(serial)).absolute())
            searching = search.port(device, baud=baud, parity=_PARITY[parity] if parity else None, ids=ids)
        whole = asyncio.run(_until_interrupted(searching))
    _show(search, as_json)
    if not whole:
        return INTERRUPTED
    return 0 if search.found or any(heard.octets for _, heard in search.heard) else exit_code(MeterError)


def _say_listening(place: str, seconds: float) -> None:
    click.echo(f"listening at {place} for {seconds} s", err=True)


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


def _show(result: Search, as_json: bool) -> None:
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
