"""A simulated meter that speaks text after IEC 62056-21: pushed, or on request after a sign-on.

It takes any profile of text. Energies are in steps of 0.1 Wh and listed in all, by two tariffs, and as they
were at the end of the last month; power is in W.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from operator import xor
from pathlib import Path

from gateway.host.clock import Clock
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.iec62056.model import TextModel, TextPushModel
from gateway.meters.iec62056.registers import Term, TextRegisters
from gateway.simulate.answer_server import answer
from gateway.simulate.home import Home
from gateway.simulate.push_server import speak
from gateway.simulate.truth import LiveHome

_STEP_MWH, _STEPS_PER_KWH = 100, 10_000
_DIGITS = 6  # before the decimal point, where the profile does not say
_NUMBER = "12345678"
_REQUEST = re.compile(rb"/\?0*([0-9A-Za-z]*)!\r\n")
_ACKNOWLEDGEMENT = re.compile(rb"\x060([0-9])0\r\n")
_MOST = 256  # bytes of a request, with noise before it


class TextSimulation:
    """A meter of `model` that shows `home`."""

    def __init__(
        self, home: Home, model: TextModel | TextPushModel, clock: Clock, truth: Path | None = None
    ) -> None:
        self._model = model
        self._maker = model.makers[0] if model.makers else "SIM"
        self._unsaid = b""
        self._said = -1  # the number of the last telegram's interval
        self._block = ""
        self.live = LiveHome(home, clock, self._show, truth)

    def telegram(self) -> bytes:
        """The pushed telegram that is due, once; empty in the seconds between."""
        due, self._unsaid = self._unsaid, b""
        return due

    @property
    def identification(self) -> bytes:
        """What it answers to a request: it offers 9600 Bd."""
        return f"/{self._maker}5SIMULATED\r\n".encode("ascii")

    def readout(self) -> bytes:
        """The answer to an acknowledgement."""
        self.live.catch_up()
        return readout(self._block)

    def _show(self, home: Home) -> dict[str, int]:
        imported, exported = home.import_mwh // _STEP_MWH, home.export_mwh // _STEP_MWH
        registers = self._model.registers
        lines = [f"0.0.0({_NUMBER})", *self._energy(registers.imported, imported)]
        lines += self._energy(registers.exported, exported)
        lines += _power(registers, home.power)
        self._block = "".join(f"{line}\r\n" for line in lines)
        if self._said != home.second // self._model.interval_s:
            self._said = home.second // self._model.interval_s
            self._unsaid = pushed(f"{self._maker}5SIMULATED", self._block)
        shown = {"import": imported * _STEP_MWH, "export": exported * _STEP_MWH, "power": home.power}
        return {lane: value for lane, value in shown.items() if lane in self._model.lanes}

    def _energy(self, code: str | None, steps: int) -> list[str]:
        if code is None:
            return []
        rollover_kwh = self._model.rollover_kwh or 10**_DIGITS
        digits, kind, second = len(str(rollover_kwh - 1)), code.removesuffix("0"), steps // 3
        shown = {code: steps, f"{kind}1": steps - second, f"{kind}2": second, f"{code}*01": steps // 2}
        return [
            f"{name}({number // _STEPS_PER_KWH % rollover_kwh:0{digits}d}.{number % _STEPS_PER_KWH:04d}*kWh)"
            for name, number in shown.items()
        ]


class TextConversation:
    """The meter's side of one connection on which it is asked."""

    def __init__(self, meter: TextSimulation, *, fixed_speed: bool) -> None:
        self._meter = meter
        self._fixed_speed = fixed_speed
        self._heard = b""

    def receive(self, data: bytes) -> bytes:
        """The bytes to write in answer."""
        self._heard += data
        if found := _REQUEST.search(self._heard):
            self._heard = self._heard[found.end() :]
            if found[1] not in (b"", _NUMBER.encode()):
                return b""
            rest = self._meter.readout() if self._fixed_speed else b""
            return self._meter.identification + rest
        if found := _ACKNOWLEDGEMENT.search(self._heard):
            self._heard = self._heard[found.end() :]
            return self._meter.readout()
        self._heard = self._heard[-_MOST:]
        return b""


async def serve(
    home: Home,
    model: TextModel | TextPushModel,
    endpoint: Tcp | Line,
    clock: Clock,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Push the telegrams of `home`, or answer requests for them, until cancelled: as `push_server.speak` and
    `answer_server.answer` do. A meter that is asked is on the network. What it shows is appended to
    `truth`."""
    meter = TextSimulation(home, model, clock, truth)
    if isinstance(model, TextPushModel):
        await speak(meter.live, meter.telegram, endpoint, listening)
        return
    assert isinstance(endpoint, Tcp)  # a serial line is for meters that push
    fixed_speed = model.fixed_speed
    await answer(
        meter.live,
        lambda: TextConversation(meter, fixed_speed=fixed_speed),
        endpoint.host,
        endpoint.port,
        listening,
    )


def pushed(identification: str, block: str) -> bytes:
    """A telegram of mode D."""
    return f"/{identification}\r\n\r\n{block}!\r\n".encode("ascii")


def readout(block: str) -> bytes:
    """An answer with its block check character."""
    checked = f"{block}!\r\n\x03".encode("ascii")
    return b"\x02" + checked + bytes([reduce(xor, checked)])


def _power(registers: TextRegisters, watts: int) -> list[str]:
    """Watts in the first of the profile's sums: in its first term, or what is below 0 in the one that is
    subtracted."""
    if not registers.power:
        return []
    terms = registers.power[0]
    less = next((term for term in terms if term.sign < 0), None)
    shown: dict[Term, int] = dict.fromkeys(terms, 0)
    if less is None or watts > 0:
        shown[terms[0]] = watts
    else:
        shown[less] = -watts
    return [f"{term.code}({value:07d}*W)" for term, value in shown.items()]
