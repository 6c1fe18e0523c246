"""The gateway and its meters as devices of Home Assistant: configurations and states, no connection.

A device has one configuration for all of its entities, retained at
`<discovery prefix>/device/<object id>/config` ("device discovery", home-assistant.io/integrations/mqtt), and
one state, a JSON object, retained at a topic of its own. Units and classes are those that Home Assistant's
sensor takes: energy in kWh that only rises, power in W, a price without a class, since `monetary` takes a sum
of money alone (homeassistant/components/sensor/const.py, DEVICE_CLASS_UNITS and DEVICE_CLASS_STATE_CLASSES).

    gateway/status               online | offline          of this program, by its will
    gateway/state                {"running": "ON", "problem": "OFF", "problems": [], "price": 0.31,
                                  "limit": null}
    gateway/meter/NAME/status    online | offline          whether the meter can be read
    gateway/meter/NAME/state     {"import": 1234.567, "export": 0.0, "power": 412, "held": "OFF",
                                  "reason": ""}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from gateway import __version__
from gateway.control.commands import CommandStatus
from gateway.control.documents import MeterStatus, ReadingStatus, Status

ONLINE, OFFLINE = b"online", b"offline"
BIRTH = "homeassistant/status"
"""Where Home Assistant says that it has started, whatever its discovery prefix (its DEFAULT_BIRTH)."""
_ORIGIN = {"name": "gateway", "sw_version": __version__}
_QOS = 1

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MeterView:
    """What is shown of a meter: registers in mWh and W by lane, None while it has not been read."""

    name: str
    registers: Mapping[str, int] | None
    readable: bool
    held: str | None


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of the gateway with this kid; the price is of a kWh, the limit in W."""

    kid: str
    running: bool
    problems: tuple[str, ...]
    meters: tuple[MeterView, ...]
    price: Decimal | None = None
    currency: str | None = None
    limit_w: int | None = None

    def away(self) -> View:
        """The same gateway while it does not answer."""
        return replace(
            self,
            running=False,
            problems=("the gateway does not answer",),
            meters=tuple(replace(meter, readable=False) for meter in self.meters),
        )


@dataclass(frozen=True, slots=True)
class Device:
    """A device: the topic and content of its configuration, and its retained states by topic. `unknown` are
    the entities of which it is not known whether there are any, such as those of a meter that has not been
    read since the start: what was announced of them stays."""

    topic: str
    config: Config
    states: Mapping[str, bytes]
    unknown: frozenset[str] = field(default_factory=frozenset)


def view(
    status: Status,
    readings: Sequence[ReadingStatus],
    commands: Sequence[CommandStatus] = (),
    price: tuple[Decimal, str] | None = None,
    problems: Sequence[str] = (),
) -> View:
    """What the gateway says of itself. Of the limits in force the lowest counts. `problems` are this
    program's own."""
    read = {reading.meter: reading for reading in readings}
    store, registration = status.store.error, status.registration
    found = (
        *((f"the store: {store}",) if store else ()),
        *((status.clock_waits,) if status.clock_waits else ()),
        *((registration.error,) if registration and registration.error else ()),
        *(f"{doubt.meter}: tokens wait, as the ledger may have been restored" for doubt in status.doubts),
        *status.faults,
        *problems,
    )
    meters = tuple(_meter(meter, read.get(meter.meter)) for meter in status.meters if not meter.series)
    limits = [one.limit_w for one in commands if one.state == "running" and one.limit_w is not None]
    return View(
        kid=status.signer,
        running=True,
        problems=found,
        meters=meters,
        price=price and price[0],
        currency=price and price[1],
        limit_w=min(limits, default=None),
    )


def _meter(meter: MeterStatus, reading: ReadingStatus | None) -> MeterView:
    registers = None if reading is None else reading.registers
    return MeterView(meter.meter, registers, meter.error is None and registers is not None, meter.held)


def devices(shown: View, topics: str, prefix: str) -> list[Device]:
    """The gateway, and each of its meters; `topics` begins all states, `prefix` is the discovery prefix."""
    return [
        _gateway_device(shown, topics, prefix),
        *(_meter_device(shown, meter, topics, prefix) for meter in shown.meters),
    ]


def status_topic(topics: str) -> str:
    """Where this program says that it is there."""
    return f"{topics}/status"


def _gateway_device(shown: View, topics: str, prefix: str) -> Device:
    identity, state = f"gw1_{shown.kid}", f"{topics}/state"
    components = {
        "running": _binary(identity, "running", "Gateway", "connectivity"),
        "problem": _binary(identity, "problem", "Problem", "problem")
        | _attributes(state, "{'problems': value_json.problems}"),
        "limit": _sensor(identity, "limit", "Power limit", "W", "power", "measurement"),
    }
    if shown.currency is not None:
        components["price"] = _sensor(
            identity, "price", "Price", f"{shown.currency}/kWh", None, "measurement", 4
        )
    values = {
        "running": _on(shown.running),
        "problem": _on(bool(shown.problems)),
        "problems": shown.problems,
        "price": None if shown.price is None else float(shown.price),
        "limit": shown.limit_w,
    }
    config = {
        "device": {
            "identifiers": [identity],
            "name": "Energy gateway",
            "model": "privacy gateway for home energy",
            "serial_number": shown.kid,
            "sw_version": __version__,
        },
        "origin": _ORIGIN,
        "availability": [{"topic": status_topic(topics)}],
        "state_topic": state,
        "qos": _QOS,
        "components": components,
    }
    unknown = frozenset({"price"} if shown.currency is None else ())
    return Device(f"{prefix}/device/{identity}/config", config, {state: _json(values)}, unknown)


_LANES = {
    "import": ("Energy imported", "kWh", "energy", "total_increasing", 3),
    "export": ("Energy exported", "kWh", "energy", "total_increasing", 3),
    "power": ("Power", "W", "power", "measurement", 0),
}


def _meter_device(shown: View, meter: MeterView, topics: str, prefix: str) -> Device:
    identity, base = f"gw1_{shown.kid}_{meter.name}", f"{topics}/meter/{meter.name}"
    lanes = [lane for lane in _LANES if meter.registers is not None and lane in meter.registers]
    components = {lane: _sensor(identity, lane, *_LANES[lane]) for lane in lanes}
    components["held"] = {
        **_binary(identity, "held", "Readings held", "problem"),
        **_attributes(f"{base}/state", "{'reason': value_json.reason}"),
        "availability": [{"topic": status_topic(topics)}],  # also while the meter cannot be read
    }
    config = {
        "device": {
            "identifiers": [identity],
            "name": f"Meter {meter.name}",
            "via_device": f"gw1_{shown.kid}",
        },
        "origin": _ORIGIN,
        "availability": [{"topic": status_topic(topics)}, {"topic": f"{base}/status"}],
        "availability_mode": "all",
        "state_topic": f"{base}/state",
        "qos": _QOS,
        "components": components,
    }
    values: dict[str, object] = {"held": _on(meter.held is not None), "reason": meter.held or ""}
    if meter.registers is None:
        values |= dict.fromkeys(_LANES)
    else:
        values |= {lane: _shown(lane, meter.registers[lane]) for lane in lanes}
    states = {
        f"{base}/status": ONLINE if meter.readable else OFFLINE,
        f"{base}/state": _json(values),
    }
    unknown = frozenset(_LANES) if meter.registers is None else frozenset[str]()
    return Device(f"{prefix}/device/{identity}/config", config, states, unknown)


def _sensor(
    identity: str,
    name: str,
    title: str,
    unit: str,
    device_class: str | None,
    state_class: str,
    digits: int | None = None,
) -> Config:
    return {
        "platform": "sensor",
        "unique_id": f"{identity}_{name}",
        "name": title,
        "unit_of_measurement": unit,
        **({} if device_class is None else {"device_class": device_class}),
        "state_class": state_class,
        **({} if digits is None else {"suggested_display_precision": digits}),
        **_value(name),
    }


def _binary(identity: str, name: str, title: str, device_class: str) -> Config:
    return {
        "platform": "binary_sensor",
        "unique_id": f"{identity}_{name}",
        "name": title,
        "device_class": device_class,
        "entity_category": "diagnostic",
        **_value(name),
    }


def _value(name: str) -> Config:
    return {"value_template": f"{{{{ value_json['{name}'] }}}}"}


def _attributes(topic: str, template: str) -> Config:
    return {"json_attributes_topic": topic, "json_attributes_template": f"{{{{ {template} | tojson }}}}"}


def _shown(lane: str, register: int) -> float | int:
    """A register as its entity shows it: mWh as kWh, W as they are."""
    return register if lane == "power" else register / 1_000_000


def _on(value: bool) -> str:
    return "ON" if value else "OFF"


def _json(values: Mapping[str, object]) -> bytes:
    return json.dumps(values, sort_keys=True).encode()
