"""A simulated Linky: a TIC frame each second, in mode historique with two tariffs, or in mode standard.

Registers are in Wh, and powers in VA, as if all power were active.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.host.clock import Clock
from gateway.meters.endpoint import Line, Tcp
from gateway.meters.tic.frames import Mode, check_character
from gateway.simulate.home import Home
from gateway.simulate.push_server import speak
from gateway.simulate.truth import LiveHome

_MWH_PER_WH = 1_000
_ROLLOVER_WH = 10**9
_NUMBER = "041676000000"
_PARIS = ZoneInfo("Europe/Paris")


class TicMeter:
    """A meter that shows `home`."""

    def __init__(self, home: Home, mode: Mode, clock: Clock, truth: Path | None = None) -> None:
        self._mode = mode
        self._frame = b""
        self.live = LiveHome(home, clock, self._show, truth)

    def frame(self) -> bytes:
        """The frame for the second that is shown."""
        return self._frame

    def _show(self, home: Home) -> dict[str, int]:
        imported, exported = home.import_mwh // _MWH_PER_WH, home.export_mwh // _MWH_PER_WH
        night = imported // 3
        drawn, given = f"{max(home.power, 0):05d}", f"{max(-home.power, 0):05d}"
        if self._mode == "historique":
            groups = [
                ("ADCO", _NUMBER),
                ("OPTARIF", "HC.."),
                ("ISOUSC", "45"),
                ("HCHC", _index(night)),
                ("HCHP", _index(imported - night)),
                ("PTEC", "HP.."),
                ("PAPP", drawn),
                ("HHPHC", "A"),
                ("MOTDETAT", "000000"),
            ]
        else:
            local = datetime.fromtimestamp(home.second, UTC).astimezone(_PARIS)
            groups = [
                ("ADSC", _NUMBER),
                ("VTIC", "02"),
                ("DATE", f"{'E' if local.dst() else 'H'}{local:%y%m%d%H%M%S}\t"),
                ("EAST", _index(imported)),
                ("EASF01", _index(night)),
                ("EASF02", _index(imported - night)),
                ("EAIT", _index(exported)),
                ("SINSTS", drawn),
                ("SINSTI", given),
                ("STGE", "003A0001"),
            ]
        self._frame = frame(groups, self._mode)
        shown = {"import": imported * _MWH_PER_WH}
        return shown if self._mode == "historique" else shown | {"export": exported * _MWH_PER_WH}


async def serve(
    home: Home,
    mode: Mode,
    endpoint: Tcp | Line,
    clock: Clock,
    truth: Path | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Send the frame of `home` each second until cancelled, as `push_server.speak` does. What the meter shows
    is appended to `truth`."""
    meter = TicMeter(home, mode, clock, truth)
    await speak(meter.live, meter.frame, endpoint, listening)


def frame(groups: Sequence[tuple[str, str]], mode: Mode) -> bytes:
    """A frame of labels and values."""
    return (
        b"\x02"
        + b"".join(_group(f"{label}{_SEPARATOR[mode]}{value}", mode) for label, value in groups)
        + b"\x03"
    )


_SEPARATOR: dict[Mode, str] = {"historique": " ", "standard": "\t"}


def _group(said: str, mode: Mode) -> bytes:
    text, separator = said.encode("ascii"), _SEPARATOR[mode].encode("ascii")
    check = check_character(text if mode == "historique" else text + separator)
    return b"\n" + text + separator + bytes([check]) + b"\r"


def _index(wh: int) -> str:
    return f"{wh % _ROLLOVER_WH:09d}"
