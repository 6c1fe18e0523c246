"""Datagrams to telegrams of one meter, on a network where several may send.

Datagrams are lost, come twice, and overtake each other. One that a later one has overtaken is passed over:
its registers would seem to fall.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.reading import PassedOver, Telegram
from gateway.meters.speedwire.datagram import Datagram, read

_PRESENT, _COUNTER = 4, 8  # types of values: 0.1 W, and Ws
_IMPORT, _EXPORT = 1, 2  # indices, of all phases together
_TICKERS = 1 << 32
_OVERTAKEN_MS = 10_000  # a ticker that lies farther back is that of a meter that was restarted
_ALONE_MS = 2500  # each meter sends every second, or more often


class SpeedwireDecoder:
    """Turns datagrams into telegrams. Those of the meter `serial_number` count; without it, those of the only
    meter: it must have been heard alone for a few ticks of its clock, and once another one is heard, nothing
    is read any more. The first meter that was read stays the only one that can be."""

    def __init__(self, serial_number: int | None = None) -> None:
        self._configured = serial_number
        self._alone: int | None = None
        self._heard: list[int] = []
        self._first: int | None = None
        self._ticker: int | None = None

    def cut(self) -> None:
        """The next datagrams come through another socket."""
        self._heard = [] if self._alone is None else [self._alone]
        self._first = None

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """The telegram in the datagram `data`, or the error that says why there is none."""
        try:
            datagram = read(data)
            if self._configured is None:
                self._expect_one(datagram.serial_number)
            elif datagram.serial_number != self._configured:
                raise PassedOver(
                    f"a datagram of the SMA meter {datagram.serial_number}; the one with serial_number = "
                    f"{self._configured} is meant"
                )
            self._expect_order(datagram.ticker)
            if self._configured is None:
                self._expect_alone(datagram)
            return [Telegram(_registers(datagram.values), str(datagram.serial_number))]
        except MeterError as error:
            return [error]

    def _expect_one(self, serial_number: int) -> None:
        if serial_number not in self._heard:
            self._heard = [*self._heard[:1], serial_number]
        if len(self._heard) > 1:
            raise MeterError(
                f"two SMA meters are heard, with the serial numbers {self._heard[0]} and {self._heard[1]}; "
                f"say which is meant: multicast = {{ serial_number = {self._heard[0]} }} (--serial-number)"
            )

    def _expect_order(self, ticker: int) -> None:
        if self._ticker is not None and 0 < (self._ticker - ticker) % _TICKERS < _OVERTAKEN_MS:
            raise PassedOver("a datagram that a later one has overtaken")
        self._ticker = ticker

    def _expect_alone(self, datagram: Datagram) -> None:
        if self._alone is not None:
            return
        if self._first is None:
            self._first = datagram.ticker
        if (datagram.ticker - self._first) % _TICKERS < _ALONE_MS:
            raise PassedOver(
                f"a datagram of the SMA meter {datagram.serial_number}, which is read once it is known to "
                "be the only one"
            )
        self._alone = datagram.serial_number


def _registers(values: Mapping[tuple[int, int], int]) -> dict[str, int]:
    """The lanes that the values fill. MeterError where they fill none."""
    registers = {
        lane: values[index, _COUNTER] * 5 // 18  # 1 Ws = 1/3.6 mWh
        for lane, index in (("import", _IMPORT), ("export", _EXPORT))
        if (index, _COUNTER) in values
    }
    drawn, given = values.get((_IMPORT, _PRESENT)), values.get((_EXPORT, _PRESENT))
    if drawn is not None and given is not None:
        registers["power"] = round(Fraction(drawn - given, 10))
    if not registers:
        raise MeterError(
            "a Speedwire datagram holds neither an energy (1.8.0, 2.8.0) nor a power (1.4.0, 2.4.0)"
        )
    return registers
