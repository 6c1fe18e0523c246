"""A simulated SMA Energy Meter: a Speedwire datagram each second, to whoever is in the multicast group.

The datagram has what a meter with software 2.13 sends, in its order: power and energy of all phases together,
power factor and frequency, then the same of each phase with its current and voltage (SMA,
EMETER-Protokoll-TI-en-10; the frequency came with software 2.03). The home's load is spread evenly over the
phases, and its power factor is 1.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.errors import UsageError
from gateway.host.clock import Clock
from gateway.meters.endpoint import Multicast, why
from gateway.simulate.home import Home
from gateway.simulate.truth import LiveHome

_SUSY_ID = 349  # an Energy Meter's
_VERSION = bytes((2, 13, 4)) + b"R"
_VOLT = 230
_TYPES = {4: 4, 8: 8}  # a value's type: its length

Entry = tuple[int, int, int]  # index, type, value


class SpeedwireMeter:
    """A meter that shows `home`. Its ticker began at 0 when the Unix epoch did."""

    def __init__(
        self, home: Home, clock: Clock, truth: Path | None = None, serial_number: int = 3_000_000_001
    ) -> None:
        self._serial_number = serial_number
        self._datagram = b""
        self.live = LiveHome(home, clock, self._show, truth)

    def datagram(self) -> bytes:
        """The datagram for the second that is shown."""
        return self._datagram

    def _show(self, home: Home) -> dict[str, int]:
        drawn, given = _ws(home.import_mwh), _ws(home.export_mwh)
        entries = [*_both(0, max(home.power, 0) * 10, max(-home.power, 0) * 10, drawn, given)]
        entries += [(13, 4, 1000), (14, 4, 50_000)]
        for phase in (1, 2, 3):
            share = [_third(total, phase) for total in (abs(home.power) * 10, drawn, given)]
            power = (share[0], 0) if home.power >= 0 else (0, share[0])
            entries += _both(20 * phase, *power, *share[1:])
            entries += [(20 * phase + 11, 4, share[0] * 100 // _VOLT), (20 * phase + 12, 4, _VOLT * 1000)]
            entries += [(20 * phase + 13, 4, 1000)]
        self._datagram = datagram(self._serial_number, home.second * 1000, entries)
        return {"import": drawn * 5 // 18, "export": given * 5 // 18, "power": home.power}


async def serve(
    home: Home,
    endpoint: Multicast,
    clock: Clock,
    truth: Path | None = None,
    serial_number: int = 3_000_000_001,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Send the datagram of `home` to the group `endpoint` each second, from its interface, until cancelled.
    What the meter shows is appended to `truth`; `listening` is called with the port before the first one is
    sent. UsageError where it cannot send, or cannot write the truth."""
    meter = SpeedwireMeter(home, clock, truth, serial_number)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def send() -> None:
            try:
                sender.sendto(meter.datagram(), (endpoint.group, endpoint.port))
            except OSError as error:
                raise UsageError(f"cannot send to {endpoint}: {why(error)}") from None

        try:
            interface = socket.inet_aton(endpoint.interface)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        except OSError as error:
            raise UsageError(f"cannot send to {endpoint}: {why(error)}") from None
        listening(endpoint.port)
        await meter.live.keep(send)


def datagram(serial_number: int, ticker: int, entries: Iterable[Entry], protocol: int = 0x6069) -> bytes:
    """A datagram of `entries`. `ticker`, in ms, is taken modulo 2^32."""
    content = protocol.to_bytes(2, "big") + _SUSY_ID.to_bytes(2, "big") + serial_number.to_bytes(4, "big")
    content += (ticker % 2**32).to_bytes(4, "big")
    for index, kind, value in entries:
        content += bytes((0, index, kind, 0)) + value.to_bytes(_TYPES[kind], "big")
    content += bytes((144, 0, 0, 0)) + _VERSION
    return b"SMA\0" + _tag(0x02A0, b"\0\0\0\1") + _tag(0x0010, content) + _tag(0, b"")


def _tag(tag: int, content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + tag.to_bytes(2, "big") + content


def _both(base: int, drawn: int, given: int, drawn_ws: int, given_ws: int) -> list[Entry]:
    """Active, reactive and apparent power (0.1 W) and energy (Ws) in both directions; no reactive ones."""
    values = {1: (drawn, drawn_ws), 2: (given, given_ws), 3: (0, 0), 4: (0, 0)}
    values |= {9: values[1], 10: values[2]}
    return [
        (base + index, kind, value)
        for index, both in values.items()
        for kind, value in zip((4, 8), both, strict=True)
    ]


def _ws(mwh: int) -> int:
    return mwh * 18 // 5


def _third(total: int, phase: int) -> int:
    return (total + phase - 1) // 3  # the three add up to the total
