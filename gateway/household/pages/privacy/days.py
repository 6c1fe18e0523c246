"""The day that the pictures show: yesterday, or an example while not all of it can be opened."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any, cast

import numpy as np

from gateway.chain.layout import DAY_MS
from gateway.chain.page import Calendar
from gateway.errors import GatewayError, UsageError
from gateway.household.history import Step
from gateway.household.home import Household
from gateway.household.objects import ControlBucket
from gateway.household.pages.privacy import pictures
from gateway.household.shown import local
from gateway.household.words import Opening, each
from gateway.wire import names
from gateway.wire.stream import Descriptor, Page


async def shown_day(home: Household) -> pictures.Day:
    """Yesterday as this home's own grants open it, at the first meter that counts energy; an example of a day
    where that is not open, or not all of it."""
    yesterday = local(home.now_ms, home.zone).date() - timedelta(days=1)
    try:
        return await _yesterday(home, yesterday) or pictures.example(yesterday, home.zone)
    except GatewayError:  # the store is away, or the stream has just begun
        return pictures.example(yesterday, home.zone)


async def _yesterday(home: Household, day: date) -> pictures.Day | None:
    for meter in (await home.control.status()).meters:
        if meter.series or meter.stream is None:
            continue
        known = await _known(home, meter.meter, day)
        if known is None:
            return None
        edges, mwh = known
        words = await _words(home, bytes.fromhex(meter.stream), edges)
        return pictures.Day(
            day, home.zone, edges, mwh, words or pictures.noise(len(mwh)), True, bool(words), meter.meter
        )
    return None


async def _known(home: Household, meter: str, day: date) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The edges of the day's steps, and what was drawn in each (mWh), as finely as they are known; None where
    not all of the day is open."""
    for step, of_ms, step_ms in (("minute", 60_000, pictures.STEP_MS), ("quarter", 900_000, 900_000)):
        edges = pictures.edges_of(day, home.zone, of_ms)
        try:
            found = await home.history.sums(meter, edges[0], edges[-1], cast(Step, step), home.zone)
        except UsageError:  # its unit is longer than the step
            continue
        if found.total("import") is not None and found.starts_ms.tolist() == list(edges[:-1]):
            each = step_ms // of_ms
            mwh = np.add.reduceat(found.sums["import"], range(0, len(found.sums["import"]), each))
            return edges[::each], tuple(mwh.tolist())
    return None


async def _words(home: Household, stream: bytes, edges: tuple[int, ...]) -> tuple[int, ...]:
    """What the store holds of these steps: of each the first sealed word of the first lane; nothing where the
    pages of a day are still to come."""
    try:
        described = await descriptor(home, stream)
        unit_ms = described.layout.unit_ms
        if (calendar := Calendar.of(unit_ms, described.start)) is None:
            return ()
        pages = {}
        for at in {edge // DAY_MS * DAY_MS for edge in edges[:-1]}:
            key = names.page(stream, calendar.period("day", at // unit_ms).name)
            data = await ControlBucket(home.control).get(key)
            pages[at] = Page.read_at(key, data, described.signing_key, unit_ms)
        at_edge = [(pages[edge // DAY_MS * DAY_MS], edge // unit_ms) for edge in edges[:-1]]
        return tuple(int(page.c(0)[(unit - page.first) // page.step]) for page, unit in at_edge)
    except (GatewayError, IndexError):
        return ()


async def descriptor(home: Household, stream: bytes) -> Descriptor:
    """The description of one of this home's streams. Unavailable or NotFound where the store has it not."""
    key = names.descriptor(stream)
    signer = bytes.fromhex((await home.control.status()).signer)
    return Descriptor.read_pinned(key, await ControlBucket(home.control).get(key), signer)


def sight(grant: Opening, day: pictures.Day) -> pictures.Picture:
    """What the holder of a grant sees of a day."""
    if grant.kind == "raw":
        return replace(pictures.own(day), of="provider", count=0)
    return pictures.provider(day, grant.granularity, grant.zone)


def seen(
    day: pictures.Day, theirs: pictures.Picture, granularity: str, before: pictures.Picture | None = None
) -> dict[str, Any]:
    """What the template of the pictures needs: a day as all three see it. `before` is what the provider sees
    until its grant is narrowed."""
    return {
        "day": day,
        "own": pictures.own(day),
        "theirs": theirs,
        "before": before,
        "stored": pictures.store(day),
        "rows": pictures.rows(day, theirs),
        "ticks": pictures.ticks(day),
        "peak": pictures.peak_watts(day),
        "each": each(granularity),
    }
