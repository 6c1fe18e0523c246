"""The homes of a load monitoring centre: CSV of their streams, signers, grants and regions.

stream,signer,grant,region              each home's stream, the kid of its signing key, the id of the centre's
4a36...,415d...,0c1e...,North           grant there, and the region whose load it is part of

A stream may stand in several lines, with another grant in each, and always in one region: at any instant the
summing service adds a home up in one set alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gateway.errors import UsageError
from gateway.provider.desk import Failure
from gateway.provider.homes import HOMES, Listed, read_home

_HEADING = (*HOMES, "region")
_MOST_REGION = 200  # bytes of a folder's name, which has at most 255


@dataclass(frozen=True, slots=True)
class Home:
    """A home: its line in the list, and its region."""

    listed: Listed
    region: str

    @property
    def key(self) -> tuple[bytes, bytes]:
        """What tells it from all others: stream and grant."""
        return self.listed.stream, self.listed.grant


def read_list(text: str, what: str) -> list[Home]:
    """The homes of a centre's list; UsageError names the line that is wrong."""
    homes: list[Home] = []
    lines: dict[tuple[bytes, bytes], int] = {}
    regions: dict[bytes, str] = {}
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        if [cell.strip() for cell in next(reader, [])] != list(_HEADING):
            raise UsageError(f"{what}, line 1: expected the heading {','.join(_HEADING)}")
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not cells:
                continue
            where = f"{what}, line {reader.line_num}"
            if len(cells) != len(_HEADING):
                raise UsageError(f"{where}: {len(cells)} cells: expected {','.join(_HEADING)}")
            listed = read_home(cells[:3], where)
            check_region(cells[3], where)
            home = Home(listed, cells[3])
            if home.key in lines:
                raise UsageError(f"{where}: this grant of stream {cells[0]} stands in line {lines[home.key]}")
            if regions.setdefault(listed.stream, home.region) != home.region:
                raise UsageError(
                    f"{where}: stream {cells[0]} is in region {regions[listed.stream]!r} above: a home is in"
                    " one region"
                )
            lines[home.key] = reader.line_num
            homes.append(home)
    except csv.Error as error:
        raise UsageError(f"{what}, line {reader.line_num}: {error}: expected CSV") from None
    if not homes:
        raise UsageError(
            f"{what} names no home: expected a line {','.join(_HEADING)} for each below the heading"
        )
    return homes


def in_catalogue(
    loads: Iterable[tuple[Listed, str]], failures: Iterable[Failure], known: Sequence[Home]
) -> tuple[list[Home], list[Failure]]:
    """The homes of a registrar's catalogue, and those that cannot be listed. `loads` and `failures` are what
    the catalogue has (`provider.through.Through.loads`), and `known` the homes of the list so far: a home
    stays in its region whatever the catalogue says later, and one that is known stays listed, so that it is
    missing from loads by name, when its gateway has no valid certificate any more."""
    regions = {one.listed.stream: one.region for one in known}
    homes: list[Home] = []
    refused: list[Failure] = []
    for failure in failures:
        kept = [one for one in known if one.listed.stream == failure.stream]
        homes += kept
        refused += [] if kept else [failure]
    for listed, region in loads:
        region = regions.get(listed.stream, region)
        try:
            check_region(region, "the registrar's catalogue")
        except UsageError as error:
            refused.append(Failure(listed.stream, error))
        else:
            homes.append(Home(listed, region))
    return homes, refused


def check_region(region: str, where: str) -> None:
    """UsageError for a region's name that is empty, not printable, or too long for a folder's."""
    if not region or not region.isprintable() or len(quote(region, safe="")) > _MOST_REGION:
        raise UsageError(
            f"{where}: region {region!r}: expected a name of printable characters, at most {_MOST_REGION}"
        )
