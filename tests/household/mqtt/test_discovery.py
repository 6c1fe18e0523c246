"""Home Assistant's discovery messages, by the rules of its own schema.

The rules are those of homeassistant 2026.11.0: `components/mqtt/schemas.py` (DEVICE_DISCOVERY_SCHEMA),
`components/mqtt/discovery.py` (TOPIC_MATCHER), `components/mqtt/sensor.py`, and of
`components/sensor/const.py` DEVICE_CLASS_UNITS and DEVICE_CLASS_STATE_CLASSES. That package needs Python
3.14, and is too heavy for the tests; its schema took these messages.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined

from gateway.household.mqtt.discovery import Device, MeterView, View, devices

TOPIC = re.compile(r"homeassistant/device/[a-zA-Z0-9_-]+/config")
UNITS = {"energy": {"kWh", "Wh", "MWh"}, "power": {"W", "kW"}}
STATE_CLASSES = {"energy": {"total", "total_increasing"}, "power": {"measurement"}}
BINARY = {"connectivity", "problem"}
DEVICE_KEYS = {"identifiers", "name", "model", "serial_number", "sw_version", "via_device"}
ROOT_KEYS = {"device", "origin", "availability", "availability_mode", "state_topic", "qos", "components"}
COMMON_KEYS = {"platform", "unique_id", "name", "device_class", "value_template", "entity_category"}
SENSOR_KEYS = COMMON_KEYS | {"unit_of_measurement", "state_class", "suggested_display_precision"}
BINARY_KEYS = COMMON_KEYS | {"json_attributes_topic", "json_attributes_template", "availability"}

registers = st.none() | st.dictionaries(
    st.sampled_from(["import", "export", "power", "count"]), st.integers(-(2**40), 2**50), max_size=4
)
meters = st.builds(
    MeterView,
    name=st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True),
    registers=registers,
    readable=st.booleans(),
    held=st.none() | st.text(),
)
views = st.builds(
    View,
    kid=st.binary(min_size=16, max_size=16).map(bytes.hex),
    running=st.booleans(),
    problems=st.lists(st.text(), max_size=3).map(tuple),
    meters=st.lists(meters, max_size=3, unique_by=lambda meter: meter.name).map(tuple),
    price=st.none() | st.decimals(-100, 100, places=6),
    currency=st.sampled_from([None, "EUR", "CZK"]),
    limit_w=st.none() | st.integers(0, 10**6),
)


@given(views, st.sampled_from(["gateway", "home/energy"]))
def test_each_message_fits_the_schema_and_each_template_its_state(shown: View, topics: str) -> None:
    found = devices(shown, topics, "homeassistant")
    assert len(found) == 1 + len(shown.meters)
    unique = [entity["unique_id"] for device in found for entity in device.config["components"].values()]
    assert len(unique) == len(set(unique))
    for device in found:
        assert TOPIC.fullmatch(device.topic)
        config = json.loads(json.dumps(device.config))
        assert set(config) <= ROOT_KEYS
        assert set(config["device"]) <= DEVICE_KEYS
        assert config["device"]["identifiers"]
        assert config["origin"]["name"] == "gateway"
        assert config["availability"][0] == {"topic": f"{topics}/status"}
        for name, entity in config["components"].items():
            _check_entity(device, name, entity)


def _check_entity(device: Device, name: str, entity: dict[str, Any]) -> None:
    state = json.loads(device.states[device.config["state_topic"]])
    rendered = _render(entity["value_template"], state)
    if entity["platform"] == "binary_sensor":
        assert set(entity) <= BINARY_KEYS
        assert entity["device_class"] in BINARY
        assert rendered in {"ON", "OFF"}
        if "json_attributes_topic" in entity:
            assert entity["json_attributes_topic"] in device.states
            assert isinstance(json.loads(_render(entity["json_attributes_template"], state)), dict)
        return
    assert entity["platform"] == "sensor"
    assert set(entity) <= SENSOR_KEYS
    kind = entity.get("device_class")
    if kind is None:
        assert (name, entity["state_class"]) == ("price", "measurement")
        assert re.fullmatch("[A-Z]{3}/kWh", entity["unit_of_measurement"])
    else:
        assert entity["unit_of_measurement"] in UNITS[kind]
        assert entity["state_class"] in STATE_CLASSES[kind]
    if rendered != "None":
        float(rendered)


def _render(template: str, state: dict[str, Any]) -> str:
    environment = Environment(undefined=StrictUndefined, autoescape=False)
    environment.filters["tojson"] = json.dumps  # Home Assistant's own does not escape for HTML
    return environment.from_string(template).render(value_json=state)


def test_registers_are_shown_in_kwh_to_the_last_mwh_and_power_as_it_is() -> None:
    meter = MeterView("main", {"import": 123_456_789_012_345, "export": 1, "power": -7}, True, None)
    (_, device) = devices(View("00" * 16, True, (), (meter,), Decimal(1), "EUR"), "gateway", "homeassistant")
    state = json.loads(device.states["gateway/meter/main/state"])
    assert (state["import"], state["export"], state["power"]) == (123_456_789.012345, 0.000001, -7)
    assert device.config["components"]["import"]["state_class"] == "total_increasing"
