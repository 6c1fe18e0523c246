"""What every input must keep to, and where inputs come from.

An input may raise what its target declares, and nothing else; it may take LIMIT_S of CPU time, and at its
peak 1 MiB of memory and KIB_A_BYTE times its own length. This module must not import the gateway: what it
imports before atheris looks is not guided by coverage.
"""

from __future__ import annotations

import random
import signal
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

LIMIT_S = 5.0  # of CPU time; for 64 KiB, slowed down by atheris' instruments, and still far from quadratic
KIB_A_BYTE = 1  # COSEM's compact arrays take the most: 16 values a byte
LONG = 1 << 16  # of those made to show what grows faster than its input

_LONG_SEEDS = 8  # the shortest, which come most often in a long input
_WEIGH_EVERY = 64  # inputs: weighing each would take most of the time


@dataclass(frozen=True, slots=True)
class Target:
    """A parser to try: `check` takes any bytes, and raises nothing but `declared`. `seeds` gives good
    inputs to begin from."""

    name: str
    declared: type[Exception]
    check: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]


class Failed(Exception):
    """An input did what it must not do; the cause is the exception, if it was one."""


class _TimeIsUp(BaseException):
    """Not an Exception: no parser may swallow it."""


class Trial:
    """Tries inputs on one target, and counts them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.tried = 0
        signal.signal(signal.SIGVTALRM, _time_is_up)

    def __call__(self, data: bytes) -> None:
        """Failed where the input did what it must not do."""
        self.tried += 1
        if self.tried % _WEIGH_EVERY:
            self._try(data)
        else:
            self.weigh(data)

    def weigh(self, data: bytes) -> None:
        """Try the input, and see how much memory it takes."""
        tracemalloc.start()
        try:
            self._try(data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if peak > (allowed := (1 << 20) + len(data) * KIB_A_BYTE * 1024):
            raise Failed(f"{len(data)} bytes took {peak} bytes of memory; {allowed} are allowed")

    def _try(self, data: bytes) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
        try:
            self._target.check(data)
        except self._target.declared:
            pass
        except _TimeIsUp:
            raise Failed(f"{len(data)} bytes took more than {LIMIT_S:g} s of CPU time") from None
        except Exception as error:
            raise Failed(f"{type(error).__name__}: {error}") from error
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _time_is_up(number: int, frame: FrameType | None) -> None:
    raise _TimeIsUp


def longest(seeds: Sequence[bytes]) -> int:
    """How long generated inputs may be, in bytes: two of the longest seed, and never short."""
    return max(256, *(2 * len(seed) for seed in seeds))


def mutations(seeds: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    """The seeds, then for ever what a few changes make of one of them; the same for the same `chance`."""
    yield from seeds
    most = longest(seeds)
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            chance.choice(_CHANGES)(data, seeds, chance)
        yield bytes(data[:most])


def long_inputs(seeds: Sequence[bytes]) -> Iterator[bytes]:
    """Inputs of LONG bytes in which one thing comes over and over."""
    for seed in sorted(filter(None, seeds), key=len)[:_LONG_SEEDS]:
        yield (seed * (LONG // len(seed) + 1))[:LONG]
        for part in (1, 2, 3):
            head = seed[: len(seed) * part // 4 + 1]
            yield head + head[-1:] * LONG
            yield head + bytes(LONG)
    for byte in range(256):
        yield bytes((byte,)) * LONG


_Change = Callable[[bytearray, Sequence[bytes], random.Random], None]
_EDGES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)


def _flip(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    if data:
        at = chance.randrange(len(data))
        data[at] = chance.choice((chance.randrange(256), *_EDGES))


def _insert(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    data[at:at] = chance.choice((chance.randbytes(chance.randint(1, 8)), bytes((chance.choice(_EDGES),)) * 4))


def _drop(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    del data[at : at + chance.choice((1, 2, 8, len(data)))]


def _repeat(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at, to = chance.randint(0, len(data)), chance.randint(0, len(data))
    data[to:to] = data[at : at + chance.randint(1, 64)] * chance.choice((1, 1, 2, 16))


def _splice(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(seeds)
    at, to = chance.randint(0, len(other)), chance.randint(0, len(data))
    data[to : to + chance.choice((0, len(other)))] = other[at : at + chance.randint(1, 256)]


_CHANGES: Sequence[_Change] = (_flip, _set, _set, _insert, _drop, _repeat, _splice)
