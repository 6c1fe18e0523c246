"""When the rules of a tariff file hold: their days, months, dates and times of day.

    since = 2026-01-01          # for the whole tariff: the dates for which its prices and holidays are known
    before = 2028-01-01

    [holidays]                  # "holiday" in a rule's days; such a date is no day of the week
    country = "ES"              # ISO 3166-1; of the package `holidays`
    subdivision = "MD"          # ISO 3166-2, where its holidays count
    add = [2026-11-09]
    remove = [2026-04-03]

    [seasons]                   # names for `season` in rules: months, or dates
    winter = ["oct-mar"]
    heating = [{ since = 2026-10-15, before = 2027-04-15 }]

    [days]                      # names for `days` in rules: lists of dates; their days may begin late
    red = { dates = [2026-01-05, 2026-01-06], begin = "06:00" }

    [[import]]
    price = "0.3215"
    days = ["mon-fri", "holiday"]
    season = "winter"           # or months = ["oct-dec", "mar"]
    from = "22:00"              # over midnight: the first and the last hours of each of these days
    until = "06:00"
    since = 2026-07-01          # a price from a date on
    before = 2027-01-01

The dates of a country's holidays are looked up when the file is read, and become part of the tariff. Where
household and provider have different versions of the package, write the dates into `add`, without a country.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from gateway.chain.prices import HOLIDAY, LAST_DATE, MAX_RULES, Calendar, Rule, spell_date, spell_minute
from gateway.errors import UsageError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
RULE_KEYS = {"price", "days", "months", "season", "from", "until", "since", "before"}
_BLOCKS = ("blocks", "block", "tiers", "up_to", "above")
_EPOCH = date(1970, 1, 1)
_DAY_MIN = 24 * 60


class _Span(NamedTuple):
    """Months, or dates from `since` on and before `before`; all of them where nothing is given."""

    months: tuple[int, ...] = ()
    since: int | None = None
    before: int | None = None


class _DayList(NamedTuple):
    """Dates, and the minute at which their days begin."""

    dates: tuple[int, ...]
    begin: int


@dataclass(frozen=True, slots=True)
class Names:
    """What the rules of a file may refer to, and the calendar of its tariff."""

    calendar: Calendar
    seasons: Mapping[str, tuple[_Span, ...]]
    lists: Mapping[str, _DayList]

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Names:
        """From the whole file. UsageError for what is invalid in it."""
        since, before = (_bound("the tariff", raw, key) for key in ("since", "before"))
        holidays: tuple[int, ...] = ()
        if "holidays" in raw:
            if since is None or before is None:
                raise UsageError(
                    "holidays: the tariff must say for which dates they are known: give since and before at "
                    "its top, such as since = 2026-01-01 and before = 2028-01-01"
                )
            holidays = _holidays(raw["holidays"], since, before)
        seasons = {name: _season(name, value) for name, value in _table(raw, "seasons").items()}
        lists = {name: _day_list(name, value) for name, value in _table(raw, "days").items()}
        return cls(Calendar(since, before, holidays), seasons, lists)

    def rules(self, lane: str, raw: Mapping[str, Any], price: int) -> list[Rule]:
        """The rules that a table of the file stands for; more than one where a season has several dates, or a
        night two parts."""
        kinds, lists = self._days(lane, raw.get("days"))
        since, before = (_bound(lane, raw, key) for key in ("since", "before"))
        parts = [(kinds, *part) for part in _pieces(lane, raw, _DayList((), 0))] if kinds else []
        every = tuple(range(HOLIDAY + bool(self.calendar.holidays)))
        parts += [(every, *part) for one in lists for part in _pieces(lane, raw, one)]
        out, spans = [], self._spans(lane, raw)
        if len(parts) * len(spans) > MAX_RULES:
            raise UsageError(
                f"{lane}: a rule for {len(parts)} parts of days in {len(spans)} seasons counts as "
                f"{len(parts) * len(spans)} rules; there must be 1 to {MAX_RULES}"
            )
        for span in spans:
            first = max((x for x in (since, span.since) if x is not None), default=None)
            end = min((x for x in (before, span.before) if x is not None), default=None)
            if first is None or end is None or first < end:
                out += [Rule(price, days, x, y, span.months, first, end, on) for days, x, y, on in parts]
        if not out:
            raise UsageError(f"{lane}: a rule's since and before leave no date of its season")
        return out

    def _days(self, lane: str, raw: Any) -> tuple[tuple[int, ...], list[_DayList]]:
        """The kinds of day, and the lists of dates."""
        words = (*DAYS, "holiday") if self.calendar.holidays else DAYS
        if raw is None:
            return tuple(range(len(words))), []
        named = [self.lists[day] for day in raw if day in self.lists] if _texts(raw) else []
        rest = [day for day in raw if day not in self.lists] if _texts(raw) else raw
        known = [*words, *self.lists]
        return (_numbers(f"{lane}: days", rest, words, known) if rest or not named else ()), named

    def _spans(self, lane: str, raw: Mapping[str, Any]) -> tuple[_Span, ...]:
        season = raw.get("season")
        if season is None:
            if "months" not in raw:
                return (_Span(),)
            return (_Span(tuple(x + 1 for x in _numbers(f"{lane}: months", raw["months"], MONTHS, MONTHS))),)
        if "months" in raw:
            raise UsageError(f"{lane}: a rule has months or a season, not both")
        if not isinstance(season, str) or season not in self.seasons:
            known = ", ".join(self.seasons) or "none; name them in [seasons]"
            raise UsageError(f"{lane}: season is {season!r}; known seasons are {known}")
        return self.seasons[season]


def known_keys(raw: Any, keys: set[str], what: str) -> None:
    """UsageError unless `raw` is a table with none but these keys."""
    if not isinstance(raw, dict):
        raise UsageError(f"{what} must be a table")
    blocks = [key for key in _BLOCKS if key in raw]
    if blocks:
        raise UsageError(
            f"{what}: {blocks[0]}: a price that depends on how much was used needs month sums. Grant sums "
            "with --granularity month and price these; in a bill's tariff a price depends on the time alone"
        )
    unknown = set(raw) - keys
    if unknown:
        raise UsageError(
            f"{what}: {', '.join(sorted(unknown))} is not a known key; known are {', '.join(sorted(keys))}"
        )


def _pieces(lane: str, raw: Mapping[str, Any], on: _DayList) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """The rule's minutes [begin, end) of a date, and the dates; two pieces over midnight."""
    begin = _minute(lane, raw["from"]) if "from" in raw else on.begin
    end = _minute(lane, raw["until"]) if "until" in raw else on.begin or _DAY_MIN
    begins, ends = spell_minute(begin), spell_minute(end)
    # Minutes since the day began.
    x, y = (begin - on.begin) % _DAY_MIN, (end - on.begin) % _DAY_MIN or _DAY_MIN
    if begin == _DAY_MIN or (begin == end and "until" in raw and ("from" in raw or not on.begin)):
        raise UsageError(f"{lane}: a rule from {begins} until {ends} covers no time of a day")
    if x < y:
        x, y = x + on.begin, y + on.begin
        if x < _DAY_MIN:
            yield x, min(y, _DAY_MIN), on.dates
        if y > _DAY_MIN:
            yield max(x - _DAY_MIN, 0), y - _DAY_MIN, tuple(day + 1 for day in on.dates)
        return
    if on.begin:
        raise UsageError(
            f"{lane}: a rule from {begins} until {ends} goes over {spell_minute(on.begin)}, when its days "
            "begin; write two rules"
        )
    yield 0, y, on.dates
    yield x, _DAY_MIN, on.dates


def _minute(lane: str, text: Any) -> int:
    hour, colon, minute = str(text).partition(":")
    if colon and re.fullmatch("[0-9]{1,2}", hour) and re.fullmatch("[0-9]{1,2}", minute) and int(minute) < 60:
        at = int(hour) * 60 + int(minute)
        if at <= _DAY_MIN:
            return at
    raise UsageError(f'{lane}: {text!r} is not a time of day, such as "06:00", or "24:00" for the end')


def _texts(raw: Any) -> bool:
    return isinstance(raw, list) and all(isinstance(one, str) for one in raw)


def _numbers(what: str, raw: Any, words: Sequence[str], known: Sequence[str]) -> tuple[int, ...]:
    """The places of words in a list, where "mon-fri" stands for all from the one to the other, also over the
    end."""
    out: set[int] = set()
    for text in raw if _texts(raw) else [None]:
        first, dash, last = str(text).partition("-")
        if first not in words or (dash and last not in words):
            out.clear()
            break
        x, y = words.index(first), words.index(last if dash else first)
        out.update(range(x, y + 1) if x <= y else (*range(x, len(words)), *range(y + 1)))
    if not out:
        raise UsageError(
            f"{what} are {raw!r}; they must be some of {list(known)}, or ranges such as "
            f'"{words[0]}-{words[4]}"'
        )
    return tuple(sorted(out))


def _table(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{key} must be a table")
    taken = sorted({*DAYS, "holiday"} & set(value)) if key == "days" else []
    if taken:
        raise UsageError(f"days: {taken[0]} has a meaning already; choose another name")
    return value


def _season(name: str, raw: Any) -> tuple[_Span, ...]:
    what = f"seasons: {name}"
    if not isinstance(raw, list) or not raw or not all(isinstance(one, dict) for one in raw):
        return (_Span(tuple(x + 1 for x in _numbers(what, raw, MONTHS, MONTHS))),)
    for one in raw:
        known_keys(one, {"since", "before"}, what)
    return tuple(_Span((), _bound(what, one, "since"), _bound(what, one, "before")) for one in raw)


def _day_list(name: str, raw: Any) -> _DayList:
    what = f"days: {name}"
    if isinstance(raw, list):
        raw = {"dates": raw}
    known_keys(raw, {"dates", "begin"}, what)
    return _DayList(
        _dates(what, raw.get("dates"), least=1), _minute(what, raw.get("begin", "00:00")) % _DAY_MIN
    )


def _holidays(raw: Any, since: int, before: int) -> tuple[int, ...]:
    what = "holidays"
    known_keys(raw, {"country", "subdivision", "add", "remove"}, what)
    found = set(_of_country(raw, since, before)) if "country" in raw else set()
    add, remove = (_dates(f"{what}: {key}", raw.get(key, [])) for key in ("add", "remove"))
    strange = [spell_date(day) for day in remove if day not in found]
    if strange:
        raise UsageError(f"{what}: {strange[0]} cannot be removed: it is none")
    outside = [spell_date(day) for day in add if not since <= day < before]
    if outside:
        raise UsageError(
            f"{what}: {outside[0]} lies outside the dates from since on and before the tariff's end"
        )
    return tuple(sorted((found | set(add)) - set(remove)))


def _of_country(raw: Mapping[str, Any], since: int, before: int) -> Iterator[int]:
    """The public holidays of a country, or of one of its subdivisions too."""
    country, subdivision = raw["country"], raw.get("subdivision")
    if not isinstance(country, str) or not re.fullmatch("[A-Z]{2}", country):
        raise UsageError(f'holidays: country is {country!r}; it must be a code of ISO 3166-1 such as "ES"')
    if subdivision is not None and not isinstance(subdivision, str):
        raise UsageError(
            f'holidays: subdivision is {subdivision!r}; it must be a code of ISO 3166-2 such as "MD"'
        )
    import holidays  # noqa: PLC0415 - 0.1 s, and few tariffs need it

    years = range(date.fromordinal(_EPOCH.toordinal() + since).year, _year(before - 1) + 1)
    try:
        # The language of the names, which are not used, would come from the country.
        found = holidays.country_holidays(country, subdiv=subdivision, years=years, language="en_US")
    except NotImplementedError:
        raise UsageError(
            f"holidays: the package holidays does not know {country}"
            + (f", subdivision {subdivision!r}" if subdivision is not None else "")
            + "; write the dates into add"
        ) from None
    if years and not found.start_year <= years[0] <= years[-1] <= found.end_year:
        raise UsageError(
            f"holidays: those of {country} are known for the years {found.start_year} to {found.end_year}"
        )
    yield from (day for one in found if since <= (day := (one - _EPOCH).days) < before)


def _year(day: int) -> int:
    return date.fromordinal(_EPOCH.toordinal() + day).year


def _bound(what: str, raw: Mapping[str, Any], key: str) -> int | None:
    return None if key not in raw else _dates(f"{what}: {key}", [raw[key]])[0]


def _dates(what: str, raw: Any, least: int = 0) -> tuple[int, ...]:
    if not isinstance(raw, list) or len(raw) < least:
        raise UsageError(f"{what} must be a list of dates such as [2026-01-06]")
    for one in raw:
        if not isinstance(one, date) or isinstance(one, datetime):
            raise UsageError(f"{what}: {one!r} is not a date such as 2026-01-06, which stands without quotes")
        if not 0 <= (one - _EPOCH).days <= LAST_DATE:
            raise UsageError(f"{what}: {one} must be 1970-01-01 to {spell_date(LAST_DATE)}")
    return tuple(sorted({(one - _EPOCH).days for one in raw}))
