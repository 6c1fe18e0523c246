"""The lists that simulated meters push, in their makers' layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Literal

from gateway.meters.dlms.cosem import date_time
from gateway.meters.dlms.cosem.data import Array, DoubleLongUnsigned, Enum, Integer, LongUnsigned, Value
from gateway.meters.dlms.cosem.objects import obis
from gateway.meters.dlms.cosem.quantity import WATT, WATT_HOUR

SERIAL = "5706567000000001"
_ISKRA_NAME = b"ISK1030700000001"
_NO_DEVIATION = b"\x80\x00"
_REGISTER, _DATA, _CLOCK, _PUSH_SETUP = 3, 1, 8, 40


@dataclass(frozen=True, slots=True)
class Shown:
    """The content of one list: power in W each way, the registers in mWh (None in a list without energy), and
    the meter's clock as a date-time."""

    drawn: int
    given: int
    energies: tuple[int, int] | None
    clock: bytes


def clock(second: int, zone: tzinfo, *, told: bool) -> bytes:
    """The date-time of the Unix `second` in `zone`; `told` whether it says how far that is from UTC."""
    local = datetime.fromtimestamp(second, zone)
    offset = local.utcoffset() or timedelta()
    summer = bool(local.dst())
    octets = date_time.encode(
        second * 1_000_000_000, -(offset // timedelta(minutes=1)), daylight_saving=summer
    )
    return octets if told else octets[:9] + _NO_DEVIATION + octets[11:]


def _kamstrup(step_mwh: int) -> Callable[[Shown], Value]:
    """Codes and values, energies in steps of `step_mwh`."""

    def laid_out(shown: Shown) -> Value:
        items: list[Value] = [
            "Kamstrup_V0001",
            obis("1-1:0.0.5"),
            SERIAL,
            obis("1-1:96.1.1"),
            "6841138BN245101090",
        ]
        items += [obis("1-1:1.7.0"), DoubleLongUnsigned(shown.drawn)]
        items += [obis("1-1:2.7.0"), DoubleLongUnsigned(shown.given)]
        if shown.energies is not None:
            imported, exported = shown.energies
            items += [obis("0-1:1.0.0"), shown.clock]
            items += [obis("1-1:1.8.0"), DoubleLongUnsigned(imported // step_mwh)]
            items += [obis("1-1:2.8.0"), DoubleLongUnsigned(exported // step_mwh)]
        return tuple(items)

    return laid_out


def _kaifa(shown: Shown) -> Value:
    """Values alone, three phases, energies in Wh."""
    zero = DoubleLongUnsigned(0)
    head: tuple[Value, ...] = (b"KFM_001", SERIAL.encode(), b"MA304H3E")
    powers = (DoubleLongUnsigned(shown.drawn), DoubleLongUnsigned(shown.given))
    electric = (zero, zero, *[DoubleLongUnsigned(900)] * 3, *[DoubleLongUnsigned(2300)] * 3)
    if shown.energies is None:
        return (*head, *powers, *electric)
    return (*head, *powers, *electric, shown.clock, *_in_wh(shown.energies), zero, zero)


def _kaifa_short(shown: Shown) -> Value:
    return (DoubleLongUnsigned(shown.drawn),)


def _kaifa_se(shown: Shown) -> Value:
    """Codes and values, energies in Wh."""
    items: list[Value] = [obis("1-0:0.2.129"), b"KFM_001", obis("0-0:96.1.0"), SERIAL.encode()]
    items += [obis("1-0:1.7.0"), DoubleLongUnsigned(shown.drawn)]
    items += [obis("1-0:2.7.0"), DoubleLongUnsigned(shown.given)]
    items += [obis("0-0:1.0.0"), shown.clock]
    if shown.energies is not None:
        imported, exported = _in_wh(shown.energies)
        items += [obis("1-0:1.8.0"), imported, obis("1-0:2.8.0"), exported]
    return tuple(items)


def _aidon(energy_scaler: int) -> Callable[[Shown], Value]:
    """Structures of a code, a value, and its scaler and unit."""

    def laid_out(shown: Shown) -> Value:
        items: list[Value] = [
            (obis("1-1:0.2.129"), "AIDON_V0001"),
            (obis("0-0:96.1.0"), SERIAL),
            (obis("1-0:1.7.0"), DoubleLongUnsigned(shown.drawn), _scaled(0, WATT)),
            (obis("1-0:2.7.0"), DoubleLongUnsigned(shown.given), _scaled(0, WATT)),
        ]
        if shown.energies is not None:
            items.append((obis("0-0:1.0.0"), shown.clock))
            for code, energy in zip(("1-0:1.8.0", "1-0:2.8.0"), shown.energies, strict=True):
                counts = DoubleLongUnsigned(energy // (1_000 * 10**energy_scaler))
                items.append((obis(code), counts, _scaled(energy_scaler, WATT_HOUR)))
        return Array(items)

    return laid_out


def _aidon_short(shown: Shown) -> Value:
    return Array([(obis("1-0:1.7.0"), DoubleLongUnsigned(shown.drawn), _scaled(0, WATT))])


def _lower_austria(shown: Shown) -> Value:
    """Codes, values, and scalers and units, flat; the clock before them, the serial number after them."""
    items: list[Value] = [shown.clock]
    for code, energy in zip(("1-0:1.8.0", "1-0:2.8.0"), _in_wh(shown.energies or (0, 0)), strict=True):
        items += [obis(code), energy, _scaled(0, WATT_HOUR)]
    for code, power in (("1-0:1.7.0", shown.drawn), ("1-0:2.7.0", shown.given)):
        items += [obis(code), DoubleLongUnsigned(power), _scaled(0, WATT)]
    return (*items, b"181220000009")


def _vienna(shown: Shown) -> Value:
    """Nine values alone."""
    zero = DoubleLongUnsigned(0)
    powers = (DoubleLongUnsigned(shown.drawn), DoubleLongUnsigned(shown.given))
    return (shown.clock, *_in_wh(shown.energies or (0, 0)), zero, zero, *powers, zero, zero)


def _ljubljana(shown: Shown) -> Value:
    """Nine values alone: power, and each energy in all and by two tariffs."""
    powers = (DoubleLongUnsigned(shown.drawn), DoubleLongUnsigned(shown.given))
    return (_ISKRA_NAME, *powers, *_by_tariff(shown.energies or (0, 0)))


def _ljubljana_power(shown: Shown) -> Value:
    """Eighteen values alone: power, reactive power, voltages, currents, and the power of each phase."""
    zero = DoubleLongUnsigned(0)
    volts, amperes = [LongUnsigned(2300)] * 3, [LongUnsigned(90)] * 3
    powers = (DoubleLongUnsigned(shown.drawn), DoubleLongUnsigned(shown.given))
    return (_ISKRA_NAME, b"16820005", *powers, zero, zero, *volts, *amperes, *[zero] * 6)


def _carinthia(shown: Shown) -> Value:
    """Twelve values alone, with the clock's time and date apart."""
    zero = DoubleLongUnsigned(0)
    head = (obis("0-6:25.9.0"), SERIAL.encode(), shown.clock[5:9], shown.clock[:5])
    powers = (DoubleLongUnsigned(shown.drawn), DoubleLongUnsigned(shown.given))
    return (*head, *_in_wh(shown.energies or (0, 0)), zero, zero, *powers, b"", b"")


def _croatia(shown: Shown) -> Value:
    """Thirty-three values alone, with the clock's time and date apart."""
    zero = DoubleLongUnsigned(0)
    head = (SERIAL.encode(), shown.clock[5:9], shown.clock[:5])
    powers = (DoubleLongUnsigned(shown.drawn), DoubleLongUnsigned(shown.given))
    limit: Value = Array([LongUnsigned(9400)])
    limits: tuple[Value, ...] = (DoubleLongUnsigned(17_250), limit, limit, limit, True)
    electric = (*[zero] * 6, *[LongUnsigned(2300)] * 3, *[LongUnsigned(90)] * 3)
    energies = _by_tariff(shown.energies or (0, 0))
    return (*head, *energies, *[zero] * 4, *powers, LongUnsigned(950), *electric, *limits)


def _by_tariff(energies: tuple[int, int]) -> list[Value]:
    """Each energy in Wh: in all, and what a third and the rest of it are, as by two tariffs."""
    found: list[Value] = []
    for mwh in energies:
        total = mwh // 1_000
        found += [DoubleLongUnsigned(part) for part in (total, total // 3, total - total // 3)]
    return found


def _described(shown: Shown) -> Value:
    """The list of objects, and then their values."""
    imported, exported = _in_wh(shown.energies or (0, 0))
    pushed: list[tuple[int, str, Value]] = [
        (_PUSH_SETUP, "0-8:25.9.0", None),
        (_DATA, "0-0:42.0.0", SERIAL.encode()),
        (_CLOCK, "0-0:1.0.0", shown.clock),
        (_REGISTER, "1-1:1.8.0", imported),
        (_REGISTER, "1-1:2.8.0", exported),
        (_REGISTER, "1-0:1.7.0", DoubleLongUnsigned(shown.drawn)),
        (_REGISTER, "1-0:2.7.0", DoubleLongUnsigned(shown.given)),
    ]
    objects = Array(
        (LongUnsigned(class_id), obis(code), Integer(2), LongUnsigned(0)) for class_id, code, _ in pushed
    )
    return (objects, *(value for _, _, value in pushed[1:]))


def _in_wh(energies: tuple[int, int]) -> tuple[Value, Value]:
    imported, exported = energies
    return DoubleLongUnsigned(imported // 1_000), DoubleLongUnsigned(exported // 1_000)


def _scaled(scaler: int, unit: int) -> Value:
    return (Integer(scaler), Enum(unit))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model pushes. It sends its list every `every_s`; with `hourly_s`, only the list sent this many
    seconds past the hour has energies, those of the full hour. `short` is a list with the power drawn, sent
    every `short_s`. `hdlc` has the destination, source and control of a frame; messages are sent whole, in
    blocks, or in segments."""

    layout: Callable[[Shown], Value]
    every_s: int
    step_mwh: int = 1_000
    hourly_s: int | None = None
    hourly_clock: Literal["now", "hour"] = "now"
    short: Callable[[Shown], Value] | None = None
    short_s: int = 2
    tells_deviation: bool = False
    hdlc: tuple[bytes, bytes, int] = (b"\xcf", b"\x03", 0x13)
    cut: Literal["whole", "blocks", "segments"] = "whole"


_KAMSTRUP_HDLC = (b"\x2b", b"\x21", 0x13)
_KAIFA_HDLC = (b"\x01", b"\x02\x01", 0x10)
_AIDON_HDLC = (b"\x41", b"\x08\x83", 0x13)
_LANDIS_HDLC = (b"\xce\xff", b"\x03", 0x13)
_ISKRA_HDLC = (b"\xcf", b"\x02\x23", 0x03)

PLANS: Mapping[str, Plan] = {
    "kamstrup-han": Plan(_kamstrup(10_000), 10, 10_000, 5, hdlc=_KAMSTRUP_HDLC),
    "kamstrup-han-wh": Plan(_kamstrup(1_000), 10, 1_000, 5, hdlc=_KAMSTRUP_HDLC),
    "kamstrup-omnipower": Plan(_kamstrup(10_000), 10, 10_000, hdlc=_KAMSTRUP_HDLC),
    "kaifa-han": Plan(_kaifa, 10, 1_000, 10, short=_kaifa_short, hdlc=_KAIFA_HDLC),
    "kaifa-han-se": Plan(_kaifa_se, 10, hdlc=_KAIFA_HDLC, tells_deviation=True),
    "aidon-han": Plan(
        _aidon(1), 10, 10_000, 10, hourly_clock="hour", short=_aidon_short, short_s=3, hdlc=_AIDON_HDLC
    ),
    "aidon-han-se": Plan(_aidon(0), 10, hdlc=_AIDON_HDLC),
    "kaifa-ma309": Plan(_lower_austria, 5, tells_deviation=True),
    "sagemcom-t210d": Plan(_lower_austria, 5, tells_deviation=True),
    "landisgyr-e450": Plan(_described, 5, hdlc=_LANDIS_HDLC, cut="blocks"),
    "landisgyr-e450-at": Plan(_vienna, 5, hdlc=_LANDIS_HDLC),
    "landisgyr-e360": Plan(_described, 5, tells_deviation=True),
    "iskraemeco-am550": Plan(_described, 5, tells_deviation=True, hdlc=_ISKRA_HDLC, cut="segments"),
    "iskraemeco-am550-si": Plan(
        _ljubljana, 10, short=_ljubljana_power, short_s=5, tells_deviation=True, hdlc=_ISKRA_HDLC
    ),
    "iskraemeco-am550-kaernten": Plan(_carinthia, 1, tells_deviation=True, hdlc=_ISKRA_HDLC),
    "iskraemeco-ie5-hr": Plan(_croatia, 10, tells_deviation=True, hdlc=_ISKRA_HDLC, cut="segments"),
}
