"""CSV files: a list of homes to read; the list of a load's homes, and the summing service's answer.

stream,signer,name                      each home's stream, the kid of its signing key, and, if the heading
4a36...,415d...,Example Street 1        has it, what the provider calls the home

stream,signer,grant                     each home's stream, the kid of its signing key, the id of the
4a36...,415d...,0c1e...                 load monitoring centre's grant there

from,until,set,import                   for each window the digest of the set (`load.set_digest`), and
2026-03-01T00:00:00Z,...,9f3a...,1234   of each lane the sum of the service's words, modulo 2^64
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from gateway.chain.grant import ID_BYTES
from gateway.chain.keys import STREAM_BYTES
from gateway.chain.layout import LANES
from gateway.chain.seal import MASK
from gateway.errors import UsageError
from gateway.provider.desk import Home
from gateway.provider.load import Answer, Windows
from gateway.stream.times import spell, unix_ms
from gateway.wire.cose import KID_BYTES

HOMES = ("stream", "signer", "grant")
_NAMED = ("stream", "signer", "name")
_BYTES = (STREAM_BYTES, KID_BYTES, ID_BYTES)
_ANSWER = ("from", "until", "set")


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of a list of homes: the stream's id, the kid of its signing key, the centre's grant's id."""

    stream: bytes
    signer: bytes
    grant: bytes


def read_homes(text: str, what: str) -> list[Listed]:
    """The homes of a load's list; UsageError names the line that is wrong."""
    return [Listed(*map(bytes.fromhex, row)) for row in _homes(text, what, HOMES, HOMES)]


def read_home(cells: Sequence[str], where: str) -> Listed:
    """A home of a list, from its three ids; UsageError names the one that is wrong, after `where`."""
    _check_ids(HOMES, cells, where)
    return Listed(*map(bytes.fromhex, cells))


def read_desk_homes(text: str, what: str) -> list[Home]:
    """The homes of a list headed stream,signer or stream,signer,name; UsageError names the line that is
    wrong."""
    text = text.removeprefix("\ufeff")  # which spreadsheets write
    named = [cell.strip() for cell in text.partition("\n")[0].split(",")] == list(_NAMED)
    rows = _homes(text, what, _NAMED if named else _NAMED[:2], _NAMED[:2], "stream,signer[,name]")
    return [Home(bytes.fromhex(row[0]), bytes.fromhex(row[1]), row[2] if named else "") for row in rows]


def _homes(
    text: str, what: str, heading: Sequence[str], ids: Sequence[str], form: str | None = None
) -> list[list[str]]:
    """The rows of a list, in which the first columns hold `ids` and no stream comes twice."""
    homes: list[list[str]] = []
    lines: dict[str, int] = {}
    for where, line, row in _rows(text, what, heading, form):
        _check_ids(ids, row, where)
        stream = row[0].lower()
        if stream in lines:
            raise UsageError(
                f"{where}: stream {stream} stands in line {lines[stream]} already: name each home once"
            )
        lines[stream] = line
        homes.append(row)
    if not homes:
        raise UsageError(
            f"{what} names no home: expected a line {','.join(heading)} for each below the heading"
        )
    return homes


def _check_ids(ids: Sequence[str], row: Sequence[str], where: str) -> None:
    for name, cell, size in zip(ids, row, _BYTES, strict=False):
        if not re.fullmatch(f"[0-9a-fA-F]{{{2 * size}}}", cell):
            raise UsageError(f"{where}: {name} {cell!r}: expected {2 * size} hexadecimal digits")


def write_homes(homes: Iterable[Listed]) -> str:
    """The list of these homes."""
    return _csv(HOMES, ([home.stream.hex(), home.signer.hex(), home.grant.hex()] for home in homes))


def read_answer(text: str, what: str) -> Answer:
    """The service's answer; UsageError names the line that is wrong."""
    heading = text.partition("\n")[0].split(",")
    lanes = tuple(cell.strip() for cell in heading[len(_ANSWER) :])
    if not lanes or not set(lanes) <= set(LANES) or len(set(lanes)) < len(lanes):
        raise UsageError(
            f"{what}, line 1: expected {','.join(_ANSWER)} and lanes such as import, as `gateway provider "
            "share sum` prints them"
        )
    times: list[tuple[int, int]] = []
    sets: list[str] = []
    sums: list[list[int]] = []
    for where, _, row in _rows(text, what, (*_ANSWER, *lanes)):
        start, end = (_moment(cell, where) for cell in row[:2])
        if end <= start or (times and start < times[-1][1]):
            raise UsageError(f"{where}: the window ends before it begins, or begins before the last one ends")
        if not re.fullmatch("[0-9a-f]{32}", row[2]):
            raise UsageError(f"{where}: set {row[2]!r}: expected 32 hexadecimal digits")
        for lane, cell in zip(lanes, row[3:], strict=True):
            if not re.fullmatch("[0-9]{1,20}", cell) or int(cell) > MASK:
                raise UsageError(f"{where}: {lane} {cell!r}: expected an integer from 0 to 2^64 - 1")
        times.append((start, end))
        sets.append(row[2])
        sums.append([int(cell) for cell in row[3:]])
    if not times:
        raise UsageError(f"{what} has no sums: expected a line for each window below the heading")
    return Answer(Windows(lanes, tuple(times)), np.array(sums, dtype=np.uint64), tuple(sets))


def write_answer(answer: Answer) -> str:
    """The answer as a file."""
    rows = (
        [spell(start, 1), spell(end, 1), digest, *map(str, sums)]
        for (start, end), digest, sums in zip(
            answer.windows.times, answer.sets, answer.sums.tolist(), strict=True
        )
    )
    return _csv((*_ANSWER, *answer.windows.lanes), rows)


def _rows(
    text: str, what: str, heading: Sequence[str], form: str | None = None
) -> Iterator[tuple[str, int, list[str]]]:
    """(where it stands, its line, the cells) of each row below the heading; blank lines are skipped. `form`
    is what headings look like, if not only like this one."""
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        if [cell.strip() for cell in next(reader, [])] != list(heading):
            raise UsageError(f"{what}, line 1: expected the heading {form or ','.join(heading)}")
        for row in reader:
            cells = [cell.strip() for cell in row]
            where = f"{what}, line {reader.line_num}"
            if len(cells) not in (0, len(heading)):
                raise UsageError(f"{where}: {len(cells)} cells: expected {','.join(heading)}")
            if cells:
                yield where, reader.line_num, cells
    except csv.Error as error:
        raise UsageError(f"{what}, line {reader.line_num}: {error}: expected CSV") from None


def _moment(cell: str, where: str) -> int:
    try:
        when = datetime.fromisoformat(cell)
        if when.tzinfo is not None:
            return unix_ms(when)
    except (ValueError, OverflowError):
        pass
    raise UsageError(f"{where}: {cell!r}: expected a time such as 2026-03-01T00:00:00Z")


def _csv(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows(rows)
    return file.getvalue()
