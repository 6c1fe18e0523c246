"""The switch that disconnects a home (disconnect control, class 70 of IEC 62056-6-2)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.errors import MeterError
from gateway.meters.dlms.application.client import DlmsSession, Steps
from gateway.meters.dlms.cosem.objects import DISCONNECT_CONTROL, Obis, Reference, obis

DISCONNECTOR = obis("0-0:96.3.10")
_OUTPUT_STATE, _CONTROL_STATE = 2, 3
_REMOTE_DISCONNECT, _REMOTE_RECONNECT = 1, 2


class ControlState(enum.IntEnum):
    DISCONNECTED = 0
    CONNECTED = 1
    READY_FOR_RECONNECTION = 2  # by hand, at the meter


@dataclass(frozen=True, slots=True)
class SwitchState:
    """Whether the home is connected, and the control state of the switch."""

    connected: bool
    control: ControlState


def read_state(session: DlmsSession, switch: Obis = DISCONNECTOR) -> Steps[SwitchState]:
    """The state of the switch. MeterError where the meter has none, or does not let this client read it."""
    connected = yield from session.get(Reference(DISCONNECT_CONTROL, switch, _OUTPUT_STATE))
    control = yield from session.get(Reference(DISCONNECT_CONTROL, switch, _CONTROL_STATE))
    if not isinstance(connected, bool) or not isinstance(control, int) or control not in set(ControlState):
        raise MeterError("the meter's switch is in an unknown state")
    return SwitchState(connected, ControlState(control))


def remote_disconnect(session: DlmsSession, switch: Obis = DISCONNECTOR) -> Steps[None]:
    """Disconnect the home. MeterError where the meter refuses."""
    yield from session.action(Reference(DISCONNECT_CONTROL, switch, _REMOTE_DISCONNECT))


def remote_reconnect(session: DlmsSession, switch: Obis = DISCONNECTOR) -> Steps[None]:
    """Reconnect the home. MeterError where the meter refuses; some meters reconnect only when somebody
    presses their button."""
    yield from session.action(Reference(DISCONNECT_CONTROL, switch, _REMOTE_RECONNECT))
