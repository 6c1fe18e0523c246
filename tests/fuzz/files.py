"""Files that a person writes: a profile, a meter's keys, the configuration, a tariff."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from gateway.config import Config, example
from gateway.config.tariff import load_tariff
from gateway.errors import UsageError
from gateway.meters.profile import parse_profile, profile_ids
from gateway.meters.secrets import read_secrets
from tests.fuzz.engine import Target


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
    """No error shows anything that could be a key."""
    try:
        read_secrets(path)
    except UsageError as error:
        keys = re.findall(rb"[0-9A-Za-z]{16,}", path.read_bytes())
        if any(key.decode() in str(error) for key in keys):
            raise AssertionError("an error shows a key") from None
        raise


_KEYS = 'encryption_key = "{}"\nauthentication_key = "{}"\npassword = "00000001"\n'
_BARE = [b"a = 1", b"a = [", b"a = {a = ", b"[a."]
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


def _profiles() -> list[bytes]:
    folder = resources.files("gateway.meters").joinpath("profiles")
    return [folder.joinpath(f"{profile}.toml").read_bytes() for profile in profile_ids()]


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
    Target("tariff", UsageError, _File(load_tariff), lambda: [_TARIFF, *_BARE]),
)
