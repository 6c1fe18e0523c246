"""NEM12: interval data as Australia's market exchanges it (AEMO, Meter Data File Format Specification).

    100,NEM12,<created>,<from>,<to>
    200,<NMI>,<configuration>,<register>,<suffix>,<data stream>,<serial>,kWh,<minutes>,
    300,<date>,<value> ...,<quality>,<reason>,<description>,<updated>,
    400,<first interval>,<last>,<quality>,<reason>,<description>
    900

Days are those of the market, Eastern Standard Time all year: 10 hours ahead of UTC, without daylight saving.
A 300 record has all intervals of a day, so a day that is not complete is left out, and said. Values are
exact, in kWh. `import` is the data stream E1 and `export` B1. A value is A, actual, or, where the lane
`count` says that the meter was not read in all of the interval, S17: substituted, linear, as the gateway
fills in.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from gateway.chain.layout import DAY_MS
from gateway.errors import UsageError
from gateway.provider.exports.readings import Quality, Reading, check_length, kwh
from gateway.stream.times import EPOCH, moment

MINUTES = (15, 5, 30)
SUFFIXES = {"import": "E1", "export": "B1"}
_AHEAD_MS = 10 * 3_600_000
_ACTUAL, _VARIES = "A", "V"
_FILLED = "S17"
_FREE_TEXT, _WHY = "0", "Filled in between two readings"


@dataclass(frozen=True, slots=True)
class Nem12:
    """A file's text, and the days of each lane that were left out: the lane, the date, and how many of its
    intervals were there."""

    text: str
    incomplete: tuple[tuple[str, date, int, int], ...]


@dataclass(frozen=True, slots=True)
class Participants:
    """The NMI, the two participants, and the meter's serial number. UsageError for one that NEM12 does not
    have: 10 characters, 1 to 10, at most 12."""

    nmi: str
    sender: str
    receiver: str
    serial: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-HJ-NP-Z0-9]{10}", self.nmi):
            raise UsageError(
                f"{self.nmi!r} is not an NMI: expected 10 digits and capital letters, without I and O"
            )
        for name in (self.sender, self.receiver):
            if not re.fullmatch("[A-Za-z0-9]{1,10}", name):
                raise UsageError(f"{name!r} is not a participant's id: expected 1 to 10 letters and digits")
        if not re.fullmatch("[A-Za-z0-9-]{0,12}", self.serial):
            raise UsageError(
                f"{self.serial!r} is not a meter's serial number: expected at most 12 letters and digits"
            )


def write_nem12(lanes: Mapping[str, Sequence[Reading]], who: Participants, now_ms: int) -> Nem12:
    """The file of these lanes' whole days. UsageError for intervals that are not all of 5, 15 or 30 min, and
    where no day is complete."""
    known = {lane: found for lane, found in lanes.items() if found and lane in SUFFIXES}
    configuration = "".join(SUFFIXES[lane] for lane in known)
    created = _local(now_ms)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["100", "NEM12", f"{created:%Y%m%d%H%M}", who.sender, who.receiver])
    incomplete: list[tuple[str, date, int, int]] = []
    written = 0
    for lane, found in known.items():
        check_length(found, MINUTES, "NEM12")
        minutes = (found[0].end_ms - found[0].start_ms) // 60_000
        check_length(found, [minutes], "a data stream of NEM12")
        records: list[list[str]] = []
        for day, some in _days(found):
            if len(some) * minutes != 24 * 60:
                incomplete.append((lane, day, len(some), 24 * 60 // minutes))
                continue
            records += _records(day, some, created)
            written += 1
        if records:
            suffix = SUFFIXES[lane]
            writer.writerow(
                ["200", who.nmi, configuration, suffix, suffix, "", who.serial, "kWh", str(minutes), ""]
            )
            writer.writerows(records)
    writer.writerow(["900"])
    if not written:
        raise UsageError(
            "there is no day to export: NEM12 needs all intervals of a day from 00:00 to 24:00, UTC+10"
        )
    return Nem12(out.getvalue(), tuple(incomplete))


def _days(found: Sequence[Reading]) -> Iterator[tuple[date, list[Reading]]]:
    for number, some in groupby(found, lambda one: (one.start_ms + _AHEAD_MS) // DAY_MS):
        yield EPOCH.date() + timedelta(days=number), list(some)


def _records(day: date, some: Sequence[Reading], created: datetime) -> Iterator[list[str]]:
    """The 300 record of a whole day; 400 records where its intervals differ in quality."""
    runs = [(filled, len(list(run))) for filled, run in groupby(map(_is_filled, some))]
    quality = _VARIES if len(runs) > 1 else _FILLED if runs[0][0] else _ACTUAL
    reason = [_FREE_TEXT, _WHY] if quality == _FILLED else ["", ""]
    values = [kwh(one.value) for one in some]
    yield ["300", f"{day:%Y%m%d}", *values, quality, *reason, f"{created:%Y%m%d%H%M%S}", ""]
    if len(runs) == 1:
        return
    first = 1
    for filled, count in runs:
        last = str(first + count - 1)
        yield ["400", str(first), last, *([_FILLED, _FREE_TEXT, _WHY] if filled else [_ACTUAL, "", ""])]
        first += count


def _is_filled(one: Reading) -> bool:
    return one.quality in (Quality.FILLED, Quality.PARTLY)


def _local(ms: int) -> datetime:
    return moment(ms + _AHEAD_MS, 1).astimezone(UTC)
