"""A meter's own clock, by which a message that comes late is placed. Pure.

Some meters send a list once more an hour later, with the clock and the registers of the hour before
(UtilitechAS/amsreader-firmware #1119), or the list of one hour only with the next. How far the meter's clock
is off does not matter, as it is off alike from one message to the next: a message whose clock is half an hour
or more further behind than usual is that much older. A clock that stays behind in the message after was put
back instead, as was one that is behind by a day or more: what it shows from then on is usual.
"""

from __future__ import annotations

_NS = 1_000_000_000
_LATE_NS = 1800 * _NS
_PUT_BACK_NS = 86_400 * _NS
_ALIKE_NS = 600 * _NS


class MeterClock:
    """The clock of one meter, as its messages show it."""

    def __init__(self) -> None:
        self._behind: int | None = None  # usually
        self._now_behind: int | None = None  # in the last message that differed

    def age(self, wall: int, meter_time: int) -> int:
        """How old a message is whose registers came at `wall` with the meter's clock at `meter_time` (ns)."""
        behind = wall - meter_time
        if self._behind is None:
            self._behind = behind
        late = behind - self._behind
        again = self._now_behind is not None and abs(behind - self._now_behind) < _ALIKE_NS
        if _LATE_NS <= late < _PUT_BACK_NS and not again:
            self._now_behind = behind
            return late
        self._behind, self._now_behind = behind, None
        return 0
