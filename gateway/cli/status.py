"""`gateway status`: the state of the running gateway."""

from __future__ import annotations

import asyncio
from importlib import resources

import click

from gateway.chain.layout import Layout
from gateway.cli.codes import exit_code
from gateway.cli.config import config_option
from gateway.cli.ledger import doubt_sentence
from gateway.cli.output import (
    echo,
    examples,
    json_option,
    kwh,
    offset,
    print_json,
    print_table,
    printable,
    recent_time,
)
from gateway.cli.register import show
from gateway.config import Config, StreamSection
from gateway.control.client import ControlClient
from gateway.control.documents import MeterStatus, Status, StoreStatus
from gateway.errors import GatewayError


def _print_schema(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        schema = resources.files("gateway.control").joinpath("status.schema.json")
        click.echo(schema.read_text(encoding="utf-8"), nl=False)
        context.exit()


@click.command(epilog=examples("gateway status", "gateway status --json"))
@config_option
@json_option
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of what --json prints, and exit.",
)
def command(config: Config, as_json: bool) -> int:
    """Show what the running gateway reads, has sealed and has sent. Exit 1 while a meter's readings are not
    sealed, 4 if no gateway runs."""
    status = asyncio.run(ControlClient(config.gateway.socket).status())
    if as_json:
        print_json(status.model_dump(exclude_unset=True))
    else:
        _show(status, config.stream)
    return 0 if all(meter.sealing for meter in status.meters) else exit_code(GatewayError)


def _show(status: Status, stream: StreamSection) -> None:
    echo(f"gateway {status.version}, signer {status.signer}, incarnation {status.incarnation}")
    if status.assurance == "software":
        echo("root: in SOFTWARE. Anyone who copies this machine's disk can open every reading")
    else:
        echo("root: in the TPM")
    echo(f"clock: {_clock(status)}")
    echo(f"store: {status.store.url}, {_store(status.store)}")
    if (registration := status.registration) is not None:
        who = printable(f"{registration.registrar}, {registration.url}, as {registration.user}")
        echo(f"registrar: {who}")
        show(registration)
    rows = [[m.meter, m.stream or "not begun", *_progress(m)] for m in status.meters]
    print_table(["meter", "stream", "last reading", "its clock", "sealed until", "chunks"], rows)
    for meter in status.meters:
        begins = None if _waits(status) else begins_at(meter, status.now_ms, stream)
        scale = meter.scale and meter.scale.sentence
        for sentence in (meter.error, meter.held, _hold(meter), scale, meter.sealed_ahead, begins):
            if sentence:
                echo(printable(sentence))
    for sentence in status.commands:
        echo(printable(f"command of {sentence}"))
    for sentence in status.faults:
        echo(printable(sentence))
    for doubt in status.doubts:
        echo(printable(f"{doubt_sentence(doubt)}: `gateway ledger confirm` says what to do"))


def _waits(status: Status) -> bool:
    return not status.clock_trusted or status.clock_waits is not None


def _clock(status: Status) -> str:
    if not status.clock_trusted:
        return "not set yet; readings wait until it is"
    return "right" if status.clock_waits is None else f"not believed yet; {status.clock_waits}"


def begins_at(meter: MeterStatus, now_ms: int, stream: StreamSection) -> str | None:
    """When the stream of a meter or series that is read begins: at the next link boundary."""
    link_ms = stream.unit_ms * stream.link_units
    if meter.stream is not None or meter.read_ms is None:
        return None
    delay = 0 if meter.series else Layout(stream.unit_ms, stream.link_units).closing_delay
    begin_ms = ((now_ms - delay * stream.unit_ms) // link_ms + 1) * link_ms
    kind = "series" if meter.series else "meter"
    return f"{kind} {meter.meter} is read; its stream begins at a link boundary, {recent_time(begin_ms)}"


def _hold(meter: MeterStatus) -> str | None:
    """The last believed and the latest held registers, and the command to run."""
    if meter.hold is None:
        return None
    registers = [
        f"{one.lane} {kwh(one.believed_mwh)} kWh was believed at "
        f"{recent_time(one.believed_ms // 1000 * 1000)}, {kwh(one.latest_mwh)} kWh is held"
        for one in meter.hold.registers
        if one.believed_mwh is not None and one.believed_ms is not None and one.latest_mwh is not None
    ]
    return "; ".join([f"meter {meter.meter}: nothing is sealed", *registers]) + (
        f": `{meter.hold.command}` shows what to do"
    )


def _store(store: StoreStatus) -> str:
    waiting = f"{store.waiting} objects wait" if store.waiting else "nothing waits"
    if store.error is not None:
        return f"{waiting}; it fails: {store.error}"
    if store.answered_ms is None:
        return f"{waiting}; not used yet"
    return f"{waiting}; it last answered at {recent_time(store.answered_ms // 1000 * 1000)}"


def _progress(meter: MeterStatus) -> list[str]:
    def moment(ms: int | None) -> str:
        return "-" if ms is None else recent_time(ms // 1000 * 1000)

    ahead = meter.meter_ahead_ms
    return [
        moment(meter.read_ms),
        "-" if ahead is None else offset(ahead / 1000, 0),
        moment(meter.sealed_until_ms),
        str(meter.chunks),
    ]
