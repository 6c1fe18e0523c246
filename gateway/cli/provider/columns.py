"""Rows as CSV, made of whole columns at once: all lines are one array of bytes, a column of it for each place
where a character can be, with NUL where a row has none; leaving those out gives the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.chain.layout import ENERGY
from gateway.cli.output import MWH_PER_KWH
from gateway.provider.lanes import MEANS
from gateway.provider.sums import Rows

_Cells = NDArray[np.uint8]  # [row, place]
_END_MS = 253_402_300_800_000  # the year 10 000, which datetime64 could spell and datetime cannot
_KWH_DIGITS = 6


def csv_lines(rows: Rows, lanes: Sequence[str]) -> str | None:
    """The lines of `rows`, just as `rows.stream_csv` prints them one by one; None where they have parts of a
    second, or times outside the calendar, which are left to that."""
    if rows.unit_ms > _END_MS or (len(rows) and rows.ends[-1] >= _END_MS // rows.unit_ms):
        return None
    times = [units * rows.unit_ms for units in (rows.starts, rows.ends)]
    if any((ms % 1000).any() for ms in times):
        return None
    cells = [_time(ms) for ms in times]
    cells += [_kwh(rows.sums[lane]) * rows.opened[lane][:, None] for lane in ENERGY if lane in lanes]
    for lane in MEANS:
        if lane in lanes:
            cells.append(_mean(rows, lane) if "count" in lanes else _integers(rows, lane))
    if "count" in lanes:
        cells.append(_integers(rows, "count"))
    comma, end = (np.full((len(rows), 1), ord(mark), dtype=np.uint8) for mark in ",\n")
    parts = [part for cell in cells for part in (cell, comma)][:-1]
    whole = np.hstack([*parts, end]).ravel()
    return str(whole[whole != 0].tobytes(), "ascii")


def _time(ms: NDArray[np.int64]) -> _Cells:
    """2026-03-01T10:00:00Z"""
    days, seconds = np.divmod(ms // 1000, 86_400)
    distinct, of_row = np.unique(days, return_inverse=True)
    dates = _text(np.datetime_as_string(distinct.astype("datetime64[D]")).astype("S10"))[of_row]
    hours, seconds = np.divmod(seconds, 3600)
    minutes, seconds = np.divmod(seconds, 60)
    cells = np.empty((len(ms), 20), dtype=np.uint8)
    cells[:, :10] = dates
    for at, mark in ((10, "T"), (13, ":"), (16, ":"), (19, "Z")):
        cells[:, at] = ord(mark)
    for at, number in ((11, hours), (14, minutes), (17, seconds)):
        cells[:, at : at + 2] = _digits(number, 2)
    return cells


def _kwh(mwh: NDArray[np.int64]) -> _Cells:
    """Energy in kWh with six decimals, exact."""
    size = np.abs(mwh).view(np.uint64)  # so that -2^63 has a size
    whole, rest = np.divmod(size, np.uint64(MWH_PER_KWH))
    sign = np.where(mwh < 0, ord("-"), 0).astype(np.uint8)[:, None]
    point = np.full_like(sign, ord("."))
    return np.hstack([sign, _text(whole.astype(np.bytes_)), point, _digits(rest, _KWH_DIGITS)])


def _mean(rows: Rows, lane: str) -> _Cells:
    """A lane's mean over readings; nothing where there are none."""
    sums, counts = rows.sums[lane].tolist(), rows.sums["count"].tolist()
    known, text = (rows.opened[lane] & rows.opened["count"]).tolist(), MEANS[lane].text
    means = [
        text(total, n) if n and there else "" for total, n, there in zip(sums, counts, known, strict=True)
    ]
    return _text(np.array(means, dtype=np.bytes_))


def _integers(rows: Rows, lane: str) -> _Cells:
    return _text(rows.sums[lane].astype(np.bytes_)) * rows.opened[lane][:, None]


def _digits(numbers: NDArray[np.int64] | NDArray[np.uint64], count: int) -> _Cells:
    """The last `count` decimal digits."""
    cells = np.empty((len(numbers), count), dtype=np.uint8)
    rest = numbers.astype(np.uint32)
    for at in reversed(range(count)):
        rest, digit = np.divmod(rest, np.uint32(10))
        cells[:, at] = digit + ord("0")
    return cells


def _text(strings: NDArray[np.bytes_]) -> _Cells:
    """ASCII strings, which numpy pads with NUL."""
    return strings.view(np.uint8).reshape(len(strings), -1)
