"""A meter that pushes text: bytes to the lanes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.errors import MeterError
from gateway.meters.iec62056.datasets import read_datasets
from gateway.meters.iec62056.registers import TextRegisters
from gateway.meters.iec62056.telegrams import TextTelegram, TextTelegrams
from gateway.meters.reading import Telegram


class TextDecoder:
    """Turns a meter's bytes into telegrams. `makers` are the three letters (FLAG) with which the
    identifications of its profile's meters begin; empty where any will do."""

    def __init__(self, registers: TextRegisters, makers: Collection[str] = ()) -> None:
        self._registers = registers
        self._makers = makers
        self._outer = TextTelegrams()

    def cut(self) -> None:
        """The next bytes come from another connection."""
        self._outer.cut()

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken one."""
        said: list[Telegram | MeterError] = []
        for one in self._outer.feed(data):
            try:
                if isinstance(one, MeterError):
                    raise one
                said.append(self._telegram(one))
            except MeterError as error:
                said.append(error)
        return said

    def _telegram(self, one: TextTelegram) -> Telegram:
        check_maker(one.identification, self._makers)
        return self._registers.telegram(read_datasets(one.block))


def check_maker(identification: str, makers: Collection[str]) -> None:
    """MeterError where a meter is not made by one of `makers`; none are named where any will do."""
    if makers and identification[:3].upper() not in makers:
        raise MeterError(
            f"another meter sends: it identifies itself as {identification!r}, and the profile is for "
            f"{' and '.join(makers)}"
        )
