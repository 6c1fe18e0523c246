"""Meters whose energy comes in whole kWh because something is not switched on yet."""

from __future__ import annotations

from collections.abc import Mapping

_KWH = 1_000_000  # mWh
_AGAIN = 100  # telegrams in a row: a finer register stands at a whole kWh for a moment only

HINT = (
    "shows whole kWh and no power, so what an hour used is known to 1 kWh only: German meters do so until "
    "their PIN is entered and InF is on, some again after a power cut; the metering operator has the PIN"
)


class WholeKwh:
    """Notices a meter that shows nothing but whole kWh, from its first telegram on, or again after finer
    ones."""

    def __init__(self) -> None:
        self._in_a_row = _AGAIN

    def hint(self, registers: Mapping[str, int]) -> str | None:
        """What to tell about a telegram's registers; None where they are fine enough."""
        if "power" in registers or any(value % _KWH for value in registers.values()):
            self._in_a_row = 0
        elif any(registers.values()):
            self._in_a_row += 1
        return HINT if self._in_a_row > _AGAIN else None
