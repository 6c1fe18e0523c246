"""The profile of a meter that sends text: its registers, and how often it sends or may be asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.meters.iec62056.decoder import TextDecoder
from gateway.meters.iec62056.registers import Term, TextRegisters
from gateway.meters.reading import Decoder
from gateway.meters.secrets import Secrets
from gateway.meters.toml_table import TomlTable

_MWH_PER_KWH = 1_000_000
_TOTAL = r"[0-9]{1,3}\.8\.0"
_SUM = re.compile(r"-?[0-9]{1,3}\.7\.[0-9]{1,3}(?:[+-][0-9]{1,3}\.7\.[0-9]{1,3})*")
_TERM = re.compile(r"([+-]?)([0-9.]+)")
_MAKER = re.compile(r"[A-Z]{3}")
_UNITS = ("Wh", "kWh", "MWh")


@dataclass(frozen=True, slots=True)
class _TextModel:
    """What both kinds have. `makers` are the three letters (FLAG) with which the meters' identifications
    begin; the energies start again from 0 at `rollover_kwh`, where that is known."""

    registers: TextRegisters
    makers: tuple[str, ...]
    rollover_kwh: int | None

    @property
    def lanes(self) -> tuple[str, ...]:
        """The lanes that its registers fill."""
        return self.registers.lanes

    @property
    def rollover(self) -> Mapping[str, int]:
        """Each register has as many digits."""
        if self.rollover_kwh is None:
            return {}
        return {lane: self.rollover_kwh * _MWH_PER_KWH for lane in self.lanes if lane != "power"}


@dataclass(frozen=True, slots=True)
class TextPushModel(_TextModel):
    """A meter that pushes a telegram every `interval_s`."""

    interval_s: int

    @property
    def silence_s(self) -> float:
        """The time of five telegrams, and ten seconds."""
        return 10.0 + 5 * self.interval_s

    def decoder(self, secrets: Secrets) -> Decoder:
        """A new decoder; text is not encrypted."""
        return TextDecoder(self.registers, self.makers)


@dataclass(frozen=True, slots=True)
class TextModel(_TextModel):
    """A meter that is asked. Its answer takes up to `interval_s`, so it is asked no more often. With
    `fixed_speed` its offer of a faster one is not taken up."""

    interval_s: int
    fixed_speed: bool


def parse_push_model(keys: TomlTable) -> TextPushModel:
    """Take the keys of a model that pushes: `interval_s`, and those that both kinds have."""
    return TextPushModel(
        *_common(keys, checked=False),
        interval_s=keys.integer("interval_s", 1, 60),
    )


def parse_model(keys: TomlTable) -> TextModel:
    """Take the keys of a model that is asked: `interval_s`, `fixed_speed`, and those that both kinds have."""
    return TextModel(
        *_common(keys, checked=True),
        interval_s=keys.integer("interval_s", 2, 900),
        fixed_speed=keys.flag("fixed_speed"),
    )


def _common(keys: TomlTable, *, checked: bool) -> tuple[TextRegisters, tuple[str, ...], int | None]:
    """Take `makers`, `rollover_kwh`, `tariffs`, `energy_unit` and [registers]."""
    makers = keys.texts("makers") if keys.has("makers") else ()
    if wrong := [maker for maker in makers if not _MAKER.fullmatch(maker)]:
        raise keys.fault("makers", f"has {wrong[0]!r}; each must be three capital letters, such as ISK")
    rollover_kwh = keys.integer("rollover_kwh", 10_000, 10**9) if keys.has("rollover_kwh") else None
    tariffs = keys.integer("tariffs", 1, 9) if keys.has("tariffs") else None
    energy_unit = keys.choice("energy_unit", _UNITS) if keys.has("energy_unit") else None
    table = keys.table("registers")
    registers = TextRegisters(
        imported=table.text("import", _TOTAL) if table.has("import") else None,
        exported=table.text("export", _TOTAL) if table.has("export") else None,
        power=_sums(table) if table.has("power") else (),
        tariffs=tariffs,
        energy_unit=energy_unit,
        checked=checked,
    )
    table.end()
    return registers, makers, rollover_kwh


def _sums(keys: TomlTable) -> tuple[tuple[Term, ...], ...]:
    """A list of sums of registers, such as 16.7.0 and 1.7.0-2.7.0."""
    sums = keys.texts("power")
    if wrong := [one for one in sums if not _SUM.fullmatch(one)]:
        raise keys.fault("power", f"has {wrong[0]!r}; each must be a sum of codes, such as 1.7.0-2.7.0")
    return tuple(
        tuple(Term(code, -1 if sign == "-" else 1) for sign, code in _TERM.findall(one)) for one in sums
    )
