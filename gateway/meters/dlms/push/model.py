"""The profile of a meter that pushes DLMS lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.errors import UsageError
from gateway.meters.dlms.application.cipher import CipherKeys
from gateway.meters.dlms.cosem.objects import Obis, obis
from gateway.meters.dlms.push.decoder import PushDecoder, Seen
from gateway.meters.dlms.push.layouts import Item, Layout, parse_item
from gateway.meters.dlms.push.links import HdlcLink, MbusLink
from gateway.meters.dlms.push.lists import ListForm
from gateway.meters.reading import LANES, Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.toml_table import TomlTable

Transport = Literal["hdlc", "m-bus"]


@dataclass(frozen=True, slots=True)
class DlmsPushModel:
    """`encrypted` says that the meter never pushes plain lists, so its keys are needed."""

    transport: Transport
    encrypted: bool
    form: ListForm
    lanes: tuple[str, ...] = LANES

    @property
    def rollover(self) -> Mapping[str, int]:
        """Unknown; 32 bits of Wh would be 4 294 967 kWh."""
        return {}

    @property
    def silence_s(self) -> float:
        """The slowest meters send every 10 s."""
        return 60.0

    def decoder(self, secrets: Secrets) -> Decoder:
        """A new decoder. UsageError where the meter encrypts and `secrets` lack its key."""
        link = HdlcLink() if self.transport == "hdlc" else MbusLink()
        return PushDecoder(link, self.form, self._keys(secrets), Seen())

    def _keys(self, secrets: Secrets) -> CipherKeys | None:
        if secrets.encryption_key is not None:
            return CipherKeys(secrets.encryption_key, secrets.authentication_key)
        if self.encrypted:
            raise UsageError(
                "this meter encrypts what it sends: encryption_key is needed, which the grid operator has"
            )
        return None


def parse_model(keys: TomlTable) -> DlmsPushModel:
    """Take the model's keys: `transport`, `encrypted`, and the facts that its lists leave out."""
    transport: Transport = keys.choice("transport", ("hdlc", "m-bus"))
    return DlmsPushModel(
        transport=transport,
        encrypted=keys.flag("encrypted"),
        form=ListForm(
            serial=_object(keys) if keys.has("serial_object") else None,
            zone=_zone(keys) if keys.has("zone") else None,
            energy_scaler=keys.integer("energy_scaler", -3, 6) if keys.has("energy_scaler") else 0,
            layouts=_layouts(keys) if keys.has("list") else (),
            tariffs=keys.integer("tariffs", 1, 9) if keys.has("tariffs") else None,
            hourly_s=keys.integer("hourly_s", 1, 120) if keys.has("hourly_s") else None,
        ),
    )


def _object(keys: TomlTable) -> Obis:
    return obis(keys.text("serial_object", r"\d{1,3}-\d{1,3}:\d{1,3}\.\d{1,3}\.\d{1,3}"))


def _zone(keys: TomlTable) -> ZoneInfo:
    name = keys.text("zone", r"[A-Za-z_]+/[A-Za-z_/]+")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise keys.fault("zone", f"is {name}; it must be a time zone such as Europe/Oslo") from None


def _layouts(keys: TomlTable) -> tuple[Layout, ...]:
    layouts: list[Layout] = []
    for number, entry in enumerate(keys.tables("list"), 1):
        layout = Layout(tuple(_item(entry, text) for text in entry.texts("items")))
        entry.end()
        for other, earlier in enumerate(layouts, 1):
            if not earlier.excludes(layout):
                raise keys.problem(f"lists {other} and {number} cannot be told apart: a list may fit both")
        layouts.append(layout)
    return tuple(layouts)


def _item(entry: TomlTable, text: str) -> Item:
    try:
        return parse_item(text)
    except UsageError as error:
        raise entry.fault("items", f"have {text!r}, which {error}") from None
