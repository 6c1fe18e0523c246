"""The most energy that a home can have used, or given, between two readings of a register. Pure.

    up to an hour       1 MW, since many meters send a register hourly and the home is not known yet; from the
                        first day on 100 kW, which is twice a connection of 3 x 63 A at 230 V, or twenty times
                        the highest mean power over a day that the stream has shown
    up to 30 days more  17.25 kW, which is 3 x 25 A at 230 V drawn all the time (414 kWh a day), or four times
                        that highest mean power
    longer              a third of that: 5.75 kW (138 kWh a day)

and 10 kWh on top, since some registers have steps of 1 kWh or are rounded. So an outage of 10 days explains
4,232 kWh and one of a year 58,754 kWh, where a home with a heat pump uses some 600 and 8,000; a register of
more than 470 kWh that turned up ten times as high after the 10 days is held, or of more than 6,500 kWh after
the year. The main fuses of homes are 3 x 25 A to 3 x 63 A in Europe, but no home draws all of that for days.
A larger consumer shows its power in the first days, and the limit grows with it: a day counts only if it was
read without a gap of three hours, and raises what is known at most twofold, so that no single false reading
opens the limit.
"""

from __future__ import annotations

from typing import NamedTuple

SLACK_MWH = 10_000_000

_HOUR_NS = 3600 * 1_000_000_000
_DAY_NS = 24 * _HOUR_NS
_MONTH_NS = 30 * _DAY_NS
_GAP_NS = 3 * _HOUR_NS
_UNKNOWN_MW = 10**9  # in milliwatts, which are mWh in an hour
_BURST_MW, _BURST_TIMES = 10**8, 20
_LASTING_MW, _LASTING_TIMES = 17_250_000, 4  # a winter's day against one in summer


def unlimited(elapsed: int) -> int:
    """The mWh in `elapsed` ns at 1 MW: the limit while nothing depends on a reading yet."""
    return elapsed * _UNKNOWN_MW // _HOUR_NS


def most(elapsed: int, highest_mw: int = 0) -> int:
    """The most mWh in `elapsed` ns, without the 10 kWh for coarse registers. `highest_mw` is the highest mean
    power over a day that the stream has shown, in mW; 0 before the first day."""
    hour = min(elapsed, _HOUR_NS)
    month = min(elapsed - hour, _MONTH_NS)
    longer = elapsed - hour - month
    burst = max(_BURST_MW, _BURST_TIMES * highest_mw) if highest_mw else _UNKNOWN_MW
    lasting = max(_LASTING_MW, _LASTING_TIMES * highest_mw)
    return (hour * burst + (month + longer // 3) * lasting) // _HOUR_NS


class Shown(NamedTuple):
    """What a register has shown: the highest mean power over a day (mW, 0 before the first day), and since
    when (wall time, ns) and from which register (mWh) the present day is measured."""

    highest_mw: int = 0
    since: int | None = None
    register: int = 0

    def after(self, gap: int, wall: int, register: int) -> Shown:
        """The same after one more believed reading, `gap` ns after the one before."""
        if self.since is None or not 0 <= gap <= _GAP_NS or wall < self.since or register < self.register:
            return Shown(self.highest_mw, wall, register)
        elapsed = wall - self.since
        if elapsed < _DAY_NS:
            return self
        mean = (register - self.register) * _HOUR_NS // elapsed
        at_most = 2 * max(self.highest_mw, _LASTING_MW // _LASTING_TIMES)
        return Shown(max(1, self.highest_mw, min(mean, at_most)), wall, register)
