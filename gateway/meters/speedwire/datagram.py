"""A Speedwire datagram to the values that an Energy Meter measured.

A datagram is `SMA\\0` and then a row of tags, each with its length before it, up to an empty tag 0. An Energy
Meter's values are in the tag 0x0010: protocol id 0x6069, SUSy-ID, serial number, ticker, and the entries
(EMETER-Protokoll-TI-en-10; the row of tags as in libspeedwire, include/SpeedwireHeader.hpp at 08a42aa). All
numbers are unsigned, high byte first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gateway.errors import MeterError
from gateway.meters.reading import PassedOver

_BEGIN = b"SMA\0"
_DATA = 0x0010  # "SMA Net 2"
_ENERGY_METER = 0x6069
_ENTRIES_AT = 12  # behind protocol id, SUSy-ID, serial number and ticker
_VERSION = 144  # the channel of the software's version, whose type is 0
_LENGTHS = {4: 4, 8: 8}  # of a value, by its type: a present value, a counter


@dataclass(frozen=True, slots=True)
class Datagram:
    """The meter's serial number; its `ticker`, which counts milliseconds modulo 2^32; and what it measured,
    by index and type: (1, 8) is register 1.8.0, (1, 4) is 1.4.0."""

    serial_number: int
    ticker: int
    values: Mapping[tuple[int, int], int] = field(repr=False)


def read(data: bytes) -> Datagram:
    """The values in a datagram. PassedOver for one that is well and holds something else, MeterError for one
    that is damaged."""
    if not data.startswith(_BEGIN):
        raise MeterError("a datagram that is not Speedwire's: it does not begin with SMA and a zero byte")
    body = dict(_tags(data)).get(_DATA)
    if body is None:
        raise PassedOver("a Speedwire datagram that looks for devices, and holds no values")
    if (protocol := int.from_bytes(body[:2], "big")) != _ENERGY_METER:
        raise PassedOver(
            f"a Speedwire datagram of protocol 0x{protocol:04x}, which other devices use; "
            f"an Energy Meter's is 0x{_ENERGY_METER:04x}"
        )
    if len(body) < _ENTRIES_AT:
        raise MeterError("a Speedwire datagram ends before its first value")
    return Datagram(int.from_bytes(body[4:8], "big"), int.from_bytes(body[8:12], "big"), dict(_values(body)))


def _tags(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = len(_BEGIN)
    while True:
        length, tag = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        content = data[at + 4 : at + 4 + length]
        at += 4 + length
        if at > len(data):
            raise MeterError("a Speedwire datagram is shorter than its lengths say")
        if length == tag == 0:
            return
        yield tag, content


def _values(body: bytes) -> Iterator[tuple[tuple[int, int], int]]:
    at = _ENTRIES_AT
    while at < len(body):
        if at + 4 > len(body):
            raise MeterError("a Speedwire datagram ends within an entry")
        channel, index, kind, tariff = body[at : at + 4]
        length = 4 if channel == _VERSION else _LENGTHS.get(kind)
        if length is None:
            raise MeterError(
                f"a Speedwire datagram has a value {channel}.{index}.{kind}.{tariff}: type {kind} is unknown"
            )
        at += 4 + length
        if at > len(body):
            raise MeterError("a Speedwire datagram ends within an entry")
        if channel == tariff == 0:
            yield (index, kind), int.from_bytes(body[at - length : at], "big")
