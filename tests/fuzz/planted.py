"""Targets that fail, for the driver's own tests."""

from __future__ import annotations

import os
import time

from tests.fuzz.engine import Target


def _divide(data: bytes) -> None:
    if data[:1] == b"\x80":
        raise ZeroDivisionError


def _vanish(data: bytes) -> None:
    if data[:1] == b"\x80":
        os._exit(3)


def _sleep(data: bytes) -> None:
    time.sleep(1000)


TARGETS = {
    target.name: target
    for target in (
        Target("divides", ValueError, _divide, lambda: [b"\x81\x82"]),
        Target("vanishes", ValueError, _vanish, lambda: [b"\x81\x82"]),
        Target("sleeps", ValueError, _sleep, lambda: [b"\x81\x82"]),
    )
}
