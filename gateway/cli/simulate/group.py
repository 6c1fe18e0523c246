"""`gateway simulate`: a simulated home's meter on this machine's network.

Each kind of meter is a command in its own module, imported when it is used.
"""

from __future__ import annotations

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.output import examples

_METERS = {
    "modbus": ("gateway.cli.simulate.modbus", "A Modbus TCP meter."),
    "dlms": ("gateway.cli.simulate.dlms", "A DLMS/COSEM meter."),
    "push": ("gateway.cli.simulate.push", "A meter that pushes DLMS lists."),
    "sml": ("gateway.cli.simulate.sml", "A meter that sends SML."),
    "p1": ("gateway.cli.simulate.p1", "A meter with a P1 port."),
    "text": ("gateway.cli.simulate.text", "A meter that speaks text after IEC 62056-21."),
    "tic": ("gateway.cli.simulate.tic", "A Linky, which sends TIC."),
    "mbus": ("gateway.cli.simulate.mbus", "A meter that sends encrypted M-Bus."),
    "speedwire": ("gateway.cli.simulate.speedwire", "An SMA meter that sends Speedwire."),
    "fleet": ("gateway.cli.simulate.fleet", "Many homes' objects in a store, or their blinded sums."),
    "history": ("gateway.cli.simulate.history", "A believable past of homes, in a store."),
}


@click.group(cls=LazyGroup, lazy=_METERS, epilog=examples("gateway simulate modbus", "gateway simulate p1"))
def command() -> None:
    """Simulate meters, to try the gateway without hardware."""
