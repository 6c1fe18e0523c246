"""What a grant opens, in the words of somebody who lives in the home and in the page's language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from babel.lists import format_list

from gateway.chain.grant import Kind
from gateway.household.i18n import gettext, locale
from gateway.household.shown import day, local, moment


class Opening(Protocol):
    """What a grant says of what it opens: an offer, a request and a grant that was made all do."""

    @property
    def kind(self) -> Kind: ...
    @property
    def granularity(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def lanes(self) -> tuple[str, ...]: ...


def opens(grant: Opening, k_min: int | None = None) -> str:
    """What it opens: "one sum for each hour of energy from the grid"."""
    given = {"each": each(grant.granularity), "what": lanes(grant.lanes), "homes": k_min}
    match grant.kind:
        case "bill":
            return gettext("one bill for each %(each)s, for %(what)s") % given
        case "load":
            if k_min is not None:
                return (
                    gettext(
                        "a share in the neighbourhood’s sum for each %(each)s of %(what)s, over at least "
                        "%(homes)s homes"
                    )
                    % given
                )
            return gettext("a share in the neighbourhood’s sum for each %(each)s of %(what)s") % given
        case "raw":
            return gettext("every single value of %(what)s, as fine as the meter is read") % given
        case _:
            return gettext("one sum for each %(each)s of %(what)s") % given


def each(granularity: str) -> str:
    """A window's length as it follows "for each": "15 minutes", "hour", "month from day 15"."""
    if granularity == "day":
        return gettext("day")
    if granularity.startswith("month"):
        first = granularity.partition("-")[2]
        return gettext("month from day %(day)s") % {"day": first} if first else gettext("month")
    found = re.fullmatch(r"(\d+) ?(ms|s|min|h)", granularity)
    if found is None:
        return granularity
    count = int(found[1])
    if found[2] == "min" and count % 60 == 0:
        return _hours(count // 60)
    match found[2]:
        case "h":
            return _hours(count)
        case "min":
            return gettext("minute") if count == 1 else gettext("%(count)s minutes") % {"count": count}
        case "s":
            return gettext("second") if count == 1 else gettext("%(count)s seconds") % {"count": count}
        case _:
            return granularity


def _hours(count: int) -> str:
    return gettext("hour") if count == 1 else gettext("%(count)s hours") % {"count": count}


def lanes(names: Sequence[str]) -> str:
    """What is measured: "energy from the grid and energy into the grid"."""
    known = {
        "import": gettext("energy from the grid"),
        "export": gettext("energy into the grid"),
        "power": gettext("power"),
        "count": gettext("how often the meter was read"),
        "temperature": gettext("temperature"),
        "irradiance": gettext("sunshine"),
        "appliances": gettext("appliances’ power"),
        "occupancy": gettext("who is at home"),
    }
    return format_list([known.get(name, name) for name in names], locale=locale())


def span(from_ms: int | None, until_ms: int | None, zone: str) -> str:
    """From when and how long it opens: "from 1 Oct 2026, until it is revoked"; days alone where both ends
    are midnights, of which the last one is then named."""
    begin = gettext("now") if from_ms is None else _begin(from_ms, zone)
    if until_ms is None:
        return gettext("from %(begin)s until it is revoked") % {"begin": begin}
    return gettext("from %(begin)s to %(end)s") % {"begin": begin, "end": _end(until_ms, zone)}


def _begin(unix_ms: int, zone: str) -> str:
    when = local(unix_ms, zone)
    return day(when.date()) if when.hour == when.minute == 0 else moment(unix_ms, zone)


def _end(unix_ms: int, zone: str) -> str:
    when = local(unix_ms, zone)
    return day(when.date() - timedelta(days=1)) if when.hour == when.minute == 0 else moment(unix_ms, zone)
