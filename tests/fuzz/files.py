"""Files that a person writes or brings along: profiles, keys, the configuration, a tariff, a capture; and the
invocation counter that the gateway finds again after a start."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from pathlib import Path

from gateway.config import Config, example, location
from gateway.config.store import StoreSection
from gateway.config.tariff import load_tariff, read_toml
from gateway.errors import MeterError, UsageError
from gateway.host.clock import SystemClock
from gateway.meters.capture import replay
from gateway.meters.dlms.polled.counter import InvocationCounter
from gateway.meters.profile import parse_profile, profile_ids
from gateway.meters.secrets import read_secrets
from gateway.provider import prices
from gateway.provider.invoice import Terms
from gateway.provider.openadr import read_event
from tests.fuzz.engine import Target
from tests.fuzz.modbus import at_once


class _File:
    """A parser of a file, given its bytes."""

    def __init__(self, parse: Callable[[Path], object]) -> None:
        self._parse = parse
        self._handle = -1

    def __call__(self, data: bytes) -> None:
        if self._handle < 0:
            self._handle = os.memfd_create("input")
            os.fchmod(self._handle, 0o600)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, data, 0)
        self._parse(Path(f"/proc/self/fd/{self._handle}"))


def _profile(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = re.search(r'^id = "([a-z0-9.-]+)"', text, re.MULTILINE)
    parse_profile(text, f"{found[1] if found else 'none'}.toml")


def _secrets(path: Path) -> None:
    _shows_no_key(path, lambda: read_secrets(path))


def _shows_no_key(path: Path, read: Callable[[], object]) -> None:
    """No error shows anything that could be a key."""
    try:
        read()
    except UsageError as error:
        keys = re.findall(rb"[0-9A-Za-z]{16,}", path.read_bytes())
        if any(key.decode() in str(error) for key in keys):
            raise AssertionError("an error shows a key") from None
        raise


def _store_keys(path: Path) -> None:
    """As for a meter's keys."""
    _shows_no_key(path, lambda: location(StoreSection(url="s3://meters", credentials=str(path))))


def _capture(data: bytes) -> None:
    """What the capture's own reader refuses is a MeterError."""
    with suppress(MeterError):
        at_once(replay(data.decode("utf-8", "replace"), SystemClock("host")))


def _tariff(path: Path) -> None:
    """With the bill's other lines."""
    load_tariff(path)
    Terms.read(read_toml(path).get("bill", {}))


def _counter(path: Path) -> None:
    InvocationCounter(path)._read()


_CAPTURES = [
    b"""{"profile": "eastron-sdm630", "device_id": 1,
 "registers": [{"table": "input", "address": 52, "words": "c4002000"},
  {"table": "input", "address": 72, "words": "449a500042868000"},
  {"table": "input", "address": 80, "count": 2, "words": null}],
 "shown": [{"import": 1234500000, "export": 67250000, "power": -512}]}""",
    b'{"profile": "sml-generic", "bytes": [[0, "1b1b1b1b"], [998, "0101"]], "shown": []}',
    b'{"profile": "sunspec", "device_id": 1, "registers": [], "shown": [{}]}',
    b"[[",
    b"[1",
]
_KEYS = 'encryption_key = "{}"\nauthentication_key = "{}"\npassword = "00000001"\n'
_BARE = [
    *(b"a = 1", b"a = [", b"a = {a = ", b"[a."),
    *(b"[gateway]\ncommit_seconds = 0xf", b"[[meter]]\ninterval_s = 1e9"),
]
_CONFIG = b"""[store]
url = "s3://meters"
endpoint = "http://127.0.0.1:9000"
region = "eu-central-1"
credentials = "store"
[[meter]]
name = "main"
profile = "eastron-sdm630"
lanes = ["import", "export", "count"]
tcp = { host = "192.168.1.50", port = 502, framer = "rtu" }
[[meter]]
name = "roof"
profile = "eastron-sdm120"
interval_s = 2.5
serial = { device = "/dev/serial/by-id/usb-1", baudrate = 9600, parity = "N", stopbits = 1 }
"""
_TARIFF = b"""currency = "EUR"
zone = "Europe/Berlin"
step = "15min"
[[import]]
price = "0.3215"
days = ["mon", "tue"]
from = "06:00"
until = "22:00"
[[import]]
price = "0.2450"
[export]
start = 2026-11-01T00:00:00+01:00
prices = ["-0.0810", "-0.0790"]
"""
_CALENDAR = b"""currency = "EUR"
zone = "Europe/Madrid"
since = 2026-01-01
before = 2027-01-01
[holidays]
country = "ES"
subdivision = "MD"
add = [2026-11-09]
remove = [2026-04-03]
[seasons]
winter = ["oct-mar"]
heating = [{ since = 2026-10-15, before = 2027-04-15 }]
[days]
red = { dates = [2026-01-05, 2026-01-07], begin = "06:00" }
[[import]]
price = "0.7"
days = ["red"]
from = "22:00"
[[import]]
price = "0.3"
days = ["mon-fri", "holiday"]
season = "winter"
from = "22:00"
until = "06:00"
[[import]]
price = "0.2"
[[bill.line]]
name = "Standing charge"
amount = "0.5"
per = "day"
[[bill.line]]
name = "VAT"
percent = "21"
"""


def _profiles() -> list[bytes]:
    folder = resources.files("gateway.meters").joinpath("profiles")
    return [folder.joinpath(f"{profile}.toml").read_bytes() for profile in profile_ids()]


_TERMS = prices.SeriesTerms("Day ahead", ("import",), "EUR", "Europe/Berlin")
_PRICES = b"""from,until,price
2026-03-29T00:00,2026-03-29T01:00,0.1032
2026-03-29T01:00:00+01:00,2026-03-29T02:00:00Z,-0.0215
"""
_EVENT = b"""{"objectType": "EVENT", "programID": "p",
"intervalPeriod": {"start": "2026-03-29T00:00:00Z", "duration": "PT1H"},
"payloadDescriptors": [{"payloadType": "PRICE", "units": "KWH", "currency": "EUR"}],
"intervals": [{"id": 0, "payloads": [{"type": "PRICE", "values": [0.1032]}]},
{"id": 1, "intervalPeriod": {"start": "2026-03-29T02:00:00+01:00", "duration": "P1DT15M"},
"payloads": [{"type": "EXPORT_PRICE", "values": [-1]}, {"type": "PRICE", "values": [2e-3]}]}]}
"""


def _prices(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    prices.draft(_TERMS, prices.read_csv(text, "prices.csv", _TERMS.zone)).payload()


def _event(data: bytes) -> None:
    found, lanes, currency = read_event(data.decode("utf-8", "replace"), "event.json", None)
    prices.draft(replace(_TERMS, lanes=lanes, currency=currency or "EUR"), found).payload()


TARGETS = (
    Target("profile", UsageError, _profile, _profiles),
    Target(
        "secrets",
        UsageError,
        _File(_secrets),
        lambda: [
            _KEYS.format(bytes(range(16)).hex(), bytes(range(16, 32)).hex()).encode(),
            b'encryption_key = "00112233445566778899AABBCCDDEEFF"\n',
        ],
    ),
    Target("config", UsageError, _File(Config.load), lambda: [example().encode(), _CONFIG, *_BARE]),
    Target(
        "credentials",
        UsageError,
        _File(_store_keys),
        lambda: [
            b"# of the gateway\naccess_key_id = AKIA0123456789ABCDEF\n\nsecret_access_key=SECRET5ec4e7=\n"
        ],
    ),
    Target("capture", UsageError, _capture, lambda: _CAPTURES),
    Target("counter", MeterError, _File(_counter), lambda: [b'{"next": 4096}', b"[["]),
    Target("tariff", UsageError, _File(_tariff), lambda: [_TARIFF, _CALENDAR, *_BARE]),
    Target("prices", UsageError, _prices, lambda: [_PRICES]),
    Target("price-event", UsageError, _event, lambda: [_EVENT]),
)
