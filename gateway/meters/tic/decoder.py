"""Groups to the lanes.

In mode historique the registers are those of the contract, which OPTARIF names: one for each of its tariffs.
Only together are they what was imported. In mode standard EAST is the total, and EAIT what was exported.

The powers of both modes (PAPP, SINSTS, SINSTI) are apparent, in VA: they are not used, since power is in W.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

from gateway.errors import MeterError
from gateway.meters.reading import Telegram
from gateway.meters.tic.frames import Group, Mode, TicFrames, read_groups
from gateway.meters.totals import Shown, hold_against_parts

_MWH_PER_WH = 1_000
_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INDEX = re.compile(r"[0-9]{9}")
# By the beginning of OPTARIF: BASE, HC.., EJP. and, for Tempo, BBRx.
_CONTRACTS = {
    "BASE": ("BASE",),
    "HC": ("HCHC", "HCHP"),
    "EJP": ("EJPHN", "EJPHPM"),
    "BBR": ("BBRHCJB", "BBRHPJB", "BBRHCJW", "BBRHPJW", "BBRHCJR", "BBRHPJR"),
}
_BY_SUPPLIER = tuple(f"EASF{n:02d}" for n in range(1, 11))
_BY_DISTRIBUTOR = tuple(f"EASD{n:02d}" for n in range(1, 5))
_WARNING = ("ADIR1", "ADIR2", "ADIR3")  # a short frame between the others, while a phase is overloaded
_SEASONS = {"H": timezone(timedelta(hours=1)), "E": timezone(timedelta(hours=2))}  # metropolitan France


class TicDecoder:
    """Turns a meter's bytes into telegrams."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._frames = TicFrames()

    def cut(self) -> None:
        """The next bytes come from another connection."""
        self._frames.cut()

    def feed(self, data: bytes) -> Sequence[Telegram | MeterError]:
        """The telegrams that `data` completes, and an error for each broken frame."""
        said: list[Telegram | MeterError] = []
        for frame in self._frames.feed(data):
            try:
                if isinstance(frame, MeterError):
                    raise frame
                groups = read_groups(frame, self._mode)
                if not set(groups) & set(_WARNING):
                    said.append(_historique(groups) if self._mode == "historique" else _standard(groups))
            except MeterError as error:
                said.append(error)
        return said


def _historique(groups: Mapping[str, Group]) -> Telegram:
    contract = groups["OPTARIF"].value if "OPTARIF" in groups else ""
    parts = next((parts for name, parts in _CONTRACTS.items() if contract.startswith(name)), None)
    if parts is None:
        raise MeterError(
            f"a TIC frame names no contract that is known (OPTARIF is {contract!r}): it must be one of "
            f"{', '.join(_CONTRACTS)}"
        )
    if missing := [label for label in parts if label not in groups]:
        raise MeterError(f"a TIC frame of contract {contract} lacks its register {missing[0]}")
    imported = sum(_index(label, groups) for label in parts)
    return Telegram({"import": imported}, serial=_serial(groups, "ADCO"))


def _standard(groups: Mapping[str, Group]) -> Telegram:
    registers = {}
    if "EAST" in groups:
        registers["import"] = _index("EAST", groups)
        for labels in (_BY_SUPPLIER, _BY_DISTRIBUTOR):
            parts = [_shown(_index(label, groups)) for label in labels if label in groups]
            hold_against_parts("import", _shown(registers["import"]), parts, complete=False)
    if "EAIT" in groups:
        registers["export"] = _index("EAIT", groups)
    if not registers:
        raise MeterError("a TIC frame has neither of the registers EAST and EAIT")
    return Telegram(registers, _serial(groups, "ADSC"), _meter_time(groups))


def _index(label: str, groups: Mapping[str, Group]) -> int:
    """mWh of a register, which has nine digits and counts Wh."""
    text = groups[label].value
    if _INDEX.fullmatch(text) is None:
        raise MeterError(f"a TIC frame's register {label} does not have nine digits")
    return int(text) * _MWH_PER_WH


def _shown(mwh: int) -> Shown:
    return Shown(Fraction(mwh), Fraction(_MWH_PER_WH))


def _serial(groups: Mapping[str, Group], label: str) -> str | None:
    return groups[label].value.strip() or None if label in groups else None


def _meter_time(groups: Mapping[str, Group]) -> int | None:
    """Unix time (ns) of DATE: H or E, winter or summer, and YYMMDDhhmmss. None where it is missing, or marked
    as doubtful by a small letter."""
    found = re.fullmatch(r"([HE])([0-9]{12})", groups["DATE"].time if "DATE" in groups else "")
    if found is None:
        return None
    try:
        local = datetime.strptime(found[2], "%y%m%d%H%M%S").replace(tzinfo=_SEASONS[found[1]])
    except ValueError:
        return None
    return (local - _EPOCH) // timedelta(seconds=1) * _NS
