"""SML: frames as they come, and lists within frames whose check sequences are right."""

from __future__ import annotations

from gateway.errors import MeterError
from gateway.meters.crc import x25
from gateway.meters.reading import Telegram, sane
from gateway.meters.sml.decoder import SmlDecoder
from gateway.simulate import sml as simulated
from gateway.simulate.home import Home
from tests.fuzz import streams
from tests.fuzz.engine import Target
from tests.support.clock import START_S, FakeClock

_SERVER_ID = bytes.fromhex("0a0153494d0000bc614e")
_HEAD = bytes.fromhex("1b1b1b1b01010101")
_END = bytes.fromhex("1b1b1b1b1a")


def _frame(content: bytes) -> bytes:
    fill = -len(content) % 4
    checked = _HEAD + content.replace(_HEAD[:4], _HEAD[:4] * 2) + bytes(fill) + _END + bytes((fill,))
    return checked + x25(checked)


def _list(body: bytes) -> bytes:
    """A frame with one message, a list response whose body is `body`."""
    checked = bytes.fromhex("7605000000016200620072630701") + body
    return _frame(checked + b"\x63" + x25(checked) + b"\x00")


def _meter_frame() -> bytes:
    return simulated.SmlMeter(Home(1, start_s=START_S), FakeClock()).frame()


def _body(*entries: bytes) -> bytes:
    none = simulated.NONE
    octets = simulated.octets
    return simulated.list_of(
        none,
        octets(_SERVER_ID),
        octets(b"\1\0\x62\x0a\xff\xff"),
        none,
        simulated.list_of(*entries),
        none,
        none,
    )


_GOOD = _list(_body(simulated.entry("1-0:1.8.0*255", simulated.unsigned(12_345_678, 8), 30, -1)))
_BODIES = [
    _body(
        simulated.entry("1-0:1.8.0*255", simulated.unsigned(12_345_678, 8), 30, -1),
        simulated.entry("1-0:2.8.0*255", simulated.unsigned(345_678, 5), 30, 1),
        simulated.entry("1-0:16.7.0*255", simulated.signed(-431, 2), 27, 0),
    ),
    _body(
        *(simulated.entry(f"1-0:1.8.{tariff}*255", simulated.unsigned(99, 3), 30, 0) for tariff in (1, 2)),
        *(simulated.entry(f"1-0:{phase}.7.0*255", simulated.signed(9, 4), 27, -1) for phase in (36, 56, 76)),
    ),
    _body(
        simulated.entry("1-0:1.8.0*255", simulated.unsigned(9, 4), 30, 0, simulated.unsigned(0x1C0124, 4)),
        simulated.entry("1-0:15.7.0*255", simulated.signed(77, 4), 27, 0),
    ),
]


_LAWS = streams.Laws(SmlDecoder, _GOOD, _GOOD)


def _read(data: bytes) -> None:
    for item in _LAWS.check(data):
        assert isinstance(item, Telegram)
        try:
            sane(item.registers)
        except MeterError:
            continue


def _read_list(data: bytes) -> None:
    for item in SmlDecoder(tariffs=2).feed(_list(data)):
        assert isinstance(item, Telegram | MeterError)


TARGETS = (
    Target(
        "sml",
        MeterError,
        _read,
        lambda: [
            *(streams.as_input(frame) for frame in (_meter_frame(), _GOOD, _GOOD + _GOOD)),
            *(streams.as_input(_list(body), 7, 30) for body in _BODIES),
        ],
    ),
    Target("sml-list", MeterError, _read_list, lambda: _BODIES),
)
