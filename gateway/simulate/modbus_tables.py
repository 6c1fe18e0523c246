"""What meters have in their registers beside what the gateway reads: phases, currents, frequency and so on.

Programs that read such a meter ask for them, and one that lacks them is not the model to them. Sources: the
makers' documents that the profiles name, and for addresses the files meters/rs485/*.go of
https://github.com/volkszaehler/mbmd/tree/fb8f9c22f1210740ac89064fb55610613bba3f78; for SunSpec as in
gateway/meters/modbus/sunspec_model.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from gateway.meters.modbus.model import Table, WordOrder
from gateway.simulate.home import Home

VOLTS, HERTZ = 230, 50


@dataclass(frozen=True, slots=True)
class Row:
    """A quantity in registers of one type: at three addresses, those of the phases, or at one, the total. A
    raw 1 is `scale` V, A, W, VA, var, Hz or Wh."""

    quantity: str
    type: str
    scale: Fraction
    addresses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rest:
    """The registers of a meter in one table, from the sources above."""

    table: Table
    rows: tuple[Row, ...]
    word_order: WordOrder = "high-first"


def value(quantity: str, home: Home, phases: int) -> Fraction:
    """What one of `phases` alike, or the whole meter where that is 1, shows of the home: no reactive power,
    and the same voltage at each."""
    return _VALUES[quantity](home) / (1 if quantity in _NOT_SHARED else phases)


_NOT_SHARED = ("voltage", "between", "frequency", "factor", "zero")
_VALUES: Mapping[str, Callable[[Home], Fraction]] = {
    "voltage": lambda home: Fraction(VOLTS),
    "between": lambda home: Fraction(3984, 10),  # two phases: the square root of 3 times as much
    "frequency": lambda home: Fraction(HERTZ),
    "factor": lambda home: Fraction(1),
    "zero": lambda home: Fraction(0),
    "current": lambda home: Fraction(abs(home.power), VOLTS),
    "power": lambda home: Fraction(home.power),
    "apparent": lambda home: Fraction(abs(home.power)),
    "import": lambda home: Fraction(home.import_mwh, 1000),
    "export": lambda home: Fraction(home.export_mwh, 1000),
    "sum": lambda home: Fraction(home.import_mwh + home.export_mwh, 1000),
}


def _row(quantity: str, kind: str, scale: int | str, *addresses: int) -> Row:
    return Row(quantity, kind, Fraction(scale), addresses)


def _phases(quantity: str, kind: str, scale: int | str, first: int, step: int = 2) -> Row:
    return _row(quantity, kind, scale, *range(first, first + 3 * step, step))


_EASTRON_ONE = (
    _row("voltage", "f32", 1, 0x00),
    _row("current", "f32", 1, 0x06),
    _row("power", "f32", 1, 0x0C),
    _row("apparent", "f32", 1, 0x12),
    _row("zero", "f32", 1, 0x18),  # reactive power
    _row("factor", "f32", 1, 0x1E),
    _row("frequency", "f32", 1, 0x46),
    _row("sum", "f32", 1000, 0x156),
    _row("zero", "f32", 1000, 0x158),  # reactive energy
)
_EASTRON_THREE = (
    _phases("voltage", "f32", 1, 0x00),
    _phases("current", "f32", 1, 0x06),
    _phases("power", "f32", 1, 0x0C),
    _phases("apparent", "f32", 1, 0x12),
    _phases("factor", "f32", 1, 0x1E),
    _row("current", "f32", 1, 0x30),
    _row("apparent", "f32", 1, 0x38),
    _row("factor", "f32", 1, 0x3E),
    _row("frequency", "f32", 1, 0x46),
    _row("sum", "f32", 1000, 0x156),
    _row("zero", "f32", 1000, 0x158),
)
_GAVAZZI = (
    _phases("voltage", "i32", "1/10", 0x00),
    _phases("between", "i32", "1/10", 0x06),
    _phases("current", "i32", "1/1000", 0x0C),
    _phases("power", "i32", "1/10", 0x12),
    _phases("apparent", "i32", "1/10", 0x18),
    _row("voltage", "i32", "1/10", 0x24),
    _row("between", "i32", "1/10", 0x26),
    _row("apparent", "i32", "1/10", 0x2A),
)
_SAIA = Rest(
    "holding",
    (
        _row("zero", "u16", 1, 0),
        _phases("voltage", "u16", 1, 35, 5),
        _phases("current", "u16", "1/10", 36, 5),
        _phases("power", "i16", 10, 37, 5),
        _phases("factor", "u16", "1/100", 39, 5),
        _row("zero", "i16", 10, 51),
    ),
)

# SunSpec's meters, with places that count from the model's id: 201 to 204, with the scales that are the
# powers of ten at SUNSPEC_SCALES, and 211 to 214.
SUNSPEC_INTEGERS = (
    _row("current", "i16", "1/100", 2),
    _phases("current", "i16", "1/100", 3, 1),
    _row("voltage", "i16", "1/10", 7),
    _phases("voltage", "i16", "1/10", 8, 1),
    _row("between", "i16", "1/10", 11),
    _phases("between", "i16", "1/10", 12, 1),
    _row("frequency", "i16", "1/100", 16),
    _phases("power", "i16", 1, 19, 1),
    _row("apparent", "i16", 1, 23),
    _phases("apparent", "i16", 1, 24, 1),
    _row("factor", "i16", "1/10000", 33),  # in percent
    _phases("factor", "i16", "1/10000", 34, 1),
    _phases("export", "u32", 1, 40),
    _phases("import", "u32", 1, 48),
)
SUNSPEC_SCALES = {6: -2, 15: -1, 17: -2, 22: 0, 27: 0, 32: 0, 37: -2, 54: 0, 71: 0, 104: 0}
SUNSPEC_FLOATS = (
    _row("current", "f32", 1, 2),
    _phases("current", "f32", 1, 4),
    _row("voltage", "f32", 1, 10),
    _phases("voltage", "f32", 1, 12),
    _row("between", "f32", 1, 18),
    _phases("between", "f32", 1, 20),
    _row("frequency", "f32", 1, 26),
    _phases("power", "f32", 1, 30),
    _row("apparent", "f32", 1, 36),
    _phases("apparent", "f32", 1, 38),
    _row("factor", "f32", 1, 52),
    _phases("factor", "f32", 1, 54),
    _phases("export", "f32", 1, 62),
    _phases("import", "f32", 1, 70),
)

RESTS: Mapping[str, Rest] = {
    "saia-ale3": _SAIA,
    "saia-ale3-tariffs": _SAIA,
    "eastron-sdm120": Rest("input", _EASTRON_ONE),
    "eastron-sdm230": Rest("input", _EASTRON_ONE),
    "eastron-sdm72": Rest("input", _EASTRON_THREE),
    "eastron-sdm630": Rest(
        "input",
        (
            *_EASTRON_THREE,
            _phases("between", "f32", 1, 0xC8),
            _row("between", "f32", 1, 0xCE),
            _phases("import", "f32", 1000, 0x15A),
            _phases("export", "f32", 1000, 0x160),
            _phases("sum", "f32", 1000, 0x166),
            _row("zero", "f32", 1000, 0x17C),  # the last of the phases' reactive energies
        ),
    ),
    "abb-b23": Rest(
        "holding",
        (
            _phases("import", "u64", 10, 0x5460, 4),
            _phases("export", "u64", 10, 0x546C, 4),
            _phases("voltage", "u32", "1/10", 0x5B00),
            _phases("between", "u32", "1/10", 0x5B06),
            _phases("current", "u32", "1/100", 0x5B0C),
            _phases("power", "i32", "1/100", 0x5B16),
            _row("frequency", "u16", "1/100", 0x5B2C),
            _row("factor", "i16", "1/1000", 0x5B3A),
            _phases("factor", "i16", "1/1000", 0x5B3B, 1),
        ),
    ),
    "carlo-gavazzi-em24": Rest(
        "input",
        (
            *_GAVAZZI,
            _phases("factor", "i16", "1/1000", 0x32, 1),
            _row("factor", "i16", "1/1000", 0x35),
            _row("frequency", "i16", "1/10", 0x37),
            _row("import", "i32", 100, 0x42),  # the part since it was reset
            _phases("import", "i32", 100, 0x46),
        ),
        "low-first",
    ),
    "carlo-gavazzi-em340": Rest(
        "input",
        (
            *_GAVAZZI,
            _phases("factor", "i16", "1/1000", 0x2E, 1),
            _row("factor", "i16", "1/1000", 0x31),
            _row("frequency", "i16", "1/10", 0x33),
            _phases("import", "i32", 100, 0x40),
        ),
        "low-first",
    ),
    "chint-dtsu666": Rest(
        "holding",
        (
            _phases("import", "f32", 1000, 0x1020),
            _phases("export", "f32", 1000, 0x102A),
            _phases("between", "f32", "1/10", 0x2000),
            _phases("voltage", "f32", "1/10", 0x2006),
            _phases("current", "f32", "1/1000", 0x200C),
            _phases("power", "f32", "1/10", 0x2014),
            _row("factor", "f32", "1/1000", 0x202A),
            _phases("factor", "f32", "1/1000", 0x202C),
            _row("frequency", "f32", "1/100", 0x2044),
        ),
    ),
    "finder-7m": Rest(
        "input",
        (
            _phases("voltage", "f32", 1, 2500),
            _phases("current", "f32", 1, 2516),
            _phases("power", "f32", 1, 2530),
            _phases("apparent", "f32", 1, 2546),
            _row("apparent", "f32", 1, 2552),
            _phases("factor", "f32", 1, 2554),
            _row("factor", "f32", 1, 2560),
            _row("frequency", "f32", 1, 2584),
            _row("zero", "f32", 1, 2758),
        ),
    ),
    "inepro-pro380": Rest(
        "holding",
        (
            _row("voltage", "f32", 1, 0x5000),
            _phases("voltage", "f32", 1, 0x5002),
            _row("frequency", "f32", 1, 0x5008),
            _row("current", "f32", 1, 0x500A),
            _phases("current", "f32", 1, 0x500C),
            _phases("power", "f32", 1000, 0x5014),
            _row("apparent", "f32", 1000, 0x5022),
            _phases("apparent", "f32", 1000, 0x5024),
            _row("factor", "f32", 1, 0x502A),
            _phases("factor", "f32", 1, 0x502C),
            _row("sum", "f32", 1000, 0x6000),
            _row("sum", "f32", 1000, 0x6002),  # tariff 1
            _phases("sum", "f32", 1000, 0x6006),
            _row("import", "f32", 1000, 0x600E),
            _phases("import", "f32", 1000, 0x6012),
            _row("export", "f32", 1000, 0x601A),
            _phases("export", "f32", 1000, 0x601E),
            _row("zero", "f32", 1000, 0x6046),
        ),
    ),
    "janitza-umg": Rest(
        "holding",
        (
            _phases("voltage", "f32", 1, 0x4A38),
            _phases("between", "f32", 1, 0x4A3E),
            _phases("current", "f32", 1, 0x4A44),
            _phases("power", "f32", 1, 0x4A4C),
            _phases("apparent", "f32", 1, 0x4A54),
            _row("apparent", "f32", 1, 0x4A5A),
            _phases("factor", "f32", 1, 0x4A64),
            _row("frequency", "f32", 1, 0x4A6A),
            _phases("import", "f32", 1, 0x4A76),
            _phases("export", "f32", 1, 0x4A7E),
        ),
    ),
    "orno-we-516": Rest(
        "holding",
        (
            _phases("voltage", "f32", 1, 0x0E),
            _row("frequency", "f32", 1, 0x14),
            _phases("current", "f32", 1, 0x16),
            _phases("power", "f32", 1000, 0x1E),
            _row("apparent", "f32", 1000, 0x2C),
            _phases("apparent", "f32", 1000, 0x2E),
            _row("factor", "f32", 1, 0x34),
            _phases("factor", "f32", 1, 0x36),
            _row("sum", "f32", 1000, 0x100),
            _phases("sum", "f32", 1000, 0x102),
            _phases("import", "f32", 1000, 0x10A),
            _phases("export", "f32", 1000, 0x112),
            _row("sum", "f32", 1000, 0x130),  # tariff 1
            _row("import", "f32", 1000, 0x132),
            _row("export", "f32", 1000, 0x134),
            _row("zero", "f32", 1000, 0x15E),
        ),
    ),
    "schneider-iem3000": Rest(
        "holding",
        (
            _phases("current", "f32", 1, 0x0BB7),
            _row("current", "f32", 1, 0x0BC1),
            _phases("voltage", "f32", 1, 0x0BD3),
            _row("voltage", "f32", 1, 0x0BDB),
            _phases("power", "f32", 1000, 0x0BED),
            _row("zero", "f32", 1000, 0x0BFB),
            _row("apparent", "f32", 1000, 0x0C03),
            _row("frequency", "f32", 1, 0x0C25),
            _row("zero", "i64", 1, 0x0C93),
            _row("zero", "i64", 1, 0x0C97),
            _phases("import", "i64", 1, 0x0DBD, 4),
        ),
    ),
    "siemens-pac2200": Rest(
        "input",
        (
            _phases("voltage", "f32", 1, 1),
            _phases("between", "f32", 1, 7),
            _phases("current", "f32", 1, 13),
            _phases("apparent", "f32", 1, 19),
            _phases("power", "f32", 1, 25),
            _phases("factor", "f32", 1, 37),
            _row("frequency", "f32", 1, 55),
            _row("apparent", "f32", 1, 63),
            _row("factor", "f32", 1, 69),
        ),
    ),
    "bernecker-mpm3pm": Rest(
        "holding",
        (
            _row("sum", "i32", 10, 0x00),
            _phases("voltage", "u32", "1/10", 0x08),
            _phases("current", "u32", "1/100", 0x0E),
            _phases("power", "i32", "1/100", 0x14),
            _phases("factor", "u32", "1/1000", 0x20),
            _row("factor", "u32", "1/1000", 0x2A),
            _row("frequency", "u32", "1/100", 0x2C),
        ),
    ),
    "bg-etech-ds100": Rest(
        "holding",
        (
            _row("sum", "u32", 10, 0x0122),
            _phases("voltage", "u32", "1/1000", 0x0400),
            _row("voltage", "u32", "1/1000", 0x040C),
            _phases("current", "i32", "1/1000", 0x0410),
            _row("current", "i32", "1/1000", 0x0418),
            _phases("power", "i32", 1, 0x041A),
            _phases("apparent", "u32", 1, 0x0422),
            _row("apparent", "u32", 1, 0x0428),
            _row("frequency", "u16", "1/10", 0x0435),
            _phases("factor", "i16", "1/1000", 0x0436, 1),
            _row("factor", "i16", "1/1000", 0x0439),
            _phases("sum", "u32", 10, 0x0500, 0x64),
            _phases("import", "u32", 10, 0x050A, 0x64),
            _phases("export", "u32", 10, 0x0514, 0x64),
            _row("export", "u32", 10, 0x118A),  # where mbmd looks for it
        ),
    ),
    "orno-we-504": Rest(
        "holding",
        (
            _row("current", "u16", "1/10", 0x01),
            _row("frequency", "u16", "1/10", 0x02),
            _row("zero", "u16", 1, 0x04),
            _row("apparent", "u16", 1, 0x05),
            _row("factor", "u16", "1/1000", 0x06),
            _row("zero", "u32", 1, 0x09),
        ),
    ),
    "orno-we-514": Rest(
        "holding",
        (
            _row("frequency", "u16", "1/100", 0x0130),
            _row("current", "u32", "1/1000", 0x0139),
            _row("zero", "u32", 1, 0x0148),
            _row("apparent", "u32", 1, 0x0150),
            _row("factor", "u16", "1/1000", 0x0158),
            _row("import", "u32", 10, 0xA002),  # tariff 1
            _row("zero", "u32", 10, 0xA022),
        ),
    ),
    "orno-we-525": Rest(
        "holding",
        (
            _row("current", "i32", "1/1000", 0x0102),
            _row("apparent", "i32", 1, 0x0106),
            _row("frequency", "i16", "1/10", 0x010A),
            _row("factor", "i16", "1/1000", 0x010B),
            _row("import", "i32", 10, 0x0110),  # tariff 1
            _row("export", "i32", 10, 0x011A),
            _row("sum", "i32", 10, 0x0122),
            _row("sum", "i32", 10, 0x0124),
            _row("zero", "i32", 10, 0x0148),
        ),
    ),
    "lovato-dmg610": Rest(
        "input",
        (
            _phases("voltage", "u32", "1/100", 0x0001),
            _phases("current", "u32", "1/10000", 0x0007),
            _phases("between", "u32", "1/100", 0x000D),
            _phases("power", "i32", "1/100", 0x0013),
            _phases("apparent", "u32", "1/100", 0x001F),
            _row("frequency", "u32", "1/1000", 0x0031),
            _row("apparent", "u32", "1/100", 0x003D),
            _row("zero", "u64", 10, 0x1B2B),
            _phases("import", "u64", 10, 0x1E1F, 0x28),
            _phases("export", "u64", 10, 0x1E23, 0x28),
        ),
    ),
    "victron-vm-3p75ct": Rest(
        "holding",
        (
            _row("frequency", "u16", "1/100", 0x3032),
            _phases("voltage", "i16", "1/100", 0x3040, 8),
            _phases("current", "i16", "1/100", 0x3041, 8),
            _phases("import", "u32", 10, 0x3042, 8),
            _phases("export", "u32", 10, 0x3044, 8),
            _phases("power", "i32", 1, 0x3082, 4),
        ),
    ),
    "huawei-sun2000": Rest(
        "holding",
        (
            _row("factor", "u16", 1, 37100),  # 1: the meter is there
            _phases("voltage", "i32", "1/10", 37101),
            _phases("current", "i32", "1/100", 37107),
            _row("factor", "i16", "1/1000", 37117),
            _row("frequency", "i16", "1/100", 37118),
            _row("factor", "u16", 1, 37125),  # three phases
            _phases("between", "i32", "1/10", 37126),
            _phases("power", "i32", -1, 37132),
            _row("zero", "u16", 1, 37138),
        ),
    ),
}
