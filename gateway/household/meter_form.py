"""The form of a meter: its fields, and the [[meter]] that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from gateway.control.setup import MeterProfile, SearchOrder
from gateway.errors import UsageError
from gateway.household.draft import SECRETS
from gateway.household.i18n import gettext

FIELDS = (
    "name", "profile", "place", "host", "port", "device", "unit_id",
    "encryption_key", "authentication_key", "password",
)  # fmt: skip
"""The fields of the form; `place` is tcp or serial."""


def free_name(taken: Iterable[str]) -> str:
    """A name for the next meter of a home that has these."""
    names = set(taken)
    return next(name for n in count(1) if (name := "main" if n == 1 else f"meter-{n}") not in names)


def meter_section(
    typed: Mapping[str, str], profiles: tuple[MeterProfile, ...]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The [[meter]] and its secrets, of what was typed; UsageError where that cannot be one."""
    model = next((one for one in profiles if one.profile == typed["profile"]), None)
    if model is None:
        raise UsageError(gettext("choose the meter's model from the list"))
    lanes = [lane for lane in ("import", "export", "power") if lane in model.lanes]
    section: dict[str, Any] = {
        "name": typed["name"] or "main",
        "profile": model.profile,
        "lanes": [*lanes, "count"],
    }
    if typed["place"] == "serial":
        section["serial"] = {"device": typed["device"]}
    else:
        section["tcp"] = _address(typed["host"], typed["port"])
    if model.modbus and typed["unit_id"]:
        section["unit_id"] = _number(typed["unit_id"], gettext("the device's number"))
    keys = {name: typed[name] for name in ("encryption_key", "authentication_key", "password") if typed[name]}
    if not keys or not model.keys:
        return section, {}
    name = f"meter-{section['name']}"
    section["keys"] = f"{SECRETS}{name}"
    return section, {name: "".join(f'{key} = "{_plain(value)}"\n' for key, value in keys.items())}


def search_order(typed: Mapping[str, str]) -> SearchOrder:
    """Where to search, of a `host`, with or without a port, or a `device`; UsageError for what is neither."""
    host, device = typed["host"], typed["device"]
    if bool(host) == bool(device):
        raise UsageError(
            gettext("type the meter’s address in the network, or choose a serial port: one of the two")
        )
    if device:
        return SearchOrder.parse({"device": device})
    return SearchOrder.parse(_address(host, ""))


def _address(host: str, port: str) -> dict[str, Any]:
    """Host and port; the port may also follow the host's colon, but for IPv6."""
    name, _, behind = host.rpartition(":")
    if name and ":" not in name and not port:
        host, port = name, behind
    return {"host": host} | ({"port": _number(port, gettext("the port"))} if port else {})


def _plain(value: str) -> str:
    if '"' in value or "\\" in value or not value.isprintable():
        raise UsageError(gettext("a key or password has no quotation mark, backslash or line break"))
    return value


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(gettext("%(what)s is a number, and not %(text)s") % {"what": what, "text": text})
    return int(text)
