"""The homes of a portfolio: who is invoiced for which stream, and their bills, several homes at a time.

The list is CSV, headed by `stream,signer` and the keys of [buyer] in invoice.toml; those that may be left out
there may be left out here:

    stream,signer,id,name,street,postcode,city,country,metering_point
    4a36...,415d...,C-1001,Renée Dupont,3 quai du Port,13002,Marseille,FR,09876543210987
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.errors import GatewayError, UsageError
from gateway.provider.bill import Bill
from gateway.provider.invoices.terms import PARTY_KEYS, Buyer, buyer

_IDS = ("stream", "signer")
_NEEDED = (*_IDS, "name", "street", "city", "postcode", "country")
_KNOWN = (*_IDS, *PARTY_KEYS, "metering_point")
_SIDE_BY_SIDE = 8


@dataclass(frozen=True, slots=True)
class Invoiced:
    """A home of the list: the stream's id, the kid of its signing key, and the buyer; or what is wrong with
    the buyer."""

    stream: bytes
    signer: bytes
    buyer: Buyer | UsageError


def read_portfolio(text: str, what: str) -> list[Invoiced]:
    """The homes of a list. UsageError where its heading, a stream or a signer is wrong, or a stream stands
    twice; what is wrong with one buyer is that home's."""
    rows = csv.DictReader(io.StringIO(text), strict=True, skipinitialspace=True)
    try:
        heading = tuple(cell.strip() for cell in rows.fieldnames or ())
        rows.fieldnames = heading
        missing = [name for name in _NEEDED if name not in heading]
        unknown = [name for name in heading if name not in _KNOWN]
        if missing or unknown or len(set(heading)) < len(heading):
            raise UsageError(
                f"{what}, line 1: the heading {'lacks ' + ', '.join(missing) if missing else 'is wrong'}"
                + (f", and knows no {', '.join(unknown)}" if unknown else "")
                + f": expected {','.join(_NEEDED)}, and of {','.join(sorted(set(_KNOWN) - set(_NEEDED)))} "
                "what is known"
            )
        homes = [_home(row, f"{what}, line {rows.line_num}") for row in rows]
    except csv.Error as error:
        raise UsageError(f"{what}, line {rows.line_num}: this is not CSV: {error}") from None
    streams = [home.stream for home in homes]
    for stream in streams:
        if streams.count(stream) > 1:
            raise UsageError(f"{what}: stream {stream.hex()} stands there twice: name each home once")
    if not homes:
        raise UsageError(f"{what} names no home: expected a line for each below the heading")
    return homes


async def bill_all(
    homes: Sequence[Invoiced], bills_of: Callable[[Invoiced], Awaitable[tuple[Bill, ...]]]
) -> AsyncGenerator[tuple[Invoiced, tuple[Bill, ...] | GatewayError], None]:
    """Each home of the list in its order with its bills, or with the error that keeps them away; a few homes
    are read at a time. One that fails never stops the others."""
    free = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def one(home: Invoiced) -> tuple[Bill, ...] | GatewayError:
        if isinstance(home.buyer, UsageError):
            return home.buyer
        async with free:
            try:
                return await bills_of(home)
            except GatewayError as error:
                return error

    tasks = [asyncio.create_task(one(home)) for home in homes]
    try:
        for home, task in zip(homes, tasks, strict=True):
            yield home, await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _home(row: dict[str | None, str | None], where: str) -> Invoiced:
    if None in row or None in row.values():
        raise UsageError(f"{where}: the line has more or fewer cells than the heading")
    cells = {str(name): (cell or "").strip() for name, cell in row.items()}
    for name in _IDS:
        if not re.fullmatch("[0-9a-fA-F]{32}", cells[name]):
            raise UsageError(f"{where}: {name} {cells[name]!r}: expected 32 hexadecimal digits")
    stream, signer = (bytes.fromhex(cells.pop(name)) for name in _IDS)
    try:
        return Invoiced(stream, signer, buyer(cells, where))
    except UsageError as error:
        return Invoiced(stream, signer, error)
