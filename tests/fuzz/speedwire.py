"""Speedwire: datagrams as they come, several of them, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.errors import MeterError
from gateway.meters.reading import Telegram
from gateway.meters.speedwire.datagram import read
from gateway.meters.speedwire.decoder import SpeedwireDecoder
from gateway.simulate.home import Home
from gateway.simulate.speedwire import SpeedwireMeter, datagram
from tests.fuzz.engine import Target
from tests.support.clock import START_S, FakeClock

_ONE, _OTHER = 1_900_204_522, 3_003_000_001


def _input(*datagrams: bytes) -> bytes:
    return b"".join(len(data).to_bytes(2, "big") + data for data in datagrams)


def _datagrams(data: bytes) -> Iterator[bytes]:
    """The input's datagrams, each with its length before it; the last may be shorter than that."""
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : end]
        at = end


def _read(data: bytes) -> None:
    """Whatever came before, a good datagram of the meter that is named is read, if it is later than all."""
    named, unnamed = SpeedwireDecoder(_ONE), SpeedwireDecoder()
    serials, last = set(), 0
    for one in _datagrams(data):
        (item,) = named.feed(one)
        if isinstance(item, Telegram):
            assert item.serial == str(_ONE)
            assert all(abs(value) < 2**65 for value in item.registers.values())
            last = read(one).ticker
        (item,) = unnamed.feed(one)
        if isinstance(item, Telegram):
            serials.add(item.serial)
    assert len(serials) <= 1, "two meters in one stream"
    for later in (0, 20_000):  # the second is later, or a restarted meter's
        (item,) = named.feed(datagram(_ONE, last + later, [(1, 8, 18)]))
    assert item == Telegram({"import": 5}, str(_ONE))


def _seeds() -> list[bytes]:
    whole = SpeedwireMeter(Home(1, start_s=START_S), FakeClock(), serial_number=_ONE).datagram()
    both = [(1, 4, 2000), (1, 8, 9000), (2, 4, 0), (2, 8, 1)]
    row = [datagram(_ONE, ticker, both) for ticker in range(2**32 - 2000, 2**32 + 3000, 1000)]
    return [
        _input(whole),
        _input(*row),
        _input(*(datagram(number, 0, both) for number in (_ONE, _OTHER))),
        _input(datagram(_ONE, 5, [], protocol=0x6065), b"", b"SMA", row[0]),
    ]


TARGETS = (Target("speedwire", MeterError, _read, _seeds),)
