"""Bytes and CBOR that are nearly right."""

from __future__ import annotations

import copy
import random
from typing import Any

import cbor2

_NUMBERS = (0, 1, 2, 7, 23, 24, 255, 256, 900, 65_535, 65_536, 2**20, 2**20 + 1, 2**32 - 1, 2**32, 2**40)
_LARGE = (2**53 - 1, 2**53, 2**60, 2**60 + 1, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**64))
_TEXTS = (
    "",
    "day",
    "month",
    "month-2",
    "month-28",
    "month-29",
    "import",
    "power",
    "count",
    "UTC",
    "tpm",
    "1.5",
)
_STRANGE = (
    "a\u0300",
    "\u00a0",
    "\u200b",
    "\n",
    " ",
    "2026-02",
    "2026-13",
    "windows",
    "bill",
    "é" * 128,
    "é" * 129,
)


def of_bytes(rng: random.Random, data: bytes) -> bytes:
    """`data` with a byte or a few changed, left out, put in or repeated."""
    at = rng.randrange(len(data))
    match rng.randrange(6):
        case 0:
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at] + rng.randbytes(1) + data[at + 1 :]
        case 2:
            return data[:at]
        case 3:
            return data[:at] + data[at + rng.randrange(1, 9) :]
        case 4:
            return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    return data[:at] + data[at : at + rng.randrange(1, 9)] + data[at:]


def of_cbor(rng: random.Random, payload: bytes) -> bytes:
    """The CBOR map `payload` with something in it changed, in deterministic form again."""
    value = cbor2.loads(payload)
    for _ in range(rng.choice((1, 1, 1, 2))):
        value = _changed(rng, value, 0)
    return cbor2.dumps(value, canonical=True)


def _changed(rng: random.Random, value: Any, depth: int) -> Any:
    if isinstance(value, dict) and value and rng.random() < (1 if depth == 0 else 0.7):
        found = dict(value)
        key = rng.choice(list(found))
        match rng.randrange(6):
            case 0:
                found[rng.choice((*range(1, 18), 63, 64, 65, 2**32, 2**64 - 1))] = _any(rng)
            case 1:
                del found[key]
            case _:
                found[key] = _changed(rng, found[key], depth + 1)
        return found
    if isinstance(value, list) and value and rng.random() < 0.7:
        items = copy.copy(value)
        at = rng.randrange(len(items))
        match rng.randrange(5):
            case 0:
                del items[at]
            case 1:
                items.insert(at, items[rng.randrange(len(items))])
            case 2:
                rng.shuffle(items)
            case _:
                items[at] = _changed(rng, items[at], depth + 1)
        return items
    if isinstance(value, bytes) and value and rng.random() < 0.5:
        return of_bytes(rng, value)
    if isinstance(value, int) and rng.random() < 0.5:
        return max(0, value + rng.choice((-1, 1, 60, -60, 1000)))
    return _any(rng)


def _any(rng: random.Random) -> Any:
    return rng.choice(
        (
            rng.choice(_NUMBERS),
            rng.choice(_LARGE),
            rng.choice(_TEXTS),
            rng.choice(_STRANGE),
            rng.randbytes(rng.choice((0, 1, 8, 15, 16, 32, 64, 91))),
            [],
            [rng.choice(_NUMBERS)],
            {},
            {1: 1},
            [[[[[[[0]]]]]]],
        )
    )
