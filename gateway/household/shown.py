"""Times, energy, power and money as a page shows them: in the page's language and in the home's zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from babel.dates import format_date, format_interval, format_skeleton
from babel.numbers import format_currency, format_decimal
from markupsafe import Markup

from gateway.chain.window import zone_of
from gateway.household.i18n import gettext, locale, ngettext

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 253_402_214_400_000  # 9999-12-31 in UTC, and in any zone a day that datetime has


def local(unix_ms: int, zone: str) -> datetime:
    """A moment in the home's zone; of one before 1970, or beyond the calendar, the next that it has."""
    within = min(max(0, unix_ms), _LAST_MS)
    return (_EPOCH + timedelta(milliseconds=within)).astimezone(zone_of(zone))


def clock_time(unix_ms: int, zone: str) -> str:
    """The time of day, "02:30"; where that comes twice on its day, with the zone's name: "02:30 CEST"."""
    when = local(unix_ms, zone)
    # Of a time that clocks skip the offsets differ too, but a moment never has one.
    twice = when.replace(fold=0).utcoffset() != when.replace(fold=1).utcoffset()
    return f"{when:%H:%M} {when:%Z}" if twice else f"{when:%H:%M}"


def day(when: date, form: str = "medium") -> str:
    """A date: "full" to "short", or with the parts of a CLDR skeleton, such as "MMMEd"."""
    if form in ("full", "long", "medium", "short"):
        return format_date(when, format=form, locale=locale())
    return format_skeleton(form, datetime.combine(when, time()), locale=locale())


def days(first: date, last: date) -> str:
    """Some days that follow each other: "25 – 31 May 2026"."""
    return format_interval(first, last, "yMMMd", locale=locale())


def moment(unix_ms: int, zone: str) -> str:
    """A date and a time of day: "26 Oct 2026, 02:30 CET"."""
    when = local(unix_ms, zone)
    return f"{format_date(when.date(), format='medium', locale=locale())}, {clock_time(unix_ms, zone)}"


def ago(unix_ms: int, now_ms: int) -> str:
    """How long ago a moment was, in words: "5 seconds ago"."""
    seconds = max(0, now_ms - unix_ms) // 1000
    if seconds < 60:
        return ngettext("%(count)s second ago", "%(count)s seconds ago", seconds) % {"count": seconds}
    if seconds < 3600:
        minutes = seconds // 60
        return ngettext("%(count)s minute ago", "%(count)s minutes ago", minutes) % {"count": minutes}
    if seconds < 86_400:
        hours = seconds // 3600
        return ngettext("%(count)s hour ago", "%(count)s hours ago", hours) % {"count": hours}
    days = seconds // 86_400
    return ngettext("%(count)s day ago", "%(count)s days ago", days) % {"count": days}


def number(value: float | Decimal, digits: int = 0) -> str:
    """A number with this many decimals."""
    pattern = "#,##0" + ("." + "0" * digits if digits else "")
    return format_decimal(value, format=pattern, locale=locale())


def kwh(mwh: int, digits: int = 2) -> str:
    """Energy in kWh, from mWh."""
    return f"{number(Decimal(mwh) / 1_000_000, digits)} kWh"


def watts(power: int) -> str:
    """Power: in W below 10 kW, in kW from there on."""
    return f"{number(power)} W" if abs(power) < 10_000 else f"{number(Decimal(power) / 1000, 1)} kW"


def money(amount: Decimal, currency: str) -> str:
    """An amount of money."""
    return format_currency(amount, currency, locale=locale())


def exact(amount: Decimal, currency: str, decimals: str = "00##") -> str:
    """An amount of money with as many decimals as it has, up to four; with all four for "0000"."""
    pattern = locale().currency_formats["standard"].pattern.replace("0.00", f"0.{decimals}")
    return format_currency(amount, currency, format=pattern, locale=locale(), currency_digits=False)


def rate(price: Decimal, currency: str) -> str:
    """A price of a kWh, with up to four decimals."""
    return f"{exact(price, currency)}/kWh"


def yes_no(value: bool) -> str:
    """Yes or no."""
    return gettext("yes") if value else gettext("no")


def spelt(size: int) -> str:
    """An amount of data, from bytes: "3.2 MB"."""
    unit, digits = next(
        (unit, scale)
        for unit, scale in (("GB", 9), ("MB", 6), ("kB", 3), ("B", 0))
        if size >= 10**scale or not scale
    )
    return f"{number(Decimal(size) / 10**digits, 1 if digits else 0)} {unit}"


def plain(text: str) -> str:
    """Text that somebody else wrote, such as a provider's name, without control characters, which could
    hide a part of it or turn the direction of what follows."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def foreign(text: str) -> Markup:
    """As `plain`, for a page: with its own direction of writing, whatever the text around it has."""
    return Markup("<bdi>{}</bdi>").format(plain(text))
