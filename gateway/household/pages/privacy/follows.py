"""Standing decisions to grant the bills of a provider's prices: what each waits for, confirmed or ended."""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web

from gateway.control.follows import ConfirmRequest, FollowStatus, PeriodStatus
from gateway.household.home import Household
from gateway.household.i18n import gettext
from gateway.household.render import field, home, see_other
from gateway.household.shown import plain
from gateway.household.words import each, lanes, span


class Followed(NamedTuple):
    """A decision that stands, in words; `asks` are the periods that the household is to decide on, with their
    span in words."""

    id: str
    provider: str
    meter: str
    opens: str
    purpose: str
    grants: int
    asks: tuple[tuple[PeriodStatus, str], ...]
    waits: str
    """What the next bill waits for, as the gateway says it; empty where it waits for nothing."""


async def followed(of: Household) -> list[Followed]:
    """The decisions that stand."""
    return [_shown(one) for one in await of.control.follows() if one.ended_ms is None]


def _shown(one: FollowStatus) -> Followed:
    given = {"each": each(one.granularity), "what": lanes(one.lanes), "series": one.series}
    opens = gettext("one bill for each %(each)s, for %(what)s, by its prices “%(series)s”") % given
    asks = tuple(
        (period, span(period.from_ms, period.until_ms, one.zone))
        for period in one.periods
        if period.state == "asks" and period.check is not None
    )
    waits = [period.why for period in one.periods if period.state == "waits" and period.why]
    said = one.fault or (waits[0] if waits else "")
    return Followed(one.id, one.provider, one.meter, opens, one.purpose, len(one.grants), asks, said)


async def _confirm(request: web.Request) -> web.Response:
    """Grant the bill of a period with what was found about it, as it was shown."""
    begin = field(request, "from")
    order = {
        "from_ms": int(begin) if begin.isascii() and begin.isdigit() else -1,
        "seen": field(request, "seen"),
    }
    one = await home(request).control.confirm_follow(request.match_info["id"], ConfirmRequest.parse(order))
    notice = gettext("The bill is granted to %(provider)s.") % {"provider": plain(one.provider)}
    return see_other(request, "/privacy", notice)


async def _end(request: web.Request) -> web.Response:
    one = await home(request).control.end_follow(request.match_info["id"])
    notice = gettext("No further bill is granted to %(provider)s.") % {"provider": plain(one.provider)}
    return see_other(request, "/privacy", notice)


routes = (
    web.post("/privacy/follows/{id:[0-9a-f]{32}}/confirm", _confirm),
    web.post("/privacy/follows/{id:[0-9a-f]{32}}/end", _end),
)
