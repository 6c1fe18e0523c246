"""History: energy and money of any stretch of time, beside the stretch before, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, cast, get_args

from aiohttp import web

from gateway.errors import GatewayError, UsageError
from gateway.household.energy import Energy, Line, energy
from gateway.household.flow import at_grid
from gateway.household.history import STEPS, Step
from gateway.household.home import Household
from gateway.household.i18n import gettext, language
from gateway.household.money import Rates
from gateway.household.periods import KINDS, MINUTE_MS, Kind, Period, read_day, read_moment
from gateway.household.render import home, page, sentence
from gateway.household.shown import clock_time, day, days, local
from gateway.household.which import choose_meter

_MOST_LINES = 40_000
"""Of a CSV: a year of quarters of an hour."""
_Form = Literal["point", "comma"]
"""Of a CSV's numbers: with a decimal point between commas, or with a decimal comma between semicolons, as the
spreadsheets of many languages read them."""
_COMMA_LANGUAGES = ("de", "nl", "fr")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table, what it is called there and below a plot, where it `tick`s a plot's axis if there
    is room, and the query of the page that looks into it; None where there is none finer."""

    line: Line
    name: str
    label: str
    tick: bool
    query: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """How a total differs from that of the stretch before: that one, and by how many hundredths."""

    before: Decimal
    percent: int | None


async def _history(request: web.Request) -> web.Response:
    of = home(request)
    period, step = _asked(request)
    meters, meter = await choose_meter(request)
    rates, problem = _rates(of)
    found = before = power = old_ms = None
    if meter is not None:
        try:
            seen = await of.recent.energy(of.history, meter, period, step, rates, of.now_ms)
            found = seen.energy
            if seen.error is not None:
                problem, old_ms = sentence(seen.error), seen.when_ms if found else None
                power = at_grid(await of.live.look(), of.settings.choices.grid)
            elif found is not None:
                before = await _before(of, meter, period, found, rates)
        except GatewayError as error:
            problem = sentence(error)
    today = local(of.now_ms, of.zone).date()
    later = period.beside(1)
    return page(
        request,
        "history.html",
        meters=meters,
        meter=meter,
        period=period,
        kinds=_kinds(),
        step=step,
        steps=_step_names(),
        query=_query(period),
        earlier=_query(period.beside(-1)),
        later=_query(later) if later.start_ms < of.now_ms else None,
        title=_title(period),
        day=min(max(period.first_day, min(today, period.last_day)), period.last_day),
        first=_typed(period.start_ms, of.zone),
        last=_typed(period.end_ms, of.zone),
        energy=found,
        rows=_rows(found.lines, step, period) if found else [],
        so_far=found is not None and period.start_ms < of.now_ms < period.end_ms,
        changes=_changes(found, before),
        problem=problem,
        old_ms=old_ms,
        power=power,
        commas=language() in _COMMA_LANGUAGES,
        price=_price(rates, of.now_ms),
        currency=rates.currency if rates else "",
    )


async def _csv(request: web.Request) -> web.Response:
    of = home(request)
    period, step = _asked(request, whole=False)
    form = request.query.get("form", "point")
    if form not in get_args(_Form):
        raise UsageError(f"{form!r} is not one of {', '.join(get_args(_Form))}")
    decimal = "," if form == "comma" else "."
    _meters, meter = await choose_meter(request)
    if meter is None:
        raise UsageError(gettext("no meter is configured yet"))
    if len(period.rows(step)) > _MOST_LINES:
        raise UsageError(
            gettext("that is more than %(count)s lines: ask for a shorter time, or longer steps")
            % {"count": _MOST_LINES}
        )
    rates = of.tariffs.rates()
    found = await energy(of.history, meter, period, step, rates)
    text = io.StringIO()
    lines = csv.writer(text, delimiter=";" if form == "comma" else ",")
    lines.writerow(
        ["start", "end", "import_kwh", "export_kwh", *([f"cost_{rates.currency}"] if rates else [])]
    )
    for line in found.lines:
        if line.imported is None and line.exported is None:
            continue
        cost = [line.cost.exact if line.cost and not line.cost.missing else None] if rates else []
        numbers = [_text(one, decimal) for one in (_kwh(line.imported), _kwh(line.exported), *cost)]
        moments = [local(ms, of.zone).isoformat() for ms in (line.start_ms, line.end_ms)]
        lines.writerow([*moments, *numbers])
    name = f"{period.first_day}_{period.last_day}_{step}.csv"
    return web.Response(
        text=text.getvalue(),
        content_type="text/csv",
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _asked(request: web.Request, *, whole: bool = True) -> tuple[Period, Step]:
    """The period and the step of the query: this month's days without one. On a page only a step that suits
    the period; UsageError for what cannot be."""
    of, query = home(request), request.query
    kind = query.get("kind", "month")
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is not one of {', '.join(KINDS)}")
    if kind == "other":
        start, end = (read_moment(query.get(name, ""), of.zone) for name in ("from", "until"))
        period = Period.between(of.zone, start, end)
    else:
        day = read_day(query["day"]) if "day" in query else local(of.now_ms, of.zone).date()
        period = Period.of(cast(Kind, kind), of.zone, day)
    step = query.get("step") or period.step
    if step not in STEPS:
        raise UsageError(f"{step!r} is not one of {', '.join(STEPS)}")
    if whole and step not in period.steps():
        step = period.step
    return period, step


def _rates(of: Household) -> tuple[Rates | None, str]:
    try:
        return of.tariffs.rates(), ""
    except GatewayError as error:
        return None, sentence(error)


def _price(rates: Rates | None, now_ms: int) -> Decimal | None:
    """What drawing a kWh costs now; None where that is not known."""
    found = rates.prices("import", now_ms, now_ms + 1) if rates and "import" in rates.lanes else []
    return found[0].price if found else None


async def _before(
    of: Household, meter: str, period: Period, found: Energy, rates: Rates | None
) -> Energy | None:
    """The stretch before, as far as this one is known: the first twelve days of a month beside twelve days.
    None where this one is not known, or the one before not from its beginning on."""
    if found.empty:
        return None
    earlier = period.beside(-1)
    end_ms = period.before(min(found.complete_ms, period.end_ms)) // MINUTE_MS * MINUTE_MS
    if end_ms <= earlier.start_ms:
        return None
    same = Period("other", period.zone, earlier.start_ms, end_ms)
    before = await energy(of.history, meter, same, "year", rates)
    return None if before.empty or not before.whole else before


def _changes(found: Energy | None, before: Energy | None) -> dict[str, Change]:
    if found is None or before is None:
        return {}
    pairs = {
        "imported": (_kwh(found.imported), _kwh(before.imported)),
        "exported": (_kwh(found.exported), _kwh(before.exported)),
        "cost": (None, None) if found.unpriced or before.unpriced else (found.cost, before.cost),
    }
    return {
        name: Change(then, round((now - then) * 100 / then) if then > 0 else None)
        for name, (now, then) in pairs.items()
        if now is not None and then is not None
    }


def _kwh(mwh: int | None) -> Decimal | None:
    return None if mwh is None else Decimal(mwh).scaleb(-6)


def _text(value: Decimal | None, decimal: str) -> str:
    return "" if value is None else f"{value:f}".replace(".", decimal)


def _rows(lines: Sequence[Line], step: Step, period: Period) -> list[Row]:
    finer = {"year": "year", "month": "month", "day": "day"}.get(step)
    rows = []
    for line in lines:
        name, label = _names(line, step, period)
        first = local(line.start_ms, period.zone).date()
        tick = step not in ("minute", "quarter") or local(line.start_ms, period.zone).minute == 0
        rows.append(Row(line, name, label, tick, finer and f"kind={finer}&day={first}"))
    return rows


def _names(line: Line, step: Step, period: Period) -> tuple[str, str]:
    """What a line is called, in full and in short."""
    first = local(line.start_ms, period.zone).date()
    if step == "year":
        return str(first.year), str(first.year)
    if step == "month":
        return day(first, "yMMMM"), day(first, "MMM")
    if step == "day":
        return day(first, "MMMEd"), day(first, "E") if period.kind == "week" else str(first.day)
    time = clock_time(line.start_ms, period.zone)
    if period.first_day == period.last_day:
        return time, time
    return f"{day(first, 'MMMEd')}, {time}", day(first, "Ed") if time == "00:00" else time


def _title(period: Period) -> str:
    first, last = period.first_day, period.last_day
    if period.kind == "year":
        return str(first.year)
    if period.kind == "month":
        return day(first, "yMMMM")
    if period.kind == "day":
        return day(first, "full")
    if period.kind == "week":
        return days(first, last)
    return f"{_spelt(period.start_ms, period.zone)} – {_spelt(period.end_ms, period.zone)}"


def _spelt(ms: int, zone: str) -> str:
    time = clock_time(ms, zone)
    first = day(local(ms, zone).date(), "yMMMd")
    return first if time == "00:00" else f"{first}, {time}"


def _query(period: Period) -> str:
    if period.kind == "other":
        ends = (datetime.isoformat(local(ms, period.zone)) for ms in (period.start_ms, period.end_ms))
        return "kind=other&from={}&until={}".format(*(end.replace("+", "%2B") for end in ends))
    return f"kind={period.kind}&day={period.first_day}"


def _typed(ms: int, zone: str) -> str:
    """As a browser's field for a date and a time has it."""
    return local(ms, zone).strftime("%Y-%m-%dT%H:%M")


def _kinds() -> list[tuple[Kind, str]]:
    return [
        ("day", gettext("Day")),
        ("week", gettext("Week")),
        ("month", gettext("Month")),
        ("year", gettext("Year")),
    ]


def _step_names() -> dict[Step, str]:
    return {
        "minute": gettext("minutes"),
        "quarter": gettext("quarters of an hour"),
        "hour": gettext("hours"),
        "day": gettext("days"),
        "month": gettext("months"),
        "year": gettext("years"),
    }


routes = (web.get("/history", _history), web.get("/history.csv", _csv))
