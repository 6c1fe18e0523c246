"""The form of an appliance, and the loads of the plan that the chosen appliances make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gateway.errors import UsageError
from gateway.household.i18n import gettext
from gateway.household.plan import Load
from gateway.household.settings import ChosenLoad

FIELDS = ("name", "power", "minutes", "earliest", "finish", "split")
"""The fields of the form: W, minutes, and times of day such as 06:00."""
MOST = 20
"""Appliances of a home, at most."""
_DAY_MIN = 24 * 60
_MOST_W = 100_000
_NAME_BYTES = 80
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def read_load(typed: Mapping[str, str]) -> ChosenLoad:
    """The appliance that was typed; UsageError where it cannot be one."""
    name = typed["name"]
    if not name or not name.isprintable() or len(name.encode()) > _NAME_BYTES:
        raise UsageError(gettext("an appliance needs a name of at most 80 characters"))
    power = _whole(typed["power"], _MOST_W)
    if power is None:
        raise UsageError(gettext("the power is a whole number of watts, from 1 to 100000"))
    minutes = _whole(typed["minutes"], _DAY_MIN)
    if minutes is None:
        raise UsageError(gettext("an appliance runs for 1 to 1440 minutes, a whole number"))
    earliest, finish = _minute(typed["earliest"], 0), _minute(typed["finish"], _DAY_MIN) or _DAY_MIN
    room = finish - earliest if finish > earliest else finish + _DAY_MIN - earliest
    if minutes > room:
        raise UsageError(
            gettext(
                "%(name)s runs for %(minutes)s minutes, and from its earliest start to its end there are "
                "only %(room)s: give it more time"
            )
            % {"name": name, "minutes": minutes, "room": room}
        )
    return ChosenLoad(
        name=name,
        power_w=power,
        minutes=minutes,
        earliest=earliest,
        finish=finish,
        split=bool(typed["split"]),
    )


def replaced(present: Sequence[ChosenLoad], was: str, load: ChosenLoad) -> tuple[ChosenLoad, ...]:
    """The appliances with this one in the place of the one named `was`, or at the end where that is empty.
    UsageError where another has its name, or there would be too many."""
    if any(one.name == load.name and one.name != was for one in present):
        raise UsageError(
            gettext("there is an appliance %(name)s already: give this one another name")
            % {"name": load.name}
        )
    if was in {one.name for one in present}:
        return tuple(load if one.name == was else one for one in present)
    if len(present) >= MOST:
        raise UsageError(
            gettext("there are %(count)s appliances already: remove one first") % {"count": MOST}
        )
    return (*present, load)


def typed_of(load: ChosenLoad) -> dict[str, str]:
    """The form of an appliance, filled in."""
    return {
        "name": load.name,
        "power": str(load.power_w),
        "minutes": str(load.minutes),
        "earliest": spelt_minute(load.earliest),
        "finish": spelt_minute(load.finish),
        "split": "1" if load.split else "",
    }


def loads(chosen: Sequence[ChosenLoad]) -> list[Load]:
    """The loads of the plan."""
    return [
        Load.of_power(
            one.name,
            one.power_w,
            one.minutes * 60_000,
            earliest=one.earliest,
            finish=one.finish,
            split=one.split,
        )
        for one in chosen
    ]


def spelt_minute(minute: int) -> str:
    """A minute of the day as clocks show it; the end of a day is 00:00, as a browser's field has it."""
    return f"{minute // 60 % 24:02}:{minute % 60:02}"


def _whole(text: str, most: int) -> int | None:
    """A whole number from 1 on; None for another text."""
    if not re.fullmatch("[0-9]{1,9}", text):
        return None
    return value if 1 <= (value := int(text)) <= most else None


def _minute(text: str, empty: int) -> int:
    if not text:
        return empty
    found = _TIME.fullmatch(text)
    if found is None:
        raise UsageError(gettext("%(text)s is not a time of day such as 06:00") % {"text": text})
    return int(found[1]) * 60 + int(found[2])
